"""One process of a training in several, started by torchrun (see ``launch.py``).

python -m orcinus.training.distributed.worker JOB ──► orcinus-worker {"event": "step"} …
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import OrcinusError
from orcinus.core.imports import without_collector
from orcinus.runs.context import Silent
from orcinus.training.distributed import processes
from orcinus.training.distributed.launch import MARK, STOP_AT_EOF
from orcinus.training.job import TrainJob
from orcinus.training.stopping import Stopped

with without_collector():
    from orcinus.training.curriculum import train_curriculum

EXIT_STOPPED = 130
"""As after Ctrl-C: whoever started the job sees that it is not finished."""
STOP_WITHIN_S = 600
"""Seconds until a worker that was asked to stop ends itself. A step of minutes may finish; a
process that waits for a dead one never reaches its next step."""


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

    def note(self, text: str) -> None:
        """Print one line for the user."""
        _print_event("note", text=text)


def main(path: Path, *, stop_at_eof: bool = False) -> int:
    """Train as the job says; rank 0 reports on its standard output.

    SIGTERM, SIGINT and SIGHUP stop the training at the next optimizer step, with a checkpoint. So
    does the end of standard input where ``stop_at_eof`` is set.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    if stop_at_eof:
        threading.Thread(target=_stop_with_input, args=(stop,), daemon=True).start()
    try:
        job = TrainJob.read(path)
        result = train_curriculum(job, _PrintedProgress(), stop=stop)
    except Stopped:
        return EXIT_STOPPED
    except OrcinusError as error:
        _print_event("failed", kind=type(error).__name__, message=str(error))
        return 2
    _print_event("done", result=result)
    return 0


def _stop_with_input(stop: threading.Event) -> None:
    """Set ``stop`` when standard input closes; later end the process if it still runs."""
    while os.read(sys.stdin.fileno(), 2**16):
        pass
    stop.set()
    time.sleep(STOP_WITHIN_S)
    os._exit(EXIT_STOPPED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), stop_at_eof=STOP_AT_EOF in sys.argv[2:]))
