"""A training stops between two optimizer steps, says so, and resumes to the same weights."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus
from tests.training.test_exactness import CONFIGS, lessons_of, model_of

from orcinus.core.errors import StepError
from orcinus.runs.context import Silent
from orcinus.training import stopping
from orcinus.training.curriculum import _explain_failure
from orcinus.training.stopping import Stopped
from orcinus.training.trainer import StageSettings, train_stage


class Told(Silent):
    """Progress that keeps the notes, and sets ``stop`` after some optimizer steps."""

    def __init__(self, stop: Event | None = None, after: int = 0) -> None:
        self.notes: list[str] = []
        self._stop, self._left = stop, after

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        self._left -= n
        if self._left == 0 and self._stop is not None:
            self._stop.set()

    def note(self, text: str) -> None:
        if text.startswith("train "):  # others say how the student is trained
            self.notes.append(text)


def trained(folder: Path, told: Told, stop: Event | None = None) -> list[torch.Tensor]:
    folder.mkdir(exist_ok=True)
    model = model_of(CONFIGS["llama"]).float()
    stage = StageSettings(
        name="one",
        context=64,
        rows_per_step=2,
        epochs=1,
        seed=0,
        arguments={"learning_rate": 1e-2, "use_cpu": True},
    )
    train_stage(model, lessons_of(samples=2), stage, folder / "stage", told, stop=stop)
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_a_stopped_training_saves_its_step_and_resumes_there_bit_for_bit(tmp_path: Path) -> None:
    stop = Event()
    cut, again = Told(stop, after=3), Told()
    with pytest.raises(Stopped):
        trained(tmp_path / "cut", cut, stop)
    # The step after the third notices the flag that was set while the third was reported.
    [said] = cut.notes
    assert said.startswith("train one: stopped; it resumes at step 4 of ")
    resumed = trained(tmp_path / "cut", again)
    assert again.notes == [said.replace("stopped; it resumes", "resumes")]
    whole = trained(tmp_path / "whole", Told())
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_a_checkpoint_is_saved_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    class Killed(Told):
        def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
            self._left -= n
            if not self._left:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", Killed(after=3))
    again = Told()
    trained(tmp_path / "cut", again)
    assert "resumes at step 2 of " in again.notes[0]


PROGRAM = """
import asyncio, sys, time
from orcinus.cli.options import Interrupted, interruptible
from orcinus.cli.stopping import StopSignals
from orcinus.pipeline.event_loop import run_coroutine
signals = StopSignals()
signals.install()
async def work():
    try:
        print("ready", flush=True)
        await asyncio.sleep(60)
    finally:
        print("cleaned", flush=True)
        await asyncio.sleep(float(sys.argv[1]))
try:
    with interruptible():
        run_coroutine(work())
except Interrupted:
    print("interrupted", flush=True)
    signals.exit_at_once()
"""


def _heed_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "cleaning", "times", "code", "printed"),
    [
        (signal.SIGINT, 0, 1, 130, ["cleaned", "interrupted"]),
        (signal.SIGTERM, 0, 1, 143, ["cleaned", "interrupted"]),
        (signal.SIGHUP, 0, 1, 129, ["cleaned", "interrupted"]),
        (signal.SIGINT, 60, 2, 130, ["cleaned"]),
    ],
    ids=["ctrl-c", "sigterm", "sighup", "ctrl-c twice"],
)
def test_a_signal_stops_in_order_and_a_second_one_at_once(
    number: int, cleaning: float, times: int, code: int, printed: list[str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(cleaning)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job ignores Ctrl-C, and under nohup the hang-up, and so would all it starts.
        preexec_fn=_heed_signals,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.3)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out.split()) == (code, printed), err
    assert "Traceback" not in err


def interrupted_run(folder: Path, *flags: str, number: int) -> str:
    """Send a signal to a run at its fourth optimizer step; return what it said."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = orcinus("run", "recipe.yaml", "--until", "train", *flags, cwd=folder, wait=False)
    while process.poll() is None and len(steps_done(folder)) < 14:
        time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    expected = -signal.SIGKILL if number == signal.SIGKILL else 128 + number
    assert process.returncode == expected, said
    return str(said)


def steps_done(folder: Path) -> list[Any]:
    logs = list(folder.glob("runs/small/train-*/loss.jsonl"))
    return [json.loads(line) for log in logs for line in log.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_recipe(folder / "recipe.yaml", train=TRAIN)
    done = orcinus("run", "recipe.yaml", "--until", "train", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


TRAIN = {
    "context_length": 128,
    "batch_tokens": 512,
    "trainer": {"save_steps": 5},
    "stages": [{"name": "one", "epochs": 4, "learning_rate": 0.003}],
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_stopped_in_its_training_ends_with_the_same_weights(
    whole_run: Path, tmp_path: Path, number: int
) -> None:
    write_recipe(tmp_path / "recipe.yaml", train=TRAIN)
    said = interrupted_run(tmp_path, number=number)
    if number != signal.SIGKILL:
        assert "train one: stopped; it resumes at step 1" in said
    done = orcinus("run", "recipe.yaml", "--until", "train", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train one: resumes at step 1" in done.stderr
    a, b = (
        load_file(next(folder.glob("runs/small/train-*/stage-1/model.safetensors")))
        for folder in (whole_run, tmp_path)
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_processes_that_train_together_stop_at_the_same_step(tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", train=TRAIN)
    said = interrupted_run(tmp_path, "--processes", "2", number=signal.SIGINT)
    assert "train one: stopped; it resumes at step" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_workers_end_when_the_run_is_killed(tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", train=TRAIN)
    interrupted_run(tmp_path, "--processes", "2", number=signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (left := workers_of(tmp_path)):
        time.sleep(0.2)
    assert left == []


def workers_of(folder: Path) -> list[str]:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if f"{folder}/runs" in line]


@pytest.mark.parametrize("damaged", ["trainer_state.json", "model.safetensors", "optimizer.pt"])
def test_a_checkpoint_that_a_loss_of_power_cut_off_is_not_used(
    damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    stop, again = Event(), Told()
    with pytest.raises(Stopped):
        trained(tmp_path / "cut", Told(stop, after=3), stop)
    [last] = tmp_path.glob(f"cut/*/trainer/checkpoint-4/{damaged}")
    last.write_bytes(last.read_bytes()[:100])
    trained(tmp_path / "cut", again)
    assert "resumes at step 3 of" in again.notes[0]


def test_too_little_memory_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    for error in (torch.OutOfMemoryError("CUDA"), RuntimeError("you can't allocate memory")):
        with pytest.raises(StepError, match="give --micro-batch 1, lower train"):
            with _explain_failure(tmp_path / "stage-1", 4):
                raise error
