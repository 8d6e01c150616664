"""A hard cap on what a run may spend."""

import asyncio
import math
import time
from typing import TYPE_CHECKING

from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.errors import BudgetError
from orcinus.core.types import Attempt, WorstCase
from orcinus.runs.ledger_writing import Caps, Grant

if TYPE_CHECKING:
    from orcinus.runs.ledger import Ledger


ASK_EVERY_S = 0.25
"""Seconds between two looks whether another process has given back a part of the budget."""


class Budget:
    """A hard cap for one run: spending plus the worst case of all calls in flight stays below it.

    The ledger arbitrates between the processes of a run. Each holds a block of the budget there
    before it sends a call, its calls in flight stay below the block, and the block shrinks by what
    they cost. When a process is killed, its block counts as spent.
    """

    def __init__(
        self, *, ledger: "Ledger", run: str, usd: float | None, tokens: int | None
    ) -> None:
        self._ledger, self._run = ledger, run
        self._caps = Caps(
            usd=math.inf if usd is None else usd, tokens=math.inf if tokens is None else tokens
        )
        self._in_flight_usd, self._in_flight_tokens = 0.0, 0
        self._block_usd, self._block_tokens = 0.0, 0
        self._lost_usd, self._lost_tokens = 0.0, 0
        self._released = asyncio.Event()
        self._releases = 0
        self._asking = asyncio.Lock()
        self._asked: asyncio.Future[Grant] | None = None
        """The last question to the ledger for a larger block."""
        self._others_hold = False
        self._refused: tuple[float, int] | None = None
        self._refused_at = 0.0
        is_capped = usd is not None or tokens is not None
        self.holder = ledger.open_budget(run) if is_capped else None
        """Name of its block in the ledger; None without a cap."""
        self.spent_usd, self.spent_tokens = self._spent_by_all = ledger.spent(run)

    @property
    def caps_dollars(self) -> bool:
        """True when there is a cap in dollars."""
        return self._caps.usd < math.inf

    async def reserve(self, worst: WorstCase) -> None:
        """Wait until a call of that size fits.

        Raises:
            BudgetError: The call does not fit, and no call in flight can make room.
        """
        while True:
            seen = self._releases
            if await self.reserve_now(worst):
                return
            if self._releases != seen:
                continue
            if self._in_flight_tokens == 0 and not self._others_hold:
                raise BudgetError(self._exhausted(worst))
            if self._others_hold:
                await self.give_back()  # the other process may be waiting for it
                await asyncio.sleep(ASK_EVERY_S)
            else:
                self._released.clear()
                await self._released.wait()

    async def reserve_now(self, worst: WorstCase) -> bool:
        """Reserve room for a call if there is some now; return False otherwise."""
        if self.holder is None:
            return True
        if not self._fits(worst):
            async with self._asking:
                while not self._fits(worst):
                    if not await self._enlarge(self.holder, worst):
                        return False
        self._in_flight_usd += worst.usd if self.caps_dollars else 0.0
        self._in_flight_tokens += worst.tokens
        return True

    async def reclaim(self, worst: WorstCase) -> bool:
        """Reserve room for a call with what a stopped process has booked for it.

        Returns:
            False when less than that is booked.
        """
        if self.holder is None:
            return False
        usd = worst.usd if self.caps_dollars else 0.0
        try:
            moved = self._ledger.reclaim_lost(self._run, self.holder, usd=usd, tokens=worst.tokens)
            if not await asyncio.shield(moved):
                return False
        except asyncio.CancelledError:  # it may have been moved: it is booked again
            self._lost_usd += usd
            self._lost_tokens += worst.tokens
            raise
        self.spent_usd -= usd
        self.spent_tokens -= worst.tokens
        self._block_usd += usd
        self._block_tokens += worst.tokens
        self._in_flight_usd += usd
        self._in_flight_tokens += worst.tokens
        return True

    def book(self, attempt: Attempt) -> None:
        """Count what a call has cost, now that it is in the ledger."""
        self.spent_usd += attempt.cost_usd
        self.spent_tokens += attempt.usage.total
        self._block_usd -= attempt.cost_usd
        self._block_tokens -= attempt.usage.total

    def release(self, worst: WorstCase, calls: int) -> None:
        """Give up the room of tries that are booked, or were not sent."""
        if self.holder is not None:
            self._in_flight_usd -= calls * worst.usd if self.caps_dollars else 0.0
            self._in_flight_tokens -= calls * worst.tokens
            if self._in_flight_tokens == 0:
                self._in_flight_usd = 0.0  # not a rest of rounding
            self._releases += 1
            self._released.set()

    def forfeit(self, worst: WorstCase, calls: int) -> None:
        """Count tries as spent whose replies will not be seen, because the call was cancelled."""
        if self.holder is not None:
            usd = calls * worst.usd if self.caps_dollars else 0.0
            self._lost_usd += usd
            self._lost_tokens += calls * worst.tokens
            self._block_usd -= usd
            self._block_tokens -= calls * worst.tokens
            self.release(worst, calls)

    async def give_back(self) -> None:
        """Give back what no call in flight needs, so that other processes may use it."""
        usd = max(0.0, self._block_usd - self._in_flight_usd)
        tokens = max(0, self._block_tokens - self._in_flight_tokens)
        if self.holder is not None and (usd or tokens):
            self._block_usd -= usd
            self._block_tokens -= tokens
            await self._ledger.give_back(self._run, self.holder, usd=usd, tokens=tokens)

    async def close(self) -> None:
        """Release the block, once no call is in flight, and book what was forfeited."""
        if self._asked is not None and not self._asked.done():
            await asyncio.wait([self._asked])
        if self.holder is None or not (self._block_tokens or self._lost_tokens):
            return
        if self._in_flight_tokens:  # another list of requests shares this budget
            await self.give_back()
            return
        lost_usd, lost_tokens = self._lost_usd, self._lost_tokens
        self._block_usd, self._block_tokens = 0.0, 0
        self._lost_usd, self._lost_tokens = 0.0, 0
        self.spent_usd += lost_usd
        self.spent_tokens += lost_tokens
        await self._ledger.close_budget(
            self._run, self.holder, lost_usd=lost_usd, lost_tokens=lost_tokens
        )

    def _fits(self, worst: WorstCase) -> bool:
        need_usd, need_tokens = self._need(worst)
        return need_usd <= 0 and need_tokens <= 0

    def _need(self, worst: WorstCase) -> tuple[float, int]:
        """Return what is missing in the block for one more call."""
        usd = worst.usd if self.caps_dollars else 0.0
        return (
            self._in_flight_usd + usd - self._block_usd if self.caps_dollars else 0.0,
            self._in_flight_tokens + worst.tokens - self._block_tokens,
        )

    async def _enlarge(self, holder: int, worst: WorstCase) -> bool:
        """Ask the ledger for a larger block; return False when there is no room."""
        need = self._need(worst)
        if (
            self._refused is not None
            and time.monotonic() < self._refused_at + ASK_EVERY_S
            and need[0] >= self._refused[0]
            and need[1] >= self._refused[1]
        ):
            return False
        # Twice the current need: a rising number of calls in flight then asks the ledger seldom.
        usd = worst.usd if self.caps_dollars else 0.0
        want = (
            need[0] + self._in_flight_usd + usd,
            need[1] + self._in_flight_tokens + worst.tokens,
        )
        self._asked = self._ledger.acquire(
            self._run,
            holder,
            need=(max(0.0, need[0]), max(0, need[1])),
            want=(max(0.0, want[0]), max(0, want[1])),
            caps=self._caps,
        )
        self._asked.add_done_callback(self._add_grant)
        # Shielded: a grant counts also where the call that asked for it is cancelled.
        grant = await asyncio.shield(self._asked)
        self._others_hold = grant.held_by_others
        self._spent_by_all = grant.spent_usd, grant.spent_tokens
        if not grant.granted:
            self._refused, self._refused_at = need, time.monotonic()
            return False
        self._refused = None
        return True

    def _add_grant(self, asked: "asyncio.Future[Grant]") -> None:
        """Add to the block what the ledger has granted."""
        if not asked.cancelled() and asked.exception() is None:
            self._block_usd += asked.result().usd
            self._block_tokens += asked.result().tokens

    def _exhausted(self, worst: WorstCase) -> str:
        usd, tokens = self._spent_by_all
        spent = f"${usd:,.4f} and {tokens:,} tokens spent"
        caps = []
        if self.caps_dollars:
            caps.append(f"${self._caps.usd:,.4f}".removesuffix("00"))
        if self._caps.tokens < math.inf:
            caps.append(f"{self._caps.tokens:,} tokens")
        return (
            f"the budget of {' and '.join(caps)} is used up: {spent}, and the next call may use "
            f"up to ${worst.usd:,.4f} and {worst.tokens:,} tokens; raise the recipe's budget and "
            "run again to continue from here"
        )


class BudgetConfig(Config):
    """A hard cap: spending plus the worst case of calls in flight never exceeds it."""

    usd: float | None = Field(default=None, ge=0)
    """Dollars for the whole run; None sets no cap."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens read and written in the whole run; None sets no cap."""

    def open(self, ledger: "Ledger", run: str) -> Budget:
        """Return the budget of a run, with what the ledger has booked to it as spent."""
        return Budget(ledger=ledger, run=run, usd=self.usd, tokens=self.tokens)
