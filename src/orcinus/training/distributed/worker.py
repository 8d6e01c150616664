"""One process of a training in several, started by torchrun (see ``launch.py``).

python -m orcinus.training.distributed.worker JOB ──► orcinus-worker {"event": "step"} …
"""

import sys
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import OrcinusError
from orcinus.runs.context import Silent
from orcinus.training.curriculum import train_curriculum
from orcinus.training.distributed import processes
from orcinus.training.distributed.launch import MARK
from orcinus.training.job import TrainJob


def _print_event(event: str, **facts: Any) -> None:
    """Print one event on one line; only rank 0 does."""
    if processes.is_first():
        line = MARK + orjson.dumps({"event": event, **facts}).decode()
        print(line, flush=True)  # noqa: T201 (read by launch.py)


class _PrintedProgress(Silent):
    """Progress that prints events for the process that launched this one."""

    def start(self, what: str, total: int | None) -> None:
        """Print the phase."""
        _print_event("start", what=what, total=total)

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """Print one step."""
        _print_event("step")


def main(path: Path) -> int:
    """Train as the job says; rank 0 reports on its standard output."""
    try:
        job = TrainJob.read(path)
        result = train_curriculum(job, _PrintedProgress())
    except OrcinusError as error:
        _print_event("failed", kind=type(error).__name__, message=str(error))
        return 2
    _print_event("done", result=result)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
