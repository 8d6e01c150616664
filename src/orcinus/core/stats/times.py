"""Estimate preferences from choices and how long they took, by the drift-diffusion model.

    drift_weights([0.5, 1, 2], threshold=1)    →  [1.0067, 0.1552, 0.0038]: a quick choice says more
    mean_drift(choices, times, threshold=1)    →  the mean preference, whatever the population's mix

A person's evidence drifts with speed v towards one of two thresholds, +b and -b; the first that is
reached is the choice, +1 or -1. Shares of choices alone mislead where a few decided persons oppose
many undecided ones: the mean of choice times weight does not. Not a part of any recipe. For human
judgements with times, from which the time that is no decision (to read, to click) was subtracted.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRIM = 0.001
"""Share of the quickest choices that count as the slowest of them. The weight grows like b/t near
0, so that a single time near 0 would decide the mean."""
_TERMS = 12
"""Terms of a series; at this number the next is below 1e-16 on its side of t = b²."""

F64 = NDArray[np.float64]


def drift_weights(times: ArrayLike, *, threshold: float) -> F64:
    """Return the weights (n,) whose product with the choices has the drift as its mean.

    w(t) = Σ (c²/t - 1) exp(-c²/2t) / Σ (-1)^k c exp(-c²/2t), with c = (2k + 1) b, k = 0, 1, 2 …
    For t > b² both sums cancel, and their Poisson transforms are used.

    Args:
        times: (n,) decision times, above 0.
        threshold: b, in the unit in which drift times time is measured.
    """
    t, b = np.asarray(times, float), threshold
    k = np.arange(_TERMS)[:, None]
    early, late = t[t < b * b], t[t >= b * b]
    weights = np.empty_like(t)
    c = (2 * k + 1) * b
    # Both sums are divided by their first exponential, which would underflow.
    falls = np.exp((b * b - c * c) / (2 * early))
    weights[t < b * b] = ((c * c / early - 1) * falls).sum(0) / ((-1.0) ** k * c * falls).sum(0)
    rate, n = math.pi**2 / (8 * b * b), k + 1
    above = (-1.0) ** k * n**2 * np.exp(-(4 * n**2 - 1) * rate * late)
    below = (-1.0) ** k * (2 * k + 1) * np.exp(-((2 * k + 1) ** 2 - 1) * rate * late)
    weights[t >= b * b] = 2 * math.pi / b * above.sum(0) / below.sum(0)
    return weights


def mean_drift(
    choices: ArrayLike, times: ArrayLike, *, threshold: float, trim: float = TRIM
) -> tuple[float, float]:
    """Return the mean drift of a population, whatever its mixture, and its standard error.

    Args:
        choices: (n,) +1 or -1.
        times: (n,) decision times, above 0.
        threshold: b.
        trim: Times below this quantile are raised to it.
    """
    t = np.asarray(times, float)
    signed = np.asarray(choices, float) * drift_weights(
        np.maximum(t, np.quantile(t, trim)), threshold=threshold
    )
    return float(signed.mean()), float(signed.std(ddof=1) / math.sqrt(len(t)))


def estimate_threshold(times: ArrayLike) -> float:
    """Return b from the times alone: (ln L(λ) - ln L(4λ)) / √2λ with λ = (ln n)^1.5.

    L is the mean of exp(-λ t). At a large λ only the quickest times count, which hardly depend on
    the drift.

    Args:
        times: (n,) decision times, above 0; hundreds at least.
    """
    t = np.asarray(times, float)
    rate = math.log(len(t)) ** 1.5
    log_mean = [float(np.log(np.exp(-r * t).mean())) for r in (rate, 4 * rate)]
    return (log_mean[0] - log_mean[1]) / math.sqrt(2 * rate)
