"""Best-fit packing: lessons into rows of at most ``capacity`` tokens, nearly full, the same every time.

Longest first, each lesson goes into the row with the least room that still takes it. The rows with a given room are a stack,
and a bit set says which stacks are not empty, so that the best fit is found by one look at an integer.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def best_fit(lengths: Sequence[int] | npt.NDArray[np.integer], capacity: int, *, seed: int) -> list[list[int]]:
    """Rows of indices into ``lengths``.

    Args:
        lengths: Tokens of each lesson, each from 1 to ``capacity``.
        capacity: Tokens of a row.
        seed: Lessons of equal length, and then the rows, are shuffled by it.

    Raises:
        ValueError: A lesson is empty or longer than a row.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if sizes.size and (sizes.min() < 1 or sizes.max() > capacity):
        raise ValueError(f"lengths must lie in 1 … {capacity}, and they lie in {sizes.min()} … {sizes.max()}")
    random = np.random.default_rng(seed)
    shuffled = random.permutation(sizes.size)
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set while a row with room for r tokens exists
    for index, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = by_room[room].pop()
            rows[row].append(index)
            if not by_room[room]:
                rooms ^= 1 << room
        else:
            room = capacity
            row = len(rows)
            rows.append([index])
        left = room - size
        by_room[left].append(row)
        rooms |= 1 << left
    return [rows[i] for i in random.permutation(len(rows))]


def fill(rows: Sequence[Sequence[int]], lengths: Sequence[int], capacity: int) -> float:
    """Share of the rows' room that lessons take, 0 … 1."""
    return sum(lengths[i] for row in rows for i in row) / (len(rows) * capacity) if rows else 0.0
