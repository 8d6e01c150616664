"""Outcome RL: rewards and advantages are the closed forms', and a small stage resumes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import write_recipe
from tests.training.test_training import lesson

from orcinus.core.errors import ConfigError
from orcinus.core.registry import register
from orcinus.core.types import Attempt, Example, Message, Verdict
from orcinus.models.local.config import LocalConfig
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import tables
from orcinus.runs.context import Silent
from orcinus.training.config import TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.head import Head
from orcinus.training.job import TrainJob
from orcinus.training.objectives import LossInputs, find_objective
from orcinus.training.objectives.interface import Predictions
from orcinus.training.outcomes import advantages, length_reward, phi4_reward, repetition


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ((1, 1, 0, 0), (1, 1, -1, -1)),
        ((1, 0, 0, 0), (1.7320, -0.5773, -0.5773, -0.5773)),
        ((1, 1, 1), (0, 0, 0)),
    ],
)
def test_an_answer_gains_by_what_it_is_better_than_its_group(
    rewards: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert advantages(rewards) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("right", "length", "expected"),
    [
        (True, 10_000, 1.0),
        (True, 25_600, 1.0),
        (True, 28_672, 0.75),
        (True, 31_744, 0.5),
        (False, 0, -1.0),
        (False, 1_851, -0.75),
        (False, 3_702, -0.5),
        (False, 9_000, -0.5),
    ],
)
def test_the_reward_by_length_is_the_closed_form(right: bool, length: int, expected: float) -> None:
    found = length_reward(right, length, longest=31_744, long=25_600, short=3_702)
    assert found == pytest.approx(expected)


def test_a_broken_a_cut_off_and_a_repeated_answer_lose() -> None:
    def reward(**changes: Any) -> float:
        usual = {"right": True, "tokens": range(9), "finished": True, "broken": False}
        return phi4_reward(**{**usual, "longest": 100, **changes})

    assert reward() == pytest.approx(8 / 13)
    assert reward(finished=False) == pytest.approx(-4 / 13)
    assert reward(broken=True) == pytest.approx(-8 / 13)
    assert repetition([7] * 10) == pytest.approx(1 / 6 - 1)
    assert reward(tokens=[7] * 10) == pytest.approx((8 + 1 / 6 - 1) / 13)
    assert repetition([1, 2]) == 0


@pytest.mark.parametrize("kl", [0.0, 0.5])
def test_one_token_each_of_two_answers_moves_the_logits_apart(kl: float) -> None:
    logits = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    head = Head(torch.eye(2, dtype=torch.float64))
    inputs = LossInputs(
        hidden_ND=logits,
        head=head,
        targets_N=torch.tensor([0, 1]),
        weights_N=torch.tensor([1.0, -1.0], dtype=torch.float64),
        lesson_N=torch.tensor([0, 1]),
        row_N=torch.tensor([0, 1]),
        teacher=Predictions(torch.zeros(2, 2, dtype=torch.float64), head),
    )
    found = find_objective("outcome", {"kl": kl}).loss(inputs)
    (found.total / 2).backward()
    assert logits.grad is not None
    # Both answers have the same prompt, so the gradients of their logits add up.
    assert logits.grad.sum(0).tolist() == pytest.approx([-0.5, 0.5])


async def has_even_length(example: Example, attempt: Attempt) -> Verdict:
    """Call every other answer right, and one that is empty none."""
    value = float(len(attempt.text) % 2 == 0) if attempt.text else None
    return Verdict(
        attempt_id=attempt.id, verifier="even@1", value=value, answer=attempt.text, reason="length"
    )


def job_of(folder: Path, student: Path, **trainer: Any) -> TrainJob:
    folder.mkdir(exist_ok=True)
    with (
        tables.TableWriter(folder / "lessons.parquet", tables.LESSONS) as lessons,
        tables.TableWriter(folder / "examples.parquet", tables.EXAMPLES) as examples,
    ):
        for number in range(6):
            prompt, meta = f"Add {number} 2.", {"verifier": "even"}
            asked = (Message(role="user", content=prompt),)
            row = tables.lesson_row(lesson(asked, "The answer is 3.", number))
            lessons.write({**row, "example_id": str(number)})
            example = Example(
                id=str(number), task="t", prompt=prompt, answer_type="number", meta=meta
            )
            examples.write(tables.example_row(example, "teach"))
    reinforce = {"samples": 4, "max_tokens": 5, "kl": 0.01}
    stage = {"name": "outcome", "epochs": 2, "learning_rate": 1e-2, "reinforce": reinforce}
    config = {
        "stages": [stage],
        "context_length": 64,
        "batch_tokens": 64,
        "trainer": trainer,
    }
    return TrainJob(
        config=TrainConfig.model_validate(config),
        student=LocalConfig(path=str(student), chat_template="chatml"),
        lessons=folder / "lessons.parquet",
        examples=folder / "examples.parquet",
        out=folder,
        seed=0,
        micro_batch=1,
        device="cpu",
    )


@pytest.mark.usefixtures("own_extensions")
def test_a_stage_keeps_every_answer_with_its_verdict_and_resumes(
    tiny_student: Path, tmp_path: Path
) -> None:
    register("verifier", "even")(has_even_length)
    facts = train_curriculum(job_of(tmp_path / "a", tiny_student), Silent())
    steps = facts["stages"]["outcome"]["optimizer_steps"]
    rows = list(tables.read_rows(tmp_path / "a" / "attempts-stage-1.parquet"))
    assert len(rows) == 2 * 6 * 4
    assert {row["optimizer_step"] for row in rows} == set(range(steps))
    for row in rows:
        assert row["reward"] == (row["value"] or 0.0)
        assert row["tokens_out"] <= 5
    for start in range(0, len(rows), 4):
        group = rows[start : start + 4]
        gains = advantages([row["reward"] for row in group])
        assert [row["advantage"] for row in group] == pytest.approx(gains)
    logged = [json.loads(line) for line in (tmp_path / "a" / "loss.jsonl").read_text().splitlines()]
    assert all(0 <= line["dead"] <= 1 and line["answer_tokens"] <= 5 for line in logged)

    cut = job_of(tmp_path / "b", tiny_student, save_steps=1)
    with pytest.raises(RuntimeError):
        train_curriculum(cut, _Fails(after=steps // 2))
    train_curriculum(cut, Silent())
    again = list(tables.read_rows(tmp_path / "b" / "attempts-stage-1.parquet"))
    assert [row["text"] for row in again] == [row["text"] for row in rows]


class _Fails(Silent):
    """Progress that ends the training after some optimizer steps."""

    def __init__(self, after: int) -> None:
        self._left = after

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        self._left -= n
        if self._left == 0:
            raise RuntimeError("killed")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"tasks": [{"path": "mine.jsonl", "unlabelled": True}]},
            "needs a signal from outside, and mine.jsonl has no right answers",
        ),
        (
            {
                "tasks": [{"path": "mine.jsonl", "verifier": "judge"}],
                "judge": {"kind": "local", "path": "base"},
                "student": {"kind": "local", "path": "base"},
            },
            "but the student itself judges mine.jsonl",
        ),
    ],
)
def test_verdicts_of_a_model_are_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "1 + 1?"}\n')
    train: dict[str, Any] = {"stages": [{"reinforce": {}}]}
    with pytest.raises(ConfigError) as caught:
        load_recipe(write_recipe(tmp_path / "r.yaml", train=train, **changes))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ({"reinforce": {"samples": 1}}, "greater than or equal to 2"),
        (
            {
                "reinforce": {},
                "on_policy": {"teacher": "self", "under": "assigned", "own": 0.5},
            },
            "has on_policy and reinforce",
        ),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, stage: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write_recipe(tmp_path / "r.yaml", train={"stages": [stage]}))
    assert says in str(caught.value)
