"""Follow a running run from another process, through ``progress.json`` in its folder.

    with followed(progress, run_dir) as reported: …     the run writes
    live(run_dir).done, live(run_dir).seconds_left      another process reads

The run never waits for a reader. A reader takes no lock and writes nothing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from orcinus.core.printing import printable
from orcinus.runs import layout
from orcinus.runs.context import Progress, show_detail
from orcinus.runs.folders import is_alive

SECONDS_BETWEEN_WRITES = 0.5
"""Seconds. A bar that moves twice a second looks live, and 2 small writes a second cost nothing."""
RunState = Literal["running", "finished", "ended", "stopped", "failed"]
"""``ended``: on purpose, before the report (``--until``). ``stopped``: interrupted or killed.
``failed``: by an error, which ``Live.error`` holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The progress of the current phase of a run."""

    what: str
    done: int
    total: int | None
    """None when the total is unknown."""
    recalled: int
    """The part of ``done`` that came from the ledger."""
    cost_usd: float
    """Dollars that this phase has spent so far."""
    started: float
    """Seconds since the epoch."""
    updated: float
    stopped: bool = False
    """True when the run has stopped here, by an error or an interruption."""
    detail: str = ""
    """What the phase shows beside its count: the loss of a training."""
    error: str = ""
    """What made it fail, in one line; empty for an interruption."""

    @property
    def per_second(self) -> float:
        """Units per second, without those that came from the ledger."""
        return (self.done - self.recalled) / max(self.updated - self.started, 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the rate so far; None when unknown."""
        if self.total is None or self.done <= self.recalled:
            return None
        return max(0, self.total - self.done) / self.per_second


def in_minutes(seconds: float) -> str:
    """Return a duration to read: ``40 s``, ``12 min``, ``1 h 6 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def live(run_dir: Path) -> Live | None:
    """Return how far the run's current phase is, or was when it was killed; None if it has none."""
    try:
        return Live(**orjson.loads((run_dir / layout.PROGRESS).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None


def state_of(run_dir: Path) -> RunState:
    """Return the state of a run on this machine."""
    now = live(run_dir)
    if now is not None and now.stopped:
        return "failed" if now.error else "stopped"
    if (run_dir / layout.PROGRESS).exists():
        return "running" if _is_held(run_dir) else "stopped"
    if any(run_dir.glob(f"report-*/{layout.DONE}")):
        return "finished"
    return "ended" if any(run_dir.glob(f"*/{layout.DONE}")) else "stopped"


def _is_held(run_dir: Path) -> bool:
    """Return whether the process that last locked the run is alive.

    Trying the lock itself could take it from a run that is just starting.
    """
    try:
        return is_alive((run_dir / layout.LOCK).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def followed(progress: Progress, run_dir: Path) -> Iterator[Progress]:
    """Return ``progress`` so that it also writes to the run's folder while the block runs.

    A run that fails or is interrupted leaves the file behind, with its error. So does a killed one.
    """
    written = _WrittenProgress(progress, run_dir / layout.PROGRESS)
    try:
        yield written
    except BaseException as error:
        by_user = not isinstance(error, Exception)
        written.stop("" if by_user else printable(" ".join(str(error).split()) or repr(error)))
        raise
    (run_dir / layout.PROGRESS).unlink(missing_ok=True)


class _WrittenProgress:
    """A Progress that passes everything on, and writes it to a file at most twice a second."""

    def __init__(self, to: Progress, path: Path) -> None:
        self._to, self._path = to, path
        self._written = 0.0
        self._stopped, self._error = False, ""
        self.start("", None)

    def stop(self, error: str) -> None:
        """Write that the run has stopped, and the error that stopped it."""
        self._stopped, self._error = True, error
        self._write()

    def start(self, what: str, total: int | None) -> None:
        if what:
            self._to.start(what, total)
        self._what, self._total, self._started = what, total, time.time()
        self._done = self._recalled = 0
        self._cost_usd, self._detail = 0.0, ""
        self._write()

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        self._to.advance(n, cost_usd=cost_usd, recalled=recalled)
        self._done += n
        self._recalled += n if recalled else 0
        self._cost_usd += 0.0 if recalled else cost_usd
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self._write()

    def detail(self, text: str) -> None:
        self._detail = text
        show_detail(self._to, text)

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
            stopped=self._stopped,
            detail=self._detail,
            error=self._error,
        )
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(orjson.dumps(now))
            part.replace(self._path)
        except OSError:
            # Other writes report a full disk; this one is optional.
            return
