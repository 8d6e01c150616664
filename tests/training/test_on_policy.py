"""On-policy distillation: the divergence is PyTorch's, and a tiny student nears a tiny teacher."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus
from tests.training.test_training import lesson
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import ConfigError
from orcinus.core.types import Message
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.runs import tables
from orcinus.runs.context import Silent
from orcinus.runs.folders import finished_steps
from orcinus.training import divergence
from orcinus.training.config import OnPolicyConfig, StageConfig, TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.divergence import reverse_kl
from orcinus.training.head import Head
from orcinus.training.job import TrainJob
from orcinus.training.objectives.interface import Predictions
from orcinus.training.on_policy import check_vocabulary

QUESTIONS = [
    (Message(role="user", content=f"Add {number} and {number + 1}."),) for number in range(24)
]


@pytest.mark.parametrize("caps", [(None, None), (5.0, 3.0)])
def test_the_chunked_divergence_is_pytorchs(
    caps: tuple[float | None, float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "CHUNK_LOGITS", 150)
    torch.manual_seed(0)
    hidden, weight = (
        torch.randn(17, 6, dtype=torch.float64, requires_grad=True),
        torch.randn(50, 6, dtype=torch.float64),
    )
    weight.requires_grad_()
    theirs, their_weight = (
        torch.randn(17, 9, dtype=torch.float64),
        torch.randn(50, 9, dtype=torch.float64),
    )

    def logprobs(h: torch.Tensor, w: torch.Tensor, cap: float | None) -> torch.Tensor:
        logits = h @ w.T
        return (logits if cap is None else cap * torch.tanh(logits / cap)).log_softmax(1)

    expected = torch.nn.functional.kl_div(
        logprobs(theirs, their_weight, caps[1]),
        logprobs(hidden, weight, caps[0]),
        log_target=True,
        reduction="none",
    ).sum(1)
    found = reverse_kl(
        Predictions(hidden, Head(weight, caps[0])), Predictions(theirs, Head(their_weight, caps[1]))
    )
    torch.testing.assert_close(found, expected)
    targets = torch.arange(17)
    torch.testing.assert_close(
        Predictions(hidden, Head(weight, caps[0])).logprobs(targets),
        logprobs(hidden, weight, caps[0]).gather(1, targets[:, None])[:, 0].detach(),
    )
    wanted = torch.autograd.grad(expected.sum(), (hidden, weight))
    got = torch.autograd.grad(found.sum(), (hidden, weight))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.fixture(scope="module")
def pair(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return (student, teacher): one has begun to learn an answer, the other knows it."""
    made = []
    for name, epochs in (("student", 6.0), ("teacher", 30.0)):
        folder = tmp_path_factory.mktemp(name)
        stage = StageConfig(epochs=epochs, learning_rate=1e-2)
        config = TrainConfig(stages=(stage,), context_length=128, batch_tokens=512)
        train(config, tiny_student, written(folder, "The answer is seven."), folder)
        made.append(folder / "stage-1")
    return made[0], made[1]


def written(folder: Path, completion: str) -> Path:
    path = folder / "lessons.parquet"
    with tables.TableWriter(path, tables.LESSONS) as writer:
        for number, question in enumerate(QUESTIONS):
            writer.write(tables.lesson_row(lesson(question, completion, number)))
    return path


def train(config: TrainConfig, student: Path, lessons: Path, out: Path) -> dict[str, Any]:
    job = TrainJob(
        config=config,
        student=LocalConfig(path=str(student), chat_template="chatml"),
        lessons=lessons,
        out=out,
        seed=0,
        micro_batch=1,
        device="cpu",
    )
    return train_curriculum(job, Silent())


def agreement(student: Path, teacher: Path) -> float:
    """Return the student's mean probability of the tokens of the teacher's answer."""
    chat = Chat(AutoTokenizer.from_pretrained(teacher), fallback="chatml")
    model = AutoModelForCausalLM.from_pretrained(student)
    total = []
    for question in QUESTIONS[:6]:
        tokens, prompt = chat.lesson(question, "The answer is seven.")
        with torch.no_grad():
            probabilities = model(torch.tensor([tokens])).logits[0, prompt - 1 : -1].softmax(1)
        total.append(probabilities.gather(1, torch.tensor(tokens[prompt:])[:, None]).mean())
    return float(torch.stack(total).mean())


@pytest.mark.parametrize(
    ("lora", "loss_left", "gain"),
    [
        pytest.param(None, 0.7, 2.0, id="full"),
        # adapters of one small layer learn little, from texts as well
        pytest.param({"rank": 8, "alpha": 32.0}, 0.97, 1.0, id="lora", marks=pytest.mark.slow),
    ],
)
def test_a_student_learns_from_the_teachers_probabilities_alone(
    pair: tuple[Path, Path], tmp_path: Path, lora: Any, loss_left: float, gain: float
) -> None:
    student, teacher = pair
    on = OnPolicyConfig(teacher=LocalConfig(path=str(teacher)), max_tokens=12)
    stage = StageConfig(epochs=12, learning_rate=1e-2, on_policy=on)
    config = TrainConfig.model_validate(
        {"stages": (stage,), "context_length": 128, "batch_tokens": 256, "lora": lora}
    )
    facts = train(config, student, written(tmp_path, "never learnt"), tmp_path)["stages"]["lessons"]
    assert facts["last_loss"] < loss_left * facts["first_loss"]
    assert agreement(student, teacher) < 0.2
    assert agreement(tmp_path / "stage-1", teacher) > gain * agreement(student, teacher)
    assert agreement(teacher, teacher) > 0.8


def test_another_vocabulary_is_refused(tiny_student: Path) -> None:
    mine: Any = AutoTokenizer.from_pretrained(tiny_student)
    theirs: Any = AutoTokenizer.from_pretrained(tiny_student)
    check_vocabulary(mine, theirs)
    theirs.add_tokens(["surprise"])
    with pytest.raises(ConfigError, match=r"the vocabularies differ .* e.g. \('surprise'"):
        check_vocabulary(mine, theirs)


@pytest.mark.slow
def test_a_recipe_may_end_with_a_stage_on_policy(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.yaml")
    assert orcinus("run", path, "--until", "student", cwd=tmp_path).returncode in (0, 2)
    assert orcinus("run", path, "--until", "train", cwd=tmp_path).returncode == 0
    made = finished_steps(tmp_path / "runs" / "small", "train")[0] / "stage-1"
    stages = [
        {"name": "lessons", "epochs": 1, "learning_rate": 0.003},
        {
            "name": "on policy",
            "epochs": 1,
            "learning_rate": 0.001,
            "on_policy": {
                "teacher": {"kind": "local", "path": str(made.relative_to(tmp_path))},
                "max_tokens": 8,
            },
        },
    ]
    write_recipe(path, train={"context_length": 128, "batch_tokens": 512, "stages": stages})
    done = orcinus("run", path, "--until", "train", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs" / "small").glob("train-*/stage-2/model.safetensors"))
