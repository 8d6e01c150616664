"""Stay within a server's limits: requests and tokens a minute, and calls in flight."""

import asyncio
import re
import time
from collections import Counter

from orcinus.core.errors import CompleterError

MIN_IN_FLIGHT = 1.0
GROWTH = 1.0
"""Calls in flight added for each round of answers without a refusal (additive increase)."""
CUT = 0.5
"""Factor on the calls in flight after a refusal (multiplicative decrease)."""
SECONDS_BETWEEN_CUTS = 1.0
"""Refusals that arrive within this time count as one."""
SLOWER = 2.0
"""The limit does not grow while answers take this many times as long as at the best pace so far:
more calls would only queue at the server."""
SMOOTHING = 0.05
"""Weight of the newest answer in the moving average of the pace."""


class Rate:
    """A token bucket: ``per_minute`` units a minute, at most a sixth of them at once."""

    def __init__(self, per_minute: float) -> None:
        self._per_s = per_minute / 60
        self._size = per_minute / 6
        self._level = self._size
        self._at = time.monotonic()

    async def take(self, units: float) -> None:
        """Wait until ``units`` may be used. The level may go negative; later calls wait for it."""
        now = time.monotonic()
        self._level = min(self._size, self._level + (now - self._at) * self._per_s)
        self._at = now
        self._level -= units
        if self._level < 0:
            await asyncio.sleep(-self._level / self._per_s)

    def learn(self, *, level: float, size: float, per_s: float) -> None:
        """Adopt the level, size and rate that the server reports for its own bucket."""
        self._level, self._size, self._per_s, self._at = level, size, per_s, time.monotonic()

    def give_back(self, units: float) -> None:
        """Return units that were taken for the worst case and not used."""
        self._level = min(self._size, self._level + units)


class Refusals:
    """The failed tries of a model since the last look, and the times of the next ones."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._next_tries: list[float] = []

    def add(self, error: CompleterError, pause_s: float) -> None:
        """Count a try that failed and is followed by another one after ``pause_s`` seconds."""
        status = re.search(r"HTTP (\d+)", str(error))
        name = error.kind.replace("_", " ")
        # The mark stands for the number, which stands between the status and its name.
        self._counts[f"{status[1]} ×#: {name}" if status else f"{name} ×#"] += 1
        self._next_tries.append(time.monotonic() + pause_s)

    def describe(self) -> str | None:
        """Return ``429 ×37: rate limit, next try in 4 s`` and start anew; None for no failure."""
        if not self._counts:
            return None
        now = time.monotonic()
        self._next_tries = [at for at in self._next_tries if at > now]
        what = "; ".join(name.replace("#", f"{n:,}") for name, n in self._counts.most_common())
        self._counts.clear()
        wait = f", next try in {min(self._next_tries) - now:.0f} s" if self._next_tries else ""
        return what + wait


class InFlight:
    """The number of calls one server gets at a time.

    It grows while the server answers at its usual pace, and halves when it refuses a call.
    """

    def __init__(self, start: float) -> None:
        self.limit = start
        self._start = start
        self.count = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._last_cut = 0.0
        self._pace: float | None = None
        self._best_pace = float("inf")

    @property
    def free(self) -> float:
        """The number of calls that fit now."""
        return self.limit - self.count

    def enter_now(self) -> bool:
        """Count a call if it fits; return False otherwise."""
        if self.count >= self.limit:
            return False
        self.count += 1
        return True

    async def enter(self) -> None:
        """Wait until a call fits, and count it."""
        while not self.enter_now():
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            finally:
                if place in self._waiting:
                    self._waiting.remove(place)

    def leave(self) -> None:
        """Count a call as ended."""
        self.count -= 1
        self._wake()

    def record_answer(self, pace: float) -> None:
        """Raise the limit after an answer, unless answers have become slow.

        Args:
            pace: Seconds per unit of work of the call, so that a long answer is not a slow one.
        """
        self._pace = pace if self._pace is None else self._pace + SMOOTHING * (pace - self._pace)
        self._best_pace = min(self._best_pace, self._pace)
        if self._pace <= SLOWER * self._best_pace:
            self.limit = min(self._start, self.limit + GROWTH / max(self.limit, 1.0))
        self._wake()

    def record_refusal(self) -> None:
        """Halve the limit after a refusal, at most once in ``SECONDS_BETWEEN_CUTS``."""
        now = time.monotonic()
        if now - self._last_cut >= SECONDS_BETWEEN_CUTS:
            self._last_cut = now
            self.limit = max(MIN_IN_FLIGHT, self.limit * CUT)

    def _wake(self) -> None:
        if not self._waiting:
            return
        free = int(self.limit) - self.count
        while self._waiting and free > 0:
            place = self._waiting.pop(0)
            if not place.done():
                place.set_result(None)
                free -= 1
