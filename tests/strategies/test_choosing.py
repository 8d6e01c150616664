"""Choosing strategies: shrinkage, ties and waves, on outcomes drawn from known accuracies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orcinus.core import stats
from orcinus.strategies.choosing import (
    Array,
    believe,
    best,
    best_if_sure,
    contenders,
    first_near_best,
    next_wave,
)


def drawn(accuracies: Array, n: int, seed: int) -> dict[str, Array]:
    """Draw outcomes of n examples of each group from (G, S) accuracies.

    An example is equally hard under every strategy.
    """
    rng = np.random.default_rng(seed)
    return {
        f"g{g}": (
            rng.random(n)[None, :] * 0.5 + rng.random((len(row), n)) * 0.5 < row[:, None]
        ).astype(float)
        for g, row in enumerate(accuracies)
    }


def true_means(accuracies: Array) -> Array:
    return np.stack([values.mean(1) for values in drawn(accuracies, 20_000, 99).values()])


ACCURACIES = np.random.default_rng(5).beta(4, 4, (20, 1)) + np.random.default_rng(6).normal(
    0, 0.12, (20, 3)
)
ACCURACIES = np.clip(ACCURACIES + np.array([0.0, 0.1, -0.1]), 0.02, 0.98)


def test_shrunk_means_are_closer_to_the_truth_than_observed_ones() -> None:
    truth = true_means(ACCURACIES)
    shrunk = observed = 0.0
    for seed in range(20):
        belief = believe(drawn(ACCURACIES, 10, seed))
        shrunk += float(((belief.mean - truth) ** 2).mean())
        observed += float(((belief.observed - truth) ** 2).mean())
    assert shrunk < 0.9 * observed


def test_the_choice_is_better_than_that_of_the_best_observed_mean() -> None:
    truth = true_means(ACCURACIES)
    rows = np.arange(len(truth))
    costs = np.ones(truth.shape)
    ours = naive = 0.0
    for seed in range(40):
        belief = believe(drawn(ACCURACIES, 8, seed))
        ours += truth[rows, best(belief, costs)].mean()
        naive += truth[rows, belief.observed.argmax(1)].mean()
    assert ours > naive


def test_a_groups_own_strong_evidence_overrules_other_groups() -> None:
    outcomes = {f"g{i}": np.array([[0.0] * 40, [1.0] * 40]) for i in range(5)}
    outcomes["odd"] = np.array([[1.0] * 60, [0.0] * 60])
    belief = believe(outcomes)
    assert best(belief, np.ones((6, 2))).tolist() == [1, 1, 1, 1, 1, 0]


def test_a_tie_goes_to_the_cheaper_strategy() -> None:
    belief = believe({"g": np.array([[1.0, 0.0] * 20, [1.0, 0.0] * 20])})
    assert best(belief, np.array([[90.0, 10.0]]), margin=0.01).tolist() == [1]
    assert best(belief, np.array([[10.0, 90.0]]), margin=0.01).tolist() == [0]


def test_a_strategy_that_was_not_asked_is_not_chosen() -> None:
    values = np.array([[0.1] * 10, [np.nan] * 10])
    other = np.array([[0.1] * 10, [1.0] * 10])
    belief = believe({"g": values, "h": other})
    assert best(belief, np.ones((2, 2)))[0] == 0


def test_a_wave_goes_where_the_choice_is_open() -> None:
    clear = np.array([[1.0] * 30, [0.0] * 30])
    open_ = np.array([[1.0, 0.0] * 5, [0.0, 1.0] * 5])
    belief = believe({"clear": clear, "open": open_})
    room = {"clear": 50, "open": 50}
    wave = next_wave(belief, budget=100, size=5, room=room, hopeless=0.02, seed=0)
    assert wave.strategies == {"open": (0, 1)}
    assert next_wave(belief, budget=3, size=5, room=room, hopeless=0.02, seed=0).strategies == {}
    assert (
        next_wave(belief, budget=100, size=5, room={"open": 0}, hopeless=0.02, seed=0).strategies
        == {}
    )


def test_believing_without_a_group_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one group"):
        believe({})


OUTCOMES = st.integers(2, 5).flatmap(
    lambda c: st.integers(2, 60).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from((0.0, 1.0)), min_size=n, max_size=n), min_size=c, max_size=c
        )
    )
)


@given(OUTCOMES)
def test_no_candidate_is_chosen_that_is_significantly_worse_than_the_best(
    rows: list[list[float]],
) -> None:
    outcomes = np.array(rows)
    chosen, best_one = (
        outcomes[first_near_best(outcomes, errors=1.0)],
        outcomes[outcomes.mean(1).argmax()],
    )
    assert stats.mcnemar(best_one, chosen) > 0.05


@given(OUTCOMES)
def test_the_first_candidate_is_kept_when_none_is_better(rows: list[list[float]]) -> None:
    outcomes = np.array(rows)
    outcomes[0] = outcomes[outcomes.mean(1).argmax()]
    assert first_near_best(outcomes, errors=0.0) == 0
    assert first_near_best(np.stack([outcomes[0]] * 3), errors=1.0) == 0


def test_a_later_candidate_is_chosen_when_it_is_clearly_better() -> None:
    poor, good = np.tile([0.0, 0.0, 1.0], 20), np.tile([0.0, 1.0, 1.0], 20)
    assert first_near_best(np.stack([poor, poor, good, good]), errors=1.0) == 2


def test_luck_rarely_moves_the_choice_and_a_wider_margin_makes_it_rarer() -> None:
    rng = np.random.default_rng(3)
    alike = [(rng.random((4, 100)) < 0.5).astype(float) for _ in range(1000)]
    left = {
        errors: sum(first_near_best(rows, errors=errors) != 0 for rows in alike)
        for errors in (0.0, 1.0, 2.0)
    }
    assert left[2.0] < 100 < left[1.0] < 450 < left[0.0]


def test_a_longer_trial_is_for_strategies_whose_absence_costs_something() -> None:
    """Strategy 0 is best in one group, 1 in the other, 2 nowhere, 3 nowhere but stays."""

    def group(*right: int) -> Array:
        return np.array([[float(i < n) for i in range(40)] for n in right])

    belief = believe({"a": group(36, 20, 18, 4), "b": group(10, 34, 14, 4)})
    assert contenders(belief, loss=0.01, keep=[3], seed=0) == (0, 1, 3)
    assert contenders(belief, loss=0.01, keep=[], seed=0) == (0, 1)


def test_noise_does_not_leave_the_usual_strategy() -> None:
    random = np.random.default_rng(0)
    left = 0
    for _ in range(40):
        outcomes = {f"g{g}": (random.random((4, 30)) < 0.5).astype(float) for g in range(5)}
        chosen, _ = best_if_sure(believe(outcomes), np.ones((5, 4)), usual=2)
        left += int((chosen != 2).sum())
    assert left <= 0.05 * 200


def test_strategies_with_the_same_right_answers_are_no_open_question() -> None:
    tie = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (3, 3))
    differing = tie.copy()
    differing[1, :6] = 1 - differing[1, :6]
    wave = next_wave(
        believe({"tie": tie, "differing": differing}),
        budget=1000,
        size=4,
        room={"tie": 20, "differing": 20},
        hopeless=0.02,
        seed=0,
    )
    assert "tie" not in wave.strategies
    assert "differing" in wave.strategies
