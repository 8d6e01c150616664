"""Pack lessons into rows of at most ``capacity`` tokens by best fit: nearly full, and repeatable.

    best_fit([300, 200, 212, 290], capacity=512, seed=0) ──► rows of indices: [[3, 1], [0, 2]]

Longest first, each lesson goes into the row with the least room that still takes it. The rows with
a given room are a stack, and a bit set says which stacks are not empty. So one look at an integer
finds the best fit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Numbers in groups, read like a list of lists. Takes 8 bytes a number and 8 a group."""

    members: I64
    """The numbers of all groups, one group after the other."""
    offsets: I64
    """Group i is ``members[offsets[i]:offsets[i + 1]]``."""

    @classmethod
    def of(cls, group_of: I64, numbers: I64 | None = None) -> Self:
        """Group ``numbers`` (0, 1, … if None): number i goes into group ``group_of[i]``.

        The order within a group is kept. No group may be empty.
        """
        order = np.argsort(group_of, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(group_of))]).astype(np.int64)
        return cls(members=order if numbers is None else numbers[order], offsets=offsets)

    @classmethod
    def joined(cls, parts: Sequence["Groups"]) -> Self:
        """Return the groups of all ``parts``, one part after the other."""
        sizes = np.concatenate([np.diff(part.offsets) for part in parts])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(members=np.concatenate([part.members for part in parts]), offsets=offsets)

    def unfolded(self, inner: "Groups") -> "Groups":
        """Return the groups with the members of ``inner``'s group i in place of each member i."""
        sizes = np.diff(inner.offsets)[self.members]
        ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        members = np.concatenate([np.array(inner[i], np.int64) for i in self.members.tolist()])
        return Groups(members=members, offsets=ends[self.offsets])

    def first(self, count: int) -> "Groups":
        """Return the first ``count`` groups."""
        return Groups(
            members=self.members[: self.offsets[count]], offsets=self.offsets[: count + 1]
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> list[int]:
        members: list[int] = self.members[self.offsets[i] : self.offsets[i + 1]].tolist()
        return members

    def __iter__(self) -> Iterator[list[int]]:
        return (self[i] for i in range(len(self)))


def best_fit(
    lengths: Sequence[int] | npt.NDArray[np.integer], capacity: int, *, seed: int
) -> Groups:
    """Return rows of indices into ``lengths``.

    Args:
        lengths: Tokens of each lesson, each from 1 to ``capacity``.
        capacity: Tokens of a row.
        seed: Shuffles lessons of equal length, and then the rows.

    Raises:
        ValueError: A lesson is empty or longer than a row.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if sizes.size and (sizes.min() < 1 or sizes.max() > capacity):
        raise ValueError(
            f"lengths must lie in 1 … {capacity}, but they lie in {sizes.min()} … {sizes.max()}"
        )
    random = np.random.default_rng(seed)
    shuffled = random.permutation(sizes.size)
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    row_of = np.empty(sizes.size, np.int64)  # of each lesson in the order of packing
    rows = 0
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set while a row with room for r tokens exists
    for place, size in enumerate(map(int, sizes[order])):
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = by_room[room].pop()
            if not by_room[room]:
                rooms ^= 1 << room
        else:
            room = capacity
            row = rows
            rows += 1
        row_of[place] = row
        left = room - size
        by_room[left].append(row)
        rooms |= 1 << left
    shuffled_rows = np.empty(rows, np.int64)
    shuffled_rows[random.permutation(rows)] = np.arange(rows)
    return Groups.of(shuffled_rows[row_of], order)


def fill(rows: Groups, lengths: Sequence[int] | npt.NDArray[np.integer], capacity: int) -> float:
    """Return the share of the rows' room that lessons take, 0 … 1."""
    return (
        float(np.asarray(lengths, dtype=np.int64)[rows.members].sum()) / (len(rows) * capacity)
        if len(rows)
        else 0.0
    )
