"""A kind of question that a program draws, solves and explains.

    Generator(name="sums", …).make(0, seed=0, size=(4, 6))   →  Example(prompt="Add 4 7 2 9 5.", …)
    …explain("Add 4 7 2 9 5.", "direct")                     →  "The answer is 27."

Everything but the drawing starts from the text of a question: a program can therefore play the
teacher, which sees nothing else.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import AnswerType, Example

LETTERS = "abcdefghijklmnoprstuvwyz"
"""The letters that are drawn, and those that a wrong answer of one letter is taken from."""

Words = Sequence[str]
"""What a question is about: the groups of the generator's ``pattern``, split at blanks."""
Explanation = Callable[[Words, str], str]
"""(words, answer) → an explanation that ends in the answer. The answer may be a wrong one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """One kind of question."""

    name: str
    answer_type: AnswerType
    draw: Callable[[Random, int], str]
    """(random, size) → a question."""
    pattern: re.Pattern[str]
    """Matches every question in full; its groups are the words that the functions below take."""
    answer: Callable[[Words], str]
    explanations: Mapping[str, Explanation]
    """By strategy; ``step_by_step`` also serves the strategies that are not named."""

    def make(self, number: int, *, seed: int, size: tuple[int, int], task: str = "") -> Example:
        """Draw question ``number`` from a random stream of its own.

        Args:
            number: Counts from 0; no question depends on another.
            seed: Another seed draws other questions.
            size: The smallest and the largest size that may be drawn.
            task: Name of the example's task; the generator's by default.
        """
        random = Random(f"{self.name}/{seed}/{number}")
        drawn = random.randint(*size)
        prompt = self.draw(random, drawn)
        answer = self.answer(self._words(prompt) or [])
        return Example(
            id=f"{self.name}-{seed}-{number}",
            task=task or self.name,
            prompt=prompt,
            answer_type=self.answer_type,
            reference=tuple(answer.split()) if self.answer_type == "list" else answer,
            meta={"difficulty": drawn, "licence": "CC0-1.0"},
        )

    def explain(self, prompt: str, strategy: str, *, errors: float = 0.0) -> str | None:
        """Explain a question under a strategy; None if it is not a question of this kind.

        Args:
            prompt: The question.
            strategy: The name of a strategy.
            errors: Share of questions to answer wrongly, chosen by a hash of their text.
        """
        words = self._words(prompt)
        if words is None:
            return None
        answer = self.answer(words)
        if stable_fraction("teacher-error", prompt) < errors:
            answer = _wrong_answer(self.answer_type, answer)
        explain = self.explanations.get(strategy, self.explanations["step_by_step"])
        return explain(words, answer)

    def _words(self, prompt: str) -> list[str] | None:
        match = self.pattern.fullmatch(prompt)
        return None if match is None else " ".join(match.groups()).split()


def explanations(
    *,
    steps: Callable[[Words], list[str]],
    idea: Callable[[Words, str], str],
    parts: Callable[[Words], list[str]],
) -> dict[str, Explanation]:
    """Return explanations for the built-in strategies, made from three views of the working.

    Args:
        steps: The working, a short statement for each step; the last one gives the answer.
        idea: (words, answer) → the fact that decides the question, in one sentence.
        parts: The working by halves: two smaller questions with their answers, then both combined.
    """
    return {
        "direct": lambda words, answer: f"The answer is {answer}.",
        "answer_then_explain": lambda words, answer: (
            f"The answer is {answer}. {idea(words, answer)}"
        ),
        "explain_then_answer": lambda words, answer: (
            f"{idea(words, answer)} The answer is {answer}."
        ),
        "decompose": lambda words, answer: f"{'; '.join(parts(words))}. The answer is {answer}.",
        "step_by_step": lambda words, answer: f"{', '.join(steps(words))}. The answer is {answer}.",
    }


_SWAPPED = {
    "True": "False",
    "False": "True",
    "Yes": "No",
    "No": "Yes",
    "true": "false",
    "false": "true",
    "odd": "even",
    "even": "odd",
}


def _wrong_answer(answer_type: AnswerType, answer: str) -> str:
    """Return a wrong answer of the right kind."""
    if answer_type == "number":
        return str(int(answer) + 1)
    if answer_type == "list":
        first, *rest = answer.split()
        return " ".join([*rest, first])
    return _SWAPPED.get(answer) or LETTERS[(LETTERS.index(answer) + 1) % len(LETTERS)]
