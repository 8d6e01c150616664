"""Decide among several answers to one question, and divide the width of a tree search.

answers  12, 15, 12, 9   rewards  0.2, 0.9, 0.3, 0.1
majority → 12            weighted → 15 (0.9 against 0.5)            best_of_n → 15
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDING = 1e-9
"""Tolerance: a share this close to a whole number is that number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One answer among several to the same question."""

    answer: str | None
    """The final answer as the verifier read it; None when it found none."""
    reward: float = 0.0
    """Score from 0 to 1."""


Decider = Callable[[Sequence[Candidate]], int]
"""Returns the index of the chosen candidate; there is at least one."""


def majority(candidates: Sequence[Candidate]) -> int:
    """Return a candidate with the most frequent answer (self-consistency, arXiv:2203.11171).

    A tie goes to the answer given first.
    """
    return _most(candidates, [1.0] * len(candidates))


def weighted(candidates: Sequence[Candidate]) -> int:
    """Return a candidate whose answer has the most reward (arXiv:2206.02336, section 3.2)."""
    return _most(candidates, [candidate.reward for candidate in candidates])


def best_of_n(candidates: Sequence[Candidate]) -> int:
    """Return the candidate with the largest reward, preferring candidates with an answer."""
    return max(
        range(len(candidates)),
        key=lambda i: (candidates[i].answer is not None, candidates[i].reward, -i),
    )


DECIDERS: Mapping[str, Decider] = {
    "majority": majority,
    "best_of_n": best_of_n,
    "weighted": weighted,
}
"""By name. A candidate without an answer has no vote; if none has an answer, the first one wins."""


def _most(candidates: Sequence[Candidate], weights: Sequence[float]) -> int:
    # The count comes second, for candidates whose rewards are all 0.
    votes: dict[str, tuple[float, int]] = {}
    first: dict[str, int] = {}
    for i, (candidate, weight) in enumerate(zip(candidates, weights, strict=True)):
        if candidate.answer is not None:
            total, count = votes.get(candidate.answer, (0.0, 0))
            votes[candidate.answer] = (total + weight, count + 1)
            first.setdefault(candidate.answer, i)
    return first[max(votes, key=votes.__getitem__)] if votes else 0


def balanced(rewards: Sequence[float], width: int, temperature: float) -> list[int]:
    """Return the number of children of each node, by softmax(reward / temperature).

    From the best node down, each gets its share of the rest, rounded up, as in REBASE's own code
    (arXiv:2408.00724).

    Args:
        rewards: One for each node.
        width: Children to distribute.
        temperature: Near 0 the best node gets all; a large one gives all nodes the same.
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
