"""Choose how many rows of each task to take, and which: Orca's Algorithm 1, caps and temperatures.

    mixer = Mixer(Mixture(total=1_000_000, per_task=300), seed=0)
    mixer.add("sums", key)             once for each row; a key is the hash of a row
    mixer.limits()                     →  {"sums": largest key that is taken, …}

Algorithm 1 (Orca, arXiv:2306.02707, section 3.1) draws one row after the other. Each time it draws
a task among those with rows left, all equally likely, and then one of the task's rows. Here a
single pass over the rows gives the same distribution, and no rows are held in memory.

Which rows: those with the smallest keys, which is a draw without replacement. How many: every task
has a clock that rings at random with rate 1 (its gaps are exponential). The first ``total`` rings
of clocks whose tasks have rows left are the draws. Each of these clocks is equally likely to ring
next, as in Algorithm 1. A clock depends on its task's name alone, so neither the order of the rows
nor other tasks change when it rings. A temperature T sets the rates to size^(1/T).

As rows come in, the share of its rows that a task can still get only falls. So only the smallest
keys of each task are kept, and memory grows with ``total``, not with the number of rows.
"""

from array import array
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from orcinus.tasks.config import Mixture
from orcinus.tasks.duplicates.seen import hash_of

U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

LARGEST = 2**64 - 1
_ROOM = 64
"""Keys. A task that would now get m rows keeps its 2 m + 64 smallest keys. With a temperature it
may in the end need more keys of the rows seen so far than that, with a probability under 10^-9:
that of a hypergeometric number of mean m above 2 m + 64."""
_BUFFERED_AT_LEAST = 1 << 18
"""Keys. With fewer of them buffered, nothing is pruned."""


class Mixer:
    """The choice among rows, from the keys of all rows in any order."""

    def __init__(self, mixture: Mixture, *, seed: int) -> None:
        self._mixture, self._seed = mixture, seed
        self._sizes: dict[str, int] = {}
        self._kept: dict[str, list[U64]] = {}
        self._recent: dict[str, array[int]] = {}
        self._largest: dict[str, int] = {}
        self._buffered = 0
        self._prune_at = max(_BUFFERED_AT_LEAST, 4 * (mixture.total or 0))

    def add(self, task: str, key: int) -> None:
        """Count one row of ``task``; ``key`` is a hash of it below 2^64."""
        self._sizes[task] = self._sizes.get(task, 0) + 1
        if key <= self._largest.get(task, LARGEST):
            recent = self._recent.get(task)
            if recent is None:
                recent = self._recent[task] = array("Q")
            recent.append(key)
            self._buffered += 1
            if self._buffered >= self._prune_at:
                self._prune()

    def limits(self) -> dict[str, int]:
        """Return for each task the largest key that is taken; -1 if none is."""
        wanted = shares(self._sizes, self._mixture, seed=self._seed)
        found = {}
        for task, count in wanted.items():
            if count == self._sizes[task]:
                found[task] = LARGEST
            else:
                found[task] = (
                    int(np.partition(self._keys(task), count - 1)[count - 1]) if count else -1
                )
        return found

    def _keys(self, task: str) -> U64:
        """Return the kept keys of ``task`` as one array."""
        parts = [*self._kept.get(task, ()), np.array(self._recent.pop(task, ()), np.uint64)]
        self._kept[task] = [np.concatenate(parts)]
        return self._kept[task][0]

    def _prune(self) -> None:
        """Drop the keys that cannot be taken any more, whatever rows follow."""
        self._buffered = 0
        for task, count in shares(self._sizes, self._mixture, seed=self._seed).items():
            keys, room = self._keys(task), 2 * count + _ROOM
            if len(keys) > room:
                keys = np.partition(keys, room - 1)[:room].copy()
                self._largest[task] = int(keys.max())
                self._kept[task] = [keys]
            self._buffered += len(keys)
        self._prune_at = max(self._prune_at, 2 * self._buffered)


def shares(sizes: Mapping[str, int], mixture: Mixture, *, seed: int) -> dict[str, int]:
    """Return how many rows each task gets.

    Args:
        sizes: Rows of each task, 1 or more.
        mixture: How much to take.
        seed: Another seed draws anew.
    """
    tasks = sorted(sizes)
    rows = np.array([min(sizes[task], mixture.per_task or sizes[task]) for task in tasks], np.int64)
    if mixture.total is None or mixture.total >= rows.sum():
        return dict(zip(tasks, rows.tolist(), strict=True))
    power = 0.0 if mixture.temperature is None else 1 / mixture.temperature
    rates: F64 = rows.astype(np.float64) ** power
    counts = _first_rings(tasks, rows, rates, mixture.total, seed)
    return dict(zip(tasks, counts.tolist(), strict=True))


def _first_rings(
    tasks: Sequence[str], rows: npt.NDArray[np.int64], rates: F64, total: int, seed: int
) -> npt.NDArray[np.int64]:
    """Count each clock's rings among the first ``total``; a clock rings once for each row."""
    expected = rates * _level(rows, rates, total)
    heard = np.minimum(rows, np.ceil(expected + 8 * np.sqrt(expected) + 16)).astype(np.int64)
    while True:
        rings = [
            np.cumsum(_gaps(task, seed, count)) / rate
            for task, count, rate in zip(tasks, heard.tolist(), rates, strict=True)
        ]
        every = np.concatenate(rings)
        last = np.partition(every, total - 1)[total - 1] if total else -1.0
        counts = np.array([np.searchsorted(ring, last, side="right") for ring in rings], np.int64)
        cut_short = (counts == heard) & (heard < rows)
        if not cut_short.any():
            return counts
        heard = np.where(cut_short, np.minimum(rows, 2 * heard), heard)


def _gaps(task: str, seed: int, count: int) -> F64:
    """Return the first ``count`` waiting times of a task's clock at rate 1."""
    return np.random.default_rng(hash_of("clock", str(seed), task)).standard_exponential(count)


def _level(rows: npt.NDArray[np.int64], rates: F64, total: int) -> float:
    """Return the time t at which Σ min(rows, rate · t) = total: ``total`` evenly spaced rings."""
    times = rows / rates
    order = np.argsort(times)
    before = np.concatenate([[0], np.cumsum(rows[order])])[:-1]
    running = np.cumsum(rates[order][::-1])[::-1]
    reached = before + running * times[order]
    at = min(int(np.searchsorted(reached, total)), len(rows) - 1)
    return float((total - before[at]) / running[at])
