"""Programs that write exercises, control them and solve them, with known mistakes."""

import re
from collections.abc import Callable, Sequence

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Messages, Sampling

Model = Callable[[Messages, Sampling], str]


def write_sum(messages: Messages, sampling: Sampling) -> str:
    """An author: a sum of three numbers drawn by the request; a known tenth is stated wrongly."""
    asked = f"{messages[-1].content} {sampling.seed}"
    numbers = [2 + int(97 * stable_fraction("number", asked, str(i))) for i in range(3)]
    question = f"A shop sells {numbers[0]}, {numbers[1]} and {numbers[2]} apples. How many in all?"
    stated = sum(numbers) + (1 if is_misstated(question) else 0)
    return f"<question>{question}</question>\n<answer>{stated}</answer>"


def is_misstated(question: str) -> bool:
    """Return whether the author states a wrong answer to this question."""
    return stable_fraction("misstated", question) < 0.1


def total(text: str) -> int:
    """Return the right answer to a question."""
    return sum(map(int, re.findall(r"\d+", text)))


def control(errors: float, name: str) -> Model:
    """A control that is wrong about a share of the exercises."""

    def rate(messages: Messages, sampling: Sampling) -> str:
        text = messages[-1].content
        code = re.search(r"<<<(\w+) question\n(.*?)\n\w+ question>>>", text, re.DOTALL)
        stated = re.search(r" answer\n(.*?)\n\w+ answer>>>", text, re.DOTALL)
        assert code is not None
        assert stated is not None
        is_right = total(code[2]) == int(stated[1])
        if stable_fraction("control", name, code[2]) < errors:
            is_right = not is_right
        return f"I added it up.\nVERDICT {code[1]}: {0.95 if is_right else 0.1}"

    return rate


def solver(errors: float) -> Model:
    """A solver that adds wrongly in a share of its tries."""

    def solve(messages: Messages, sampling: Sampling) -> str:
        question = messages[-1].content
        slip = stable_fraction("solver", question, str(sampling.seed)) < errors
        return f"The answer is {total(question) + (7 if slip else 0)}."

    return solve


def says(*replies: str) -> Model:
    """A model that gives these replies in turn, the last one for ever."""
    left = list(replies)

    def reply(messages: Messages, sampling: Sampling) -> str:
        return left.pop(0) if len(left) > 1 else left[0]

    return reply


def rates(*ratings: float) -> Model:
    """A control that gives these ratings in turn."""
    texts = list(ratings)

    def rate(messages: Messages, sampling: Sampling) -> str:
        found = re.search(r"VERDICT (\w+):", messages[-1].content)
        assert found is not None
        return f"VERDICT {found[1]}: {texts.pop(0) if len(texts) > 1 else texts[0]}"

    return rate


def answers(*values: object) -> Sequence[str]:
    return [f"The answer is {value}." for value in values]
