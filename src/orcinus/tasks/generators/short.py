"""Short procedural tasks, and a teacher that is a program: what the demo runs on, offline.

    sums      "Add 4 7 2 9 5." → 27          4 + 7 = 11, 11 + 2 = 13, 13 + 9 = 22, 22 + 5 = 27. The answer is 27.
    largest   "Largest of 3 8 5 1?" → 8      3, 8, 8, 8. The answer is 8.

A family knows how to draw a question of a given size, to read one back from its text, to solve it and to say the steps.
Every strategy's explanation is made from those. Item i of a task comes from its own random stream, so that no item depends on another.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from orcinus.core.errors import DataError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import AnswerType, Example
from orcinus.tasks.generators import bbh

LETTERS = "abcdefghijklmnoprstuvwyz"


TWINS_IN_A_ROW = 1000
"""After so many draws that were drawn before, there is hardly a new one left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of question."""

    answer_type: AnswerType
    draw: Callable[[Random, int], str]
    """(random, size) → the question."""
    pattern: re.Pattern[str]
    """Reads a question; its groups are what the functions below get, blanks split."""
    answer: Callable[[Sequence[str]], str]
    steps: Callable[[Sequence[str]], list[str]]
    """The working, a short statement each, the last one giving the answer."""
    idea: Callable[[Sequence[str], str], str]
    """(parts, answer) → what decides the question, in one sentence."""
    parts: Callable[[Sequence[str]], list[str]]
    """The working by halves: two smaller questions with their answers, then the combination."""


def _digits(random: Random, n: int) -> str:
    return " ".join(str(random.randint(1, 9)) for _ in range(n))


def _running_sum(items: Sequence[str]) -> list[str]:
    total, steps = int(items[0]), []
    for item in items[1:]:
        steps.append(f"{total} + {item} = {total + int(item)}")
        total += int(item)
    return steps


def _sum(items: Sequence[str]) -> int:
    return sum(map(int, items))


def _sum_halves(items: Sequence[str]) -> list[str]:
    a, b = _halves(items)
    return [
        f"{' '.join(a)} makes {_sum(a)}",
        f"{' '.join(b)} makes {_sum(b)}",
        f"{_sum(a)} + {_sum(b)} = {_sum(items)}",
    ]


def _halves(items: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _running_max(items: Sequence[str]) -> list[str]:
    return [str(max(map(int, items[: i + 1]))) for i in range(len(items))]


def _max_halves(items: Sequence[str]) -> list[str]:
    a, b = _halves(items)
    top = max(map(int, items))
    return [
        f"of {' '.join(a)} it is {max(map(int, a))}",
        f"of {' '.join(b)} it is {max(map(int, b))}",
        f"of both {top}",
    ]


def _parity(items: Sequence[str]) -> str:
    return "odd" if items.count("1") % 2 else "even"


def _running_parity(items: Sequence[str]) -> list[str]:
    return [f"{item} {_parity(items[: i + 1])}" for i, item in enumerate(items)]


def _parity_halves(items: Sequence[str]) -> list[str]:
    a, b = _halves(items)
    return [
        f"{' '.join(a)} is {_parity(a)}",
        f"{' '.join(b)} is {_parity(b)}",
        f"together {_parity(items)}",
    ]


def _draw_logic(random: Random, size: int) -> str:
    words = [random.choice(("true", "false"))]
    for _ in range(size - 1):
        words += [random.choice(("and", "or", "xor")), random.choice(("true", "false"))]
    return f"From left to right: {' '.join(words)}?"


_OPERATORS: Mapping[str, Callable[[bool, bool], bool]] = {
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "xor": lambda a, b: a is not b,
}


def _logic_steps(words: Sequence[str]) -> list[str]:
    value, steps = words[0] == "true", []
    for operator, word in zip(words[1::2], words[2::2], strict=True):
        result = _OPERATORS[operator](value, word == "true")
        steps.append(f"{_word(value)} {operator} {word} = {_word(result)}")
        value = result
    return steps


def _logic(words: Sequence[str]) -> str:
    return _logic_steps(words)[-1].rpartition(" ")[2]


def _word(value: bool) -> str:
    return "true" if value else "false"


def _logic_halves(words: Sequence[str]) -> list[str]:
    return ["start " + words[0], *[step.partition(" = ")[2] for step in _logic_steps(words)]]


def _draw_item(random: Random, size: int) -> str:
    return f"Item {random.randint(1, size)} of {' '.join(random.choice(LETTERS) for _ in range(size))}?"


def _item(words: Sequence[str]) -> str:
    return words[int(words[0])]


def _item_halves(words: Sequence[str]) -> list[str]:
    return [
        f"count to {words[0]}",
        " ".join(words[1 : int(words[0]) + 1]),
        f"stop at {_item(words)}",
    ]


def _reverse_steps(words: Sequence[str]) -> list[str]:
    return [" ".join(reversed(words[-i - 1 :])) for i in range(len(words))]


def _reverse_halves(words: Sequence[str]) -> list[str]:
    a, b = _halves(words)
    return [" ".join(reversed(b)), " ".join(reversed(a)), "together " + " ".join(reversed(words))]


FAMILIES: Mapping[str, Family] = {
    "sums": Family(
        answer_type="number",
        draw=lambda random, size: f"Add {_digits(random, size)}.",
        pattern=re.compile(r"Add ([\d ]+)\."),
        answer=lambda items: str(_sum(items)),
        steps=_running_sum,
        idea=lambda items, answer: f"All of {' '.join(items)} together make {answer}.",
        parts=_sum_halves,
    ),
    "largest": Family(
        answer_type="number",
        draw=lambda random, size: (
            f"Largest of {' '.join(str(random.randint(10, 99)) for _ in range(size))}?"
        ),
        pattern=re.compile(r"Largest of ([\d ]+)\?"),
        answer=lambda items: str(max(map(int, items))),
        steps=_running_max,
        idea=lambda items, answer: f"No number is greater than {answer}.",
        parts=_max_halves,
    ),
    "parity": Family(
        answer_type="exact",
        draw=lambda random, size: (
            f"Odd or even ones in {' '.join(random.choice('01') for _ in range(2 * size))}?"
        ),
        pattern=re.compile(r"Odd or even ones in ([01 ]+)\?"),
        answer=_parity,
        steps=_running_parity,
        idea=lambda items, answer: f"The ones in it are {items.count('1')}.",
        parts=_parity_halves,
    ),
    "logic": Family(
        answer_type="bool",
        draw=_draw_logic,
        pattern=re.compile(r"From left to right: ([a-z ]+)\?"),
        answer=_logic,
        steps=_logic_steps,
        idea=lambda words, answer: (
            f"The last part is {words[-2]} {words[-1]}, which makes it {answer}."
        ),
        parts=_logic_halves,
    ),
    "item": Family(
        answer_type="exact",
        draw=_draw_item,
        pattern=re.compile(r"Item (\d) of ([a-z ]+)\?"),
        answer=_item,
        steps=lambda words: list(words[1 : int(words[0]) + 1]),
        idea=lambda words, answer: f"In place {words[0]} is {answer}.",
        parts=_item_halves,
    ),
    "reverse": Family(
        answer_type="list",
        draw=lambda random, size: (
            f"Reverse {' '.join(random.choice(LETTERS) for _ in range(size))}."
        ),
        pattern=re.compile(r"Reverse ([a-z ]+)\."),
        answer=lambda words: " ".join(reversed(words)),
        steps=_reverse_steps,
        idea=lambda words, answer: f"It ends in {words[-1]} and starts with {words[0]}.",
        parts=_reverse_halves,
    ),
    "boolean_expressions": Family(
        answer_type="bool",
        draw=bbh.draw_boolean,
        pattern=re.compile(r"((?:True|False|not|and|or|\(|\)| )+) is"),
        answer=bbh.boolean_answer,
        steps=bbh.boolean_steps,
        idea=lambda words, answer: (
            f"It has {words.count('and')} and, {words.count('or')} or, {words.count('not')} not."
        ),
        parts=lambda words: [
            "the parts are",
            *[step.rpartition(" ")[2] for step in bbh.boolean_steps(words)],
        ],
    ),
    "navigate": Family(
        answer_type="bool",
        draw=bbh.draw_navigate,
        pattern=re.compile(
            r"If you follow these instructions, do you return to the starting point\? (.*)\nOptions:\n- Yes\n- No"
        ),
        answer=bbh.navigate_answer,
        steps=bbh.navigate_steps,
        idea=lambda words, answer: (
            f"The way {'ends' if answer == 'Yes' else 'does not end'} where it began."
        ),
        parts=lambda words: ["the places are", *bbh.navigate_steps(words)[-2:]],
    ),
    "web_of_lies": Family(
        answer_type="bool",
        draw=bbh.draw_lies,
        pattern=re.compile(r"Question: (.*) Does \w+ tell the truth\?"),
        answer=bbh.lies_answer,
        steps=bbh.lies_steps,
        idea=lambda words, answer: (
            f"There are {words.count('lies.')} claims of lies, so the answer is decided by them."
        ),
        parts=lambda words: ["of all", *bbh.lies_steps(words)[-2:]],
    ),
    "object_counting": Family(
        answer_type="number",
        draw=bbh.draw_counting,
        pattern=re.compile(r"(I have .*\. How many .* do I have\?)"),
        answer=bbh.counting_answer,
        steps=bbh.counting_steps,
        idea=lambda words, answer: f"All that is asked for together makes {answer}.",
        parts=lambda words: [
            "the counts are",
            *[step.rpartition(" ")[2] for step in bbh.counting_steps(words)],
        ],
    ),
}


def draw_example(
    family: str, number: int, *, task: str, seed: int, size: tuple[int, int]
) -> Example:
    """Item ``number`` of a family, of a size drawn from the range ``size``, as an example of ``task``."""
    random = Random(f"{family}/{seed}/{number}")
    drawn = random.randint(*size)
    kind = FAMILIES[family]
    prompt = kind.draw(random, drawn)
    answer = kind.answer(_read(kind, prompt))
    return Example(
        id=f"{family}-{seed}-{number}",
        task=task,
        prompt=prompt,
        answer_type=kind.answer_type,
        reference=tuple(answer.split()) if kind.answer_type == "list" else answer,
        meta={"difficulty": drawn, "licence": "CC0-1.0"},
    )


def examples(
    family: str, *, task: str, count: int, seed: int, size: tuple[int, int]
) -> Iterator[Example]:
    """The first ``count`` items of a family that are different from each other.

    Raises:
        DataError: The sizes allow fewer.
    """
    seen: set[str] = set()
    number = twins = 0
    while len(seen) < count:
        example = draw_example(family, number, task=task, seed=seed, size=size)
        number += 1
        if example.prompt not in seen:
            seen.add(example.prompt)
            twins = 0
            yield example
        elif (twins := twins + 1) >= TWINS_IN_A_ROW:
            raise DataError(
                f"task {task}: of {count} examples only {len(seen)} different ones were found; lower count or raise size"
            )


def explain(prompt: str, strategy: str, *, errors: float = 0.0) -> str:
    """The explanation of a question under a strategy, ending in the answer.

    Args:
        prompt: A question of one of the families.
        strategy: A built-in strategy; one without a form of its own here is answered step by step.
        errors: Share of questions, by a hash of their text, that are answered wrongly.

    Raises:
        LookupError: It is a question of no family.
    """
    for family in FAMILIES.values():
        if family.pattern.fullmatch(prompt):
            break
    else:
        raise LookupError(f"no family of short tasks asks {prompt!r}")
    words = _read(family, prompt)
    answer = family.answer(words)
    if stable_fraction("teacher-error", prompt) < errors:
        answer = _wrong(family, answer)
    return _explanation(family, words, answer, strategy)


def _explanation(family: Family, words: Sequence[str], answer: str, strategy: str) -> str:
    steps = family.steps(words)
    match strategy:
        case "direct":
            return f"The answer is {answer}."
        case "answer_then_explain":
            return f"The answer is {answer}. {family.idea(words, answer)}"
        case "explain_then_answer":
            return f"{family.idea(words, answer)} The answer is {answer}."
        case "decompose":
            return f"{'; '.join(family.parts(words))}. The answer is {answer}."
        case _:
            return f"{', '.join(steps)}. The answer is {answer}."


def _wrong(family: Family, answer: str) -> str:
    """A wrong answer of the right kind."""
    if family.answer_type == "number":
        return str(int(answer) + 1)
    if family.answer_type == "list":
        first, *rest = answer.split()
        return " ".join([*rest, first])
    swaps = {
        "True": "False",
        "False": "True",
        "Yes": "No",
        "No": "Yes",
        "true": "false",
        "false": "true",
        "odd": "even",
        "even": "odd",
    }
    return swaps.get(answer) or LETTERS[(LETTERS.index(answer) + 1) % len(LETTERS)]


def _read(family: Family, prompt: str) -> list[str]:
    match = family.pattern.fullmatch(prompt)
    return [] if match is None else " ".join(match.groups()).split()
