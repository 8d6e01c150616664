"""Divide the usable examples of the pool into probe, held-out and taught ones, exactly.

    splits = Splits(probe=0.2, held_out=0.2, mixtures={"": Mixture()}, seed=0)
    splits.add(example)      40 times for task "sums"
    splits.settle()          →  8 × probe, 8 × held_out, 24 × teach, in the order of the examples

Of each task the examples with the smallest hashes are for the probe, the next ones are held out.
The hash depends on the example's own text, so new rows move only examples at the borders. Shares
drawn example by example are far off in small tasks: a share of 0.2 drew 3 of 40.

The wordings of one question (equal ``meta.isomer``), and all questions of one ``meta.source_unit``
(a topic, a document, a history), share their hash. The borders move to the nearest border of units,
so that what is tested is of no unit that was taught.
"""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orcinus.core.errors import DataError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Example, Split
from orcinus.tasks.config import Mixture
from orcinus.tasks.duplicates.ngrams import normal
from orcinus.tasks.duplicates.seen import hash_of
from orcinus.tasks.mixing import LARGEST, Mixer

FLOOR = 8
"""Examples of a task that the probe gets, and that are held out, where a quarter of it is as
many. With a share of 0.2 this matters for tasks of fewer than 40 examples."""

PROBE, HELD_OUT, TEACH, OVER_QUOTA = range(4)
NAMES: tuple[Split, ...] = ("probe", "held_out", "teach")
"""The splits by their codes; ``OVER_QUOTA`` has none."""

Codes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.intp]


Drawn = tuple[tuple[str, str], float, int]
"""An example's collection and task, its place among their examples, and its key for quotas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitDraws:
    """The draw of an example's place, which depends on nothing but the example."""

    seed: int
    collections: frozenset[str]
    """Those with quotas of their own."""
    has_quotas: bool

    def __call__(self, example: Example, text: str) -> Drawn:
        """Draw the place of an example.

        Args:
            example: The example.
            text: ``normal`` of its whole prompt.
        """
        source = example.meta.get("source_unit")
        question = str(example.meta.get("isomer") or text)
        name = str(example.meta.get("collection", ""))
        drawn_by = ("source unit", str(source)) if source else (example.task, question)
        return (
            (name if name in self.collections else "", example.task),
            stable_fraction("split", str(self.seed), *drawn_by),
            hash_of("quota", str(self.seed), example.task, question) if self.has_quotas else 0,
        )


class Splits:
    """The memory of each usable example: 12 bytes, and 8 more where there are quotas."""

    def __init__(
        self, *, probe: float, held_out: float, mixtures: Mapping[str, Mixture], seed: int
    ) -> None:
        """Remember the shares.

        Args:
            probe: Share of each task for the probe.
            held_out: Share of each task that is held out.
            mixtures: The quotas by collection; "" is for all examples of no such collection.
            seed: Another seed divides and draws anew.
        """
        self._probe, self._held_out = probe, held_out
        self._mixtures, self._seed = mixtures, seed
        self._has_quotas = not all(mixture.takes_all for mixture in mixtures.values())
        self._numbers: dict[tuple[str, str], int] = {}
        self._group, self._fraction, self._key = array("I"), array("d"), array("Q")

    @property
    def draws(self) -> "SplitDraws":
        """What draws the place of one example."""
        return SplitDraws(
            seed=self._seed, collections=frozenset(self._mixtures), has_quotas=self._has_quotas
        )

    def add(self, example: Example) -> None:
        """Remember one example."""
        self.add_drawn(self.draws(example, normal(example.whole_prompt)))

    def add_drawn(self, drawn: "Drawn") -> None:
        """Remember one example, of which ``draws`` has drawn the place."""
        group, fraction, key = drawn
        self._group.append(self._numbers.setdefault(group, len(self._numbers)))
        self._fraction.append(fraction)
        if self._has_quotas:
            self._key.append(key)

    def settle(self) -> Codes:
        """Return the code of each example's split, in the order in which they were added."""
        codes = np.full(len(self._group), TEACH, np.uint8)
        members = dict(self._members())
        fraction = np.frombuffer(self._fraction) if self._fraction else np.zeros(0)
        for (_, task), rows in members.items():
            probe, held_out = self._counts(len(rows))
            probe, held_out = between_units(fraction[rows], probe, held_out, task=task)
            codes[rows[:probe]] = PROBE
            codes[rows[probe : probe + held_out]] = HELD_OUT
        if self._has_quotas:
            self._apply_quotas(members, codes)
        return codes

    def _members(self) -> Iterator[tuple[tuple[str, str], Rows]]:
        """Yield the rows of each collection and task, the smallest hash first."""
        groups = np.frombuffer(self._group, np.uint32) if self._group else np.zeros(0, np.uint32)
        order = np.lexsort((np.frombuffer(self._fraction) if self._fraction else groups, groups))
        ends = np.cumsum(np.bincount(groups, minlength=len(self._numbers)))
        for name, number in self._numbers.items():
            yield name, order[ends[number - 1] if number else 0 : ends[number]]

    def _counts(self, size: int) -> tuple[int, int]:
        """Return how many examples of a task are for the probe and held out; one is left."""
        probe = min(count_of(size, self._probe, size // 4), max(size - 1, 0))
        held_out = count_of(size, self._held_out, size // 4)
        return probe, min(held_out, max(size - 1 - probe, 0))

    def _apply_quotas(self, members: Mapping[tuple[str, str], Rows], codes: Codes) -> None:
        """Mark what is over its quota: of all splits of a task the same share is taken."""
        keys = np.frombuffer(self._key, np.uint64)
        mixers = {name: Mixer(mixture, seed=self._seed) for name, mixture in self._mixtures.items()}
        for (collection, task), rows in members.items():
            for key in keys[rows[codes[rows] == TEACH]].tolist():
                mixers[collection].add(task, key)
        limits = {name: mixer.limits() for name, mixer in mixers.items()}
        for (collection, task), rows in members.items():
            unlimited = -1 if self._mixtures[collection].total == 0 else LARGEST
            limit = limits[collection].get(task, unlimited)
            taught = rows[codes[rows] == TEACH]
            taken = keys[taught] <= np.uint64(max(limit, 0)) if limit >= 0 else taught < 0
            share = float(taken.mean()) if len(taught) else float(limit >= 0)
            codes[taught[~taken]] = OVER_QUOTA
            for code in (PROBE, HELD_OUT):
                of_split = rows[codes[rows] == code]
                first = of_split[np.argsort(keys[of_split], kind="stable")]
                end = count_of(len(first), share, len(first))
                codes[first[_end_of_unit(keys[first], end) :]] = OVER_QUOTA


def _end_of_unit(hashes: npt.NDArray[Any], end: int) -> int:
    """Return ``end``, or less where it would divide a unit, whose rows have equal hashes."""
    if not 0 < end < len(hashes) or hashes[end - 1] != hashes[end]:
        return end
    first = int(np.searchsorted(hashes, hashes[end], "left"))
    return first or int(np.searchsorted(hashes, hashes[end], "right"))


def between_units(
    fractions: npt.NDArray[np.float64], probe: int, held_out: int, *, task: str = ""
) -> tuple[int, int]:
    """Return the counts of the two splits, moved so that no source unit is divided.

    Args:
        fractions: Of the examples of one task, in ascending order; those of a unit are equal.
        probe: Examples wanted for the probe.
        held_out: Examples wanted to be held out.
        task: Its name, for the error.

    Raises:
        DataError: There are fewer units than splits.
    """
    borders = np.flatnonzero(np.diff(fractions, prepend=-1.0))  # where a unit begins
    if len(borders) == len(fractions):  # every example is a unit of its own
        return probe, held_out
    needed = 1 + (probe > 0) + (held_out > 0)
    if len(borders) < needed:
        units = "1 source unit" if len(borders) == 1 else f"{len(borders)} source units"
        raise DataError(
            f"task {task!r}: its {len(fractions):,} examples come from {units}, and {needed} "
            "splits need one each; add topics, documents or histories, or set sample.probe or "
            "sample.held_out to 0"
        )
    first = _border(borders, probe, 1, behind=needed - 1) if probe else 0
    if not held_out:
        return first, 0
    least = int(np.searchsorted(borders, first)) + 1
    return first, _border(borders, probe + held_out, least, behind=1) - first


def _border(borders: npt.NDArray[np.intp], end: int, least: int, *, behind: int) -> int:
    """Return the beginning of a unit that is nearest to ``end``.

    Args:
        borders: The beginnings of all units.
        end: Where the border is wanted.
        least: Units that must lie before it.
        behind: Units that must lie behind it.
    """
    allowed = borders[least : len(borders) - behind + 1]
    return int(allowed[np.argmin(np.abs(allowed - end))])


def count_of(size: int, share: float, available: int) -> int:
    """Return ``share`` of ``size`` as a whole number.

    Args:
        size: Number of examples.
        share: 0 takes none.
        available: ``FLOOR`` examples are taken at least, but not more than this.
    """
    return max(round(share * size), min(FLOOR, available)) if share > 0 else 0
