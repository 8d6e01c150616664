"""Lessons that are like the anchors weigh more: by hidden states, and by common tokens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.types import Example, Lesson, Message
from orcinus.models.local.config import LocalConfig
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Silent
from orcinus.training.anchors import bm25, write_anchors
from orcinus.training.config import TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.head import Head
from orcinus.training.job import TrainJob
from orcinus.training.objectives import LossInputs, find_objective
from orcinus.training.objectives.anchored import Anchors, pool, prepare, scale_of
from orcinus.training.tokens import TokenizedLessons

STATES = torch.tensor([[1.0, 0], [0, 1], [0, 1]], dtype=torch.float64)
ANCHORED = {"anchors": {"tasks": ["sums"]}}


def test_later_positions_count_more_in_a_lessons_state() -> None:
    found = pool(torch.cat([STATES, STATES[:1]]), torch.tensor([0, 0, 0, 1]))
    assert found.flatten().tolist() == pytest.approx([0.19612, 0.98058, 1, 0], abs=1e-5)


@pytest.mark.parametrize(("tau", "weight"), [(1.0, 0.6430), (0.1, 0.9972), (0.0, 1.0)])
def test_likeness_to_the_anchors_decides_the_weight(tau: float, weight: float) -> None:
    centre = torch.tensor([[1.0, 0], [0, 1]]).double().mean(0)
    assert float(pool(STATES, torch.zeros(3).long()) @ centre) == pytest.approx(0.58835, abs=1e-5)
    settings = {**ANCHORED, "tau": tau, "standardise": False, "normalise": False}
    inputs = LossInputs(
        hidden_ND=STATES.clone().requires_grad_(),
        head=Head(torch.eye(2, dtype=torch.float64)),
        targets_N=torch.zeros(3, dtype=torch.long),
        weights_N=torch.ones(3, dtype=torch.float64),
        lesson_N=torch.zeros(3, dtype=torch.long),
        row_N=torch.zeros(3, dtype=torch.long),
        evidence={"likeness": torch.full((3,), float("nan"))},
        prepared={"centre": centre, **scale_of([0.5], standardise=False, normalise=False)},
    )
    out = find_objective("anchored", settings).loss(inputs)
    assert float(out.total.detach() / out.losses_N.sum()) == pytest.approx(weight, abs=5e-5)


def test_a_scale_makes_the_mean_weight_one() -> None:
    scale = scale_of([0.2, 0.4, 0.6], tau=1.0)
    assert (scale["mean"], scale["spread"]) == pytest.approx((0.4, 0.163299), abs=1e-6)
    assert scale["weight"] == pytest.approx(0.5)
    assert scale_of([0.5, 0.5], tau=1.0)["spread"] == 1.0  # all alike: no division by 0
    assert scale_of([0.2], standardise=False, normalise=False) == {
        "mean": 0.0,
        "spread": 1.0,
        "weight": 1.0,
    }


def test_bm25_counts_common_tokens_by_their_rarity() -> None:
    texts = [[7, 8, 8], [7, 9, 9], [7, 5, 6]]
    lessons = TokenizedLessons(
        tokens=np.array(texts, np.uint32).ravel(),
        index=np.array([[0, 3, 1], [3, 3, 1], [6, 3, 1]]),
        weights=np.ones(3, np.float32),
        ids=pa.chunked_array([["a", "b", "c"]]),
        too_long=0,
    )
    found = bm25(lessons, [np.array([7, 8], np.uint32)])
    common, rare = np.log1p(0.5 / 3.5), np.log1p(2.5 / 1.5)  # in all lessons, in one of them
    once, twice = 2.2 / 2.2, 2 * 2.2 / 3.2
    own = (common + rare) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 3))
    expected = [common * once + rare * twice, common * once, common * once]
    assert found == pytest.approx([value / own for value in expected])


def test_the_anchors_are_read_anew_every_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def states(model: Any, batch: str) -> torch.Tensor:
        read.append(batch)
        return torch.eye(2)

    monkeypatch.setattr("orcinus.training.objectives.anchored.pooled_states", states)
    prepared: Any = {"anchors": "anchors", "sample": "sample"}
    for step in range(7):
        prepared = prepare(None, step, prepared, anchors=None, refresh=3)
    assert read == ["anchors", "sample"] * 3
    assert prepared["centre"].tolist() == [0.5, 0.5]
    given = {"mean": 0.5, "spread": 1.0, "weight": 1.0}
    assert prepare(None, 4, given, anchors=None, signal="bm25") == given


def example(number: int, task: str) -> Example:
    return Example(
        id=str(number), task=task, prompt=f"Add {number} 2.", answer_type="number", reference="9"
    )


def test_anchors_come_from_the_probe_split_alone(tmp_path: Path) -> None:
    with tables.TableWriter(tmp_path / "e", tables.EXAMPLES) as writer:
        for number, split in enumerate(("probe", "held_out", "teach", "probe", "probe")):
            row = tables.example_row(example(number, "sums" if number < 4 else "item"), split)  # type: ignore[arg-type]
            writer.write(row)
    write_anchors(Anchors(tasks=("sums",)), tmp_path / "e", "Hm.", 0, tmp_path / "a")
    found = list(tables.read_lessons(tmp_path / "a"))
    assert sorted(lesson.example_id for lesson in found) == ["0", "3"]
    assert {lesson.completion for lesson in found} == {"The answer is 9."}
    with pytest.raises(StepError, match=r"anchors\.tasks: 'parity' has no question"):
        write_anchors(Anchors(tasks=("sums", "parity")), tmp_path / "e", "", 0, tmp_path / "b")


def test_anchors_that_are_measured_or_unknown_are_refused_first(tmp_path: Path) -> None:
    def steps(tasks: list[str], **more: Any) -> None:
        objective = {"name": "anchored", "settings": {"anchors": {"tasks": tasks}}}
        path = write_recipe(tmp_path / "r.yaml", train={"objective": objective}, **more)
        steps_of(load_recipe(path), tmp_path)

    steps(["sums"])
    with pytest.raises(ConfigError, match=r"'parity' does not exist; name one of tasks: logic, su"):
        steps(["parity"])
    with pytest.raises(ConfigError, match="'parity' is only measured, never a guide to training"):
        steps(["parity"], retention=[{"generator": "parity", "count": 5, "size": [2, 3]}])
    with pytest.raises(ConfigError, match=r"missing a required .*argument: 'anchors'"):
        load_recipe(write_recipe(tmp_path / "s.yaml", train={"objective": {"name": "anchored"}}))


@pytest.mark.parametrize("signal", ["bm25", "hidden"])
def test_a_stage_trains_on_anchored_lessons(
    signal: str, tiny_student: Path, tmp_path: Path
) -> None:
    base = Lesson(
        id="0", example_id="0", task="sums", strategy="s", teacher="t", attempt_id="a",
        messages=(Message(role="user", content="Add 1 2."),), completion="The answer is 3.",
        reasoning=None, erased="generic",
    )  # fmt: skip
    for name, numbers in (("lessons", range(6)), ("anchors", range(2))):
        with tables.TableWriter(tmp_path / name, tables.LESSONS) as writer:
            for number in numbers:
                text = f"The answer is {number}." if number % 2 else "I think it is a long one."
                writer.write(tables.lesson_row(replace(base, id=str(number), completion=text)))
    objective = {"name": "anchored", "settings": {**ANCHORED, "signal": signal, "refresh": 2}}
    config = TrainConfig.model_validate(
        {"context_length": 64, "batch_tokens": 64, "objective": objective,
         "stages": [{"epochs": 2, "learning_rate": 1e-3}]}
    )  # fmt: skip
    job = TrainJob(
        config=config,
        student=LocalConfig(path=str(tiny_student), chat_template="chatml"),
        lessons=tmp_path / "lessons",
        out=tmp_path / "out",
        seed=0,
        micro_batch=1,
        device="cpu",
        anchors=tmp_path / "anchors",
    )
    done = train_curriculum(job, Silent())
    assert done["stages"]["lessons"]["optimizer_steps"] > 2
    assert (tmp_path / "out" / done["model"] / layout.DONE).exists()
    with pytest.raises(StepError, match="needs anchors, which `orcinus run` writes"):
        train_curriculum(
            job.model_copy(update={"anchors": None, "out": tmp_path / "other"}), Silent()
        )
