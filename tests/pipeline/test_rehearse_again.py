"""A stage with ``rehearse: true`` learns from the answers of the student that begins it."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.runs.ledger import Ledger
from orcinus.training.config import TrainConfig
from orcinus.training.job import TrainJob

LESSONS = {"name": "lessons", "epochs": 1, "learning_rate": 0.003}
AGAIN = {"name": "again", "epochs": 1, "learning_rate": 0.003, "rehearse": True}
SMALL: dict[str, Any] = {
    "tasks": [{"generator": "parity", "count": 24, "size": [2, 3]}],
    "strategies": ["direct"],
    "rehearse": {"sampling": {"samples": 2, "temperature": 1.0, "max_tokens": 8}},
    "evaluate": {"arms": ["after"], "per_task": 2, "sampling": {"max_tokens": 8}},
}


def recipe_file(folder: Path, *stages: dict[str, Any], **changes: Any) -> Path:
    train = {"context_length": 128, "batch_tokens": 512, "stages": list(stages)}
    return write_recipe(folder / "recipe.yaml", **{**SMALL, "train": train, **changes})


def test_the_lessons_of_a_stage_know_the_student_that_begins_it(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, LESSONS, AGAIN)
    recipe = load_recipe(path)
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "ledger.sqlite")
    planned = asyncio.run(plan_recipe(recipe, path, runtime, Silent()))
    calls = {row.step: row.calls for row in planned.rows}
    run_dir = asyncio.run(run_recipe(recipe, path, runtime, Silent(), until="train"))

    training = finished_steps(run_dir, "train")[0]
    summary = summary_of(training)["summary"]
    out = training / layout.rehearsal(2)
    first = finished_steps(run_dir, "rehearse")[0]
    answers = [list(tables.read_judged(folder / layout.ATTEMPTS)) for folder in (first, out)]
    # The same questions, two answers each, by two students; planned as at most as many.
    asked = [sorted((a.attempt.example_id, a.attempt.sample) for a in part) for part in answers]
    assert asked[0] == asked[1]
    assert calls["train"] == calls["rehearse"]
    assert (calls["train"] or 0) >= len(asked[0]) > 0
    models = [{item.attempt.model for item in part} for part in answers]
    assert not models[0] & models[1]
    counts = Counter(
        (item.attempt.task, item.attempt.example_id) for item in answers[1] if item.verdict.right
    )
    lessons = list(tables.read_lessons(out / layout.LESSONS))
    assert lessons
    for lesson in lessons:
        assert lesson.meta["came"] == 2
        assert lesson.meta["right"] == counts[lesson.task, lesson.example_id]
    rehearsed = summary["rehearsed"]["again"]
    assert (rehearsed["questions"], rehearsed["lessons"]) == (len(asked[0]) // 2, len(lessons))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        spent = ledger.spent(recipe.name)[1]
    # What is done is not asked again, also where the training itself is to be done again.
    (training / layout.DONE).unlink()
    for folder in (training / layout.stage(2), out):
        (folder / layout.DONE).unlink()
    asyncio.run(run_recipe(recipe, path, runtime, Silent(), until="train"))
    assert orjson.loads((out / layout.DONE).read_bytes()) == rehearsed
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent(recipe.name)[1] == spent


def test_bad_input_is_one_line_before_anything_is_paid(tmp_path: Path) -> None:
    def read(*stages: dict[str, Any], **changes: Any) -> Any:
        return load_recipe(recipe_file(tmp_path, *stages, **changes))

    with pytest.raises(ConfigError, match="stage 'again' has rehearse: true, and the recipe does"):
        read(LESSONS, AGAIN, rehearse=None)
    weighed = {"weigh": {"boundaries": 1}}
    objective = {"objective": {"name": "token_weight"}}
    with pytest.raises(ConfigError, match="without the weights of the step weigh"):
        read(LESSONS, AGAIN, train={"stages": [LESSONS, AGAIN], **objective}, **weighed)
    with pytest.raises(ConfigError, match="which on_policy does not read; leave one of them out"):
        read(LESSONS, {**AGAIN, "on_policy": {"teacher": "recipe"}})
    (tmp_path / "job").mkdir()
    job = TrainJob(
        config=TrainConfig.model_validate({"stages": [LESSONS, AGAIN]}),
        student={"path": "student"},  # type: ignore[arg-type]
        lessons=tmp_path / "lessons.parquet",
        out=tmp_path / "job",
        seed=0,
        micro_batch=None,
        device="cpu",
    )
    assert job.lessons_at(0) == job.lessons
    with pytest.raises(ConfigError, match="stage 'again' asks the student again"):
        job.lessons_at(1)
    kept = job.model_copy(update={"rehearsed": {1: tmp_path / "again.parquet"}})
    assert TrainJob.read(kept.write()).lessons_at(1) == tmp_path / "again.parquet"
    assert json.loads((tmp_path / "job" / layout.JOB).read_text())["rehearsed"]


def test_without_it_a_training_keeps_its_fingerprint(tmp_path: Path) -> None:
    def trained(stage: dict[str, Any]) -> str:
        recipe = load_recipe(recipe_file(tmp_path, LESSONS, stage))
        steps = steps_of(recipe, tmp_path, until="train")
        return next(step for step in steps if step.name == "train").fingerprint

    assert trained({**AGAIN, "rehearse": False}) == trained({**LESSONS, "name": "again"})
    assert trained(AGAIN) != trained({**LESSONS, "name": "again"})
