"""How far a run is, read from its folder and the ledger while another process may be writing both."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from orcinus.pipeline import summary_of
from orcinus.store.ledger import Ledger, SpendRow

State = Literal["done", "started"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStatus:
    """One step's folder."""

    step: str
    state: State
    time: str
    """How long it took; empty while it is not done."""
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run's folder and what it spent."""

    run: str
    steps: tuple[StepStatus, ...]
    spend: tuple[SpendRow, ...]


def run_status(run_dir: Path, ledger_path: Path) -> RunStatus:
    """The state of the run in ``run_dir``."""
    folders = [path for path in run_dir.iterdir() if path.is_dir() and "-" in path.name]
    folders.sort(key=lambda folder: (folder / "_done").stat().st_mtime if (folder / "_done").exists() else float("inf"))
    spend: tuple[SpendRow, ...] = ()
    if ledger_path.exists():
        with Ledger(ledger_path, read_only=True) as ledger:
            spend = tuple(ledger.spend(run_dir.name))
    return RunStatus(run=run_dir.name, steps=tuple(map(_step_status, folders)), spend=spend)


def _step_status(folder: Path) -> StepStatus:
    name = folder.name.rpartition("-")[0]
    if not (folder / "_done").exists():
        return StepStatus(step=name, state="started", time="", summary=_last_loss(folder))
    record = summary_of(folder)
    return StepStatus(step=name, state="done", time=f"{record['seconds']:.1f} s", summary=_words(record["summary"]))


def _words(summary: Mapping[str, Any]) -> str:
    """The plain numbers and short texts of a summary, in a line."""
    parts = []
    for key, value in summary.items():
        if isinstance(value, bool | int | str):
            parts.append(f"{key} {value:,}" if type(value) is int else f"{key} {value}")
        elif isinstance(value, float):
            parts.append(f"{key} {value:.3f}")
        elif isinstance(value, dict) and value and all(isinstance(item, int | float) for item in value.values()):
            parts.append(f"{key} " + ", ".join(f"{name} {item:.3g}" for name, item in list(value.items())[:6]))
    return "; ".join(parts)


def _last_loss(folder: Path) -> str:
    path = folder / "loss.jsonl"
    if not path.exists():
        return ""
    lines = path.read_bytes().splitlines()
    if not lines:
        return ""
    row = orjson.loads(lines[-1])
    return f"stage {row['stage']}, optimizer step {row['optimizer_step']}, loss {row['loss']:.3f}"
