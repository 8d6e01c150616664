"""Feature-space erasing: states are drawn towards those under the strategy's message."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import write_recipe
from tests.training.test_on_policy_erasing import job_of

from orcinus.core.errors import ConfigError
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs.context import Silent
from orcinus.training.batches import collate
from orcinus.training.config import StageConfig, TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.head import Head
from orcinus.training.job import TrainJob
from orcinus.training.objectives import LossInputs, find_objective
from orcinus.training.objectives.feature_space import mmd2
from orcinus.training.objectives.interface import Predictions
from orcinus.training.prompted import prompted_row
from orcinus.training.questions import prompt_key

F64 = torch.float64


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)[:, None]


def test_the_discrepancy_of_two_samples_is_the_closed_form() -> None:
    assert float(mmd2(column(0, 1), column(0, 3), 1.0)) == pytest.approx(0.43233, abs=5e-6)
    assert float(mmd2(column(0, 1), column(0, 1), 1.0)) == pytest.approx(0, abs=1e-12)
    # 2 - 2 k(0, 1), and k(0, 1) = 0.60653
    assert float(mmd2(column(0), column(1), 1.0)) == pytest.approx(2 - 2 * 0.60653, abs=2e-5)
    # The distances of different points are 1, 2 and 3, each twice: the width is the median, 2.
    assert float(mmd2(column(0, 1), column(3))) == float(mmd2(column(0, 1), column(3), 2.0))
    assert float(mmd2(column(2, 2), column(2))) == 0  # no two points differ


HIDDEN, PROMPTED = [[1.0, 0], [0, 1], [0, 2]], [[0.0, 0], [0, 1], [1, 2]]


def inputs_of(rows: list[int], lessons: list[int], weights: list[float], **more: Any) -> LossInputs:
    head = Head(torch.eye(2, dtype=F64))
    return LossInputs(
        hidden_ND=torch.tensor(HIDDEN, dtype=F64).requires_grad_(),
        head=head,
        targets_N=torch.zeros(3, dtype=torch.long),
        weights_N=torch.tensor(weights, dtype=F64),
        lesson_N=torch.tensor(lessons),
        row_N=torch.tensor(rows),
        teacher=Predictions(torch.tensor(PROMPTED, dtype=F64), head),
        **more,
    )


@pytest.mark.parametrize(
    ("at", "lessons", "distance"),
    [  # squared distances over 2 dimensions: 0.5, 0 and 0.5; a lesson counts by its tokens
        ("prompt", [0, 0, 1], 2 * 0.5 + 0.5),
        ("prompt", [0, 1, 1], 0.5 + 2 * 0),
        ("response", [0, 0, 1], 0.5 + 0 + 0.5),
    ],
)
def test_the_distance_is_added_to_the_cross_entropy(
    at: str, lessons: list[int], distance: float
) -> None:
    inputs = inputs_of([0, 0, 0], lessons, [1, 1, 1])
    out = find_objective("feature_space", {"weight": 0.3, "at": at}).loss(inputs)
    assert float(out.total.detach() - out.losses_N.sum()) == pytest.approx(0.3 * distance)


def test_the_gradient_draws_the_state_to_the_prompted_one() -> None:
    def gradient(weight: float) -> torch.Tensor:
        inputs = inputs_of([0, 0, 0], [0, 1, 2], [1, 1, 2])
        find_objective("feature_space", {"weight": weight}).loss(inputs).total.backward()
        assert inputs.hidden_ND.grad is not None
        return inputs.hidden_ND.grad

    # weight · lesson's weight · 2 (h_e - h_s) / D
    expected = torch.tensor([[0.5, 0], [0, 0], [-1, 0]], dtype=F64)
    torch.testing.assert_close(gradient(0.5) - gradient(0), expected)


def test_other_questions_draw_each_row_by_itself() -> None:
    settings = {"weight": 0, "anchors": {"tasks": ["parity"]}, "across": 0.5}
    states = torch.tensor([[0.0, 3], [1, 1]], dtype=F64)

    def added(rows: list[int]) -> float:
        inputs = inputs_of(rows, [0, 1, 2], [1, 1, 1], prepared={"states": states})
        out = find_objective("feature_space", settings).loss(inputs)
        return float(out.total.detach() - out.losses_N.sum())

    hidden = torch.tensor(HIDDEN, dtype=F64)
    assert added([0, 0, 0]) == pytest.approx(0.5 * 3 * float(mmd2(hidden, states)))
    parts = 2 * mmd2(hidden[:2], states) + mmd2(hidden[2:], states)
    assert added([0, 0, 1]) == pytest.approx(0.5 * float(parts))


def test_the_frozen_student_reads_the_same_responses_behind_other_prompts() -> None:
    row = {"tokens": np.array([1, 2, 8, 9, 7, 3, 6]), "units": [(2, 2, 1), (1, 1)],
           "weights": [1.0] * 3}  # fmt: skip
    batch = collate([row])
    told = {
        prompt_key(torch.tensor([1, 2])): [5, 5, 5],
        prompt_key(torch.tensor([3])): [4, 4],
    }
    seen = collate([prompted_row(batch, told)])
    assert seen["input_ids"][0].tolist() == [5, 5, 5, 8, 9, 7, 4, 4, 6]
    assert seen["input_ids"][0, seen["response"]].tolist() == [8, 9, 7, 6]
    assert seen["predictors"].tolist() == [2, 3, 2, 7]
    assert seen["lesson"].tolist() == batch["lesson"].tolist()


def trained(folder: Path, student: Path, objective: dict[str, Any], **changes: Any) -> float:
    job = job_of(folder, student)
    config = TrainConfig.model_validate(
        {
            "stages": (StageConfig(name="lessons", epochs=1, learning_rate=1e-3),),
            "context_length": 128,
            "batch_tokens": 256,
            "objective": objective,
        }
    )
    job = TrainJob.model_validate({**dict(job), "config": config, **changes})
    facts = train_curriculum(job, Silent())
    return float(facts["stages"]["lessons"]["first_loss"])


def test_a_stage_learns_it_and_without_weight_is_a_plain_one(
    tiny_student: Path, tmp_path: Path
) -> None:
    plain, none, some = (
        trained(tmp_path / name, tiny_student, {"name": objective, "settings": settings})
        for name, objective, settings in (
            ("plain", "plain", {}),
            ("none", "feature_space", {"weight": 0}),
            ("some", "feature_space", {"weight": 100, "at": "response"}),
        )
    )
    assert none == plain
    assert some > plain + 1e-4  # the message moves the states
    weights = [(tmp_path / name / "stage-1" / "model.safetensors").read_bytes()
               for name in ("plain", "none", "some")]  # fmt: skip
    assert weights[0] == weights[1] != weights[2]


def test_a_job_without_strategies_is_refused(tiny_student: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no table of prompted lessons"):
        trained(tmp_path, tiny_student, {"name": "feature_space"}, prompted=None)


def recipe_of(path: Path, **train: Any) -> Any:
    return load_recipe(write_recipe(path / "r.yaml", train=train))


def test_strategies_and_anchors_are_part_of_such_a_training(tmp_path: Path) -> None:
    def inputs(settings: dict[str, Any]) -> set[str]:
        objective = {"name": "feature_space", "settings": settings}
        recipe = recipe_of(tmp_path, objective=objective)
        return set(next(s for s in steps_of(recipe, tmp_path) if s.name == "train").inputs)

    assert {"assign", "sample"} <= inputs({})
    with pytest.raises(ConfigError, match=r"anchors\.tasks: 'nowhere' does not exist"):
        inputs({"anchors": {"tasks": ["nowhere"]}})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"weight": -1}, "feature_space.weight: Input should be greater"),
        ({"across": 0}, "feature_space.across: Input should be greater"),
        ({"at": "middle"}, "feature_space.at: Input should be 'prompt' or"),
        ({"anchors": {"tasks": []}}, "feature_space.anchors.tasks"),
    ],
)
def test_bad_settings_are_one_line(settings: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_objective("feature_space", settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bare_answers_and_trial_students_learn_without_it() -> None:
    config = TrainConfig.model_validate({"objective": {"name": "feature_space"}})
    assert config.reads_strategies
    assert config.without_numbers_of_steps().objective.name == "lesson_weight"
    assert not replace(config.needs, prompted=False).from_steps
