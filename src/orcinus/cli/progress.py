"""Progress of a run, shown as bars on a terminal, lines in a log, or JSON for a program."""

import sys
import time
from typing import Any

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 10.0
"""Seconds between two lines where the output is no terminal: a log stays short, and shows life."""


class _Counter:
    """The counts that all three displays share."""

    def __init__(self) -> None:
        self.what = ""
        self.total: int | None = None
        self.done = 0
        self.recalled = 0
        self.cost_usd = 0.0
        self.clock = time.monotonic()

    def start(self, what: str, total: int | None) -> None:
        """See ``Progress``."""
        self.what, self.total, self.done, self.recalled, self.cost_usd = what, total, 0, 0, 0.0
        self.clock = time.monotonic()

    def _count(self, n: int, cost_usd: float, recalled: bool) -> None:
        self.done += n
        self.recalled += n if recalled else 0
        self.cost_usd += 0.0 if recalled else cost_usd

    def rate(self) -> float:
        """Return units per second, without those that came from the ledger."""
        return (self.done - self.recalled) / max(time.monotonic() - self.clock, 1e-6)


class Bars(_Counter):
    """Bars on a terminal, with rate, time left and cost."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._bars = RichProgress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", style="dim"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def start(self, what: str, total: int | None) -> None:
        """See ``Progress``."""
        super().start(what, total)
        self._finish()
        self._bars.start()
        self._task = self._bars.add_task(what, total=total, detail="")

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """See ``Progress``."""
        self._count(n, cost_usd, recalled)
        if self._task is not None:
            detail = f"{self.rate():,.1f}/s" + (f" ${self.cost_usd:,.4f}" if self.cost_usd else "")
            self._bars.update(self._task, advance=n, detail=detail)

    def note(self, text: str) -> None:
        """See ``Progress``."""
        self._console.print(text, style="yellow", highlight=False, markup=False)

    def close(self) -> None:
        """Restore the terminal."""
        self._finish()
        self._bars.stop()

    def _finish(self) -> None:
        if self._task is not None:
            self._bars.stop_task(self._task)
            self._task = None


class Lines(_Counter):
    """A plain line at the start of each phase and every few seconds, for logs."""

    def __init__(self) -> None:
        super().__init__()
        self._last = 0.0

    def start(self, what: str, total: int | None) -> None:
        """See ``Progress``."""
        self.close()
        super().start(what, total)
        self._last = time.monotonic()
        print(f"{what}: {'' if total is None else f'{total:,} to do'}", file=sys.stderr, flush=True)

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """See ``Progress``."""
        self._count(n, cost_usd, recalled)
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._print()

    def note(self, text: str) -> None:
        """See ``Progress``."""
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Print the last count."""
        if self.what and self.done:
            self._print()
        self.what = ""

    def _print(self) -> None:
        of = f" of {self.total:,}" if self.total is not None else ""
        money = f", ${self.cost_usd:,.4f}" if self.cost_usd else ""
        known = f" ({self.recalled:,} from the ledger)" if self.recalled else ""
        print(
            f"{self.what}: {self.done:,}{of}{known}, {self.rate():,.1f}/s{money}",
            file=sys.stderr,
            flush=True,
        )


class Events(_Counter):
    """One JSON object per line, for programs."""

    def __init__(self) -> None:
        super().__init__()
        self._last = 0.0

    def start(self, what: str, total: int | None) -> None:
        """See ``Progress``."""
        super().start(what, total)
        self._print({"event": "start", "what": what, "total": total})

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """See ``Progress``."""
        self._count(n, cost_usd, recalled)
        if time.monotonic() - self._last >= 1.0 or self.done == self.total:
            self._last = time.monotonic()
            self._print(
                {
                    "event": "progress",
                    "what": self.what,
                    "done": self.done,
                    "total": self.total,
                    "recalled": self.recalled,
                    "per_second": round(self.rate(), 2),
                    "cost_usd": self.cost_usd,
                }
            )

    def note(self, text: str) -> None:
        """See ``Progress``."""
        self._print({"event": "note", "text": text})

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    @staticmethod
    def _print(event: dict[str, Any]) -> None:
        print(orjson.dumps(event).decode(), flush=True)


def progress_for(console: Console, *, as_json: bool) -> Bars | Lines | Events:
    """Return the display that fits: JSON if asked for, bars on a terminal, else plain lines."""
    if as_json:
        return Events()
    return Bars(console) if console.is_terminal else Lines()
