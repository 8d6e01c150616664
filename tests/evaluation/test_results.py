"""Scores of a run as records, and the file that holds them: what earlier versions wrote is read."""

import json
import shutil
from pathlib import Path

import pytest

from orcinus.core.errors import StoreError
from orcinus.core.results import JudgeCounts
from orcinus.evaluation.comparisons import compare_items
from orcinus.evaluation.scores import read_scores, scores_content, write_scores

WRITTEN = Path(__file__).parent / "written"
"""``scores.json`` of a small evaluation, written when results were dictionaries."""


def test_a_file_of_an_earlier_version_is_read() -> None:
    scores = read_scores(WRITTEN)
    assert list(scores.arms) == ["before", "after"]
    before, after = scores.arms["before"], scores.arms["after"]
    assert (before.accuracy.micro.mean, before.accuracy.macro.mean) == (0.4, 0.5)
    assert set(after.accuracy.by_task) == {"other", "taught"}
    assert after.accuracy.by_task["taught"].mean == 1.0
    assert before.accuracy.by_task["taught"].mean_given_ok is None
    assert after.samples is not None
    assert after.samples.any_of_k == 1.0
    assert [(row.by, row.n, row.score.n) for row in after.decided] == [
        ("majority", 1, 20),
        ("majority", 2, 10),
    ]
    assert after.rules["lm_eval_flexible"].ours == 0.8
    assert after.judge == JudgeCounts(given=0, no_verdict=0)
    assert [(row.task, row.outcome) for row in scores.comparisons] == [
        (None, "not told apart"),
        ("other", "not told apart"),
        ("taught", "not told apart"),
    ]
    assert [row.kind for row in scores.retention] == ["task", "harmful", "harmless"]


def test_what_is_read_is_written_with_the_same_keys(tmp_path: Path) -> None:
    scores = read_scores(WRITTEN)
    write_scores(tmp_path, scores)
    earlier = json.loads((WRITTEN / "scores.json").read_bytes())
    assert json.loads((tmp_path / "scores.json").read_bytes()) == earlier
    assert scores_content(scores) == earlier
    assert read_scores(tmp_path) == scores


def test_a_file_without_the_later_keys_is_read(tmp_path: Path) -> None:
    content = json.loads((WRITTEN / "scores.json").read_bytes())
    oldest = {key: content[key] for key in ("arms", "comparisons")}
    (tmp_path / "scores.json").write_text(json.dumps(oldest), encoding="utf-8")
    scores = read_scores(tmp_path)
    assert scores.arms["after"].accuracy == read_scores(WRITTEN).arms["after"].accuracy
    assert scores.arms["after"].rules == {}
    assert scores.retention == ()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"arms": {"after": {}}}',
        '{"arms": {}}',
        '{"arms": {}, "comparisons": [{"a": "after", "n": "many"}]}',
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, content: str) -> None:
    shutil.copy(WRITTEN / "scores.json", tmp_path)
    (tmp_path / "scores.json").write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match=r"scores\.json: cannot be read") as caught:
        read_scores(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_difference_of_unequal_tasks_is_that_of_their_means() -> None:
    before = {("large", str(i)): float(i < 40) for i in range(80)} | {("small", "0"): 0.0}
    after = before | {("small", "0"): 1.0}
    found = compare_items("after", "before", after, before, seed=0)
    assert found is not None
    assert found.difference == pytest.approx(0.5)
