"""Scores and intervals against definitions, simulation and scipy."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from orcinus.core import stats
from orcinus.core.types import Attempt, Finish, Judged, Message, Sampling, Usage, Verdict


def judged(
    value: float | None,
    *,
    example: str = "0",
    sample: int = 0,
    task: str = "sums",
    finish: Finish = "stop",
) -> Judged:
    attempt = Attempt(
        id=f"{task}/{example}/{sample}",
        example_id=example,
        task=task,
        strategy="direct",
        model="m",
        messages=(Message(role="user", content="1 + 1?"),),
        sampling=Sampling(),
        sample=sample,
        text="2",
        finish=finish,
    )
    return Judged(
        attempt=attempt,
        verdict=Verdict(attempt_id=attempt.id, verifier="v", value=value, answer="2", reason=""),
    )


def test_an_unjudged_attempt_counts_as_not_right_and_is_counted_apart() -> None:
    values = [1.0, 1.0, 1.0, 0.0, None]
    score = stats.score([judged(value, example=str(i)) for i, value in enumerate(values)])
    assert (score.mean, score.n, score.n_none) == (0.6, 5, 1)
    assert score.format_ok == 0.8
    assert score.mean_given_ok == 0.75


def test_a_failed_call_is_in_no_mean() -> None:
    score = stats.score([judged(1.0, example="a"), judged(None, example="b", finish="error")])
    assert (score.mean, score.n, score.n_none, score.n_error) == (1.0, 1, 0, 1)


def test_a_score_of_nothing_has_no_mean() -> None:
    score = stats.score([])
    assert (score.mean, score.low, score.high, score.format_ok, score.n) == (
        None,
        None,
        None,
        None,
        0,
    )


def test_nothing_answered_has_no_accuracy_given_an_answer() -> None:
    assert stats.score([judged(None)]).mean_given_ok is None


@given(n=st.integers(1, 400), share=st.floats(0, 1))
def test_wilson_agrees_with_scipy(n: int, share: float) -> None:
    right = round(n * share)
    expected = oracle.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert stats.wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_is_the_whole_range() -> None:
    assert stats.wilson(0, 0) == (0.0, 1.0)


def test_repeating_every_answer_does_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random(60) < 0.7).astype(float)
    once = stats.score([judged(v, example=str(i)) for i, v in enumerate(values)])
    copies = stats.score(
        [judged(v, example=str(i), sample=k) for i, v in enumerate(values) for k in range(4)]
    )
    assert (copies.mean, copies.n) == (once.mean, 240)
    assert copies.low == pytest.approx(once.low, abs=0.002)
    assert copies.high == pytest.approx(once.high, abs=0.002)


def test_independent_samples_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    values = (rng.random((60, 4)) < 0.7).astype(float)
    several = stats.score(
        [
            judged(v, example=str(i), sample=k)
            for i, row in enumerate(values)
            for k, v in enumerate(row)
        ]
    )
    low, high = stats.wilson(values.sum(), values.size)
    assert several.low == pytest.approx(low, abs=0.02)
    assert several.high == pytest.approx(high, abs=0.02)


def test_all_samples_of_one_example_are_worth_one_example() -> None:
    score = stats.score([judged(1.0, sample=k) for k in range(8)])
    assert (score.low, score.high) == pytest.approx(stats.wilson(1, 1))


def test_examples_of_the_same_name_in_two_tasks_are_two_examples() -> None:
    score = stats.score([judged(1.0, task="a"), judged(0.0, task="b")])
    assert (score.low, score.high) == pytest.approx(stats.wilson(1, 2))


def test_a_cluster_of_one_each_gives_students_interval() -> None:
    values = np.random.default_rng(2).normal(size=25)
    mean, low, high = stats.clustered_interval(values, range(25))
    expected = oracle.t.interval(0.95, 24, loc=values.mean(), scale=oracle.sem(values))
    assert (mean, low, high) == pytest.approx((values.mean(), *expected))


def test_a_clustered_interval_covers_the_truth_where_a_plain_one_does_not() -> None:
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(30), 10)
    covered = plain = 0
    for _ in range(400):
        values = rng.normal(size=30)[clusters] + rng.normal(size=300)
        _, low, high = stats.clustered_interval(values, clusters.tolist())
        covered += low <= 0 <= high
        _, low, high = stats.clustered_interval(values, range(300))
        plain += low <= 0 <= high
    assert 0.92 <= covered / 400 <= 0.98
    assert plain / 400 < 0.7


def test_one_cluster_says_nothing_about_the_spread() -> None:
    assert stats.clustered_interval([1.0, 2.0], ["a", "a"]) == (1.5, -np.inf, np.inf)


@pytest.mark.parametrize(("values", "clusters"), [([], []), ([1.0, 2.0], ["a"])])
def test_values_without_their_clusters_are_refused(
    values: list[float], clusters: list[str]
) -> None:
    with pytest.raises(ValueError, match="one cluster for each"):
        stats.clustered_interval(values, clusters)


def test_a_macro_mean_counts_every_task_the_same() -> None:
    big = stats.score([judged(1.0, example=str(i)) for i in range(90)])
    small = stats.score([judged(float(i < 2), example=str(i)) for i in range(10)])
    both = stats.macro_score([big, small, stats.score([])])
    assert both.mean == pytest.approx(0.6)
    assert both.n == 100


def test_the_macro_interval_of_one_task_is_its_own() -> None:
    score = stats.score([judged(float(i < 7), example=str(i)) for i in range(10)])
    macro = stats.macro_score([score])
    assert (macro.low, macro.high) == pytest.approx((score.low, score.high))


def test_the_macro_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    truth = rng.uniform(0.1, 0.95, size=12)
    covered = 0
    for _ in range(300):
        right = rng.binomial(20, truth)
        scores = [
            stats.score([judged(float(i < r), example=str(i)) for i in range(20)]) for r in right
        ]
        macro = stats.macro_score(scores)
        assert macro.low is not None
        assert macro.high is not None
        covered += macro.low <= truth.mean() <= macro.high
    assert 0.91 <= covered / 300 <= 0.99


def test_a_macro_mean_of_nothing_is_none() -> None:
    assert stats.macro_score([]).mean is None


def test_pass_at_k_agrees_with_drawing_every_subset() -> None:
    for n in range(1, 7):
        for correct in range(n + 1):
            for k in range(1, n + 1):
                draws = list(combinations([True] * correct + [False] * (n - correct), k))
                expected = sum(map(any, draws)) / len(draws)
                assert stats.pass_at_k(n, correct, k) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "correct", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_an_impossible_pass_at_k_is_refused(n: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k needs"):
        stats.pass_at_k(n, correct, k)


def test_several_answers_to_a_question_taken_together() -> None:
    def answers(example: str, *given: tuple[str | None, float | None]) -> list[Judged]:
        return [
            sampled(example, sample, answer, value) for sample, (answer, value) in enumerate(given)
        ]

    found = stats.score_samples(
        [
            *answers("majority right", ("7", 1.0), ("7", 1.0), ("8", 0.0)),
            *answers("one right", ("1", 0.0), ("2", 1.0), ("1", 0.0)),
            *answers("never", (None, None), (None, None), ("5", 0.0)),
            *answers("tie goes to the first", ("3", 1.0), ("4", 0.0), (None, None)),
        ]
    )
    assert found is not None
    assert (found.k, found.questions, found.tokens) == (3, 4, 30)
    assert found.one == pytest.approx((2 / 3 + 1 / 3 + 0 + 1 / 3) / 4)
    assert found.any_of_k == 0.75
    assert found.majority == 0.5
    assert stats.score_samples(answers("once", ("1", 1.0))) is None


def sampled(example: str, sample: int, answer: str | None, value: float | None) -> Judged:
    identity = f"{example}/{sample}"
    attempt = Attempt(
        id=identity,
        example_id=example,
        task="t",
        strategy="s",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=sample,
        text="",
        finish="stop",
        usage=Usage(tokens_out=10),
    )
    return Judged(
        attempt=attempt,
        verdict=Verdict(attempt_id=identity, verifier="v@1", value=value, answer=answer, reason=""),
    )
