"""Measure how a choice depends on a length, a source or a name, and test it against chance.

point_biserial([1, 1, 1, 0, 0, 0], [10, 12, 11, 30, 28, 32])    →  -0.991: short ones are chosen
mutual_information([[40, 10], [10, 40]])                        →  0.278 bits of at most 1
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHUFFLES = 1_000
"""Shuffles of a permutation test: with the true order they give p-values in steps of 0.001."""
BINS = 5
"""Bins of equal size that a number is cut into to count its information."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """The association of a choice with a feature."""

    r: float | None
    """Correlation of the choice with a number, -1 … 1; None for a name."""
    bits: float
    """Mutual information of the choice and the feature, a number cut into bins."""
    p_value: float
    """Share of shuffled choices that go with the feature as closely, the true one included."""


def associate_number(chosen: ArrayLike, values: ArrayLike, *, seed: int) -> Association:
    """Return how a choice goes with a number, tested by shuffling the choice.

    Args:
        chosen: (n,) bools.
        values: (n,) numbers.
        seed: Of the shuffles.
    """
    marks, numbers = np.asarray(chosen, bool), np.asarray(values, float)
    r = point_biserial(marks, numbers)
    random = np.random.default_rng(seed)
    centred = numbers - numbers.mean() if len(numbers) else numbers
    total = abs(float(centred[marks].sum()))
    # For a given number of chosen ones the correlation is a multiple of this sum.
    sums = [abs(float(centred[random.permutation(marks)].sum())) for _ in range(SHUFFLES)]
    as_close = sum(other >= total - 1e-9 for other in sums)
    edges = np.unique(np.quantile(numbers, np.arange(1, BINS) / BINS)) if len(numbers) else numbers
    bits = mutual_information(_table(marks, np.searchsorted(edges, numbers, "left")))
    return Association(r=r, bits=bits, p_value=(1 + as_close) / (1 + SHUFFLES))


def associate_name(chosen: ArrayLike, names: Sequence[str], *, seed: int) -> Association:
    """Return how a choice goes with a name, such as a source, tested by shuffling the choice."""
    marks = np.asarray(chosen, bool)
    _, codes = np.unique(np.asarray(names, str), return_inverse=True)
    table = _table(marks, codes)
    bits = mutual_information(table)
    sizes = table.sum(axis=0).astype(int)
    random = np.random.default_rng(seed)
    # A shuffle deals the chosen ones out to the names: a multivariate hypergeometric draw.
    drawn = random.multivariate_hypergeometric(sizes, int(marks.sum()), size=SHUFFLES)
    others = [mutual_information(np.stack([sizes - row, row])) for row in drawn]
    as_close = sum(other >= bits - 1e-12 for other in others)
    return Association(r=None, bits=bits, p_value=(1 + as_close) / (1 + SHUFFLES))


def point_biserial(chosen: ArrayLike, values: ArrayLike) -> float:
    """Return the correlation of a choice with a number; 0 where either is constant.

    >>> round(point_biserial([1, 1, 1, 0, 0, 0], [10, 12, 11, 30, 28, 32]), 4)
    -0.9909
    """
    marks, numbers = np.asarray(chosen, float), np.asarray(values, float)
    if len(marks) < 2 or marks.std() == 0 or numbers.std() == 0:
        return 0.0
    return float(np.corrcoef(marks, numbers)[0, 1])


def mutual_information(table: ArrayLike) -> float:
    """Return the mutual information, in bits, of the row and the column of a table of counts.

    >>> round(mutual_information([[40, 10], [10, 40]]), 5)
    0.27807
    """
    counts = np.asarray(table, float)
    return max(0.0, entropy(counts.sum(0)) + entropy(counts.sum(1)) - entropy(counts.ravel()))


def entropy(counts: ArrayLike) -> float:
    """Return the entropy, in bits, of a distribution given as counts."""
    shares = np.asarray(counts, float)
    shares = shares[shares > 0] / shares.sum() if shares.sum() > 0 else shares[:0]
    return float(-(shares * np.log2(shares)).sum())


def efficiency(table: ArrayLike) -> float:
    """Return the share of a signal's information that is about the target: I(signal; target) / H.

    1 where the signal says right or wrong without fault; 0 where it says nothing of it.

    Args:
        table: Counts; rows are the signal's values, columns the target's.

    >>> round(efficiency([[40, 10], [10, 40]]), 5)
    0.27807
    """
    own = entropy(np.asarray(table, float).sum(1))
    return mutual_information(table) / own if own > 0 else 0.0


def _table(marks: NDArray[np.bool_], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the counts (not chosen, chosen) of each code."""
    size = int(codes.max()) + 1 if len(codes) else 1
    return np.stack(
        [np.bincount(codes[marks == mark], minlength=size) for mark in (False, True)]
    ).astype(float)
