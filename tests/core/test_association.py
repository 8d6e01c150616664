"""Associations agree with numbers worked out by hand, and shuffled choices are not flagged."""

import numpy as np
import pytest

from orcinus.core.stats.association import (
    associate_name,
    associate_number,
    efficiency,
    mutual_information,
    point_biserial,
)


def test_the_correlation_of_a_choice_with_a_length() -> None:
    assert point_biserial([1, 1, 1, 0, 0, 0], [10, 12, 11, 30, 28, 32]) == pytest.approx(
        -0.9909, abs=5e-5
    )
    assert point_biserial([1, 1, 1], [1, 2, 3]) == 0.0
    assert point_biserial([1, 0, 1], [2, 2, 2]) == 0.0
    assert point_biserial([], []) == 0.0


def test_the_information_of_a_table_and_a_signals_efficiency() -> None:
    assert mutual_information([[40, 10], [10, 40]]) == pytest.approx(0.27807, abs=5e-6)
    assert efficiency([[40, 10], [10, 40]]) == pytest.approx(0.27807, abs=5e-6)
    assert mutual_information([[25, 25], [25, 25]]) == 0.0
    assert efficiency([[30, 0], [0, 70]]) == pytest.approx(1.0)  # a perfect verifier
    assert efficiency([[0, 0], [30, 70]]) == 0.0  # always the same word


def test_a_clear_association_has_a_small_p_value_and_an_absent_one_has_not() -> None:
    marks = np.arange(100) < 50
    names = ["a"] * 40 + ["b"] * 10 + ["a"] * 10 + ["b"] * 40
    found = associate_name(marks, names, seed=0)
    assert found.bits == pytest.approx(0.27807, abs=5e-6)
    assert found.p_value == pytest.approx(1 / 1001)
    assert associate_name(marks, ["a", "b"] * 50, seed=0).p_value == 1.0
    closely = associate_number(marks, np.arange(100), seed=0)
    assert closely.r == pytest.approx(-0.866, abs=1e-3)
    assert closely.p_value == pytest.approx(1 / 1001)
    assert closely.bits > 0.5
    assert associate_number(marks, [1.0, 2.0] * 50, seed=0).p_value == 1.0


def test_chance_is_flagged_as_often_as_it_should_be() -> None:
    random = np.random.default_rng(0)
    p_values = [
        associate_number(random.random(60) < 0.7, random.random(60), seed=i).p_value
        for i in range(30)
    ]
    assert sum(p < 0.2 for p in p_values) == pytest.approx(6, abs=5)
