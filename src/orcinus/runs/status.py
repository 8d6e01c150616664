"""Read how far a run is from its folder and the ledger, also while another process writes them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeGuard

import orjson

from orcinus.runs import layout
from orcinus.runs.folders import finish_time, summary_of
from orcinus.runs.ledger import Ledger, SpendRow

SHOWN_VALUES = 6
"""Values. A summary table with more of them is shown only in the report."""
State = Literal["done", "started"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStatus:
    """The state of one step."""

    step: str
    state: State
    time: str
    """Seconds taken, as text; empty before the step is done."""
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """The state of a run's steps, and its spending."""

    run: str
    steps: tuple[StepStatus, ...]
    spend: tuple[SpendRow, ...]


def run_status(run_dir: Path, ledger_path: Path) -> RunStatus:
    """Return the state of the run in ``run_dir``."""
    folders = [path for path in run_dir.iterdir() if path.is_dir() and "-" in path.name]
    folders.sort(key=lambda folder: (not (folder / layout.DONE).exists(), finish_time(folder)))
    spend: tuple[SpendRow, ...] = ()
    if ledger_path.exists():
        with Ledger(ledger_path, read_only=True) as ledger:
            spend = tuple(_sum_over_tasks(ledger.spend(run_dir.name)))
    return RunStatus(run=run_dir.name, steps=tuple(map(_step_status, folders)), spend=spend)


def _sum_over_tasks(rows: list[SpendRow]) -> Iterator[SpendRow]:
    """Yield the spending by step and model."""
    for (step, model), group in groupby(sorted(rows, key=_step_and_model), key=_step_and_model):
        items = list(group)
        yield SpendRow(
            run=items[0].run,
            step=step,
            model=model,
            task="",
            calls=sum(item.calls for item in items),
            errors=sum(item.errors for item in items),
            tokens_in=sum(item.tokens_in for item in items),
            tokens_out=sum(item.tokens_out for item in items),
            cost_usd=sum(item.cost_usd for item in items),
            tokens_unreported=sum(item.tokens_unreported for item in items),
        )


def _step_and_model(row: SpendRow) -> tuple[str, str]:
    return row.step, row.model


def _step_status(folder: Path) -> StepStatus:
    name = folder.name.rpartition("-")[0]
    if not (folder / layout.DONE).exists():
        return StepStatus(step=name, state="started", time="", summary=_last_loss(folder))
    record = summary_of(folder)
    return StepStatus(
        step=name,
        state="done",
        time=f"{record['seconds']:.1f} s",
        summary=_in_one_line(record["summary"]),
    )


def _in_one_line(summary: Mapping[str, Any]) -> str:
    """Return the numbers and short texts of a summary in one line."""
    parts = []
    for key, value in summary.items():
        if isinstance(value, bool | int | str):
            parts.append(f"{key} {value:,}" if type(value) is int else f"{key} {value}")
        elif isinstance(value, float):
            parts.append(f"{key} {value:.3f}")
        elif _is_small_table(value):
            parts.append(
                f"{key} " + ", ".join(f"{name} {item:.3g}" for name, item in value.items())
            )
    return "; ".join(parts)


def _is_small_table(value: object) -> TypeGuard[dict[str, float]]:
    return (
        isinstance(value, dict)
        and 0 < len(value) <= SHOWN_VALUES
        and all(isinstance(item, int | float) for item in value.values())
    )


def _last_loss(folder: Path) -> str:
    path = folder / layout.LOSS
    if not path.exists():
        return ""
    lines = path.read_bytes().splitlines()
    if not lines:
        return ""
    row = orjson.loads(lines[-1])
    return f"stage {row['stage']}, optimizer step {row['optimizer_step']}, loss {row['loss']:.3f}"
