"""Classify what became of one attempt: right, wrong, cut off, refused …

"1 + 2 = 3, 1 + 2 = 3, 1 + 2 = 3, …"  ──►  "loop"
"""

from collections.abc import Sequence
from typing import Literal, get_args

from orcinus.core import stats
from orcinus.core.types import Example, Judged
from orcinus.lessons import filters
from orcinus.verifiers.guessing import mean_guess_rate

Pair = tuple[Example, Judged]
"""A question and an attempt at it."""
Outcome = Literal[
    "right", "wrong", "no answer", "cut off", "loop", "refusal", "not judged", "failed call"
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def outcome_of(example: Example, judged: Judged) -> Outcome:
    """Return the outcome of one attempt."""
    attempt, verdict = judged.attempt, judged.verdict
    if attempt.finish == "error":
        return "failed call"
    if verdict.value == 1.0:
        return "right"
    if filters.refused(example, attempt, verdict):
        return "refusal"
    if filters.loops(example, attempt, verdict):
        return "loop"
    if attempt.finish == "length":
        return "cut off"
    if verdict.value == 0.0:
        return "wrong"
    return "not judged" if example.reference is None else "no answer"


def is_right(judged: Judged) -> bool:
    """Return True when the attempt was judged fully right."""
    return judged.verdict.value == 1.0


def is_failure(example: Example, judged: Judged) -> bool:
    """Return True when the attempt is known not to be right."""
    return outcome_of(example, judged) not in ("right", "not judged", "failed call")


def may_be_guessing(pairs: Sequence[Pair]) -> bool:
    """Return True when the right answers of one arm to one task may all be guesses."""
    guess = mean_guess_rate([example for example, _ in pairs])
    right = sum(is_right(judged) for _, judged in pairs)
    return guess > 0 and stats.wilson(right, len(pairs))[0] <= guess
