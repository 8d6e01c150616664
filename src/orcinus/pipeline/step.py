"""Run steps, each of which leaves a folder, and skip those that are done.

    Step = name + version + config + inputs → fingerprint
    → runs/NAME/probe-3f2a91c0/ {step.json, tables, _done}

A step's fingerprint contains everything that can change its result, including the fingerprints of
its inputs. So an edit of the recipe re-runs what depends on the edit and nothing else. A folder
without ``_done`` is an interrupted step: it runs again, and finds its paid replies in the ledger.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import OrcinusError, StoreError
from orcinus.core.files import why_unwritable, write_atomically
from orcinus.core.fingerprint import canonical, fingerprint
from orcinus.runs import layout
from orcinus.runs.context import Asking, StepContext
from orcinus.runs.executors.processes import SERVER
from orcinus.runs.folders import next_finish_time, provenance

Action = Callable[[StepContext], Awaitable[dict[str, Any]]]
Requests = Callable[[StepContext], Sequence[Asking]]


def no_requests(context: StepContext) -> Sequence[Asking]:
    """Return no calls: those of a step that asks no model."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """A unit of the pipeline: configuration and inputs in, a folder out."""

    name: str
    """The verb, and the arm or role where there are several: ``train``, ``train-answer_only``."""
    version: int
    """Raised whenever the step's code gives another result for the same inputs."""
    config: Mapping[str, Any]
    """Everything except the inputs that can change the result. JSON values only."""
    inputs: Mapping[str, "Step"]
    """The steps that it reads, by the role that they have for it."""
    action: Action
    """Does the work in ``context.out`` and returns a summary of JSON values."""
    requests: Requests = no_requests
    """Lists the calls that ``action`` would make, from the inputs that are done."""
    models: Sequence[str] = ()
    """Roles of the models that ``action`` may ask or train, and names under ``models``."""
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
        """Return the folder of the step's results."""
        return run_dir / f"{self.name}-{self.fingerprint[2:10]}"

    def is_done(self, run_dir: Path) -> bool:
        """Return True when the results are complete."""
        return (self.folder(run_dir) / layout.DONE).exists()


async def run_steps(
    steps: Sequence[Step],
    run_dir: Path,
    open_context: Callable[[Step, Path], StepContext],
    *,
    close: Callable[[], Awaitable[None]],
    publish: Callable[[Step], Awaitable[None]] | None = None,
) -> None:
    """Run ``steps`` in order, skipping those that are done.

    Args:
        steps: In an order in which inputs come first.
        run_dir: The run's folder; the caller holds its lock.
        open_context: Builds a step's context for its folder.
        close: Called after each step that ran, to close its models.
        publish: Called with each step once it is done, and for steps that were done before.
    """
    with SERVER.held():  # so that the steps' workers are forked from the same process
        for step in steps:
            if not step.is_done(run_dir):
                try:
                    await _run_step(step, run_dir, open_context)
                finally:
                    await close()
            if publish is not None:
                await publish(step)


async def _run_step(
    step: Step, run_dir: Path, open_context: Callable[[Step, Path], StepContext]
) -> None:
    folder = step.folder(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    context = open_context(step, folder)
    started, clock = datetime.now(UTC), time.monotonic()
    try:
        summary = await step.action(context)
    except Exception as error:
        names_a_file = isinstance(error, OrcinusError) or getattr(error, "filename", None)
        if names_a_file or (why := why_unwritable(error)) is None:
            raise
        raise StoreError(f"{folder}: cannot be written: {why}") from error
    record = {
        "name": step.name,
        "version": step.version,
        "fingerprint": step.fingerprint,
        "config": step.config,
        "inputs": {role: source.folder(run_dir).name for role, source in step.inputs.items()},
        "summary": summary,
        "started": started.isoformat(timespec="seconds"),
        "finished": next_finish_time(run_dir),
        "seconds": round(time.monotonic() - clock, 3),
        **provenance(),
    }
    write_atomically(folder / layout.STEP, orjson.dumps(record, option=orjson.OPT_INDENT_2))
    # Written last: its presence says that everything else in the folder is complete.
    write_atomically(folder / layout.DONE, step.fingerprint.encode())


def ancestors(step: Step) -> list[Step]:
    """Return ``step`` and everything that it needs, inputs first."""
    order: list[Step] = []
    for source in step.inputs.values():
        order += [item for item in ancestors(source) if item not in order]
    return [*order, step]
