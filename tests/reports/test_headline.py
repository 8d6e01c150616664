"""The headline never disagrees with the interval and the test of a comparison."""

from dataclasses import asdict

import pytest

from orcinus.core import stats
from orcinus.core.results import Comparison
from orcinus.reports.headline import compared


def row(
    repairs: int, regressions: int, *, n: int = 300, task: str | None = None, tests: int = 1
) -> Comparison:
    same = n - repairs - regressions
    a, b = (
        [1] * repairs + [0] * (regressions + same),
        [0] * repairs + [1] * regressions + [0] * same,
    )
    found = stats.compare(a, b, seed=0)
    p_holm = float(stats.holm([found.p_value] + [1.0] * (tests - 1))[0])
    return Comparison(a="after", b="before", task=task, **asdict(found), p_holm=p_holm)


@pytest.mark.parametrize(
    ("repairs", "regressions", "outcome", "begins"),
    [
        (40, 10, "better", "Better than the student before training: +10.0 points"),
        (10, 40, "worse", "Worse than the student before training: −10.0 points"),
        (12, 10, "not told apart", "Not told apart from the student before training: +0.7 points"),
    ],
)
def test_a_difference_is_named_where_interval_and_test_find_it(
    repairs: int, regressions: int, outcome: str, begins: str
) -> None:
    found = row(repairs, regressions)
    assert found.outcome == outcome
    assert compared(found).startswith(begins)
    assert "too close to call" not in compared(found)


@pytest.mark.parametrize(("repairs", "regressions"), [(16, 6), (6, 16)])
def test_an_interval_without_zero_is_no_difference_where_the_test_finds_none(
    repairs: int, regressions: int
) -> None:
    found = row(repairs, regressions)
    assert found.low > 0 or found.high < 0
    assert 0.05 < found.p_value < 0.06
    assert found.outcome == "not told apart"
    assert compared(found).startswith("Not told apart from")
    assert compared(found).endswith("too close to call.")


def test_for_a_single_task_the_corrected_test_decides() -> None:
    assert row(17, 6, task="sums").outcome == "better"
    assert row(17, 6, task="sums", tests=5).outcome == "not told apart"
    assert row(17, 6, tests=5).outcome == "better"
