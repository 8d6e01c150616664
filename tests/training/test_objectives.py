"""The objectives door: what a weight does to the loss, and where the numbers come from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import write_recipe
from tests.training.test_training import lesson
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core import registry
from orcinus.core.errors import ConfigError
from orcinus.core.types import Lesson, Message
from orcinus.models.local.chat_format import Chat
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.training import attention
from orcinus.training.batches import PackedRows, collate
from orcinus.training.objectives.weights import AnswerUpweight, LessonWeight, Plain
from orcinus.training.tokens import TokenizedLessons, tokenize_lessons
from orcinus.training.trainer import response_only_forward


def made(number: int, completion: str, weight: float = 1.0, **meta: Any) -> Lesson:
    messages = (Message(role="user", content=f"Question {number}?"),)
    plain = lesson(messages, completion, number=number, weight=weight)
    return Lesson(**{name: getattr(plain, name) for name in plain.__slots__} | {"meta": meta})


LESSONS = [
    made(0, "17 + 25 = 42. The answer is 42.", weight=2.0, difficulty=3, pass_rate=0.0),
    made(1, "Seven, I think", weight=0.5, pass_rate=0.75),
    made(
        2,
        "First this. So the answer is seven and some more.",
        weight=1.0,
        difficulty=5,
        pass_rate=1.0,
    ),
]


@pytest.fixture
def chat(tiny_student: Path) -> Chat:
    return Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="plain")


def tokenized(chat: Chat, folder: Path, *evidence: str) -> TokenizedLessons:
    return tokenize_lessons(
        LESSONS, chat, folder, context=512, truncation="drop", evidence=evidence
    )


def forward(lessons: TokenizedLessons, student: Path, objective: Any) -> Mapping[str, Any]:
    attention.install()
    model: Any = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float64)
    model.set_attn_implementation(attention.NAME)
    rows = PackedRows(lessons, context=512, epochs=1, seed=0)
    batch = collate([rows[i] for i in range(len(rows))])
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    out = response_only_forward(model, **inputs, objective=objective)
    out["loss"].backward()
    return {**out, "batch": batch, "model": model}


def test_the_answers_tokens_are_those_after_its_announcement(chat: Chat, tmp_path: Path) -> None:
    lessons = tokenized(chat, tmp_path, "answer")
    ends = [
        chat.tokenizer.decode(lessons.lesson(i)[0][len(lessons.lesson(i)[0]) - int(n) :])
        for i, n in enumerate(lessons.evidence["answer"])
    ]
    assert ends[0].strip().startswith("42.")
    assert lessons.evidence["answer"][1] == 0
    assert ends[2].strip().startswith("seven")


def test_an_answer_weighs_as_often_as_it_is_said_to(
    chat: Chat, tmp_path: Path, tiny_student: Path
) -> None:
    lessons = tokenized(chat, tmp_path, "answer")
    out = forward(lessons, tiny_student, AnswerUpweight(factor=3.0))
    losses, batch = out["losses"], out["batch"]
    in_answer = batch["evidence"]["answer"].double()
    assert in_answer.sum() == lessons.evidence["answer"].sum()
    expected = (losses * batch["weights"].double() * (1 + 2 * in_answer)).sum()
    assert torch.isclose(out["loss"], expected)


def test_plain_forgets_the_lessons_weights_and_the_default_does_not(
    chat: Chat, tmp_path: Path, tiny_student: Path
) -> None:
    lessons = tokenized(chat, tmp_path)
    out = forward(lessons, tiny_student, Plain())
    assert torch.isclose(out["loss"], out["losses"].sum())
    out = forward(lessons, tiny_student, LessonWeight())
    weights = torch.tensor([LESSONS[int(n)].weight for n in range(3)], dtype=torch.float64)
    assert sorted(set(out["batch"]["weights"].tolist())) == sorted(weights.tolist())
    assert torch.isclose(out["loss"], (out["losses"] * out["batch"]["weights"].double()).sum())


class Hard:
    """One of another package: what the student fails counts more, by a stored number and by what it gives the token now."""

    evidence = ("pass_rate", "difficulty")
    wants_logprobs = True

    def __init__(self) -> None:
        self.seen: dict[str, torch.Tensor] = {}

    def __call__(self, batch: Any, logprobs_N: Any, evidence: Any) -> torch.Tensor:
        self.seen = {**evidence, "logprobs": logprobs_N, "lesson": batch["lesson"]}
        weights: torch.Tensor = (1 - evidence["pass_rate"]) * (1 - logprobs_N.exp())
        return weights

    def auxiliary(self, hidden_ND: torch.Tensor, batch: Any, evidence: Any) -> torch.Tensor:
        return 0.01 * (hidden_ND**2).sum()


def test_an_objective_sees_stored_numbers_and_the_students_own(
    chat: Chat, tmp_path: Path, tiny_student: Path
) -> None:
    objective = Hard()
    out = forward(tokenized(chat, tmp_path, *objective.evidence), tiny_student, objective)
    assert torch.allclose(objective.seen["logprobs"], -out["losses"])
    by_lesson = {
        int(n): objective.seen["pass_rate"][objective.seen["lesson"] == n]
        for n in objective.seen["lesson"]
    }
    assert sorted(float(values[0]) for values in by_lesson.values()) == [0.0, 0.75, 1.0]
    assert all((values == values[0]).all() for values in by_lesson.values())
    assert objective.seen["difficulty"].isnan().any()
    weighted = (
        out["losses"] * (1 - objective.seen["pass_rate"]) * (1 - (-out["losses"]).exp())
    ).sum()
    assert out["loss"] > weighted
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in out["model"].parameters())


def test_a_recipe_names_its_objective(tmp_path: Path) -> None:
    train = {"objective": {"name": "answer_upweight", "settings": {"factor": 2}}}
    assert load_recipe(write_recipe(tmp_path / "a.yaml", train=train)).train.objective.settings == {
        "factor": 2
    }
    with pytest.raises(
        ConfigError,
        match=r"no objectives named 'nothing'; known: answer_upweight, lesson_weight, plain",
    ):
        load_recipe(write_recipe(tmp_path / "b.yaml", train={"objective": {"name": "nothing"}}))
    wrong = {"name": "plain", "settings": {"factor": 2}}
    with pytest.raises(ConfigError, match="cannot be made with"):
        load_recipe(write_recipe(tmp_path / "c.yaml", train={"objective": wrong}))
    assert "plain" in list(registry.objectives)
