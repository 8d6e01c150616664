"""Several answers to one question become one, by name; and how tree search shares out its width. Pure functions.

answers  12, 15, 12, 9   rewards  0.2, 0.9, 0.3, 0.1
majority → 12            weighted → 15 (0.9 against 0.5)            best_of_n → 15
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDING = 1e-9
"""A share that is a whole number but for rounding is that number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One answer among several to the same question."""

    answer: str | None
    """The final answer as it was understood; None when none was found."""
    reward: float = 0.0
    """What it is held to be worth, from 0 to 1."""


Decider = Callable[[Sequence[Candidate]], int]
"""The place of the candidate that is taken, of at least one."""


def majority(candidates: Sequence[Candidate]) -> int:
    """The answer that most come to (self-consistency, arXiv:2203.11171); a tie goes to the one given first."""
    return _most(candidates, [1.0] * len(candidates))


def weighted(candidates: Sequence[Candidate]) -> int:
    """The answer whose candidates have the most reward together (arXiv:2206.02336, section 3.2)."""
    return _most(candidates, [candidate.reward for candidate in candidates])


def best_of_n(candidates: Sequence[Candidate]) -> int:
    """The candidate with the most reward; one without an answer only where none has one."""
    return max(
        range(len(candidates)),
        key=lambda i: (candidates[i].answer is not None, candidates[i].reward, -i),
    )


DECIDERS: Mapping[str, Decider] = {
    "majority": majority,
    "best_of_n": best_of_n,
    "weighted": weighted,
}
"""By name. What has no answer has no vote; where nobody has one, the first is taken."""


def _most(candidates: Sequence[Candidate], weights: Sequence[float]) -> int:
    # The count comes second, for candidates that are all worth nothing.
    votes: dict[str, tuple[float, int]] = {}
    first: dict[str, int] = {}
    for i, (candidate, weight) in enumerate(zip(candidates, weights, strict=True)):
        if candidate.answer is not None:
            total, count = votes.get(candidate.answer, (0.0, 0))
            votes[candidate.answer] = (total + weight, count + 1)
            first.setdefault(candidate.answer, i)
    return first[max(votes, key=votes.__getitem__)] if votes else 0


def balanced(rewards: Sequence[float], width: int, temperature: float) -> list[int]:
    """How many children each node gets: together exactly ``width``, in proportion to softmax(reward / temperature).

    From the best node down each gets its share of what is left, rounded up, as in REBASE's own code (arXiv:2408.00724).

    Args:
        rewards: Of the nodes.
        width: Children to give away.
        temperature: Towards 0 the best node gets all; large, all get the same.
    """
    order = sorted(range(len(rewards)), key=lambda i: -rewards[i])
    top = max(rewards, default=0.0)
    shares = [math.exp((rewards[i] - top) / temperature) for i in order]
    counts, left = [0] * len(rewards), width
    for place, i in enumerate(order):
        counts[i] = (
            math.ceil(left * shares[place] / math.fsum(shares[place:]) - ROUNDING)
            if shares[place] > 0
            else 0
        )
        left -= counts[i]
    return counts
