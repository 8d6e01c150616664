"""A kind of question that a program draws, solves and explains.

    Generator(name="sums", …).make(0, seed=0, size=(4, 6))   →  Example(prompt="Add 4 7 2 9 5.", …)
    …explain("Add 4 7 2 9 5.", "direct")                     →  "The answer is 27."

Everything but the drawing starts from the text of a question: a program can therefore play the
teacher, which sees nothing else.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import AnswerType, Example

LETTERS = "abcdefghijklmnoprstuvwyz"
"""The letters that are drawn, and those that a wrong answer of one letter is taken from."""

PLAIN = "plain"
"""The domain of a question in its generator's own words."""

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
    choices: Callable[[Words], tuple[str, ...]] | None = None
    """The options of a ``choice``; None for other answer types."""
    facts: Callable[[Words], Mapping[str, Any]] | None = None
    """What ``meta`` says of a question besides its licence; None says its size as difficulty."""
    dresses: Mapping[str, str] = field(default_factory=dict)
    """Other wordings of the same question by domain, with ``{}`` in place of its words."""

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
        words = self._words(prompt) or []
        answer = self.answer(words)
        facts = {"difficulty": drawn} if self.facts is None else self.facts(words)
        return Example(
            id=f"{self.name}-{seed}-{number}",
            task=task or self.name,
            prompt=prompt,
            answer_type=self.answer_type,
            choices=None if self.choices is None else self.choices(words),
            reference=tuple(answer.split()) if self.answer_type == "list" else answer,
            meta={**facts, "licence": "CC0-1.0"},
        )

    def dress(self, example: Example, domain: str) -> Example:
        """Return a question of this generator in the words of another domain.

        The numbers and the reference stay. ``meta.isomer`` is the same in every domain.

        Args:
            example: From ``make``.
            domain: ``PLAIN``, which keeps the wording, or a key of ``dresses``.
        """
        prompt = example.prompt
        if domain != PLAIN:
            prompt = self.dresses[domain].format(" ".join(self._words(prompt) or []))
        meta = {**example.meta, "isomer": example.id, "domain": domain}
        return replace(example, id=f"{example.id}-{domain}", prompt=prompt, meta=meta)

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
        for pattern in (self.pattern, *map(_pattern_of_dress, self.dresses.values())):
            if match := pattern.fullmatch(prompt):
                return " ".join(match.groups()).split()
        return None


@cache
def _pattern_of_dress(dress: str) -> re.Pattern[str]:
    before, _, after = dress.partition("{}")
    return re.compile(rf"{re.escape(before)}(\d+(?: \d+)+){re.escape(after)}")


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
    if answer_type == "choice":
        return "B" if answer == "A" else "A"
    return _SWAPPED.get(answer) or LETTERS[(LETTERS.index(answer) + 1) % len(LETTERS)]
