"""An interrupted stage resumes with the same losses, and two processes learn what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.test_exactness import CONFIGS, lessons_of, model_of

from orcinus.runs.context import Silent
from orcinus.training.trainer import StageSettings, train_stage

REPOSITORY = Path(__file__).parents[2]


class _Killed(Exception):
    pass


class _KilledAfter(Silent):
    """Progress that ends the training after some optimizer steps; None lets it finish."""

    def __init__(self, steps: int | None) -> None:
        self._left = steps

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        if self._left is not None:
            self._left -= n
            if self._left == 0:
                raise _Killed


def trained(folder: Path, *, stop_after: int | None = None, **arguments: Any) -> list[torch.Tensor]:
    """Return the weights after a stage in ``folder``, interrupted after ``stop_after`` steps."""
    folder.mkdir(exist_ok=True)
    model = model_of(CONFIGS["llama"]).float()
    stage = StageSettings(
        name="s",
        context=64,
        rows_per_step=2,
        epochs=2,
        seed=0,
        arguments={"learning_rate": 1e-2, "use_cpu": True, "save_steps": 4, **arguments},
    )
    train_stage(model, lessons_of(samples=4), stage, folder / "stage", _KilledAfter(stop_after))
    return [parameter.detach().clone() for parameter in model.parameters()]


def losses(folder: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    return {row["optimizer_step"]: row["loss"] for row in rows}


def test_a_stage_that_is_cut_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(_Killed):
        trained(tmp_path / "cut", stop_after=10)
    again = trained(tmp_path / "cut")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", optim="sgd", max_grad_norm=0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]
    done = subprocess.run(
        [*command, "-m", "tests.training.test_resume", str(tmp_path / "two")],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(2):
        two = torch.load(tmp_path / "two" / f"{rank}.pt")
        for a, b in zip(one, two, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    first, second = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert second == pytest.approx(first, rel=1e-5)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(exist_ok=True)
    torch.save(trained(out, optim="sgd", max_grad_norm=0), out / f"{os.environ['RANK']}.pt")
