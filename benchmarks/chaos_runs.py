"""Whole runs of the command line that are killed and signalled; a part of ``benchmarks.chaos``.

    signal ─► ended within 5 s, no traceback ─► resumed ─► the tables and weights of a whole run

Most processes are forked from one that has loaded all modules; every fifth one starts as a user's
does, because a signal can also come while modules are loaded.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from benchmarks.forks import ENDS_IN_S, Forks, send_output_to
from orcinus.runs import layout
from orcinus.runs.folders import summary_of

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FRESH_EVERY = 5
"""Of so many processes one is not forked."""
OWN = {"latency_s", "cost_usd", "created", "seconds"}
"""Columns that say when and how fast, which no run repeats."""
COMPARED = (".parquet", ".safetensors")
RECIPE: dict[str, Any] = {
    "name": "small",
    "tasks": [
        {"generator": "sums", "count": 60, "size": [2, 3]},
        {"generator": "logic", "count": 60, "size": [3, 4]},
    ],
    "strategies": ["direct", "step_by_step"],
    "student": {
        "kind": "scratch",
        "layers": 1,
        "hidden": 32,
        "heads": 2,
        "vocabulary": 400,
        "context": 256,
    },
    "teacher": {"kind": "function", "function": "orcinus.pipeline.demo:teacher"},
    "probe": {"per_task": 4, "sampling": {"max_tokens": 8}},
    "assign": {"confirm": 2, "measure": "prompted"},
    "teach": {"sampling": {"max_tokens": 64}},
    "train": {
        "context_length": 128,
        "batch_tokens": 512,
        "trainer": {"save_steps": 5},
        "stages": [{"name": "one", "epochs": 4, "learning_rate": 0.003}],
    },
    "evaluate": {"per_task": 6, "sampling": {"max_tokens": 8}},
}


def command(said: str, folder: str, words: list[str]) -> None:
    """Run the command line in this process."""
    from orcinus.cli import main

    send_output_to(Path(said))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    sys.argv = ["orcinus", *words]
    main()


class Fresh:
    """A process that starts as a user's does, with the methods of a forked one."""

    def __init__(self, said: Path, folder: Path, words: list[str]) -> None:
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orcinus", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        self.pid, self.kill = self._process.pid, self._process.kill

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def join(self, timeout: float | None = None) -> None:
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return


class Runs:
    """One run's folder, and the processes that worked on it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder, self.words = folder, ["run", "recipe.yaml", *words]
        folder.mkdir(exist_ok=True)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
        self.forks = Forks(folder)
        self.ended_s: list[float] = []
        self._started = 0

    def start(self) -> tuple[Any, Path]:
        self._started += 1
        if self._started % FRESH_EVERY == 0:
            said = self.folder / f"fresh-{self._started}"
            return Fresh(said, self.folder, self.words), said
        return self.forks.start(command, str(self.folder), self.words)

    def stop(self, process: Any, said: Path, number: int) -> bool:
        """Send a signal; return False if the run had ended before."""
        if process.exitcode is not None:
            self.forks.end(process, said)
            return False
        started = time.monotonic()
        os.kill(process.pid, number)
        self.forks.end(process, said, within_s=ENDS_IN_S)
        self.ended_s.append(time.monotonic() - started)
        return True

    def finish(self) -> None:
        """Run to the end."""
        process, said = self.start()
        text = self.forks.end(process, said)
        if process.exitcode != 0:
            self.forks.raw_errors.append(f"exit code {process.exitcode}: {text[-1000:]}")

    def figures(self, whole: Path) -> dict[str, Any]:
        return {
            "hangs": self.forks.hangs,
            "late": self.forks.late,
            "ended_s_max": max(self.ended_s, default=0.0),
            "raw_errors": self.forks.raw_errors,
            "differences": differences(whole, self.folder),
        }


def differences(whole: Path, other: Path) -> list[str]:
    """Return the tables and weights that two workspaces do not share."""
    paths = [
        {path.relative_to(folder) for path in folder.glob("runs/**/*") if path.suffix in COMPARED}
        for folder in (whole, other)
    ]
    wrong = [
        str(path) for path in paths[0] & paths[1] if content(whole / path) != content(other / path)
    ]
    return sorted([*map(str, paths[0] ^ paths[1]), *wrong])


def content(path: Path) -> Any:
    if path.suffix == ".parquet":
        return without_own(pq.read_table(path).to_pylist())
    return path.read_bytes()


def without_own(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_own(item) for name, item in value.items() if name not in OWN}
    if isinstance(value, list):
        return [without_own(item) for item in value]
    return value


def make_whole(folder: Path, *words: str) -> tuple[Runs, float]:
    """Return an undisturbed run, and the seconds that it took."""
    run = Runs(folder, *words)
    run.forks.end(*run.forks.start(command, str(folder), ["plan", "recipe.yaml"]))  # loads modules
    started = time.monotonic()
    run.finish()
    return run, time.monotonic() - started


def signal_runs(folder: Path, *, signals: int, seed: int) -> dict[str, Any]:
    """Signal runs at random moments until so many signals were sent, and resume each to its end."""
    draw = random.Random(seed)
    whole, seconds = make_whole(folder / "whole")
    sent, found = 0, [whole.figures(whole.folder)]
    while sent < signals:
        run = Runs(folder / f"signalled-{len(found)}")
        ended = False
        while not ended and sent < signals:
            process, said = run.start()
            process.join(draw.uniform(0.0, seconds / 2))
            ended = not run.stop(process, said, draw.choice(STOPPING))
            sent += not ended
        run.finish()
        found.append(run.figures(whole.folder))
    return {"signals": sent, **summed(found)}


def kill_trainings(folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """Kill a run in its main training, again and again, and resume it to its end."""
    draw = random.Random(seed)
    before, _ = make_whole(folder / "before", "--until", "erase")
    shutil.copytree(before.folder, folder / "whole", symlinks=True)
    whole, _ = make_whole(folder / "whole", "--until", "train")
    [train] = [path for path in steps_of(whole.folder) if is_main_training(path)]
    seconds = summary_of(train)["seconds"]
    found, killed = [whole.figures(whole.folder)], 0
    while killed < kills:
        other = folder / f"killed-{len(found)}"
        shutil.copytree(before.folder, other, symlinks=True)
        run = Runs(other, "--until", "train")
        ended = False
        while not ended and killed < kills:
            process, said = run.start()
            while process.exitcode is None and not in_main_training(other):
                time.sleep(0.01)
            process.join(draw.uniform(0.0, 0.8 * seconds))
            hit = in_main_training(other)
            ended = not run.stop(process, said, signal.SIGKILL)
            killed += hit and not ended
        run.finish()
        found.append(run.figures(whole.folder))
    return {"kills": killed, "kills_in_training": killed, **summed(found)}


def in_main_training(folder: Path) -> bool:
    """Return True while the folder of the main training is there and not finished."""
    return any(
        is_main_training(path) and not (path / layout.DONE).exists() for path in steps_of(folder)
    )


def steps_of(folder: Path) -> list[Path]:
    return list((folder / "runs" / "small").glob("*-*"))


def is_main_training(step: Path) -> bool:
    """Return False for ``train-answer_only-…``."""
    return step.name.rpartition("-")[0] == "train"


def summed(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "hangs": sum(item["hangs"] for item in found),
        "late": sum(item["late"] for item in found),
        "ended_s_max": max(item["ended_s_max"] for item in found),
        "raw_errors": [line for item in found for line in item["raw_errors"]],
        "differences": [line for item in found for line in item["differences"]],
    }
