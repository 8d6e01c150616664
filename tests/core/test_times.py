"""Weights of choices by their times agree with the drift-diffusion model in closed form."""

import math

import numpy as np
import pytest

from orcinus.core.stats.times import F64, drift_weights, estimate_threshold, mean_drift


def density(times: F64, *, threshold: float) -> F64:
    """Return the density of the time to the first threshold, without drift."""
    k = np.arange(40)[:, None]
    short, long = times[times < threshold**2], times[times >= threshold**2]
    c = (2 * k + 1) * threshold
    early = 2 / np.sqrt(2 * np.pi * short**3) * ((-1.0) ** k * c * np.exp(-(c**2) / 2 / short))
    rate = np.pi**2 / (8 * threshold**2)
    late = (np.pi / (2 * threshold**2) * (-1.0) ** k * (2 * k + 1)) * np.exp(
        -((2 * k + 1) ** 2) * rate * long
    )
    return np.concatenate([early.sum(0), late.sum(0)])


def draw(drifts: F64, threshold: float, random: np.random.Generator) -> tuple[F64, F64]:
    """Draw a choice and its time for each drift, by inverting the distribution of the times."""
    grid = np.linspace(1e-4, 12 * threshold**2, 40_000)
    choices = np.where(
        random.random(len(drifts)) < 1 / (1 + np.exp(-2 * drifts * threshold)), 1.0, -1.0
    )
    times = np.empty(len(drifts))
    for drift in np.unique(drifts):
        shape = density(grid, threshold=threshold) * np.exp(-(drift**2) * grid / 2)
        total = np.cumsum(shape)
        of_drift = drifts == drift
        places = np.searchsorted(total, random.random(int(of_drift.sum())) * total[-1])
        times[of_drift] = grid[np.minimum(places, len(grid) - 1)]
    return choices, times


def test_the_weights_of_three_times() -> None:
    weights = drift_weights([0.5, 1, 2], threshold=1)
    assert weights == pytest.approx([1.00672, 0.15520, 0.00383], abs=5e-6)
    # both series at their border, and times far beyond either
    assert drift_weights([1 - 1e-9], threshold=1) == pytest.approx(
        drift_weights([1 + 1e-9], threshold=1), rel=1e-6
    )
    extreme = drift_weights([1e-4, 1e4], threshold=1)
    assert extreme[0] == pytest.approx(1e4, rel=1e-3)
    assert 0 <= extreme[1] < 1e-300


@pytest.mark.parametrize(("drift", "threshold"), [(0.7, 1.0), (1.5, 0.8), (0.2, 1.3)])
def test_the_mean_of_choice_times_weight_is_the_drift(drift: float, threshold: float) -> None:
    times = np.geomspace(1e-3, 60, 40_000)
    shape = density(times, threshold=threshold) * np.exp(-(drift**2) * times / 2)
    # the density of the choice +1 minus that of the choice -1
    signed = np.sinh(drift * threshold) * shape
    total = np.trapezoid(np.cosh(drift * threshold) * shape, times)
    assert total == pytest.approx(1, abs=1e-5)
    mean = np.trapezoid(signed * drift_weights(times, threshold=threshold), times)
    assert mean == pytest.approx(drift, abs=1e-5)


@pytest.mark.parametrize(("drift", "rate", "expected"), [(0.0, 8.0, 0.99992), (0.7, 20.96, 0.9971)])
def test_the_threshold_from_the_exact_transform(drift: float, rate: float, expected: float) -> None:
    def log_transform(at: float) -> float:
        return math.log(math.cosh(drift)) - math.log(math.cosh(math.sqrt(drift**2 + 2 * at)))

    found = (log_transform(rate) - log_transform(4 * rate)) / math.sqrt(2 * rate)
    assert found == pytest.approx(expected, abs=5e-5)


def test_shares_mislead_where_times_do_not() -> None:
    """Four in five persons lean slightly to -1, and one in five decidedly to +1."""
    random = np.random.default_rng(0)
    drifts = np.where(np.arange(20_000) % 5 == 0, 2.0, -0.3)
    choices, times = draw(drifts, 1.0, random)
    assert choices.mean() < 0 < drifts.mean()
    mean, error = mean_drift(choices, times, threshold=1.0)
    assert mean > 3 * error > 0
    assert mean == pytest.approx(float(drifts.mean()), abs=4 * error)
    assert estimate_threshold(times) == pytest.approx(1.0, abs=0.05)
