"""Bad input of objectives is one line: before anything is paid, or before more is trained."""

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.conftest import Heard, write_recipe
from tests.training.test_prefer import job_of

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.registry import register
from orcinus.core.types import Example
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.stage_check import check_stages
from orcinus.runs import tables
from orcinus.runs.context import Silent
from orcinus.training.config import StageConfig, TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.job import TrainJob
from orcinus.training.objectives import LossInputs, LossOutput, Needs, find_objective, weighted
from orcinus.training.stopping import Stopped


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("answer_upweight", {"factor": float("nan")}, "answer_upweight.factor: "),
        ("answer_upweight", {"factor": 0}, "answer_upweight.factor: Input should be greater than"),
        ("distribution_corrected", {"tau": -1}, "distribution_corrected.tau: Input should be"),
        ("distribution_corrected", {"tau": float("inf")}, "tau: must be a finite number"),
        ("rollout_adaptive", {"fastest": 0}, "rollout_adaptive.fastest: Input should be greater"),
        ("anchored", {"anchors": {"tasks": ["a"]}, "refresh": 0}, "anchored.refresh: Input should"),
        ("anchored", {"anchors": {"tasks": []}}, "anchored.anchors.tasks"),
    ],
)
def test_settings_that_make_weights_of_zero_or_nan_are_refused(
    name: str, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        find_objective(name, settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ({"teachers": ["assistant"]}, "takes lessons of the assistant, and the recipe has none"),
        ({"teachers": ["self"]}, "the student's own; add rehearse: {lessons: right}"),
        ({"strategies": ["stepwise"]}, "'stepwise', which the recipe does not have (direct, step"),
        (
            {"mix": {"of": {"teachers": ["assistant"]}, "shares": [0.5]}},
            "takes lessons of the assistant",
        ),
    ],
)
def test_a_stage_of_lessons_that_nobody_makes_is_refused_with_the_recipe(
    tmp_path: Path, stage: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write_recipe(tmp_path / "r.yaml", train={"stages": [{"name": "a", **stage}]}))
    assert says in str(caught.value)


def test_a_stage_of_a_task_that_no_question_has_is_refused_before_the_teacher_is_asked(
    tmp_path: Path,
) -> None:
    with tables.TableWriter(tmp_path / "examples.parquet", tables.EXAMPLES) as writer:
        for number, split in enumerate(("teach", "held_out")):
            example = Example(
                id=str(number),
                task=("sums", "parity")[number],
                prompt="?",
                answer_type="number",
                meta={"hard": 1} if split == "held_out" else {"hard": None},
            )
            writer.write(tables.example_row(example, split))  # type: ignore[arg-type]

    def check(stage: StageConfig, *numbers: str) -> None:
        check_stages(TrainConfig(stages=(stage,)), numbers, tmp_path / "examples.parquet")

    check(StageConfig(tasks=("sums",)))
    with pytest.raises(StepError, match=r"no question to teach is of the task 'parity' \(there"):
        check(StageConfig(tasks=("sums", "parity")))
    with pytest.raises(StepError, match="needs the number 'hard' of each lesson, and no question"):
        check(StageConfig(), "hard")


def plain_job(folder: Path, student: Path, objective: str, **meta: Any) -> TrainJob:
    """Return a stage on twelve lessons under an objective; the odd ones have no numbers."""
    job = job_of(folder, student)
    lessons = list(tables.read_lessons(job.lessons))
    with tables.TableWriter(job.lessons, tables.LESSONS) as writer:
        for number, lesson in enumerate(lessons):
            writer.write(tables.lesson_row(replace(lesson, meta={} if number % 2 else meta)))
    config = {"stages": [{"name": "own"}], "context_length": 128, "batch_tokens": 256}
    config["objective"] = {"name": objective}
    return job.model_copy(update={"config": TrainConfig.model_validate(config)})


def by_hardness(inputs: LossInputs) -> LossOutput:
    """Weigh lessons by a column, without a thought to those that lack it."""
    return weighted(inputs, inputs.weights_N * inputs.evidence["hard"])


def nothing(inputs: LossInputs) -> LossOutput:
    """Weigh no token."""
    return weighted(inputs, 0 * inputs.weights_N)


@pytest.mark.usefixtures("own_extensions")
def test_weights_of_nan_and_of_zero_end_a_stage_at_once_and_say_why(
    tiny_student: Path, tmp_path: Path
) -> None:
    needs = Needs(lesson_numbers=("hard",))
    register("objective", "by_hardness", needs=needs)(by_hardness)
    register("objective", "nothing")(nothing)
    job = plain_job(tmp_path / "nan", tiny_student, "by_hardness", hard=1.0)
    with pytest.raises(StepError) as caught:
        train_curriculum(job, Silent())
    assert "lessons without the number 'hard', which the objective got as nan: l" in str(
        caught.value
    )
    heard = Heard()
    with pytest.raises(StepError, match="stage 'own' teaches nothing: the loss and its gradient"):
        train_curriculum(plain_job(tmp_path / "zero", tiny_student, "nothing"), heard)
    assert len((tmp_path / "zero" / "loss.jsonl").read_text().splitlines()) <= 3


@pytest.mark.usefixtures("own_extensions")
def test_a_stage_that_teaches_nothing_says_so_after_an_interruption_too(
    tiny_student: Path, tmp_path: Path
) -> None:
    register("objective", "nothing")(nothing)
    job, stop = plain_job(tmp_path / "zero", tiny_student, "nothing"), Event()

    class StopsAtOnce(Silent):
        def advance(self, n: int = 1, **_: Any) -> None:
            stop.set()

    with pytest.raises(Stopped):
        train_curriculum(job, StopsAtOnce(), stop=stop)
    with pytest.raises(StepError, match="stage 'own' teaches nothing: the loss and its gradient"):
        train_curriculum(job, Silent())
