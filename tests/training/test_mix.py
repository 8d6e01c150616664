"""Trials choose the share of a source in a stage, here an assistant that teaches wrong answers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Heard, write_recipe

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.types import Messages, Sampling
from orcinus.models.local.config import folder_identity
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps, summary_of

RIGHT, WRONG = "red", "blue"
SHARES = [1, 0.75, 0]


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Answer right."""
    return f"The answer is {RIGHT}."


def poison(messages: Messages, sampling: Sampling) -> str:
    """Answer wrong."""
    return f"The answer is {WRONG}."


def write(
    folder: Path, mix: dict[str, Any] | None = None, *, epochs: float = 3, **changes: object
) -> Path:
    """Write a recipe of one task that a tiny student learns in a few steps.

    Its assistant is always wrong, and nothing is verified.
    """
    rows = [
        {"id": str(i), "prompt": f"What colour has ball {i}?", "reference": RIGHT}
        for i in range(100)
    ]
    (folder / "balls.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    source = {
        "of": {"teachers": ["assistant"]},
        "shares": SHARES,
        "trial": 0.5,
        "sampling": {"max_tokens": 12},
    }
    settings: dict[str, Any] = {
        "tasks": [{"path": "balls.jsonl", "answer_type": "exact"}],
        "strategies": ["direct"],
        "teacher": {"kind": "function", "function": "tests.training.test_mix:teacher"},
        "assistant": {"kind": "function", "function": "tests.training.test_mix:poison"},
        "assign": {"confirm": 0},
        "curate": {"keep": "all"},
        "train": {
            "context_length": 128,
            "batch_tokens": 512,
            "stages": [
                {"name": "first", "teachers": ["teacher"], "epochs": 0.5, "learning_rate": 0.003},
                {
                    "name": "mixed",
                    "mix": {**source, **(mix or {})},
                    "epochs": epochs,
                    "learning_rate": 0.01,
                },
            ],
        },
        "evaluate": {"arms": ["before", "after"], "sampling": {"max_tokens": 12}},
    }
    return write_recipe(folder / "recipe.yaml", **{**settings, **changes})


def flags(recipe: Path) -> Runtime:
    return Runtime(
        workspace=recipe.parent / "runs", ledger_path=recipe.parent / "runs" / "ledger.sqlite"
    )


def run(recipe: Path, heard: Heard | None = None, until: str | None = None) -> Path:
    return asyncio.run(
        run_recipe(load_recipe(recipe), recipe, flags(recipe), heard or Heard(), until=until)
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    return run(write(tmp_path_factory.mktemp("run")))


def choice_of(run_dir: Path) -> dict[str, Any]:
    (train,) = finished_steps(run_dir, "train")
    (choice,) = summary_of(train)["summary"]["mix"]
    return dict(choice)


def test_of_a_source_that_is_always_wrong_the_lowest_share_is_chosen(finished: Path) -> None:
    choice = choice_of(finished)
    means = {trial["share"]: trial["mean"] for trial in choice["trials"]}
    assert choice["share"] == 0, means
    assert means[0] > 0.9
    assert means[1] < 0.1
    (train,) = finished_steps(finished, "train")
    assert json.loads((train / "mix-2.json").read_bytes()) == choice
    learnt = summary_of(train)["summary"]["stages"]
    assert learnt["mixed"]["lessons"] == learnt["first"]["lessons"], (
        "the teacher's lessons and no other"
    )


def test_what_trial_students_are_asked_is_neither_taught_nor_reported(finished: Path) -> None:
    (train,), (erase,), (sample,) = (
        finished_steps(finished, verb) for verb in ("train", "erase", "sample")
    )
    asked = {
        judged.attempt.example_id
        for path in (train / "trials").glob("*.parquet")
        for judged in tables.read_judged(path)
    }
    taught = {lesson.example_id for lesson in tables.read_lessons(erase / "lessons.parquet")}
    held_out = {
        example.id for example in tables.read_examples(sample / "examples.parquet", "held_out")
    }
    assert len(asked) == choice_of(finished)["n"] > 10
    assert not asked & taught
    assert not asked & held_out


def test_gains_are_against_the_student_that_the_stages_before_leave(finished: Path) -> None:
    (train,) = finished_steps(finished, "train")
    choice = choice_of(finished)
    before = list(tables.read_judged(train / "trials" / "stage-2-before.parquet"))
    assert {folder_identity(train / "stage-1") in judged.attempt.model for judged in before} == {
        True
    }
    assert choice["before"] == sum(judged.verdict.value or 0 for judged in before) / len(before)
    for trial in choice["trials"]:
        assert trial["gain"] == pytest.approx(trial["mean"] - choice["before"])


def test_no_trial_student_is_left_behind(finished: Path) -> None:
    (train,) = finished_steps(finished, "train")
    assert not [path for path in (train / "trials").iterdir() if path.is_dir()]


def test_the_report_shows_every_share(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "The share of assistant in stage mixed" in page
    (mix,) = json.loads((finished / "report.json").read_bytes())["mixes"]
    assert mix == {"arm": "after", **choice_of(finished)}


def test_the_report_warns_where_no_trial_student_gained(finished: Path, tmp_path: Path) -> None:
    warned = "none is clearly better than the student before the stage"
    assert warned not in (finished / "report.html").read_text(encoding="utf-8")
    nothing_right = run(write(tmp_path, {"shares": [1, 0.75], "per_task": 10}, epochs=1))
    assert warned in (nothing_right / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "fatal",
    [pytest.param("train mixed", marks=pytest.mark.slow), "ask stage-2-share-0.75"],
)
def test_a_run_killed_among_its_trials_goes_on_to_the_same_student(
    fatal: str, finished: Path, tmp_path: Path
) -> None:
    recipe = write(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, Heard(fatal), until="train")
    heard = Heard()
    again = run(recipe, heard, until="train")
    if fatal != "train mixed":
        assert "ask stage-2-share-1.0" not in heard.phases, "a trial that was done was made again"
        assert heard.phases.count("train mixed") == 2, "one trial is left, and the stage"
    assert choice_of(again) == choice_of(finished)
    students = [
        folder_identity(finished_steps(run_dir, "train")[0] / "stage-2")
        for run_dir in (again, finished)
    ]
    assert students[0] == students[1]


def test_the_plan_says_what_trials_ask_and_train(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    plan = asyncio.run(plan_recipe(load_recipe(recipe), recipe, flags(recipe), Silent()))
    (train,) = [row for row in plan.rows if row.step == "train"]
    asked = len(
        list(
            tables.read_examples(
                finished_steps(tmp_path / "runs" / "small", "sample")[0] / "examples.parquet",
                "probe",
            )
        )
    )
    assert train.calls == 4 * asked
    assert any("3 trial students" in note and "50% of the stage" in note for note in plan.notes)
    several = asyncio.run(
        plan_recipe(load_recipe(recipe), recipe, flags(recipe), Silent(), nodes=2)
    )
    assert any("set the single share" in note for note in several.notes)


@pytest.mark.slow
def test_a_single_share_needs_no_trial(tmp_path: Path) -> None:
    heard = Heard()
    run_dir = run(write(tmp_path, {"shares": [0]}), heard, until="train")
    assert not [phase for phase in heard.phases if phase.startswith("ask")]
    (train,) = finished_steps(run_dir, "train")
    assert "mix" not in summary_of(train)["summary"]


def test_a_mix_changes_the_train_step_alone(tmp_path: Path) -> None:
    first, second = (
        {
            step.name: step.fingerprint
            for step in steps_of(load_recipe(write(tmp_path, mix)), tmp_path)
        }
        for mix in ({}, {"errors": 2})
    )
    assert {name for name in first if first[name] != second[name]} == {
        "train",
        "evaluate",
        "report",
    }


def test_a_source_without_lessons_is_refused(tmp_path: Path) -> None:
    recipe = write(tmp_path, {"of": {"tasks": ["no such task"]}})
    with pytest.raises(StepError, match=r"stage 'mixed' has no lesson of its mix\.of"):
        run(recipe, until="train")


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"of": {}}, "names no source"),
        ({"shares": [0, 2]}, "holds 2, but a share lies in"),
        ({"shares": [0.5, 0.5]}, "holds 0.5 twice"),
        ({"shares": []}, "mix.shares"),
        ({"share": [0.5]}, "did you mean 'shares'"),
    ],
)
def test_a_mix_that_cannot_be_is_refused_by_line(
    mix: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(tmp_path, mix))


def test_too_few_probe_examples_are_named(tmp_path: Path) -> None:
    recipe = write(tmp_path, {"per_task": 1})
    with pytest.raises(
        StepError, match=r"which has 1 examples that can be judged; raise sample\.probe"
    ):
        run(recipe, until="train")
