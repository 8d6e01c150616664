"""Only students that an arm asks are trained, and all of them in as many optimizer steps."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps, summary_of

TINY: dict[str, Any] = {
    "tasks": [{"generator": "sums", "count": 40, "size": [2, 3]}],
    "assign": {"fixed": "step_by_step"},
}


def run(path: Path) -> Path:
    flags = Runtime(workspace=path.parent, ledger_path=path.parent / "ledger.sqlite")
    return asyncio.run(run_recipe(load_recipe(path), path, flags, Silent()))


def names(path: Path, until: str | None = None) -> list[str]:
    return [step.name for step in steps_of(load_recipe(path), path.parent, until=until)]


@pytest.mark.parametrize(
    ("arms", "trained"),
    [
        (["before", "after"], ["train"]),
        (["before", "answer_only"], ["train-answer_only"]),
        (["before", "teacher"], []),
    ],
)
def test_a_student_that_no_arm_asks_is_not_trained(
    tmp_path: Path, arms: list[str], trained: list[str]
) -> None:
    path = write_recipe(tmp_path / "r.yaml", evaluate={"arms": arms})
    assert [name for name in names(path) if name.startswith("train")] == trained
    assert "train" in names(path, until="train")


def test_a_run_without_a_trained_student_has_a_report(tmp_path: Path) -> None:
    evaluate = {"per_task": 4, "arms": ["before", "teacher"], "sampling": {"max_tokens": 8}}
    run_dir = run(write_recipe(tmp_path / "r.yaml", **TINY, evaluate=evaluate))
    facts = json.loads((run_dir / "report.json").read_bytes())
    assert facts["student"] == ""
    assert set(facts["arms"]) == {"before", "teacher"}
    assert not (run_dir / "student").exists()
    (probe,) = finished_steps(run_dir, "probe")
    assert tables.count_rows(probe / "attempts.parquet") == 0, "a fixed strategy needs no probe"
    assert "fixed by the recipe" in (run_dir / "report.html").read_text(encoding="utf-8")


def test_bare_answers_are_learned_in_as_many_optimizer_steps(tmp_path: Path) -> None:
    evaluate = {"per_task": 4, "arms": ["answer_only", "after"], "sampling": {"max_tokens": 8}}
    run_dir = run(write_recipe(tmp_path / "r.yaml", **TINY, evaluate=evaluate))
    one, other = (
        summary_of(finished_steps(run_dir, name)[0])["summary"]["stages"]["one"]
        for name in ("train", "train-answer_only")
    )
    assert one["optimizer_steps"] == other["optimizer_steps"] > 1
    assert one["tokens"] > 1.05 * other["tokens"]
    assert other["passes"] == pytest.approx(one["passes"], abs=0.35)
    report = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "makes as many optimizer steps" in report
    assert re.search(r"Attention kernels: varlen \(.*\), flex \(.*\), units \(.*\)\.", report)
