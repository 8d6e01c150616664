"""Honest numbers about right and wrong answers: intervals, paired tests, corrections. Pure functions, each with its source."""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats

from orcinus.types import Judged, Score

Values = Sequence[float] | npt.NDArray[np.floating]
LEVEL = 0.95
"""Of every interval."""
RESAMPLES = 10_000


def score(judged: Sequence[Judged]) -> Score:
    """Accuracy of attempts, what could not be judged counted as not right and shown apart."""
    answered = [item for item in judged if item.attempt.finish != "error"]
    values = [item.verdict.value for item in answered]
    n, found = len(values), sum(value is not None for value in values)
    right = sum(value or 0.0 for value in values)
    low, high = wilson(right, n) if n else (None, None)
    return Score(
        mean=right / n if n else None,
        n=n,
        n_none=n - found,
        n_error=len(judged) - n,
        low=low,
        high=high,
        format_ok=found / n if n else None,
        mean_given_ok=right / found if found else None,
    )


def macro_score(scores: Sequence[Score]) -> Score:
    """The mean of the tasks' accuracies, each task counting alike; the interval treats tasks as fixed and items as drawn."""
    measured = [item for item in scores if item.mean is not None]
    means = [cast(float, item.mean) for item in measured]
    if not measured:
        return Score(mean=None, n=0, n_none=0, n_error=0, low=None, high=None, format_ok=None, mean_given_ok=None)
    mean = float(np.mean(means))
    # With add-two smoothing (Agresti and Coull 1998) a task at 0 % or 100 % keeps a variance.
    smoothed = [((m * item.n + 2) / (item.n + 4), item.n + 4) for m, item in zip(means, measured, strict=True)]
    error = math.sqrt(sum(p * (1 - p) / n for p, n in smoothed)) / len(measured)
    half = error * float(scipy_stats.norm.ppf((1 + LEVEL) / 2))
    ok = [cast(float, item.format_ok) for item in measured]
    given = [item.mean_given_ok for item in measured if item.mean_given_ok is not None]
    return Score(
        mean=mean,
        n=sum(item.n for item in measured),
        n_none=sum(item.n_none for item in scores),
        n_error=sum(item.n_error for item in scores),
        low=max(0.0, mean - half),
        high=min(1.0, mean + half),
        format_ok=float(np.mean(ok)),
        mean_given_ok=float(np.mean(given)) if given else None,
    )


def wilson(right: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927): holds its level for small n and at 0 and 1."""
    z = float(scipy_stats.norm.ppf((1 + level) / 2))
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_interval(values: Values, clusters: Sequence[str], level: float = LEVEL) -> tuple[float, float]:
    """Interval of a mean whose items come in clusters (passages, templates) and are alike within one.

    Cluster-robust standard error with a t quantile for the number of clusters (Miller 2024, arXiv:2411.00640, section 2.2).
    """
    array = np.asarray(values, float)
    labels, member = np.unique(np.asarray(clusters), return_inverse=True)
    mean = float(array.mean())
    if len(labels) < 2:
        return 0.0, 1.0
    sums = np.bincount(member, weights=array - mean)
    error = math.sqrt(float((sums**2).sum()) * len(labels) / (len(labels) - 1)) / array.size
    half = error * float(scipy_stats.t.ppf((1 + level) / 2, len(labels) - 1))
    return max(0.0, mean - half), min(1.0, mean + half)


def mcnemar(a: Values, b: Values) -> float:
    """Two-sided exact p-value that ``a`` and ``b``, right (1) or wrong (0) on the same items, are equally good (McNemar 1947)."""
    first, second = np.asarray(a, float) > 0.5, np.asarray(b, float) > 0.5
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(scipy_stats.binomtest(only_first, only_first + only_second).pvalue)


def paired_difference(a: Values, b: Values, *, seed: int, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean of a − b over the same items, with a percentile bootstrap interval over items (Efron 1979)."""
    difference = np.asarray(a, float) - np.asarray(b, float)
    random = np.random.default_rng(seed)
    if set(np.unique(difference)) <= {-1.0, 0.0, 1.0}:
        # Resampling items of three kinds is drawing how many of each: the same distribution, at any n.
        shares = [(difference == kind).mean() for kind in (1.0, 0.0, -1.0)]
        drawn = random.multinomial(difference.size, shares, size=RESAMPLES)
        means = (drawn[:, 0] - drawn[:, 2]) / difference.size
    else:
        picked = random.integers(0, difference.size, size=(RESAMPLES, difference.size))
        means = difference[picked].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(difference.mean()), float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for looking at several (Holm 1979)."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = worst
    return [float(p) for p in corrected]


def pass_at_k(n: int, right: int, k: int) -> float:
    """Chance that at least one of k answers is right, from n of which ``right`` are (Chen et al. 2021, arXiv:2107.03374)."""
    if n - right < k:
        return 1.0
    return 1.0 - math.prod((n - right - i) / (n - i) for i in range(k))


def detectable_difference(n: int, disagreement: float = 0.3, power: float = 0.8, level: float = LEVEL) -> float:
    """The smallest difference that a paired test on n items finds with the given power (Connor 1987).

    Args:
        n: Items.
        disagreement: Share of items on which the two differ.
        power: Chance to find it.
        level: One minus the two-sided level of the test.
    """
    z = float(scipy_stats.norm.ppf((1 + level) / 2) + scipy_stats.norm.ppf(power))
    return z * math.sqrt(disagreement / n)
