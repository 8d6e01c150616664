"""RASFT and DFT: the weights of lessons and tokens are the closed forms'."""

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import write_recipe
from tests.training.test_exactness import CONFIGS, lessons_of, model_of

from orcinus.core.errors import ConfigError
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.training.head import Head
from orcinus.training.objectives import LossInputs, LossOutput, find_objective
from orcinus.training.objectives.rollout_adaptive import lesson_weights
from orcinus.training.reference import mean_logprobs, with_reference


@pytest.mark.parametrize(
    ("right", "came", "teachers", "owns"),
    [
        (0, 3, 1.0, None),
        (1, 3, 0.27788, 0.008690),
        (2, 3, 0.15511, 0.005),
        (3, 3, 0.02, 0.005),
        (1, 4, 0.31301, 0.015233),
        (2, 4, 0.18862, 0.008875),
        (3, 4, 0.11353, 0.005092),
        (math.nan, math.nan, 1.0, None),
    ],
)
def test_a_lesson_weighs_what_the_student_cannot_do(
    right: float, came: float, teachers: float, owns: float | None
) -> None:
    found = lesson_weights(torch.tensor(right), torch.tensor(came))
    assert float(found[0]) == pytest.approx(teachers, abs=5e-6)
    if owns is not None:
        assert float(found[1]) == pytest.approx(owns, abs=5e-7)


def loss_of(objective: str, probabilities: list[float], **numbers: float) -> LossOutput:
    """Return the loss of one lesson whose tokens have these probabilities now."""
    logits_NV = torch.tensor([[p, 1 - p] for p in probabilities], dtype=torch.float64).log()
    tokens = len(probabilities)
    targets_N = torch.zeros(tokens, dtype=torch.long)
    inputs = LossInputs(
        hidden_ND=logits_NV.requires_grad_(),
        head=Head(torch.eye(2, dtype=torch.float64)),
        targets_N=targets_N,
        weights_N=torch.ones(tokens, dtype=torch.float64),
        lesson_N=torch.zeros(tokens, dtype=torch.long),
        row_N=torch.zeros(tokens, dtype=torch.long),
        evidence={
            name: torch.full((tokens,), value, dtype=torch.float64)
            for name, value in numbers.items()
        },
        logprobs_N=logits_NV.detach()[:, 0],
    )
    return find_objective(objective).loss(inputs)


def test_the_loss_of_one_lesson_is_the_closed_form() -> None:
    numbers = {"right": 1.0, "came": 3.0, "own": 0.0, "reference_logprob": math.log(0.5)}
    found = loss_of("rollout_adaptive", [0.8, 0.2], **numbers)
    assert found.total.item() / 2 == pytest.approx(0.083431, abs=1e-6)
    # exp(ln .5 − ln .4) is clipped to 1.2; a student that moved towards the lesson learns less.
    moved = loss_of("rollout_adaptive", [0.8, 0.2], **numbers | {"reference_logprob": -1.5})
    assert (moved.total / found.total).item() == pytest.approx(math.exp(-1.5) / 0.4 / 1.2)
    own = loss_of("rollout_adaptive", [0.8, 0.2], **numbers | {"own": 1.0})
    assert (own.total / found.total).item() == pytest.approx(0.008690 / 0.27788, rel=1e-4)


def test_dft_weighs_a_token_by_its_probability_without_gradient() -> None:
    found = loss_of("dft", [0.8, 0.2])
    assert found.total.item() == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert found.losses_N.tolist() == pytest.approx([-math.log(0.8), -math.log(0.2)])
    found.total.backward()


def test_the_reference_is_the_students_mean_log_probability_and_is_measured_once(
    tmp_path: Path,
) -> None:
    model, plain = model_of(CONFIGS["llama"]), model_of(deepcopy(CONFIGS["llama"]))
    plain.set_attn_implementation("eager")
    lessons = lessons_of(samples=3)
    found = mean_logprobs(model, lessons)
    for number in range(len(lessons)):
        tokens, prompt = lessons.lesson(number)
        ids = torch.from_numpy(tokens.astype(np.int64))
        logprobs = plain(ids[None]).logits[0, :-1].log_softmax(1)
        mean = logprobs.gather(1, ids[1:, None])[max(0, prompt - 1) :].mean()
        assert found[number] == pytest.approx(mean.item(), rel=1e-5)
    objective = find_objective("rollout_adaptive")
    first = with_reference(lessons, objective, model, "cpu", tmp_path)
    for parameter in model.parameters():
        parameter.data += 1
    again = with_reference(lessons, objective, model, "cpu", tmp_path)
    for stored in (first, again):
        assert stored.evidence["reference_logprob"].tolist() == found.tolist()
    assert with_reference(lessons, find_objective("plain"), model, "cpu", tmp_path) is lessons


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "'rollout_adaptive' needs came, own, right of each lesson, which the step rehearse"),
        ({"rehearse": {"sampling": {"samples": 1}}}, "one answer is no pass rate"),
        ({"rehearse": {"lessons": "wrong"}}, "rehearse.lessons"),
    ],
)
def test_without_rehearsal_its_recipe_is_refused_before_anything_is_paid(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    train = {"objective": {"name": "rollout_adaptive"}}
    with pytest.raises(ConfigError) as caught:
        load_recipe(write_recipe(tmp_path / "r.yaml", train=train, **changes))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    load_recipe(write_recipe(tmp_path / "r.yaml", train=train, rehearse={}))
