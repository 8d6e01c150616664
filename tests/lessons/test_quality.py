"""The classifier that extends a judge's ratings, and what it is worth."""

from pathlib import Path

import numpy as np
from tests.conftest import read_jsonl

from orcinus.core.stats.ranking import Area, auc
from orcinus.lessons.quality import fit, good_of, validated

CLEAR = ["First", "so", "therefore", "because", "hence"]
MURKY = ["maybe", "dunno", "whatever", "stuff", "guess"]


def texts(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of common words, with a few that tell good ones from others."""
    random = np.random.default_rng(seed)
    good = random.random(count) < 0.5
    made = []
    for is_good in good:
        words = [f"word{number}" for number in random.integers(0, 300, 40)]
        words[5:5] = random.choice(CLEAR if is_good else MURKY, 2).tolist()
        made.append(" ".join(words))
    return made, good


def test_what_the_judge_prefers_is_learnt_and_extends_to_other_texts() -> None:
    known, good = texts(300, 0)
    others, better = texts(300, 1)
    estimate = validated(known, good, [str(i) for i in range(300)], seed=0)
    truth = auc(fit(known, good).scores(others), better)
    assert estimate is not None
    assert truth is not None
    assert estimate.clear
    assert estimate.area.low < truth.value
    assert min(estimate.area.low, truth.value) > 0.8
    assert (fit(known, good).scores(others) == fit(known, good).scores(others)).all()
    assert estimate == validated(known, good, [str(i) for i in range(300)], seed=0)


def test_labels_by_chance_are_no_better_than_chance() -> None:
    made, _ = texts(100, 2)
    found = []
    for seed in range(20):
        good = np.random.default_rng(seed).random(100) < 0.5
        worth = validated(made, good, [str(i) for i in range(100)], seed=0)
        assert worth is not None
        found.append(worth)
    assert (
        abs(np.mean([worth.area.value for worth in found]) - 0.5) < 0.05
    )  # pooled over folds it would be below
    assert sum(worth.clear for worth in found) <= 2


def test_what_is_known_of_an_example_does_not_help_with_its_other_traces() -> None:
    made = [
        f"only{i // 4} said{i // 4}" for i in range(120)
    ]  # a text tells which example it is of, and nothing else
    good = np.random.default_rng(1).random(30).repeat(4) < 0.5
    together = validated(made, good, [str(i // 4) for i in range(120)], seed=0)
    apart = validated(made, good, [str(i) for i in range(120)], seed=0)
    assert together is not None
    assert apart is not None
    assert apart.clear
    assert not together.clear


def test_right_and_wrong_answers_of_a_real_model_are_told_apart_better_than_by_chance(
    shared_data: Path,
) -> None:
    rows = list(read_jsonl(shared_data / "truth" / "bbh_codex_cot.jsonl.gz"))[::5]
    good = np.array([bool(row["correct"]) for row in rows])
    worth = validated([row["response"] for row in rows], good, [row["id"] for row in rows], seed=0)
    assert worth is not None
    assert worth.clear
    assert worth.area.low > 0.55


def test_the_cut_parts_ratings_most_evenly() -> None:
    good = good_of([3, 7, 7, 8, 9, 9])
    assert good is not None
    assert good.tolist() == [False, False, False, True, True, True]
    assert good_of([5, 5, 5]) is None
    assert good_of([]) is None


def test_the_area_is_the_share_of_pairs_in_order_and_parts_are_not_mixed() -> None:
    assert auc([1, 2], [True, False]) is None
    perfect = auc([3, 4, 1, 2], [True, True, False, False])
    assert perfect == Area(value=1.0, low=1.0, high=1.0)
    shifted = auc([3, 4, 1, 2, -7, -6, -9, -8], [True, True, False, False] * 2, [0] * 4 + [1] * 4)
    assert shifted == perfect


def test_the_interval_covers_as_often_as_it_says() -> None:
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
