"""DPO and KTO: loss and gradient are the closed form's, and a tiny student learns to prefer."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.training.test_training import lesson

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.types import Message
from orcinus.runs import tables
from orcinus.runs.context import Silent
from orcinus.training.batches import PackedRows
from orcinus.training.curriculum import train_curriculum
from orcinus.training.head import Head
from orcinus.training.job import TrainJob
from orcinus.training.objectives import LossInputs, find_objective
from orcinus.training.objectives.interface import sums_by
from orcinus.training.preferences import (
    balanced,
    collate_pairs,
    whole_pairs,
    with_other_answers,
)
from orcinus.training.tokens import TokenizedLessons

REFERENCE = (-1.0, -1.5)
"""Mean log-probability of the chosen and of the rejected answer before the stage."""


def inputs_of(logits_NV: torch.Tensor, signs: list[float], lessons: list[int]) -> LossInputs:
    """Return the inputs for tokens that are all token 0 of a vocabulary of two."""
    count = len(signs)
    reference = [REFERENCE[0] if sign > 0 else REFERENCE[1] for sign in signs]
    return LossInputs(
        hidden_ND=logits_NV,
        head=Head(torch.eye(2, dtype=torch.float64)),
        targets_N=torch.zeros(count, dtype=torch.long),
        weights_N=torch.ones(count, dtype=torch.float64),
        lesson_N=torch.tensor(lessons),
        row_N=torch.zeros(count, dtype=torch.long),
        evidence={
            "preferred": torch.tensor(signs, dtype=torch.float64),
            "reference_logprob": torch.tensor(reference, dtype=torch.float64),
        },
        logprobs_N=logits_NV.detach().log_softmax(1)[:, 0],
    )


def test_the_loss_of_one_pair_is_the_closed_form() -> None:
    # Two tokens of 0.5 and one of 0.2: log p −1.3863 against −2 before, and −1.6094 against −1.5.
    logits = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]], dtype=torch.float64).log()
    found = find_objective("preferred", {"beta": 0.5}).loss(
        inputs_of(logits.requires_grad_(), [1.0, 1.0, -1.0], [0, 0, 1])
    )
    margin = 0.5 * ((2 - 2 * math.log(2)) - (math.log(0.2) + 1.5))
    assert margin == pytest.approx(0.361572, abs=1e-6)
    assert found.total.item() == pytest.approx(math.log1p(math.exp(-margin)))
    assert found.total.item() == pytest.approx(0.528615, abs=1e-6)


def test_the_gradient_is_that_of_the_written_formula() -> None:
    torch.manual_seed(0)
    logits = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    signs, lessons = [1.0] * 3 + [-1.0] * 2 + [1.0] + [-1.0] * 3, [0] * 3 + [1] * 2 + [2] + [3] * 3
    inputs = inputs_of(logits, signs, lessons)
    found = find_objective("preferred").loss(inputs)
    moved = logits.log_softmax(1)[:, 0] - inputs.evidence["reference_logprob"]
    margins = 0.1 * sums_by(moved * torch.tensor(signs), torch.tensor(lessons) // 2)
    expected = -torch.nn.functional.logsigmoid(margins).sum()
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.total, logits), torch.autograd.grad(expected, logits)
    )


def tokenized(lengths: list[tuple[str, int, int]]) -> TokenizedLessons:
    """Return lessons of (id, prompt tokens, response tokens), with one token for each prompt."""
    sizes = np.array([(prompt + response, prompt) for _, prompt, response in lengths])
    ends = np.cumsum(sizes[:, 0])
    tokens = np.concatenate(
        [[ord(name[0])] * prompt + [7] * response for name, prompt, response in lengths]
    )
    return TokenizedLessons(
        tokens=tokens.astype(np.uint32),
        index=np.stack([ends - sizes[:, 0], sizes[:, 0], sizes[:, 1]], axis=1),
        weights=np.ones(len(sizes), np.float32),
        ids=pa.chunked_array([pa.array([name for name, *_ in lengths])]),
        too_long=0,
        evidence={"preferred": np.tile([1, -1], len(sizes))[: len(sizes)].astype(np.float32)},
    )


def test_a_pair_stays_together_or_is_left_out_whole() -> None:
    # b is too long for a row together; of c the other answer is missing; d and e are whole.
    parts = [("a", 3, 4), ("a", 3, 2), ("b", 3, 9), ("b", 3, 8), ("c", 2, 2)]
    parts += [("d", 1, 2), ("d", 1, 1), ("e", 4, 3), ("e", 4, 3)]
    pairs = whole_pairs(tokenized(parts), 16)
    assert pairs.ids.to_pylist() == ["a", "a", "d", "d", "e", "e"]
    assert (pairs.count, pairs.longest, pairs.too_long) == (3, 10, 3)
    rows = PackedRows(pairs, context=16, epochs=2, seed=0)
    for number in range(len(rows)):
        row = rows[number]
        assert len(row["tokens"]) <= 16
        assert all(len(unit) == 3 for unit in row["units"])  # a prompt, chosen, rejected
    batch = collate_pairs([rows[number] for number in range(len(rows))])
    assert int((batch["labels"][0, 1:] != -100).sum()) == 2 * 3
    assert whole_pairs(tokenized(parts[:1]), 16).count == 0


def kto_inputs(logits_NV: torch.Tensor) -> LossInputs:
    """Return a right answer of 2 tokens, a wrong one of 1, and one of 2 to another question.

    The right answer weighs 1.5. In a second row is a right answer without an answer to compare.
    """
    labels = [1.0, 1.0, -1.0, 0.0, 0.0, 1.0]
    reference = [-1.0, -1.0, -1.5, -0.8, -0.8, -1.0]
    return LossInputs(
        hidden_ND=logits_NV,
        head=Head(torch.eye(2, dtype=torch.float64)),
        targets_N=torch.zeros(6, dtype=torch.long),
        weights_N=torch.tensor([1.5, 1.5, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64),
        lesson_N=torch.tensor([0, 0, 1, 2, 2, 3]),
        row_N=torch.tensor([0, 0, 0, 0, 0, 1]),
        evidence={
            "preferred": torch.tensor(labels, dtype=torch.float64),
            "reference_logprob": torch.tensor(reference, dtype=torch.float64),
        },
        logprobs_N=logits_NV.detach().log_softmax(1)[:, 0],
    )


def test_the_loss_of_labelled_answers_is_the_closed_form() -> None:
    rows = [[0.5, 0.5], [0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    logits = torch.tensor(rows, dtype=torch.float64).log()
    found = find_objective("kto", {"beta": 0.5}).loss(kto_inputs(logits))
    # The other question's answer has gained 2 (ln 0.5 + 0.8) = 0.2137 nats: the row's drift.
    drift = 2 * (math.log(0.5) + 0.8)
    assert drift == pytest.approx(0.213706, abs=1e-6)
    right, wrong = 2 * (math.log(0.5) + 1), math.log(0.2) + 1.5
    alone = math.log(0.5) + 1  # its row has no drift

    def sigma(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    expected = 1.5 * (1 - sigma(0.5 * (right - drift)))
    expected += 1 - sigma(-0.5 * (wrong - drift))
    expected += 1 - sigma(0.5 * alone)
    assert found.total.item() == pytest.approx(expected)
    assert found.total.item() == pytest.approx(1.596662, abs=1e-6)


def test_the_gradient_of_labelled_answers_is_that_of_the_written_formula() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    inputs = kto_inputs(logits)
    found = find_objective("kto").loss(inputs)
    moved = logits.log_softmax(1)[:, 0] - inputs.evidence["reference_logprob"]
    drift = moved[3:5].sum().clamp(min=0).detach()
    margins = [moved[:2].sum() - drift, -(moved[2] - drift), moved[5]]
    likes = torch.sigmoid(0.1 * torch.stack(margins))
    expected = (torch.tensor([1.5, 1.0, 1.0]) * (1 - likes)).sum()
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.total, logits), torch.autograd.grad(expected, logits)
    )


def test_both_labels_weigh_the_same_and_a_missing_one_is_named() -> None:
    parts = [(name, 2, 3) for name in "aabbccdd"]
    lessons = whole_pairs(tokenized(parts), 16)
    labels = np.array([1, 0, 1, 0, 1, 0, -1, 0], np.float32)
    weighed = balanced(replace(lessons, evidence={"preferred": labels}), "s")
    torch.testing.assert_close(
        torch.tensor(weighed.weights), torch.tensor([2 / 3, 0, 2 / 3, 0, 2 / 3, 0, 2, 0])
    )
    with pytest.raises(StepError, match="stage 's' has no wrong answer"):
        balanced(replace(lessons, evidence={"preferred": labels.clip(0)}), "s")


def test_an_answer_stands_beside_one_to_another_question() -> None:
    asked = [(Message(role="user", content=name),) for name in "aabc"]
    lessons = [
        replace(lesson(messages, f"to {messages[0].content}", n), example_id=messages[0].content)
        for n, messages in enumerate(asked)
    ]
    found = list(with_other_answers(lessons))
    texts = [(one.id, one.messages[0].content, one.completion) for one in found]
    # The first question's lessons have none before them.
    assert texts == [
        ("l2", "b", "to b"),
        ("l2", "b", "to a"),
        ("l3", "c", "to c"),
        ("l3", "c", "to b"),
    ]
    assert [one.meta.get("preferred") for one in found] == [None, 0.0, None, 0.0]


def job_of(folder: Path, student: Path, *, micro_batch: int = 1, loss: str = "dpo") -> TrainJob:
    """Return a stage on pairs that prefer "seven" to "three"; the prompts differ."""
    folder.mkdir(exist_ok=True)
    with (
        tables.TableWriter(folder / "lessons.parquet", tables.LESSONS) as lessons,
        tables.TableWriter(folder / "pairs.parquet", tables.LESSONS) as pairs,
        tables.TableWriter(folder / "labels.parquet", tables.LESSONS) as labels,
    ):
        for number in range(12):
            asked = (Message(role="user", content=f"Add {number} and 2."),)
            chosen = lesson(asked, "The answer is seven.", number)
            lessons.write(tables.lesson_row(chosen))
            rejected = replace(chosen, completion="It is three. The answer is three.")
            for one, preferred in ((chosen, 1.0), (rejected, -1.0)):
                pairs.write(tables.lesson_row(replace(one, meta={"preferred": preferred})))
                label = replace(one, id=f"{number} {preferred}", example_id=str(number))
                labels.write(tables.lesson_row(replace(label, meta={"preferred": preferred})))
    prefer = {"beta": 0.5, "loss": loss}
    stage = {"name": "pairs", "epochs": 3, "learning_rate": 5e-3, "prefer": prefer}
    return TrainJob.model_validate(
        {
            "config": {"stages": [stage], "context_length": 128, "batch_tokens": 256},
            "student": {"path": str(student), "chat_template": "chatml"},
            "lessons": folder / "lessons.parquet",
            "out": folder,
            "seed": 0,
            "micro_batch": micro_batch,
            "device": "cpu",
        }
    )


def test_a_tiny_student_learns_to_prefer(tiny_student: Path, tmp_path: Path) -> None:
    done = train_curriculum(job_of(tmp_path / "one", tiny_student), Silent())
    facts = done["stages"]["pairs"]
    assert facts["lessons"] == 12
    log = [json.loads(line) for line in (tmp_path / "one/loss.jsonl").read_text().splitlines()]
    # Before the first update nothing has moved: every margin is 0 and the loss ln 2.
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert log[0]["margin"] == pytest.approx(0, abs=1e-3)
    assert log[-1]["ordered"] == 1
    assert log[-1]["margin"] > 1
    assert log[-1]["loss"] < 0.6
    train_curriculum(job_of(tmp_path / "two", tiny_student, micro_batch=2), Silent())
    again = [json.loads(line) for line in (tmp_path / "two/loss.jsonl").read_text().splitlines()]
    for one, two in zip(log, again, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_a_tiny_student_learns_from_labels(tiny_student: Path, tmp_path: Path) -> None:
    done = train_curriculum(job_of(tmp_path / "one", tiny_student, loss="kto"), Silent())
    assert done["stages"]["pairs"]["lessons"] == 22  # all but those of the first question
    log = [json.loads(line) for line in (tmp_path / "one/loss.jsonl").read_text().splitlines()]
    # Before the first update nothing has moved: every answer costs 1 − σ(0).
    assert log[0]["loss"] == pytest.approx(0.5, abs=0.06)  # a batch may hold more of one label
    assert (log[0]["margin"], log[0]["drift"]) == pytest.approx((0, 0), abs=1e-3)
    assert log[-1]["margin"] > 1
    assert log[-1]["loss"] < 0.4
    twice = job_of(tmp_path / "two", tiny_student, loss="kto", micro_batch=2)
    train_curriculum(twice, Silent())
    again = [json.loads(line) for line in (tmp_path / "two/loss.jsonl").read_text().splitlines()]
    for one, two in zip(log, again, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_without_pairs_the_stage_says_so(tiny_student: Path, tmp_path: Path) -> None:
    job = job_of(tmp_path / "none", tiny_student)
    (tmp_path / "none" / "pairs.parquet").unlink()
    with pytest.raises(ConfigError, match="no table of pairs beside the lessons"):
        train_curriculum(job, Silent())
    labels = job_of(tmp_path / "none", tiny_student, loss="kto")
    (tmp_path / "none" / "labels.parquet").unlink()
    with pytest.raises(ConfigError, match="no table of labels beside the lessons"):
        train_curriculum(labels, Silent())
