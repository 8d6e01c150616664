"""Choose a strategy for every single example: a simulated experiment, not a recipe key since 0.2.

    python -m benchmarks.choosing_by_example [--quick]

Two strategies, 400 examples, 4 answers to each under each strategy. ``alike``: all examples have
the same chances. ``opposed``: half of them suit one strategy, half the other. ``moved`` is the
share of examples that leave their group's strategy, ``gain`` what that is worth in accuracy.
``naive`` moves every example to its best observed strategy. To run the whole method this way, check
out commit ab49afb and set ``assign.by: example``.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]
Choice = NDArray[np.int64]
EXAMPLES, ASKED = 400, 4
SURE = 0.8
"""Chance to be better from which an example leaves its group's strategy."""


def choose_each(right: Array, prior: Array, default: int) -> Choice:
    """Choose a strategy for each example from few answers to it and its group's means.

    Each example's chances are Beta distributed around its group's means, as widely as the examples
    differ by more than chance (beta-binomial, method of moments).

    Args:
        right: (n, S) right answers of ``ASKED``.
        prior: (S,) the group's means.
        default: The group's strategy.

    Returns:
        (n,) strategies.
    """
    prior = np.clip(prior, 0.01, 0.99)
    shares = right / ASKED
    possible = shares.mean() * (1 - shares.mean())
    within = (shares * (1 - shares)).mean(axis=0) / (ASKED - 1)
    between = float((shares.var(axis=0, ddof=1) - within).mean())
    alike = min(max(between / possible if possible > 0 else 0.0, 0.01), 0.99)
    strength = 1 / alike - 1
    mean = (strength * prior + right) / (strength + ASKED)
    variance = mean * (1 - mean) / (strength + ASKED + 1)
    best, rows = mean.argmax(1), np.arange(len(mean))
    surplus = mean[rows, best] - mean[:, default]
    chance = norm.cdf(surplus / np.sqrt(variance[rows, best] + variance[:, default]))
    chosen: Choice = np.where((surplus > 0) & (chance >= SURE), best, default)
    return chosen


def measure(truth: Array, seed: int) -> dict[str, float]:
    """Simulate answers with the chances ``truth`` (n, 2) and choose for every example."""
    right = np.random.default_rng(seed).binomial(ASKED, truth).astype(float)
    default, rows = int(truth.mean(0).argmax()), np.arange(len(truth))
    found = {}
    for name, chosen in (
        ("naive", right.argmax(1)),
        ("ours", choose_each(right, truth.mean(0), default)),
    ):
        found[f"{name}_moved"] = float((chosen != default).mean())
        found[f"{name}_gain"] = float(truth[rows, chosen].mean() - truth[:, default].mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the examples")
    count = EXAMPLES // 10 if parser.parse_args().quick else EXAMPLES
    suited = np.random.default_rng(0).random(count) < 0.5
    cases = {
        "alike": np.tile([0.6, 0.5], (count, 1)),
        "opposed": np.where(suited[:, None], [0.9, 0.1], [0.1, 0.9]),
    }
    for name, truth in cases.items():
        found = measure(truth, seed=0)
        print(name, "  ".join(f"{key} {value:.1%}" for key, value in found.items()))


if __name__ == "__main__":
    main()
