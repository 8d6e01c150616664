"""Texts that differ: which are kept, and how many there are in effect."""

import numpy as np
import pytest

from orcinus.lessons.diversity import distinct, similarities, vendi_score

ONE = "one two three four five six"
OTHER = "seven eight nine ten eleven twelve"


@pytest.mark.parametrize(
    ("similar", "score"),
    [
        (np.eye(3), 3.0),
        (np.ones((3, 3)), 1.0),
        (np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), 1.88988),
        (np.array([[1, 0.5], [0.5, 1]]), 1.75477),
    ],
)
def test_the_vendi_score_counts_different_texts(similar: np.ndarray, score: float) -> None:
    assert vendi_score(similar) == pytest.approx(score, abs=1e-5)


def test_similarity_is_the_share_of_runs_in_common() -> None:
    # Runs of five: {1-5, 2-6} and {1-5, 2-7'} share one of three.
    found = similarities(
        [ONE, "one two three four five seven", OTHER, "ONE two; three four five six!"]
    )
    assert found[0].tolist() == pytest.approx([1, 1 / 3, 0, 1])
    assert similarities(["", "", "word"])[0].tolist() == [1, 1, 0]


def test_a_text_that_nearly_repeats_a_kept_one_is_left_out() -> None:
    texts = [ONE, "one two three four five seven", OTHER, f"{ONE}."]
    assert distinct(texts, 0.6) == [0, 1, 2]
    assert distinct(texts, 0.3) == [0, 2]
