"""Ridge regression in closed form, and an R² that telling tasks apart does not raise."""

import numpy as np
import pytest

from orcinus.core.stats.ridge import PENALTIES, choose_penalty, explained, ridge


def test_the_coefficients_in_closed_form() -> None:
    found = ridge([[1, 0], [0, 1], [1, 1]], [1, 2, 3], penalty=1)
    assert found.tolist() == pytest.approx([0.875, 1.375])


def test_more_columns_than_rows_give_the_same_coefficients() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(6, 10)), random.normal(size=6)
    direct = np.linalg.solve(x.T @ x + 2 * np.eye(10), x.T @ y)
    assert ridge(x, y, penalty=2) == pytest.approx(direct)


def test_the_penalty_is_that_of_leaving_one_out() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(30, 8))
    y = x[:, 0] + 2 * random.normal(size=30)

    def error(penalty: float) -> float:
        kept = [np.arange(30) != i for i in range(30)]
        return sum(
            float(y[i] - x[i] @ ridge(x[k], y[k], penalty=penalty)) ** 2 for i, k in enumerate(kept)
        )

    assert choose_penalty(x, y) == min(PENALTIES, key=error)


def test_telling_tasks_apart_is_no_honest_prediction() -> None:
    random = np.random.default_rng(2)
    tasks = ["easy"] * 60 + ["hard"] * 60
    level = np.repeat([0.9, 0.2], 60)
    names = [str(i) for i in range(120)]
    right = (random.random(120) < level).astype(float)
    only_task = np.stack([level, *random.normal(size=(4, 120))], axis=1)
    found = explained(only_task, right, names, tasks)
    assert found is not None
    assert found.over > 0.3
    assert found.within < 0.05 < found.p_value

    inside = random.normal(size=120)
    told = np.stack([level, inside], axis=1)
    found = explained(told, level + 0.2 * inside, names, tasks)
    assert found is not None
    assert found.within > 0.9
    assert found.p_value < 0.01


def test_what_cannot_be_tested_is_none() -> None:
    assert explained([[1.0], [2.0]], [1, 1], ["a", "b"], ["t", "t"]) is None
    assert explained(np.zeros((0, 3)), [], [], []) is None
