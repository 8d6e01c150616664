"""How many rows of each task, and which: Orca's Algorithm 1, caps and temperatures, in one pass over rows that are never held.

    mixer = Mixer(Mixture(total=1_000_000, per_task=300), seed=0)
    mixer.add("sums", keys)            as often as there are rows; a key is the hash of a row
    mixer.limits()                     →  {"sums": largest key that is taken, …}

Algorithm 1 (Orca, arXiv:2306.02707, section 3.1) draws one row after the other: first a task, each that has rows left being as likely,
then one of its rows. Which rows: those with the smallest keys, which is a draw without replacement. How many: give every task a clock that
rings at random with rate 1 (gaps from the exponential distribution) and take the first ``total`` rings of clocks whose tasks have rows
left. The next ring comes from any of these clocks with the same chance, so the draws are those of Algorithm 1; and since a task's clock
depends on its name alone, neither the order of the rows nor the other tasks change when it rings. With rates of size^(1/T) tasks are
drawn in such proportions.

As rows come in, a task's share of its own rows that can still be taken only falls. So of each task only the smallest keys are
kept: memory grows with ``total`` and not with the rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from orcinus.core.config import Config
from orcinus.tasks.duplicates.seen import hash_of

U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

LARGEST = 2**64 - 1
_ROOM = 64
"""Keys of a task that are kept beside twice what it would get now. With a temperature the rows before a moment hold more of what
is taken in the end than that with a chance under 10^-9: a hypergeometric number of mean m is over 2 m + 64."""
_BUFFERED_AT_LEAST = 1 << 18


class Mixture(Config):
    """How much of each task is taken."""

    per_task: int | None = Field(default=None, ge=1)
    """At most so many examples of a task are taught, chosen by a hash; None takes all. Orca took 300 of each task of NIv2."""
    total: int | None = Field(default=None, ge=0)
    """So many examples are taught of all tasks together, drawn by Orca's Algorithm 1: each time a task, all that have examples left being
    equally likely, and then one of its examples. Small tasks are used up, large ones get equal shares. None takes all."""
    temperature: float | None = Field(default=None, ge=1)
    """With ``total``: tasks are drawn in proportion to size^(1/temperature); 1 is by size. None is Algorithm 1, where size does not count."""

    @model_validator(mode="after")
    def _a_temperature_divides_a_total(self) -> "Mixture":
        if self.temperature is not None and self.total is None:
            raise ValueError("temperature says how total is divided among tasks; set total too")
        return self

    @property
    def takes_all(self) -> bool:
        """Whether nothing is left out."""
        return self.per_task is None and self.total is None


class Mixer:
    """Takes the keys of all rows in any order, and says which are chosen."""

    def __init__(self, mixture: Mixture, *, seed: int) -> None:
        self._mixture, self._seed = mixture, seed
        self._sizes: dict[str, int] = {}
        self._kept: dict[str, list[U64]] = {}
        self._recent: dict[str, list[int]] = {}
        self._largest: dict[str, int] = {}
        self._buffered = 0
        self._prune_at = max(_BUFFERED_AT_LEAST, 4 * (mixture.total or 0))

    def add(self, task: str, key: int) -> None:
        """One row of ``task``."""
        self._sizes[task] = self._sizes.get(task, 0) + 1
        if key <= self._largest.get(task, LARGEST):
            self._recent.setdefault(task, []).append(key)
            self._buffered += 1
            if self._buffered >= self._prune_at:
                self._prune()

    def limits(self) -> dict[str, int]:
        """By task the largest key that is taken; -1 where none is."""
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
        """The keys of ``task`` that are kept, as one array."""
        parts = [*self._kept.get(task, ()), np.array(self._recent.pop(task, []), np.uint64)]
        self._kept[task] = [np.concatenate(parts)]
        return self._kept[task][0]

    def _prune(self) -> None:
        """Forget what cannot be taken any more, whatever comes."""
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
    """How many rows each task gets.

    Args:
        sizes: Rows of each task, 1 or more.
        mixture: What is wanted.
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
    """Of each clock, how many of its rings are among the first ``total``; a clock rings once a row."""
    expected = rates * _level(rows, rates, total)
    listened = np.minimum(rows, np.ceil(expected + 8 * np.sqrt(expected) + 16)).astype(np.int64)
    while True:
        rings = [
            np.cumsum(_gaps(task, seed, count)) / rate
            for task, count, rate in zip(tasks, listened.tolist(), rates, strict=True)
        ]
        every = np.concatenate(rings)
        last = np.partition(every, total - 1)[total - 1] if total else -1.0
        counts = np.array([np.searchsorted(ring, last, side="right") for ring in rings], np.int64)
        cut_short = (counts == listened) & (listened < rows)
        if not cut_short.any():
            return counts
        listened = np.where(cut_short, np.minimum(rows, 2 * listened), listened)


def _gaps(task: str, seed: int, count: int) -> F64:
    """The waiting times of a task's clock at rate 1; more of them begin with the same ones."""
    return np.random.default_rng(hash_of("clock", str(seed), task)).standard_exponential(count)


def _level(rows: npt.NDArray[np.int64], rates: F64, total: int) -> float:
    """The time until which clocks that ring evenly have rung ``total`` times: Σ min(rows, rate · time) = total."""
    times = rows / rates
    order = np.argsort(times)
    before = np.concatenate([[0], np.cumsum(rows[order])])[:-1]
    running = np.cumsum(rates[order][::-1])[::-1]
    reached = before + running * times[order]
    at = min(int(np.searchsorted(reached, total)), len(rows) - 1)
    return float((total - before[at]) / running[at])
