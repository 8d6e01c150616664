"""Find lessons that teach different answers to the same question.

"Who was first?" ──► Ann        "who was FIRST?" ──► Bob        contradict each other
"Add 3 and 4." ──► 7            "Add 3 and 5." ──► 8            do not: other numbers
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orcinus.tasks.duplicates.ngrams import normal

NEAR_DUPLICATE = 0.8
"""Two questions are compared when they share this part of their runs of five words."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The answer that one lesson teaches to its question."""

    lesson: str
    """Id of the lesson."""
    question: str
    answer: str | None
    """The answer that the lesson ends in; None when none was found."""
    value: float | None
    """Verdict on the lesson: 1.0 right, 0.0 wrong, None not judged."""
    reference: str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A lesson that contradicts another one."""

    lesson: str
    """Id of the lesson."""
    answer: str
    """The answer that it teaches."""


def contradicts(a: Claim, b: Claim) -> bool:
    """Return True when two lessons teach different answers to what is the same question.

    The questions are equal or near-duplicates. Near-duplicates must contain the same numbers, and
    the same reference where both have one: two questions from one template with different numbers
    rightly have different answers.
    """
    if (
        a.lesson == b.lesson
        or a.answer is None
        or b.answer is None
        or normal(a.answer) == normal(b.answer)
    ):
        return False
    if a.reference == b.reference and a.value == b.value == 1.0:
        return False  # one answer, written in two ways
    if normal(a.question) == normal(b.question):
        return True
    if a.reference is not None and b.reference is not None and a.reference != b.reference:
        return False
    return sorted(_NUMBER.findall(a.question)) == sorted(_NUMBER.findall(b.question))


def rivals_of(claims: Iterable[Claim]) -> dict[str, tuple[Rival, ...]]:
    """Find the contradictions within one group of near-duplicate questions.

    Returns:
        By lesson id, the lessons that contradict it.
    """
    group = list(claims)
    return {
        a.lesson: tuple(
            Rival(lesson=b.lesson, answer=b.answer or "") for b in group if contradicts(a, b)
        )
        for a in group
    }
