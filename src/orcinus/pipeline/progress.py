"""Progress as plain lines, for logs and notebooks."""

import sys
import time
from typing import TextIO

from orcinus.core.printing import printable
from orcinus.runs.progress import in_minutes

SECONDS_BETWEEN_LINES = 10.0
"""Seconds between two lines where the output is no terminal: a log stays short, and shows life."""


class PhaseCounter:
    """The counts of the current phase, which every display of progress needs."""

    def __init__(self) -> None:
        self.what = ""
        self.total: int | None = None
        self.done = 0
        self.recalled = 0
        self.cost_usd = 0.0
        self.text = ""
        self.clock = time.monotonic()

    def start(self, what: str, total: int | None) -> None:
        """See ``Progress``."""
        self.what, self.total, self.done, self.recalled, self.cost_usd = what, total, 0, 0, 0.0
        self.text = ""
        self.clock = time.monotonic()

    def count(self, n: int, cost_usd: float, recalled: bool) -> None:
        """Add ``n`` units to the phase."""
        self.done += n
        self.recalled += n if recalled else 0
        self.cost_usd += 0.0 if recalled else cost_usd

    def detail(self, text: str) -> None:
        """Set what the phase shows beside its count: the loss of a training."""
        self.text = text

    def seconds_left(self) -> float | None:
        """Return the seconds left at the rate so far; None when unknown."""
        if self.total is None or self.done <= self.recalled or self.done >= self.total:
            return None
        return (self.total - self.done) / self.rate()

    def rate(self) -> float:
        """Return units per second, without those that came from the ledger."""
        return (self.done - self.recalled) / max(time.monotonic() - self.clock, 1e-6)


class Lines(PhaseCounter):
    """A plain line at the start of each phase and every few seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to ``stream``; None writes to the standard error output."""
        super().__init__()
        self._stream = stream
        self._last = 0.0

    def start(self, what: str, total: int | None) -> None:
        """See ``Progress``."""
        self.close()
        super().start(what, total)
        self._last = time.monotonic()
        self._write(what if total is None else f"{what}: {total:,} to do")

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """See ``Progress``."""
        self.count(n, cost_usd, recalled)
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._write_count()

    def note(self, text: str) -> None:
        """See ``Progress``."""
        self._write(text)

    def close(self) -> None:
        """Write the last count."""
        if self.what and self.done:
            self._write_count()
        self.what = ""

    def _write_count(self) -> None:
        of = f" of {self.total:,}" if self.total is not None else ""
        money = f", ${self.cost_usd:,.4f}" if self.cost_usd else ""
        known = f" ({self.recalled:,} from the ledger)" if self.recalled else ""
        left = self.seconds_left()
        time_left = "" if left is None else f", about {in_minutes(left)} left"
        text = f", {self.text}" if self.text else ""
        rate = f"{self.rate():,.1f}/s"
        self._write(f"{self.what}: {self.done:,}{of}{known}, {rate}{money}{text}{time_left}")

    def _write(self, line: str) -> None:
        stream = sys.stderr if self._stream is None else self._stream
        stream.write(printable(line) + "\n")
        stream.flush()
