"""Objectives: what a weight does to the loss, and where the numbers come from."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import write_recipe
from tests.training.test_exactness import CONFIGS, lessons_of, model_of
from tests.training.test_training import lesson
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import ConfigError
from orcinus.core.registry import register
from orcinus.core.types import Lesson, Message
from orcinus.models.local.chat_format import Chat
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs.context import Silent
from orcinus.training import attention
from orcinus.training.batches import PackedRows, collate
from orcinus.training.forward import response_only_forward
from orcinus.training.objectives import (
    LossInputs,
    LossOutput,
    Needs,
    Objective,
    find_objective,
    weighted,
)
from orcinus.training.tokens import TokenizedLessons, tokenize_lessons
from orcinus.training.trainer import StageSettings, train_stage


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


def forward(lessons: TokenizedLessons, student: Path, objective: Objective) -> Mapping[str, Any]:
    attention.install()
    model: Any = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float64)
    model.set_attn_implementation(attention.NAME)
    rows = PackedRows(lessons, context=512, epochs=1, seed=0)
    batch = collate([rows[i] for i in range(len(rows))])
    out = response_only_forward(model, batch, objective)
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
    out = forward(lessons, tiny_student, find_objective("answer_upweight", {"factor": 3.0}))
    losses, batch = out["losses"], out["batch"]
    in_answer = batch["evidence"]["answer"].double()
    assert in_answer.sum() == lessons.evidence["answer"].sum()
    expected = (losses * batch["weights"].double() * (1 + 2 * in_answer)).sum()
    assert torch.isclose(out["loss"], expected)


def test_plain_forgets_the_lessons_weights_and_the_default_does_not(
    chat: Chat, tmp_path: Path, tiny_student: Path
) -> None:
    lessons = tokenized(chat, tmp_path)
    out = forward(lessons, tiny_student, find_objective("plain"))
    assert torch.isclose(out["loss"], out["losses"].sum())
    out = forward(lessons, tiny_student, find_objective("lesson_weight"))
    weights = torch.tensor([LESSONS[int(n)].weight for n in range(3)], dtype=torch.float64)
    assert sorted(set(out["batch"]["weights"].tolist())) == sorted(weights.tolist())
    assert torch.isclose(out["loss"], (out["losses"] * out["batch"]["weights"].double()).sum())


def test_an_objective_sees_stored_numbers_and_the_students_own(
    chat: Chat, tmp_path: Path, tiny_student: Path
) -> None:
    seen: list[LossInputs] = []

    def hard(inputs: LossInputs) -> LossOutput:
        """Count what the student fails more, by its own probability and by a stored number."""
        seen.append(inputs)
        assert inputs.logprobs_N is not None
        weights_N = (1 - inputs.evidence["pass_rate"]) * (1 - inputs.logprobs_N.exp())
        out = weighted(inputs, weights_N)
        return replace(out, total=out.total + 0.01 * (inputs.hidden_ND**2).sum())

    needs = Needs(lesson_numbers=("pass_rate", "difficulty"), logprobs=True)
    lessons = tokenized(chat, tmp_path, *needs.evidence)
    out = forward(lessons, tiny_student, Objective(function=hard, needs=needs))
    (inputs,) = seen
    assert inputs.logprobs_N is not None
    assert torch.allclose(inputs.logprobs_N, -out["losses"])
    pass_rate = inputs.evidence["pass_rate"]
    by_lesson = {int(n): pass_rate[inputs.lesson_N == n] for n in inputs.lesson_N}
    assert sorted(float(values[0]) for values in by_lesson.values()) == [0.0, 0.75, 1.0]
    assert all((values == values[0]).all() for values in by_lesson.values())
    assert inputs.evidence["difficulty"].isnan().any()
    cross_entropy = (out["losses"] * (1 - pass_rate) * (1 - (-out["losses"]).exp())).sum()
    own_term = 0.01 * (inputs.hidden_ND.detach() ** 2).sum()
    assert torch.isclose(out["loss"], cross_entropy + own_term)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in out["model"].parameters())


def test_no_gradient_flows_into_weights(chat: Chat, tmp_path: Path, tiny_student: Path) -> None:
    def by_length_of_state(inputs: LossInputs) -> LossOutput:
        return weighted(inputs, inputs.hidden_ND.norm(dim=1))

    def by_constant(inputs: LossInputs) -> LossOutput:
        return weighted(inputs, inputs.hidden_ND.detach().norm(dim=1))

    lessons = tokenized(chat, tmp_path)
    models = [
        forward(lessons, tiny_student, Objective(function=function))["model"]
        for function in (by_length_of_state, by_constant)
    ]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_what_is_prepared_before_an_optimizer_step_reaches_its_micro_batches(
    tmp_path: Path,
) -> None:
    prepared: list[tuple[int, dict[str, Any], int]] = []
    seen: list[int] = []

    def before_step(model: Any, step: int, last: Any, *, every: int) -> dict[str, int]:
        prepared.append((step, dict(last), every))
        assert not torch.isnan(next(model.parameters())).any()
        return {"step": step}

    def loss(inputs: LossInputs, *, every: int) -> LossOutput:
        seen.append(inputs.prepared["step"])
        return weighted(inputs, inputs.weights_N)

    objective = Objective(
        function=loss, needs=Needs(before_step=before_step), settings={"every": 2}
    )
    stage = StageSettings(
        name="s",
        context=64,
        rows_per_step=4,
        micro_batch=2,
        epochs=1,
        seed=0,
        objective=objective,
        arguments={"use_cpu": True, "save_strategy": "no", "max_steps": 3},
    )
    train_stage(model_of(CONFIGS["llama"]), lessons_of(samples=3), stage, tmp_path / "s", Silent())
    assert prepared == [(0, {}, 2), (1, {"step": 0}, 2), (2, {"step": 1}, 2)]
    assert seen == [0, 0, 1, 1, 2, 2]


def test_training_leaves_the_models_own_forward_alone(tmp_path: Path) -> None:
    model = model_of(CONFIGS["llama"]).float()
    tokens = torch.arange(3, 20)[None]
    stage = StageSettings(
        name="s",
        context=64,
        rows_per_step=2,
        epochs=1,
        seed=0,
        arguments={"use_cpu": True, "save_strategy": "no", "max_steps": 1, "learning_rate": 0.0},
    )
    before = model.eval()(input_ids=tokens).logits
    train_stage(model, lessons_of(samples=3), stage, tmp_path / "s", Silent())
    assert torch.equal(model.eval()(input_ids=tokens).logits, before)
    assert "forward" not in vars(model)
    assert type(model).__name__ == "LlamaForCausalLM"


def test_a_recipe_names_its_objective(tmp_path: Path) -> None:
    train = {"objective": {"name": "answer_upweight", "settings": {"factor": 2}}}
    assert load_recipe(write_recipe(tmp_path / "a.yaml", train=train)).train.objective.settings == {
        "factor": 2
    }
    with pytest.raises(
        ConfigError,
        match=r"no objective named 'nothing'; known: anchored, answer_upweight, dft, ",
    ):
        load_recipe(write_recipe(tmp_path / "b.yaml", train={"objective": {"name": "nothing"}}))
    wrong = {"name": "plain", "settings": {"factor": 2}}
    with pytest.raises(ConfigError, match=r"objective 'plain': .*'factor'; it has no settings"):
        load_recipe(write_recipe(tmp_path / "c.yaml", train={"objective": wrong}))


def test_an_objective_of_ones_own_is_registered_with_what_it_needs() -> None:
    needs = Needs(lesson_numbers=("pass_rate",))

    @register("objective", "test_harder", needs=needs)
    def harder(inputs: LossInputs, *, power: float = 1.0) -> LossOutput:
        return weighted(inputs, (1 - inputs.evidence["pass_rate"]) ** power)

    objective = find_objective("test_harder", {"power": "2"})
    plain = replace(objective, function=inspect.unwrap(objective.function))
    assert plain == Objective(function=harder, needs=needs, settings={"power": 2.0})
    with pytest.raises(ConfigError, match=r"test_harder\.power: Input should be a valid number"):
        find_objective("test_harder", {"power": "much"})


class Old:
    """An objective as it was before 0.2: a class, or a factory, of what weighs tokens."""

    def __call__(self, batch: Any, logprobs_N: Any, evidence: Any) -> Any:
        return batch["weights"]


def old(factor: float = 3.0) -> Old:
    return Old()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Old", r"'tests.training.test_objectives:Old' is a class; it must be \(inputs, "),
        ("old", r"takes \(factor: float = 3.0\).*; its first parameter must be the inputs"),
    ],
)
def test_an_objective_of_the_old_shape_is_refused_in_one_line(
    name: str, message: str, tmp_path: Path
) -> None:
    train = {"objective": {"name": f"tests.training.test_objectives:{name}"}}
    with pytest.raises(ConfigError, match=message):
        load_recipe(write_recipe(tmp_path / "a.yaml", train=train))


def test_a_number_that_no_token_has_is_refused() -> None:
    @register("objective", "test_valid", needs=Needs(token_numbers=("surprise",)))
    def valid(inputs: LossInputs) -> LossOutput:
        return weighted(inputs, inputs.evidence["surprise"])

    with pytest.raises(ConfigError, match="needs the number 'surprise' of each token"):
        find_objective("test_valid")


def test_a_teachers_objective_needs_a_teacher(tmp_path: Path) -> None:
    train = {"objective": {"name": "reverse_kl"}}
    with pytest.raises(ConfigError, match="needs a teacher's probabilities, but stage 'lessons'"):
        load_recipe(write_recipe(tmp_path / "a.yaml", train=train))


def test_an_objective_that_returns_weights_is_told_what_to_return() -> None:
    def weights(inputs: LossInputs) -> Any:
        return torch.ones(3)

    objective = Objective(function=weights)
    with pytest.raises(ConfigError, match=r"returned Tensor; it must return LossOutput\(total=…"):
        objective.loss(None)  # type: ignore[arg-type]
