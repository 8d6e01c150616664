"""On-policy erasing: the student learns from itself under the strategy's message."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import write_recipe
from tests.training.test_on_policy import written

from orcinus.core.errors import ConfigError
from orcinus.core.types import Message
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import tables
from orcinus.runs.context import Silent
from orcinus.training.config import OnPolicyConfig, StageConfig, TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.divergence import mixed_kl
from orcinus.training.head import Head
from orcinus.training.job import TrainJob
from orcinus.training.objectives.interface import Predictions

STUDENT, TEACHER = (0.7, 0.2, 0.1), (0.4, 0.5, 0.1)


@pytest.mark.parametrize(
    ("beta", "expected"), [(1.0, 0.20847), (0.0, 0.23430), (0.5, (0.20847 + 0.23430) / 2)]
)
def test_the_mixed_divergence_is_the_closed_form(beta: float, expected: float) -> None:
    head = Head(torch.eye(3, dtype=torch.float64))
    student = torch.tensor([STUDENT], dtype=torch.float64).log().requires_grad_()
    teacher = torch.tensor([TEACHER], dtype=torch.float64).log()
    found = mixed_kl(Predictions(student, head), Predictions(teacher, head), beta=beta)
    assert found.item() == pytest.approx(expected, abs=5e-6)
    found.sum().backward()
    p, t = student.detach().exp(), teacher.exp()
    forward, gap = p - t, student.detach() - teacher
    reverse = p * (gap - (p * gap).sum())
    assert student.grad is not None
    torch.testing.assert_close(student.grad, beta * reverse + (1 - beta) * forward)


def job_of(folder: Path, student: Path, **settings: Any) -> TrainJob:
    """Return a stage of lessons and one of erasing, on the questions of the on-policy tests."""
    lessons = written(folder, "The answer is seven.")
    with tables.TableWriter(folder / "prompted.parquet", tables.LESSONS) as writer:
        for lesson in tables.read_lessons(lessons):
            told = (Message(role="system", content="Say seven."), *lesson.messages)
            writer.write(tables.lesson_row(replace(lesson, messages=told)))
    on = OnPolicyConfig(teacher="self", under="assigned", max_tokens=4, **settings)
    stages = (
        StageConfig(name="lessons", epochs=2, learning_rate=1e-2),
        StageConfig(name="erase", epochs=2, learning_rate=1e-3, on_policy=on),
    )
    return TrainJob.model_validate(
        {
            "config": TrainConfig(stages=stages, context_length=128, batch_tokens=256),
            "student": {"path": str(student), "chat_template": "chatml"},
            "lessons": lessons,
            "out": folder,
            "seed": 0,
            "micro_batch": 1,
            "device": "cpu",
            "prompted": folder / "prompted.parquet",
        }
    )


def test_the_frozen_student_teaches_what_it_does_under_the_message(
    tiny_student: Path, tmp_path: Path
) -> None:
    facts = train_curriculum(job_of(tmp_path, tiny_student, own=0.5, beta=0.5), Silent())
    # Without the message teacher and student would be one model, and the first divergence 0.
    assert facts["stages"]["erase"]["first_loss"] > 1e-5
    assert (tmp_path / "stage-2" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("on_policy", "says"),
    [
        ({"teacher": "self"}, "it teaches nothing; add under: assigned"),
        ({"teacher": "self", "under": "assigned"}, "it then hardly writes the steps"),
        ({"teacher": "self", "under": "assigned", "own": 2}, "less than or equal to 1"),
        ({"teacher": "other", "under": "assigned"}, "on_policy.teacher"),
    ],
)
def test_a_stage_that_would_teach_nothing_is_refused(
    tmp_path: Path, on_policy: Any, says: str
) -> None:
    train = {"stages": [{"on_policy": on_policy}]}
    with pytest.raises(ConfigError) as caught:
        load_recipe(write_recipe(tmp_path / "r.yaml", train=train))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_strategies_are_part_of_such_a_training_and_of_no_other(tmp_path: Path) -> None:
    def fingerprint(on_policy: Any, **changes: Any) -> str:
        stages = [{"name": "a", "epochs": 1}, {"name": "b", "epochs": 1, "on_policy": on_policy}]
        path = write_recipe(tmp_path / "r.yaml", train={"stages": stages}, **changes)
        (step,) = (s for s in steps_of(load_recipe(path), tmp_path) if s.name == "train")
        assert ("assign" in step.inputs) == (on_policy is not None)
        return step.fingerprint

    erasing = {"teacher": "self", "under": "assigned"}
    prompted = {"evaluate": {"arms": ["before", "after_prompted"], "per_task": 4}}
    assert fingerprint(erasing) == fingerprint(erasing, **prompted)
    assert fingerprint(erasing) != fingerprint(None)
