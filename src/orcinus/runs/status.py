"""Read how far a run is from its folder and the ledger, also while another process writes them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from orcinus.runs import layout
from orcinus.runs.folders import finish_time, summary_of
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_figures import SpendRow
from orcinus.runs.losses import read_losses
from orcinus.runs.progress import Live, RunState, live, state_of

State = Literal["done", "earlier", "started"]
"""``earlier`` is a finished step of a recipe that was edited since, with a later one beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStatus:
    """The state of one step."""

    step: str
    state: State
    seconds: float | None
    """Seconds taken; None before the step is done."""
    summary: str
    """The result in a few words."""
    result: Mapping[str, Any]
    """The step's own figures; empty before it is done."""

    @property
    def time(self) -> str:
        """``seconds`` as text; empty before the step is done."""
        return "" if self.seconds is None else f"{self.seconds:,.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """The state of a run's steps, and its spending."""

    run: str
    state: RunState
    live: Live | None
    """How far the current phase is, or was when the run stopped; None for a run that has ended."""
    student: str | None
    """Folder of the trained student; None before there is one."""
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
    student = run_dir / layout.STUDENT
    steps = [_step_status(folder) for folder in folders]
    latest = {step.step: step for step in steps}
    return RunStatus(
        run=run_dir.name,
        state=state_of(run_dir),
        live=live(run_dir),
        student=str(student) if student.exists() else None,
        steps=tuple(
            step if step is latest[step.step] else replace(step, state="earlier") for step in steps
        ),
        spend=spend,
    )


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
        return StepStatus(
            step=name, state="started", seconds=None, summary=_last_loss(folder), result={}
        )
    record = summary_of(folder)
    return StepStatus(
        step=name,
        state="done",
        seconds=record["seconds"],
        summary=in_few_words(name, record["summary"]),
        result=record["summary"],
    )


def in_few_words(step: str, result: Mapping[str, Any]) -> str:
    """Return what a finished step came to, from its summary: ``173 of 180 traces kept``."""
    try:
        return _WORDS.get(step.partition("-")[0], _numbers)(result)
    except (KeyError, TypeError, ValueError):
        return _numbers(result)  # a step of an older release


def _sampled(result: Mapping[str, Any]) -> str:
    totals = Counter[str]()
    for counts in result["tasks"].values():
        totals.update(counts)
    parts = (f"{number:,} {name.replace('_', ' ')}" for name, number in totals.items())
    count = len(result["tasks"])
    return f"{count:,} task{'s' * (count != 1)}: {', '.join(parts)}"


def _probed(result: Mapping[str, Any]) -> str:
    parts = [f"{name} {100 * share:.0f} %" for name, share in result["accuracy"].items()]
    return f"{result['attempts']:,} answers: {', '.join(parts)}"


def _assigned(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} for {number:,}" for name, number in result["chosen"].items())


def _taught(result: Mapping[str, Any]) -> str:
    words = f"{result['right']:,} of {result['attempts']:,} traces right"
    return f"{words}, {result['errors']:,} calls failed" if result["errors"] else words


def _curated(result: Mapping[str, Any]) -> str:
    return f"{result['kept']:,} of {result['traces']:,} traces kept"


def _trained(result: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name}: {stage['optimizer_steps']:,} optimizer steps, "
        f"loss {stage['first_loss']:.3f} → {stage['last_loss']:.3f}"
        for name, stage in result["stages"].items()
    )


def _evaluated(result: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{arm.replace('_', ' ')} {'–' if mean is None else f'{100 * mean:.1f} %'}"
        for arm, mean in result["macro"].items()
    )


def _numbers(result: Mapping[str, Any]) -> str:
    """Return the whole numbers of a summary."""
    return ", ".join(
        f"{value:,} {key.replace('_', ' ')}" for key, value in result.items() if type(value) is int
    )


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "sample": _sampled,
    "probe": _probed,
    "assign": _assigned,
    "teach": _taught,
    "curate": _curated,
    "rehearse": lambda result: (
        f"{100 * result['pass_rate']:.0f} % right before training, {result['came']:,} answers"
    ),
    "erase": lambda result: f"{result['lessons']:,} lessons",
    "weigh": lambda result: (
        f"{result['boundaries']:,} steps measured, mean weight {result['weight']:.2f}"
    ),
    "train": _trained,
    "evaluate": _evaluated,
    "report": lambda result: "report.html",
}
"""By verb, how to say a step's result."""


def _last_loss(folder: Path) -> str:
    rows = read_losses(folder / layout.LOSS)
    if not rows:
        return ""
    row = rows[-1]
    return f"stage {row['stage']}, optimizer step {row['optimizer_step']}, loss {row['loss']:.3f}"
