"""Sort questions into levels of difficulty, and test trends over levels and over training.

difficulties 3, 5, 3  ──►  levels 0, 1, 0, named "3" and "5"
"""

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np

from orcinus.core.types import Example

Key = tuple[str, str]
"""(task, example id)"""

MAX_LEVELS = 5
"""Levels of one task at most; with more distinct values each level gets an equal share."""


def difficulty_of(example: Example) -> float | None:
    """Return ``meta.difficulty`` as a number; None where there is none."""
    value = example.meta.get("difficulty")
    try:
        return float(value) if value is not None else None
    except (TypeError, ValueError):
        return None


def levels_of(examples: Iterable[Example]) -> dict[Key, int]:
    """Return each question's level within its task, from 0 for the easiest.

    A task is ordered by ``meta.difficulty`` where all its questions have one, else by length.
    """
    by_task: dict[str, list[Example]] = {}
    for example in examples:
        by_task.setdefault(example.task, []).append(example)
    found: dict[Key, int] = {}
    for items in by_task.values():
        known = [value for value in map(difficulty_of, items) if value is not None]
        values = (
            known if len(known) == len(items) else [float(len(example.prompt)) for example in items]
        )
        for example, level in zip(items, split_into_levels(values)[0], strict=True):
            found[example.task, example.id] = level
    return found


def split_into_levels(values: Sequence[float]) -> tuple[list[int], list[str]]:
    """Split values into levels: one for each distinct value, or equal shares when there are many.

    Returns:
        The level of each value, from 0, and the levels' names.

    >>> split_into_levels([3, 5, 3])
    ([0, 1, 0], ['3', '5'])
    """
    distinct = sorted(set(values))
    if len(distinct) <= MAX_LEVELS:
        return [distinct.index(value) for value in values], [f"{value:g}" for value in distinct]
    shares = [i / MAX_LEVELS for i in range(1, MAX_LEVELS + 1)]
    bounds = sorted({float(b) for b in np.quantile(values, shares, method="inverted_cdf")})
    return [int(i) for i in np.searchsorted(bounds, values)], [
        f"up to {bound:g}" for bound in bounds
    ]


def trend_p_value(levels: Sequence[int], right: Sequence[bool]) -> float:
    """Test whether accuracy falls with the level (Cochran 1954, Armitage 1955).

    Returns:
        The one-sided p-value; 1.0 when all are right, all are wrong, or all have one level.
    """
    x, y = np.asarray(levels, float), np.asarray(right, float)
    share = y.mean() if len(y) else 0.0
    spread = share * (1 - share) * float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
    if spread <= 0:
        return 1.0
    return NormalDist().cdf(float(((x - x.mean()) * (y - share)).sum()) / math.sqrt(spread))


def still_falling(losses: Sequence[float]) -> bool:
    """Return True when the last fifth of the losses is at least 5 % below the fifth before it."""
    fifth = len(losses) // 5
    return fifth >= 2 and float(np.mean(losses[-fifth:])) < 0.95 * float(
        np.mean(losses[-2 * fifth : -fifth])
    )
