"""Several processes leave the same student as one; sharded weights come out whole.

A failure in a worker is one line for the user.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus
from tests.training.test_training import lesson

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.registry import current_folder, recipe_folder
from orcinus.core.types import Message
from orcinus.models.local.config import LocalConfig
from orcinus.runs import tables
from orcinus.runs.context import Silent
from orcinus.training.config import StageConfig, TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.distributed.launch import launch
from orcinus.training.job import TrainJob


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    path = tmp_path / "lessons.parquet"
    with tables.TableWriter(path, tables.LESSONS) as writer:
        for number in range(40):
            question = (Message(role="user", content=f"Add {number} and 1."),)
            writer.write(
                tables.lesson_row(lesson(question, f"The answer is {number + 1}.", number))
            )
    return path


def job(student: Path, lessons: Path, out: Path, *, lora: bool = False, **trainer: Any) -> TrainJob:
    out.mkdir()
    return TrainJob(
        config=TrainConfig.model_validate(
            {
                "stages": (
                    StageConfig(epochs=2, learning_rate=0.1),
                    StageConfig(name="more", epochs=1, learning_rate=0.1),
                ),
                "context_length": 64,
                "batch_tokens": 256,
                "max_grad_norm": 1e9,
                "lora": {"rank": 4} if lora else None,
                "trainer": {"optim": "sgd", **trainer},
            }
        ),
        student=LocalConfig(path=str(student), chat_template="chatml"),
        lessons=lessons,
        out=out,
        seed=0,
        micro_batch=1,
        device="cpu",
    )


class Told(Silent):
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.started = asyncio.Event()

    def start(self, what: str, total: int | None) -> None:
        self.events.append((what, total))
        self.started.set()

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        self.events.append("step")


def together(job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[Any]]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told = Told()
    result = asyncio.run(launch(job, processes=2, progress=told))
    return result, told.events


FSDP = {
    "fsdp": "full_shard auto_wrap",
    "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]},
}


@pytest.mark.parametrize(
    ("lora", "trainer"),
    [
        pytest.param(False, {}, id="replicated"),
        pytest.param(False, FSDP, id="sharded", marks=pytest.mark.slow),
        pytest.param(True, FSDP, id="sharded, lora", marks=pytest.mark.slow),
    ],
)
def test_two_processes_leave_what_one_leaves(
    tiny_student: Path,
    lessons: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    lora: bool,
    trainer: dict[str, Any],
) -> None:
    one, two = (
        job(tiny_student, lessons, tmp_path / "one", lora=lora),
        job(tiny_student, lessons, tmp_path / "two", lora=lora, **trainer),
    )
    expected = train_curriculum(one, Silent())
    found, told = together(two, monkeypatch)
    assert told[0][0] == "train lessons"
    assert told.count("step") == sum(
        stage["optimizer_steps"] for stage in expected["stages"].values()
    )
    assert found["model"] == expected["model"] == "stage-2"
    for name, stage in expected["stages"].items():
        assert found["stages"][name]["last_loss"] == pytest.approx(stage["last_loss"], rel=1e-4)
    a, b = (load_file(tmp_path / name / "stage-2" / "model.safetensors") for name in ("one", "two"))
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)
    before = load_file(tiny_student / "model.safetensors")
    assert any(not torch.equal(before[name], b[name]) for name in before)
    assert (tmp_path / "two" / "stage-2" / "tokenizer.json").exists()
    assert (tmp_path / "two" / "stage-2" / "adapter").exists() == lora


def test_a_worker_finds_an_objective_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def loss(inputs): ...", encoding="utf-8")
    with recipe_folder(tmp_path):
        config = TrainConfig.model_validate({"objective": {"name": "beside:loss"}})
        plain = job(tmp_path / "student", tmp_path / "lessons.parquet", tmp_path / "out")
        path = plain.model_copy(update={"config": config, "modules": current_folder()}).write()
    program = (
        "import sys; from orcinus.training.job import *; print(TrainJob.read(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "beside:loss" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_mistake_of_the_users_is_told_as_in_one_process(
    tiny_student: Path, lessons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = job(tiny_student, lessons, tmp_path / "a", nonsense=True)
    with pytest.raises(
        ConfigError,
        match=r"train.trainer.nonsense: Hugging Face's TrainingArguments has no such field",
    ):
        together(wrong, monkeypatch)


def test_workers_that_die_are_told_of(
    tiny_student: Path, lessons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = job(tiny_student, lessons, tmp_path / "a")
    monkeypatch.setattr(
        "orcinus.training.distributed.launch.command",
        lambda path, processes: ["-c", "import sys; sys.exit('no memory')"],
    )
    with pytest.raises(StepError, match="ended without a result; their last words: no memory"):
        together(good, monkeypatch)


@pytest.mark.slow
def test_an_interrupt_leaves_no_worker_behind(
    tiny_student: Path, lessons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    async def interrupted() -> None:
        told = Told()
        running = launch(job(tiny_student, lessons, tmp_path / "a"), processes=2, progress=told)
        task = asyncio.create_task(running)
        started = asyncio.create_task(told.started.wait())
        # A launch that fails must end the test, not leave it waiting.
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _runs(path, str(tmp_path / "a" / "job.json"))
    ]
    assert left == []


def _runs(path: Path, text: str) -> bool:
    try:
        return (
            text in path.read_text(encoding="utf-8", errors="replace")
            and int(path.parent.name) != os.getpid()
        )
    except OSError:
        return False


@pytest.mark.slow
def test_a_run_in_two_processes_and_the_command_for_two_machines(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml")
    early = orcinus("plan", recipe, "--nodes", "2", cwd=tmp_path)
    assert "first `orcinus run RECIPE --until erase`" in " ".join(early.stdout.split())
    assert orcinus("run", recipe, "--until", "erase", cwd=tmp_path).returncode == 0
    planned = orcinus("plan", recipe, "--nodes", "2", "--processes", "8", cwd=tmp_path)
    assert "--nnodes 2" in " ".join(planned.stdout.split())
    [written] = (tmp_path / "runs" / "small").glob("train-*/job.json")
    assert json.loads(written.read_bytes())["config"]["context_length"] == 128
    done = orcinus("run", recipe, "--until", "train", "--processes", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs" / "small").glob("train-*/stage-1/model.safetensors"))
