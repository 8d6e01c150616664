"""Predict a number from vectors, and say how well: ridge regression, tested by groups.

ridge([[1, 0], [0, 1], [1, 1]], [1, 2, 3], penalty=1)    →  (0.875, 1.375)
explained(states, pass_rates, questions, tasks)          →  R² over tasks and within tasks
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orcinus.core.fingerprint import stable_fraction

F64 = NDArray[np.float64]
FOLDS = 5
"""Folds of the cross-validation; all rows of a group are in one."""
SHUFFLES = 200
"""Shuffled targets of the permutation test: p-values in steps of 0.005."""
PENALTIES = tuple(10.0**power for power in range(-2, 5))
"""Penalties that leave-one-out chooses from, for standardised columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The share of a number's variance that is predicted for rows the regression has not seen."""

    n: int
    over: float
    """R² over all rows. Tasks that differ in difficulty raise it: telling them apart is enough."""
    within: float
    """R² of the rows' differences from the mean of their task: the honest one."""
    p_value: float
    """Share of targets shuffled within tasks that reach ``within``, the true ones included."""


def ridge(rows: ArrayLike, targets: ArrayLike, *, penalty: float) -> F64:
    """Return the coefficients (XᵀX + penalty I)⁻¹ Xᵀy.

    Args:
        rows: (n, d).
        targets: (n,), or (n, m) for m targets at once.
        penalty: Above 0.

    >>> ridge([[1, 0], [0, 1], [1, 1]], [1, 2, 3], penalty=1).round(6).tolist()
    [0.875, 1.375]
    """
    x, y = np.asarray(rows, float), np.asarray(targets, float)
    if x.shape[0] < x.shape[1]:  # the same by the smaller matrix
        return x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    found: F64 = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return found


def choose_penalty(rows: ArrayLike, targets: ArrayLike) -> float:
    """Return the penalty with the smallest squared leave-one-out error, in closed form.

    Args:
        rows: (n, d).
        targets: (n,).
    """
    x, y = np.asarray(rows, float), np.asarray(targets, float)
    values, vectors = np.linalg.eigh(x @ x.T)
    values = np.maximum(values, 0.0)
    projected = vectors.T @ y
    errors = []
    for penalty in PENALTIES:
        shrunk = values / (values + penalty)
        residual = y - vectors @ (shrunk * projected)
        leverage = (vectors**2) @ shrunk
        errors.append(float(((residual / np.maximum(1 - leverage, 1e-12)) ** 2).mean()))
    return PENALTIES[int(np.argmin(errors))]


def explained(
    rows: ArrayLike,
    targets: ArrayLike,
    groups: Sequence[str],
    tasks: Sequence[str],
    *,
    seed: int = 0,
) -> Explained | None:
    """Return how well ``targets`` are predicted from ``rows`` on folds by group.

    Args:
        rows: (n, d) vectors.
        targets: (n,) numbers.
        groups: (n,) names; rows of one group are in one fold.
        tasks: (n,) names of the rows' tasks.
        seed: Of the shuffles.

    Returns:
        None where nothing varies within a task, or all rows are in one fold.
    """
    x, y = np.asarray(rows, float), np.asarray(targets, float)
    folds = np.array([int(FOLDS * stable_fraction("ridge", group)) for group in groups], np.int64)
    _, codes = np.unique(np.asarray(tasks, str), return_inverse=True)
    inside = _centred(y, codes)
    if not len(y) or len(np.unique(folds)) < 2 or not inside.any():
        return None
    random = np.random.default_rng(seed)
    shuffled = [_shuffle_within(y, codes, random) for _ in range(SHUFFLES)]
    targets_nm = np.stack([y, *shuffled], axis=1)
    predicted = _predict(x, targets_nm, folds)
    within = [
        _r2(_centred(targets_nm[:, i], codes), _centred(predicted[:, i], codes))
        for i in range(targets_nm.shape[1])
    ]
    return Explained(
        n=len(y),
        over=_r2(y - y.mean(), predicted[:, 0] - y.mean()),
        within=within[0],
        p_value=float(np.mean([value >= within[0] - 1e-12 for value in within])),
    )


def _predict(x: F64, targets_nm: F64, folds: NDArray[np.int64]) -> F64:
    """Return the predictions (n, m) of regressions fitted to the other folds."""
    predicted = np.zeros_like(targets_nm)
    for fold in np.unique(folds):
        held, known = folds == fold, folds != fold
        mean, spread = x[known].mean(0), x[known].std(0)
        scale = np.where(spread > 1e-9, spread, 1.0)
        standard = (x - mean) / scale
        middle = targets_nm[known].mean(0)
        penalty = choose_penalty(standard[known], targets_nm[known, 0] - middle[0])
        beta = ridge(standard[known], targets_nm[known] - middle, penalty=penalty)
        predicted[held] = standard[held] @ beta + middle
    return predicted


def _centred(values: F64, codes: NDArray[np.intp]) -> F64:
    """Return the values minus the mean of their task."""
    sums = np.bincount(codes, values)
    found: F64 = values - (sums / np.bincount(codes))[codes]
    return found


def _shuffle_within(values: F64, codes: NDArray[np.intp], random: np.random.Generator) -> F64:
    order = np.lexsort((random.random(len(values)), codes))
    found = np.empty_like(values)
    found[np.argsort(codes, kind="stable")] = values[order]
    return found


def _r2(values: F64, predicted: F64) -> float:
    total = float((values**2).sum())
    return 1 - float(((values - predicted) ** 2).sum()) / total if total > 0 else 0.0
