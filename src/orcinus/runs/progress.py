"""How a run that goes on is followed from another process: it leaves ``progress.json`` in its folder, anyone reads it there.

The runner never waits for a reader, and a reader never touches the run: no lock is taken, nothing is written.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from orcinus.runs import layout
from orcinus.runs.context import Progress

SECONDS_BETWEEN_WRITES = 0.5
RunState = Literal["running", "finished", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """How far a run's present phase is."""

    what: str
    done: int
    total: int | None
    """None when the number is not known."""
    recalled: int
    """The part of ``done`` that came from the ledger."""
    cost_usd: float
    """What this phase has spent so far."""
    started: float
    """Seconds since the epoch."""
    updated: float

    @property
    def per_second(self) -> float:
        """Units a second, not counting what came from the ledger."""
        return (self.done - self.recalled) / max(self.updated - self.started, 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None when it cannot be known."""
        if self.total is None or self.done <= self.recalled:
            return None
        return max(0, self.total - self.done) / self.per_second


def live(run_dir: Path) -> Live | None:
    """How far the run's present phase is, or was when it was killed; None when nothing is under way."""
    try:
        return Live(**orjson.loads((run_dir / layout.PROGRESS).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None


def state_of(run_dir: Path) -> RunState:
    """Whether a process of this machine works on the run, and if not, whether the run is at its end."""
    if (run_dir / layout.PROGRESS).exists() and _works_on(run_dir):
        return "running"
    return (
        "finished"
        if any(run_dir.glob(f"report-*/{layout.DONE}")) and not (run_dir / layout.PROGRESS).exists()
        else "stopped"
    )


def _works_on(run_dir: Path) -> bool:
    """Whether the process that last held the run's lock is alive. Trying the lock would take it from a run that starts just now."""
    try:
        os.kill(int((run_dir / layout.LOCK).read_text(encoding="utf-8")), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def followed(progress: Progress, run_dir: Path) -> Iterator[Progress]:
    """``progress``, that also leaves how far it is in the run's folder while the block runs; a killed run leaves its last word."""
    told = _Told(progress, run_dir / layout.PROGRESS)
    yield told
    (run_dir / layout.PROGRESS).unlink(missing_ok=True)


class _Told:
    """Passes on what it is told, and writes it down twice a second at most."""

    def __init__(self, to: Progress, path: Path) -> None:
        self._to, self._path = to, path
        self._written = 0.0
        self.start("", None)

    def start(self, what: str, total: int | None) -> None:
        if what:
            self._to.start(what, total)
        self._what, self._total, self._started = what, total, time.time()
        self._done = self._recalled = 0
        self._cost_usd = 0.0
        self._write()

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        self._to.advance(n, cost_usd=cost_usd, recalled=recalled)
        self._done += n
        self._recalled += n if recalled else 0
        self._cost_usd += 0.0 if recalled else cost_usd
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self._write()

    def note(self, text: str) -> None:
        self._to.note(text)

    def _write(self) -> None:
        self._written = time.monotonic()
        now = Live(
            what=self._what,
            done=self._done,
            total=self._total,
            recalled=self._recalled,
            cost_usd=self._cost_usd,
            started=self._started,
            updated=time.time(),
        )
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(orjson.dumps(now))
            part.replace(self._path)
        except OSError:
            # A full disk is told by what must be written; this need not be.
            return
