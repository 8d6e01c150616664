"""Paired comparisons: two models, or two strategies, on the same examples.

    a  1 1 0 1 1      repairs 2, regressions 0: exact McNemar p = 0.5
    b  1 0 0 1 0      difference 0.4 with a bootstrap interval

Pairing removes the examples' own difficulty, which is most of the noise in an unpaired comparison.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orcinus.core.stats.scores import LEVEL

RESAMPLES = 10_000
"""Bootstrap draws. Bounds then vary by about 1 % of the interval's width between seeds."""


def mcnemar(a: ArrayLike, b: ArrayLike) -> float:
    """Return the p-value of McNemar's exact test that ``a`` and ``b`` are right equally often.

    Two-sided, in the binomial form (McNemar 1947).

    Args:
        a: One value for each example: 1 right, 0 not right.
        b: The same examples in the same order.

    Raises:
        ValueError: The lengths differ, or a value is neither 0 nor 1.
    """
    first, second = _pair(a, b)
    if not np.isin(np.concatenate([first, second]), (0.0, 1.0)).all():
        raise ValueError("McNemar's test compares right with wrong: every value must be 0 or 1")
    return binomial_two_sided(int((first > second).sum()), int((first < second).sum()))


def binomial_two_sided(wins: int, losses: int) -> float:
    """Return the probability of a split at least as uneven as ``wins`` to ``losses`` by chance."""
    n, fewer = wins + losses, min(wins, losses)
    if wins == losses:
        return 1.0
    # In logarithms, because 2^n overflows a float at about 1,000 discordant pairs.
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def binomial_at_least(wins: int, n: int) -> float:
    """Return the p-value of the one-sided sign test: ``wins`` or more of ``n`` by chance."""
    from scipy.stats import binom  # takes a second to import

    return float(binom.sf(wins - 1, n, 0.5))


def sign_flip(
    a: ArrayLike,
    b: ArrayLike,
    *,
    seed: int,
    weights: ArrayLike | None = None,
    draws: int = 20_000,
) -> float:
    """Return the two-sided p-value of Fisher's randomisation test on the signs of ``a - b``.

    For values between 0 and 1, such as means over k samples, and for weighted means, which
    McNemar's test cannot compare.

    Args:
        a: One value for each example.
        b: The same examples in the same order.
        seed: Seed of the draws.
        weights: Weight of each example in the mean; None weighs all the same.
        draws: Random sign vectors; the smallest possible p-value is about 1 / draws.
    """
    first, second = _pair(a, b)
    differences = first - second
    if weights is not None:
        scale = np.asarray(weights, dtype=float)
        differences = differences * scale / scale.max()
    differences = np.round(differences, 9)
    # Differences of equal size are interchangeable: the number of positive ones is one binomial
    # draw.
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    positive = np.random.default_rng(seed).binomial(counts, 0.5, size=(draws, len(sizes)))
    sums = (2 * positive - counts) @ sizes
    as_far = int((np.abs(sums) >= abs(differences.sum()) - 1e-6).sum())
    return (1 + as_far) / (1 + draws)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    seed: int,
    clusters: Sequence[object] | None = None,
    strata: Sequence[object] | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[float, float, float]:
    """Return the mean of ``a - b`` with a percentile bootstrap interval over examples.

    Efron and Tibshirani 1993, chapter 13. With several strata it is the mean of the strata's means,
    and each stratum is resampled by itself. The spread within a stratum of m draws is enlarged by
    the square root of m / (m - 1), because resampling m draws shows less than the full spread
    (Rao and Wu 1988). Where all examples differ alike, resampling shows no spread at all; then see
    ``_bounds_without_spread``.

    Args:
        a: One value in 0..1 for each example.
        b: The same examples in the same order.
        seed: Seed of the resampling.
        clusters: One name for each value; values of equal name are drawn together, for example by
            passage. None draws each value by itself.
        strata: One name for each value, for example its task. Strata with a single draw are
            resampled together. None is one stratum.
        level: Coverage of the interval.
        resamples: Bootstrap draws.

    Returns:
        (difference, low, high); the difference is never outside its interval.

    Raises:
        ValueError: The two are empty, or their lengths differ.
    """
    first, second = _pair(a, b)
    differences = first - second
    names = range(len(differences)) if clusters is None else clusters
    if np.ptp(differences) == 0:
        difference = float(differences[0])
        return difference, *_bounds_without_spread(difference, len(set(names)), level)
    rng = np.random.default_rng(seed)
    parts = list(_by_stratum(differences, names, strata))
    if len(parts) == 1:
        mean, means = _resample(*parts[0], rng, resamples)
    else:
        mean, means = _resample_strata(parts, rng, resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return mean, min(float(low), mean), max(float(high), mean)


def _bounds_without_spread(difference: float, n: int, level: float) -> tuple[float, float]:
    """Return the bounds of a mean difference of which n independent draws all had the same value.

    A share of other values stays unseen in n draws with the probability (1 - share)^n. At most it
    lies at -1 or at 1. For right and wrong, 0 is outside exactly where McNemar's test finds a
    difference.
    """
    unseen = 1 - ((1 - level) / 2) ** (1 / n)
    return difference - unseen * (1 + difference), difference + unseen * (1 - difference)


def mean_of_strata(values: ArrayLike, strata: Sequence[object]) -> float:
    """Return the mean of the strata's means, each stratum with the same weight.

    Args:
        values: (n,) numbers, n at least 1.
        strata: (n,) names, for example the task of each value.
    """
    means = [
        sums.sum() / sizes.sum()
        for sums, sizes in _by_stratum(np.asarray(values, dtype=float), range(len(strata)), strata)
    ]
    return float(np.mean(means))


Draws = tuple[NDArray[np.float64], NDArray[np.float64]]
"""What is drawn from one stratum: the sum and the number of values of each cluster."""


def _by_stratum(
    values: NDArray[np.float64], clusters: Sequence[object], strata: Sequence[object] | None
) -> Iterator[Draws]:
    members: dict[object, list[int]] = {}
    for i, name in enumerate(strata if strata is not None else [None] * len(values)):
        members.setdefault(name, []).append(i)
    for chosen in members.values():
        index = {name: i for i, name in enumerate(dict.fromkeys(clusters[i] for i in chosen))}
        codes = [index[clusters[i]] for i in chosen]
        sums = np.bincount(codes, weights=values[chosen]).astype(np.float64)
        yield sums, np.bincount(codes).astype(np.float64)


def _resample(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], rng: np.random.Generator, resamples: int
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean over clusters, and the means of the resamples."""
    # Clusters of equal sum and size are interchangeable, so a resample is one multinomial draw over
    # the distinct ones. For right and wrong there are only three, for any number of examples.
    distinct, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    drawn = rng.multinomial(len(sums), counts / counts.sum(), size=resamples)
    return float(sums.sum() / sizes.sum()), (drawn @ distinct[:, 0]) / (drawn @ distinct[:, 1])


def _resample_strata(
    parts: Sequence[Draws], rng: np.random.Generator, resamples: int
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean of the strata's means, and that of the resamples."""
    single = np.array([float(sums[0] / sizes[0]) for sums, sizes in parts if len(sums) == 1])
    weighted = [(sums, sizes, 1.0) for sums, sizes in parts if len(sums) > 1]
    if len(single):
        # One draw has no spread of its own: such strata lend it to each other.
        weighted.append((single, np.ones(len(single)), float(len(single))))
    total, means = 0.0, np.zeros(resamples)
    for sums, sizes, weight in weighted:
        mean, drawn = _resample(sums, sizes, rng, resamples)
        spread = math.sqrt(len(sums) / (len(sums) - 1)) if len(sums) > 1 else 1.0
        total += weight * mean
        means += weight * (mean + spread * (drawn - mean))
    return total / len(parts), means / len(parts)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError(
            "a paired comparison needs two equally long rows of values, not "
            f"{first.shape} and {second.shape}"
        )
    return first, second


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values corrected by Holm (1979), in the order given.

    The correction bounds the probability of any false alarm among them.
    """
    raw = np.asarray(p_values, dtype=float)
    order = np.argsort(raw, kind="stable")
    stepped = raw[order] * np.arange(len(raw), 0, -1)
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return corrected


def minimum_detectable_drop(
    n: int, *, repairs: float = 0.0, size: float = 0.05, power: float = 0.8
) -> float | None:
    """Return the smallest true loss that the one-sided sign test finds with the given power.

    Exact: sums over the number of examples that change, and of those that get worse.

    Args:
        n: Examples asked before and after.
        repairs: Share of examples that turn from wrong to right anyway.
        size: Probability of a false alarm that the test allows.
        power: Probability of finding a loss that exists.

    Returns:
        A share of the examples in 0..1; None when even the largest possible loss would be missed.

    Raises:
        ValueError: ``n`` is negative or ``repairs`` is not in [0, 1].
    """
    if n < 0 or not 0 <= repairs <= 1:
        raise ValueError(f"needs n >= 0 and 0 <= repairs <= 1, not n={n}, repairs={repairs}")
    from scipy.stats import binom

    changed = np.arange(n + 1)
    # More losses than this, among a number of changes, are significant.
    needed = binom.isf(size, changed, 0.5)

    def found(drop: float) -> bool:
        share = min(1.0, 2 * repairs + drop)
        chances = binom.pmf(changed, n, share) * binom.sf(needed, changed, (repairs + drop) / share)
        return float(chances.sum()) >= power

    low, high = 0.0, 1.0 - 2 * repairs
    if high <= 0 or not found(high):
        return None
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


Outcome = Literal["better", "worse", "not told apart"]


def outcome(low: float, high: float, p_value: float, *, level: float = LEVEL) -> Outcome:
    """Return what a comparison shows: a difference only if interval and test both find one.

    Near the edge the two disagree, because the exact test is more careful. For example, 16 better
    and 6 worse of 300 items give a bootstrap interval above zero, but p = 0.053.

    Args:
        low: Lower bound of the difference.
        high: Upper bound.
        p_value: P-value of the test; corrected when several tests were made.
        level: Coverage of the interval; the size of the test is ``1 - level``.
    """
    if p_value + level >= 1:
        return "not told apart"
    return "better" if low > 0 else "worse" if high < 0 else "not told apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A paired comparison of one side with another, item by item."""

    n: int
    difference: float
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval of ``difference``."""
    p_value: float
    """By McNemar's exact test when all values are 0 or 1 and weigh the same, else by randomised
    signs."""
    repairs: int
    """Items on which the first is better."""
    regressions: int
    """Items on which the first is worse."""


def compare(
    a: ArrayLike, b: ArrayLike, *, seed: int, strata: Sequence[object] | None = None
) -> Compared:
    """Compare ``a`` with ``b``.

    Args:
        a: One value in 0..1 for each item.
        b: The other side's values, in the same order.
        seed: Seed of the bootstrap and of the random signs.
        strata: The task of each item: then the difference, its interval and its test are those of
            the mean of tasks. None compares means over all items.
    """
    first, second = _pair(a, b)
    difference, low, high = paired_difference(first, second, seed=seed, strata=strata)
    sizes = Counter(strata if strata is not None else [None] * len(first))
    weights = None
    if len(set(sizes.values())) > 1 and strata is not None:
        weights = [1 / sizes[name] for name in strata]
    binary = np.isin(np.concatenate([first, second]), (0.0, 1.0)).all()
    if binary and weights is None:
        p_value = mcnemar(first, second)
    else:
        p_value = sign_flip(first, second, seed=seed, weights=weights)
    return Compared(
        n=len(first),
        difference=difference,
        low=low,
        high=high,
        p_value=p_value,
        repairs=int((first > second).sum()),
        regressions=int((first < second).sum()),
    )
