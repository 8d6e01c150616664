"""IGA: the masked mean is the closed form's, wordings stay together, tau 0 is a plain stage."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.test_training import lesson

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.types import Message
from orcinus.models.local.chat_format import Chat
from orcinus.runs import tables
from orcinus.runs.context import Silent
from orcinus.training.batches import PackedRows
from orcinus.training.config import TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.distributed import processes
from orcinus.training.invariant import agreed, with_domains
from orcinus.training.job import TrainJob
from orcinus.training.tokens import tokenize_lessons

GRADIENTS = torch.tensor([[1, 2, -1], [1, -2, -1], [1, 0, -2]], dtype=torch.float64)
DOMAINS = ("plain", "shop", "clinic")


@pytest.mark.parametrize(
    ("tau", "scale", "mask"),
    [
        (1.0, "none", (1.0, 0.0695, 0.8007)),
        (5.0, "relative", (1.0, 0.0067, 0.5738)),
        (0.0, "relative", (1.0, 1.0, 1.0)),
    ],
)
def test_the_mean_is_masked_where_domains_disagree(
    tau: float, scale: str, mask: tuple[float, ...]
) -> None:
    mean = GRADIENTS.mean(0)
    found = agreed(GRADIENTS, tau=tau, scale=scale)
    assert found.tolist() == pytest.approx((mean * torch.tensor(mask)).tolist(), abs=1e-4)
    # The second mean is 0, so its mask shows only where the mean is not.
    shifted = agreed(GRADIENTS + torch.tensor([0, 1e-3, 0]), tau=tau, scale=scale)
    assert shifted[1].item() / 1e-3 == pytest.approx(mask[1], abs=1e-3)


def job_of(folder: Path, student: Path, stage: dict[str, Any]) -> TrainJob:
    """Return a stage on six questions in three wordings of equal length."""
    folder.mkdir(exist_ok=True)
    with tables.TableWriter(folder / "lessons.parquet", tables.LESSONS) as writer:
        for number in range(18):
            domain = DOMAINS[number % 3]
            asked = (Message(role="user", content=f"In {domain}: add {number} and 2."),)
            one = lesson(asked, "The answer is seven.", number)
            meta = {"isomer": str(number // 3), "domain": domain}
            writer.write(tables.lesson_row(replace(one, meta=meta)))
    settings = {"name": "one", "epochs": 2, "learning_rate": 0.5, "schedule": "constant", **stage}
    return TrainJob.model_validate(
        {
            "config": {
                "stages": [settings],
                "context_length": 256,
                "max_grad_norm": 100,
                "batch_tokens": 512,
                "share_prompts": False,
            },
            "student": {"path": str(student), "chat_template": "chatml"},
            "lessons": folder / "lessons.parquet",
            "out": folder,
            "seed": 0,
            "micro_batch": 1,
            "device": "cpu",
        }
    )


def test_the_wordings_of_a_question_stay_in_one_row(tiny_student: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    job = job_of(tmp_path, tiny_student, {})
    lessons = list(tables.read_lessons(job.lessons))
    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="chatml")
    tokenized = tokenize_lessons(lessons, chat, tmp_path / "t", context=256, truncation="drop")
    ready = with_domains(tokenized, "one", lessons, 256)
    assert ready.evidence["domain"].tolist() == [1, 2, 0] * 6  # clinic, plain, shop
    rows = PackedRows(ready, context=256, epochs=1, seed=0)
    seen = [set(rows.ids(number, number + 1)) for number in range(len(rows))]
    assert sum(map(len, seen)) == 18
    for first in range(0, 18, 3):
        wordings = {lessons[first + i].id for i in range(3)}
        assert any(wordings <= row for row in seen)
    with pytest.raises(StepError, match=r"its lessons have 1 \(meta.domain\); add e.g. dress"):
        with_domains(tokenized, "one", [replace(one, meta={}) for one in lessons], 256)


def test_with_tau_0_and_equal_domains_a_stage_is_a_plain_one(
    tiny_student: Path, tmp_path: Path
) -> None:
    # In one batch, so that both see the same lessons at each step; Adam would blow up rounding.
    def trained(name: str, stage: dict[str, Any]) -> dict[str, torch.Tensor]:
        job = job_of(tmp_path / name, tiny_student, stage)
        sgd = {"batch_tokens": 4096, "trainer": {"optim": "sgd"}}
        config = job.config.model_copy(update=sgd)
        train_curriculum(job.model_copy(update={"config": config}), Silent())
        return load_file(tmp_path / name / "stage-1" / "model.safetensors")

    plain, same = trained("plain", {}), trained("same", {"invariant": {"tau": 0}})
    masked = trained("masked", {"invariant": {"tau": 5}})
    for name, weights in plain.items():
        torch.testing.assert_close(same[name], weights, atol=2e-5, rtol=1e-4)
    assert any(not torch.equal(masked[name], plain[name]) for name in plain)
    lines = (tmp_path / "masked" / "loss.jsonl").read_text().splitlines()
    log = [json.loads(line) for line in lines]
    assert all(line["domains"] == 3 and 0 < line["kept"] < 1 for line in log)


def test_adapters_and_several_processes_are_refused(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="lora has only its adapters'"):
        TrainConfig.model_validate({"stages": [{"invariant": {}}], "lora": {}})
    job = job_of(tmp_path, tiny_student, {"invariant": {}})
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ConfigError, match="within one process, and this training has 2; start it"):
        train_curriculum(job, Silent())
