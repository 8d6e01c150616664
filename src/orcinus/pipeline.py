"""The pipeline: a recipe becomes steps, a step becomes a folder, and what is done is not done again.

    Step = name + version + config + inputs → fingerprint → runs/NAME/probe-3f2a91c0/ {step.json, tables, _done}

A step's fingerprint holds everything that can change its result, the fingerprints of its inputs included; so editing the
recipe re-runs what depends on the edit and nothing else. A folder without ``_done`` is an interrupted step: it is entered
again, and finds its paid replies in the ledger.
"""

import fcntl
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from orcinus.durable import write_atomically
from orcinus.errors import BusyError, StoreError
from orcinus.fingerprint import canonical, fingerprint
from orcinus.runtime import StepContext

Action = Callable[[StepContext], Awaitable[dict[str, Any]]]
_REPORTED_PACKAGES = ("orcinus", "torch", "transformers", "peft", "pyarrow", "numpy")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A unit of the pipeline: configuration and inputs in, a folder out."""

    name: str
    """Verb, and arm where there are several: ``train``, ``train-answer_only``."""
    version: int
    """Raised whenever the step's code gives another result for the same inputs."""
    config: Mapping[str, Any]
    """Everything besides the inputs that can change the result. JSON values only."""
    inputs: Mapping[str, "Step"]
    """The steps it reads, by the role they play for it."""
    action: Action
    """Does the work in ``context.out`` and returns a summary of JSON values."""
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        identity = {
            "name": self.name,
            "version": self.version,
            "config": canonical(self.config),
            "inputs": {role: step.fingerprint for role, step in self.inputs.items()},
        }
        object.__setattr__(self, "fingerprint", fingerprint(identity))

    def folder(self, run_dir: Path) -> Path:
        """Where the step's results are."""
        return run_dir / f"{self.name}-{self.fingerprint[2:10]}"

    def is_done(self, run_dir: Path) -> bool:
        """Whether the results are complete."""
        return (self.folder(run_dir) / "_done").exists()


def summary_of(folder: Path) -> dict[str, Any]:
    """What a finished step said about itself: the content of its ``step.json``."""
    try:
        record: dict[str, Any] = orjson.loads((folder / "step.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise StoreError(
            f"{folder / 'step.json'}: cannot be read ({error}); delete the folder to run the step again"
        ) from error
    return record


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run's folder for this process.

    Raises:
        BusyError: Another process holds it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise BusyError(
                f"{run_dir}: process {owner} works on this run; wait for it, or give the run another name"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


async def run_steps(
    steps: Sequence[Step],
    run_dir: Path,
    open_context: Callable[[Step, Path], StepContext],
    *,
    close: Callable[[], Awaitable[None]],
) -> None:
    """Run ``steps`` in order, skipping what is done.

    Args:
        steps: In an order in which inputs come first.
        run_dir: The run's folder; the caller holds its lock.
        open_context: Builds a step's context for its folder.
        close: Called after each step, to close its models.
    """
    for step in steps:
        folder = step.folder(run_dir)
        if step.is_done(run_dir):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        context = open_context(step, folder)
        started, clock = datetime.now(UTC), time.monotonic()
        try:
            summary = await step.action(context)
        finally:
            await close()
        record = {
            "name": step.name,
            "version": step.version,
            "fingerprint": step.fingerprint,
            "config": step.config,
            "inputs": {role: source.folder(run_dir).name for role, source in step.inputs.items()},
            "summary": summary,
            "started": started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 3),
            **provenance(),
        }
        write_atomically(folder / "step.json", orjson.dumps(record, option=orjson.OPT_INDENT_2))
        write_atomically(folder / "_done", step.fingerprint.encode())


def provenance() -> dict[str, Any]:
    """Versions of what takes part in a result, and the commit of the working folder if it is a git checkout."""
    versions = {}
    for package in _REPORTED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
        commit = git.stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        commit = None
    return {"versions": versions, "commit": commit}


def ancestors(step: Step) -> list[Step]:
    """``step`` and everything it needs, inputs first."""
    order: list[Step] = []
    for source in step.inputs.values():
        order += [item for item in ancestors(source) if item not in order]
    return [*order, step]
