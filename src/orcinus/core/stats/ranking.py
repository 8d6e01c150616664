"""How well scores put one kind before another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from orcinus.core.stats.scores import LEVEL, quantile_z


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """The area under the ROC curve: the chance that a good item scores above one that is not, ties counting half."""

    value: float
    low: float
    high: float


def auc(
    scores: ArrayLike, good: ArrayLike, strata: ArrayLike | None = None, *, level: float = LEVEL
) -> Area | None:
    """The area with its interval (DeLong, DeLong & Clarke-Pearson 1988).

    Args:
        scores: (n,) of the items.
        good: (n,) bool, which of them should be high.
        strata: (n,) in which part each is; only items of one part are compared, and the parts' areas are weighted by their pairs. For scores
            of several classifiers, as in cross-validation: pooled, their different intercepts bias the area down.
        level: Of the interval.

    Returns:
        None where no part has two of each kind.

    >>> auc([3, 2, 4, 1, 0, 2.5], [True, True, True, False, False, False]).value
    0.8888888888888888
    """
    values, kinds = np.asarray(scores, float), np.asarray(good, bool)
    parts = np.zeros(len(values), int) if strata is None else np.asarray(strata)
    areas, variances, pairs = [], [], []
    for part in np.unique(parts):
        high, low = values[(parts == part) & kinds], values[(parts == part) & ~kinds]
        if min(len(high), len(low)) >= 2:
            area, variance = _area(high, low)
            areas.append(area)
            variances.append(variance)
            pairs.append(len(high) * len(low))
    if not pairs:
        return None
    shares = np.array(pairs) / sum(pairs)
    value = float(shares @ np.array(areas))
    spread = quantile_z(level) * float(np.sqrt(shares**2 @ np.array(variances)))
    return Area(value=value, low=max(0.0, value - spread), high=min(1.0, value + spread))


def _area(high: NDArray[np.float64], low: NDArray[np.float64]) -> tuple[float, float]:
    """The area and its variance, from the share of the others that each item is above, or below."""
    ranks = rankdata(np.concatenate([high, low]))
    above = (ranks[: len(high)] - rankdata(high)) / len(low)
    below = 1 - (ranks[len(high) :] - rankdata(low)) / len(high)
    return float(above.mean()), float(above.var(ddof=1) / len(high) + below.var(ddof=1) / len(low))
