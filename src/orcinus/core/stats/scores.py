"""Scores of judged attempts, with intervals.

    8 right, 1 wrong, 1 without an answer
      ──score──►  mean 0.80, n 10, n_none 1, 95 % interval 0.49 … 0.94, format_ok 0.90

An attempt without a verdict counts as not right and is also counted apart. A failed call is in no
mean.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orcinus.core.results import Samples
from orcinus.core.stats.deciding import Candidate, majority
from orcinus.core.types import Judged, Score

LEVEL = 0.95
"""Coverage of every interval by default."""


def quantile_z(level: float = LEVEL) -> float:
    """Return the half-width of a two-sided normal interval in standard errors: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(successes: float, n: float, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the score interval of a proportion.

    Wilson 1927; recommended by Brown, Cai and DasGupta 2001.

    Args:
        successes: Number of right ones; a fraction for an effective sample size.
        n: Number of all; 0 gives (0, 1).
        level: Coverage of the interval.
    """
    if n <= 0:
        return 0.0, 1.0
    z = quantile_z(level)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the bound is exactly 0 or 1, which rounding would miss.
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= n else min(1.0, centre + half)
    return low, high


def score(judged: Iterable[Judged]) -> Score:
    """Aggregate verdicts.

    Several samples of one example are not independent. Wilson's interval then uses the sample size
    divided by the design effect of the clusters (Korn and Graubard 1998).
    """
    by_example: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    n_none = n_error = 0
    for item in judged:
        if item.attempt.finish == "error":
            n_error += 1
            continue
        n_none += item.verdict.value is None
        by_example[item.attempt.task, item.attempt.example_id].append(item.verdict.value or 0.0)
    sums = np.array([sum(values) for values in by_example.values()])
    sizes = np.array([len(values) for values in by_example.values()], dtype=float)
    n = int(sizes.sum())
    if n == 0:
        return Score(
            mean=None,
            n=0,
            n_none=0,
            n_error=n_error,
            low=None,
            high=None,
            format_ok=None,
            mean_given_ok=None,
        )
    right = float(sums.sum())
    effective = n / _design_effect(sums, sizes)
    low, high = wilson(right / n * effective, effective)
    return Score(
        mean=right / n,
        n=n,
        n_none=n_none,
        n_error=n_error,
        low=low,
        high=high,
        format_ok=(n - n_none) / n,
        mean_given_ok=right / (n - n_none) if n > n_none else None,
    )


def _design_effect(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """Return the variance of the mean with clusters over the variance without, at least 1."""
    n, groups = sizes.sum(), len(sizes)
    mean = sums.sum() / n
    if groups == n:
        return 1.0
    independent = mean * (1 - mean) / n
    if groups < 2 or independent <= 0:
        return float(sizes.max())
    clustered = groups / (groups - 1) * ((sums - mean * sizes) ** 2).sum() / n**2
    return float(np.clip(clustered / independent, 1.0, sizes.max()))


def clustered_interval(
    values: ArrayLike, clusters: Sequence[object], *, level: float = LEVEL
) -> tuple[float, float, float]:
    """Return the mean of ``values`` and an interval that treats clusters as independent.

    The standard error is robust to clusters such as passages or templates (Miller 2024,
    arXiv:2411.00640, section 2.2), with the factor G/(G-1) for G clusters. Student's t has G-1
    degrees of freedom.

    Args:
        values: (n,) numbers.
        clusters: (n,) names; values of equal name depend on each other.
        level: Coverage of the interval.

    Returns:
        (mean, low, high). With a single cluster the spread is unknown and the bounds are infinite.

    Raises:
        ValueError: There are no values, or the lengths differ.
    """
    from scipy.special import stdtrit  # takes 0.1 s, in every command

    array = np.asarray(values, dtype=float)
    if len(array) == 0 or len(array) != len(clusters):
        raise ValueError(
            f"{len(array)} values and {len(clusters)} clusters: give one cluster for each value, "
            "and at least one value"
        )
    mean = float(array.mean())
    index = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros(len(index))
    np.add.at(sums, [index[name] for name in clusters], array - mean)
    groups = len(sums)
    if groups < 2:
        return mean, -math.inf, math.inf
    error = math.sqrt(groups / (groups - 1) * float((sums**2).sum())) / len(array)
    half = float(stdtrit(groups - 1, (1 + level) / 2)) * error
    return mean, mean - half, mean + half


def macro_score(scores: Sequence[Score]) -> Score:
    """Return the unweighted mean over tasks.

    The interval combines the intervals of the tasks by the method of variance estimates recovery
    (Zou and Donner 2008). It holds for these tasks, not for unmeasured ones. The mean leaves out
    tasks without an attempt.
    """
    known = [item for item in scores if item.mean is not None]
    counts = {
        "n": sum(item.n for item in known),
        "n_none": sum(item.n_none for item in known),
        "n_error": sum(item.n_error for item in scores),
    }
    if not known:
        return Score(**counts, mean=None, low=None, high=None, format_ok=None, mean_given_ok=None)
    means = np.array([item.mean for item in known], dtype=float)
    lows = np.array([item.low for item in known], dtype=float)
    highs = np.array([item.high for item in known], dtype=float)
    given_ok = [item.mean_given_ok for item in known if item.mean_given_ok is not None]
    mean = float(means.mean())
    return Score(
        **counts,
        mean=mean,
        low=mean - float(np.sqrt(((means - lows) ** 2).sum())) / len(known),
        high=mean + float(np.sqrt(((highs - means) ** 2).sum())) / len(known),
        format_ok=float(np.mean([item.format_ok for item in known])),
        mean_given_ok=float(np.mean(given_ok)) if given_ok else None,
    )


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the unbiased estimate of pass@k: that one of ``k`` samples is right.

    Chen et al. 2021, arXiv:2107.03374.

    Args:
        n: Samples drawn.
        correct: Right ones among them.
        k: Samples to choose from.

    Raises:
        ValueError: Not 0 ≤ correct ≤ n, or not 1 ≤ k ≤ n.
    """
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(
            f"pass@k needs 0 <= correct <= n and 1 <= k <= n, not n={n}, correct={correct}, k={k}"
        )
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def score_samples(judged: Iterable[Judged]) -> Samples | None:
    """Score the answers to each question together; None when a question has only one answer."""
    by_question: dict[tuple[str, str], list[Judged]] = {}
    for item in judged:
        if item.attempt.finish != "error":
            by_question.setdefault((item.attempt.task, item.attempt.example_id), []).append(item)
    k = min(map(len, by_question.values()), default=0)
    if k < 2:
        return None
    right = [sum(item.verdict.value == 1.0 for item in items) for items in by_question.values()]
    sizes = [len(items) for items in by_question.values()]
    return Samples(
        k=k,
        questions=len(by_question),
        one=float(np.mean([r / n for r, n in zip(right, sizes, strict=True)])),
        any_of_k=float(np.mean([pass_at_k(n, r, k) for r, n in zip(right, sizes, strict=True)])),
        majority=float(np.mean([_majority_is_right(items) for items in by_question.values()])),
        tokens=float(
            np.mean(
                [sum(i.attempt.usage.tokens_out for i in items) for items in by_question.values()]
            )
        ),
    )


def _majority_is_right(items: Sequence[Judged]) -> bool:
    winner = items[
        majority([Candidate(answer=item.verdict.answer) for item in items])
    ].verdict.answer
    return winner is not None and any(
        item.verdict.answer == winner and item.verdict.value == 1.0 for item in items
    )


def item_means(judged: Iterable[Judged]) -> dict[tuple[str, str], float]:
    """Return the mean over each item's samples, by (task, example id).

    Items are independent, samples of one item are not. An attempt without a verdict counts as not
    right; failed calls are left out.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for item in judged:
        if item.attempt.finish != "error":
            values.setdefault((item.attempt.task, item.attempt.example_id), []).append(
                item.verdict.value or 0.0
            )
    return {key: sum(found) / len(found) for key, found in values.items()}
