"""Grow instructions as GEPA does: a front of those that are best on some examples, and merges.

    wrong answers with the verifier's reasons  ──teacher──►  a candidate, tried on probed examples
    right on {1, 2} and right on {2, 3}  ──►  both are in the front, and may be merged into one

A candidate is changed in turn, or two are merged; the best of the front goes to the paired test on
fresh examples, which alone decides (``skills.py``). Probed examples cost nothing under the old
strategy, so that growth and test together make at most the calls that revising makes.

Source: GEPA, arXiv:2507.19457.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Example, Judged

MOST_TRIED = 30
"""Probed examples on which a candidate is tried. With 60 tested in each of two rounds, three
candidates can be paid from what the second round would cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An instruction, and its answers to the probed examples in their order."""

    system: str
    answers: tuple[tuple[Example, Judged], ...]

    @property
    def right(self) -> tuple[bool, ...]:
        """For each example, whether the answer is right."""
        return tuple(judged.verdict.value == 1.0 for _, judged in self.answers)


def front_of(right: Sequence[Sequence[bool]]) -> list[int]:
    """Return the numbers of the candidates that are not worse than another one everywhere.

    Of equals the first stays.
    """

    def is_beaten(mine: int) -> bool:
        return any(
            all(a <= b for a, b in zip(right[mine], right[other], strict=True))
            and (sum(right[other]) > sum(right[mine]) or other < mine)
            for other in range(len(right))
            if other != mine
        )

    return [number for number in range(len(right)) if not is_beaten(number)]


def parent_of(right: Sequence[Sequence[bool]], *key: str) -> int:
    """Draw the candidate to change: one of the front, the likelier the more it has right."""
    front = front_of(right)
    weights = [1 + sum(right[number]) for number in front]
    left = stable_fraction("parent", *key) * sum(weights)
    for number, weight in zip(front, weights, strict=True):
        left -= weight
        if left < 0:
            return number
    return front[-1]


def pair_to_merge(right: Sequence[Sequence[bool]]) -> tuple[int, int] | None:
    """Return the two candidates of the front that have the most right between them.

    Each of the front is right where another is wrong, so a pair has more right than either. None
    where the front is a single candidate.
    """
    front = front_of(right)
    pairs = [
        (sum(a or b for a, b in zip(right[one], right[two], strict=True)), one, two)
        for place, one in enumerate(front)
        for two in front[place + 1 :]
    ]
    best = max(pairs, key=lambda pair: pair[0], default=None)
    return None if best is None else (best[1], best[2])


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the most right; of equals the first."""
    return max(candidates, key=lambda candidate: sum(candidate.right))


def candidates_paid_by(*, test: int, rounds: int, tried: int) -> int:
    """Return how many candidates can be written and tried for the calls of the rounds saved.

    Args:
        test: Fresh examples of a test, each asked twice.
        rounds: Tests that revising makes; growing makes one.
        tried: Examples on which a candidate is tried; writing it is one call more.
    """
    return (rounds - 1) * (2 * test + 1) // (tried + 1) if tried else 0
