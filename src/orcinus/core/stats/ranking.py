"""The area under the ROC curve, with its interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orcinus.core.stats.scores import LEVEL, quantile_z


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """An area under the ROC curve.

    It is the probability that a good item scores above another one; a tie counts half.
    """

    value: float
    low: float
    high: float


def auc(
    scores: ArrayLike, good: ArrayLike, strata: ArrayLike | None = None, *, level: float = LEVEL
) -> Area | None:
    """Return the area with its interval (DeLong, DeLong & Clarke-Pearson 1988).

    Args:
        scores: (n,) numbers.
        good: (n,) bools: which items should score high.
        strata: (n,) parts, such as the folds of a cross-validation. Only items of one part are
            compared, because the classifiers of two folds differ in intercept. The areas of the
            parts are weighted by their numbers of pairs.
        level: Coverage of the interval.

    Returns:
        None when no part has two items of each kind.

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
    """Return the area and its variance, from the share of the other kind that each item beats."""
    from scipy.stats import rankdata  # takes a second to import

    ranks = rankdata(np.concatenate([high, low]))
    above = (ranks[: len(high)] - rankdata(high)) / len(low)
    below = 1 - (ranks[len(high) :] - rankdata(low)) / len(high)
    return float(above.mean()), float(above.var(ddof=1) / len(high) + below.var(ddof=1) / len(low))
