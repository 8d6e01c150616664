"""Progress of a run, shown as bars on a terminal, lines in a log, or JSON for a program."""

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

from orcinus.core.printing import printable
from orcinus.pipeline.progress import Lines, PhaseCounter


class Bars(PhaseCounter):
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
        self._finish()
        super().start(what, total)
        self._bars.start()
        self._task = self._bars.add_task(what, total=total, detail="")

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """See ``Progress``."""
        self.count(n, cost_usd, recalled)
        if self._task is not None:
            detail = f"{self.rate():,.1f}/s" + (f" ${self.cost_usd:,.4f}" if self.cost_usd else "")
            detail += f" {self.text}" if self.text else ""
            self._bars.update(self._task, advance=n, detail=detail)

    def note(self, text: str) -> None:
        """See ``Progress``."""
        self._console.print(text, style="yellow", highlight=False, markup=False)

    def close(self) -> None:
        """Restore the terminal."""
        self._finish(full=self.total is None)
        self._bars.stop()

    def _finish(self, *, full: bool = True) -> None:
        """End the bar. It is full where its phase is over: a total may be unknown, or a bound."""
        if self._task is not None:
            if full:
                self._bars.update(self._task, total=max(self.done, 1), completed=max(self.done, 1))
            self._bars.stop_task(self._task)
            self._task = None


class Events(PhaseCounter):
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
        self.count(n, cost_usd, recalled)
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
                    "detail": self.text,
                }
            )

    def note(self, text: str) -> None:
        """See ``Progress``."""
        self._print({"event": "note", "text": text})

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    @staticmethod
    def _print(event: dict[str, Any]) -> None:
        print(printable(orjson.dumps(event).decode()), flush=True)


Shown = Bars | Lines | Events


def progress_for(console: Console, *, as_json: bool) -> Shown:
    """Return the display that fits: JSON if asked for, bars on a terminal, else plain lines."""
    if as_json:
        return Events()
    return Bars(console) if console.is_terminal else Lines()
