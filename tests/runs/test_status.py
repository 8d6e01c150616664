"""The state of a run in a few words, and as numbers for programs."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from orcinus.cli.app import app
from orcinus.runs.context import Silent, show_detail
from orcinus.runs.progress import followed, in_minutes, live
from orcinus.runs.status import in_few_words, run_status

RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "sample": (
        {"tasks": {"a": {"probe": 2, "held_out": 1}, "b": {"probe": 3}}, "dropped": {}},
        "2 tasks: 5 probe, 1 held out",
    ),
    "assign": (
        {"groups": 3, "chosen": {"direct": 2, "decompose": 1}},
        "direct for 2, decompose for 1",
    ),
    "teach": (
        {"attempts": 9, "right": 7, "wrong": 2, "errors": 1},
        "7 of 9 traces right, 1 calls failed",
    ),
    "curate-assistant": ({"traces": 9, "kept": 7}, "7 of 9 traces kept"),
    "train": (
        {"stages": {"one": {"optimizer_steps": 9, "first_loss": 1.25, "last_loss": 0.5}}},
        "one: 9 optimizer steps, loss 1.250 → 0.500",
    ),
    "evaluate": ({"macro": {"before": 0.5, "answer_only": None}}, "before 50.0 %, answer only –"),
    "skills": ({"drafts": 4, "kept": 1, "why": {}}, "4 drafts, 1 kept"),
}


@pytest.mark.parametrize("step", RESULTS)
def test_a_step_says_what_it_came_to(step: str) -> None:
    result, words = RESULTS[step]
    assert in_few_words(step, result) == words


def test_a_step_of_an_older_release_shows_its_numbers() -> None:
    assert (
        in_few_words("train", {"model": "stage-1", "optimizer_steps": 12}) == "12 optimizer steps"
    )


def test_programs_get_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "teach-1"
    folder.mkdir()
    result = {"attempts": 9, "right": 7, "errors": 0}
    (folder / "step.json").write_bytes(orjson.dumps({"seconds": 1234.5, "summary": result}))
    (folder / "_done").touch()
    with followed(Silent(), tmp_path) as progress:
        progress.start("train one", 10)
        show_detail(progress, "loss 0.412")
        progress.start("train two", 10)
        show_detail(progress, "loss 0.300")
        progress.advance(10)
        found = live(tmp_path)
    assert found is not None
    status = orjson.loads(orjson.dumps(run_status(tmp_path, tmp_path / "ledger.sqlite")))
    [step] = status["steps"]
    assert (step["seconds"], step["result"]) == (1234.5, result)
    assert status["state"] == "ended"


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (720, "12 min"), (3960, "1 h 6 min")])
def test_durations_are_read_at_a_glance(seconds: float, words: str) -> None:
    assert in_minutes(seconds) == words


def test_without_a_name_the_latest_run_is_shown_and_an_edited_recipes_steps_are_earlier(
    tmp_path: Path,
) -> None:
    show = ["status", "--runs", str(tmp_path)]
    none = CliRunner().invoke(app, show)
    assert "there is no run yet" in str(none.exception)
    result = {"lessons": 9}
    for day, run, step in ((1, "old", "erase-1"), (2, "new", "erase-1"), (3, "new", "erase-2")):
        folder = tmp_path / run / step
        folder.mkdir(parents=True)
        record = {"seconds": 1.0, "finished": f"2026-11-0{day}", "summary": result}
        (folder / "step.json").write_bytes(orjson.dumps(record))
        (folder / "_done").touch()
        (tmp_path / run / "recipe.yaml").touch()
    shown = CliRunner().invoke(app, show).output
    assert shown.startswith("new: ")
    rows = [line.split()[:2] for line in shown.splitlines() if line.startswith("erase")]
    assert rows == [["erase", "earlier"], ["erase", "done"]]
