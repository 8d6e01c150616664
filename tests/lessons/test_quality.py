"""The classifier that extends a judge's ratings, and its validation."""

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import read_jsonl

from orcinus.core.stats.ranking import Area, auc
from orcinus.lessons.quality import fit, split_ratings, validate

CLEAR = ["First", "so", "therefore", "because", "hence"]
MURKY = ["maybe", "dunno", "whatever", "stuff", "guess"]


def texts(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Make texts of common words, with a few words that tell good texts from others."""
    random = np.random.default_rng(seed)
    good = random.random(count) < 0.5
    made = []
    for is_good in good:
        words = [f"word{number}" for number in random.integers(0, 300, 40)]
        words[5:5] = random.choice(CLEAR if is_good else MURKY, 2).tolist()
        made.append(" ".join(words))
    return made, good


def test_the_classifier_learns_what_the_judge_prefers() -> None:
    known, good = texts(300, 0)
    others, better = texts(300, 1)
    estimate = validate(known, good, [str(i) for i in range(300)], seed=0)
    truth = auc(fit(known, good).scores(others), better)
    assert estimate is not None
    assert truth is not None
    assert estimate.clear
    assert estimate.area.low < truth.value
    assert min(estimate.area.low, truth.value) > 0.8
    assert (fit(known, good).scores(others) == fit(known, good).scores(others)).all()
    assert estimate == validate(known, good, [str(i) for i in range(300)], seed=0)


@pytest.mark.slow
def test_random_labels_are_no_better_than_chance() -> None:
    made, _ = texts(100, 2)
    found = []
    for seed in range(20):
        good = np.random.default_rng(seed).random(100) < 0.5
        worth = validate(made, good, [str(i) for i in range(100)], seed=0)
        assert worth is not None
        found.append(worth)
    assert (
        abs(np.mean([worth.area.value for worth in found]) - 0.5) < 0.05
    )  # Pooled over folds the area would be lower.
    assert sum(worth.clear for worth in found) <= 2


def test_traces_of_one_example_are_in_one_fold() -> None:
    made = [
        f"only{i // 4} said{i // 4}" for i in range(120)
    ]  # A text tells which example it belongs to, and nothing else.
    good = np.random.default_rng(1).random(30).repeat(4) < 0.5
    together = validate(made, good, [str(i // 4) for i in range(120)], seed=0)
    apart = validate(made, good, [str(i) for i in range(120)], seed=0)
    assert together is not None
    assert apart is not None
    assert apart.clear
    assert not together.clear


def test_right_answers_of_a_real_model_score_above_wrong_ones(
    shared_data: Path,
) -> None:
    rows = list(read_jsonl(shared_data / "truth" / "bbh_codex_cot.jsonl.gz"))[::5]
    good = np.array([bool(row["correct"]) for row in rows])
    worth = validate([row["response"] for row in rows], good, [row["id"] for row in rows], seed=0)
    assert worth is not None
    assert worth.clear
    assert worth.area.low > 0.55


def test_ratings_are_split_most_evenly() -> None:
    good = split_ratings([3, 7, 7, 8, 9, 9])
    assert good is not None
    assert good.tolist() == [False, False, False, True, True, True]
    assert split_ratings([5, 5, 5]) is None
    assert split_ratings([]) is None


def test_the_area_is_the_share_of_ordered_pairs_within_a_stratum() -> None:
    assert auc([1, 2], [True, False]) is None
    perfect = auc([3, 4, 1, 2], [True, True, False, False])
    assert perfect == Area(value=1.0, low=1.0, high=1.0)
    shifted = auc([3, 4, 1, 2, -7, -6, -9, -8], [True, True, False, False] * 2, [0] * 4 + [1] * 4)
    assert shifted == perfect


def test_the_interval_has_its_nominal_coverage() -> None:
    random = np.random.default_rng(0)
    truth, covered = (
        0.7602,
        0,
    )  # of normal scores one standard deviation apart: the normal distribution at 1 / sqrt(2)
    for _ in range(1000):
        good = np.arange(120) < 50
        area = auc(random.normal(size=120) + good, good)
        assert area is not None
        covered += area.low <= truth <= area.high
    assert 0.92 < covered / 1000 < 0.97
