"""Measure how much the share of right answers varies among wordings of the same question.

consistency([(1, 1, 0, 1)])                    →  0.1875
consistency([(1, 1, 0, 1), (1, 1, 1, 1)])      →  0.09375
"""

from collections.abc import Sequence
from statistics import fmean, pvariance


def consistency(sets: Sequence[Sequence[float]]) -> float | None:
    """Return the mean over sets of the population variance within a set.

    It is 0 where every wording of a question fares the same, and 0.25 at most. A student that is
    never right is as consistent as one that always is: read it beside the accuracy.

    Args:
        sets: For each question the share right in each of its wordings; sets of one are left out.

    Returns:
        None where no question has two wordings.

    >>> consistency([(1, 1, 0, 1), (1, 1, 1, 1)])
    0.09375
    """
    compared = [shares for shares in sets if len(shares) >= 2]
    return fmean(map(pvariance, compared)) if compared else None
