"""A hard cap on what a run may spend."""

import asyncio

from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.errors import BudgetError
from orcinus.core.types import Attempt, WorstCase
from orcinus.runs.ledger import Ledger


class Budget:
    """A hard cap for one run: spending plus the worst case of all calls in flight stays below it.

    The ledger holds the worst case before a call is sent. So the cap also holds when the process is
    killed: calls that were in flight then count as spent.
    """

    def __init__(self, *, ledger: Ledger, run: str, usd: float | None, tokens: int | None) -> None:
        self._ledger, self._run = ledger, run
        self._usd_cap = float("inf") if usd is None else usd
        self._tokens_cap = float("inf") if tokens is None else tokens
        self._capped = usd is not None or tokens is not None
        self._in_flight_usd, self._in_flight_tokens = 0.0, 0
        self._held_usd, self._held_tokens = 0.0, 0
        self._released = asyncio.Event()
        if self._capped:
            ledger.absorb_hold(run)
        self.spent_usd, self.spent_tokens = ledger.spent(run)

    async def reserve(self, worst: WorstCase) -> None:
        """Wait until a call of that size fits.

        Raises:
            BudgetError: The call does not fit, and no call in flight can make room.
        """
        if not self._capped:
            return
        while not self._fits(worst):
            if self._in_flight_tokens == 0:
                raise BudgetError(self._exhausted(worst))
            self._released.clear()
            await self._released.wait()
        self._in_flight_usd += worst.usd
        self._in_flight_tokens += worst.tokens
        if self._in_flight_usd > self._held_usd or self._in_flight_tokens > self._held_tokens:
            self._hold(worst)

    def settle(self, worst: WorstCase, attempt: Attempt) -> None:
        """Replace the worst case of a call, now in the ledger, by its usage."""
        self.spent_usd += attempt.cost_usd
        self.spent_tokens += attempt.usage.tokens_in + attempt.usage.tokens_out
        if self._capped:
            self._in_flight_usd -= worst.usd
            self._in_flight_tokens -= worst.tokens
            self._released.set()

    def close(self) -> None:
        """Release the hold in the ledger, once no call is in flight."""
        if self._held_tokens:
            self._held_usd, self._held_tokens = 0.0, 0
            self._ledger.hold(self._run, usd=0.0, tokens=0)

    def _fits(self, worst: WorstCase) -> bool:
        return (
            self.spent_usd + self._in_flight_usd + worst.usd <= self._usd_cap
            and self.spent_tokens + self._in_flight_tokens + worst.tokens <= self._tokens_cap
        )

    def _hold(self, worst: WorstCase) -> None:
        # Twice the current need: a rising number of calls in flight then costs few syncs, not one
        # per call.
        room_usd = self._usd_cap - self.spent_usd
        room_tokens = self._tokens_cap - self.spent_tokens
        self._held_usd = min(2 * self._in_flight_usd, max(room_usd, self._in_flight_usd))
        self._held_tokens = int(
            min(2 * self._in_flight_tokens, max(room_tokens, self._in_flight_tokens))
        )
        self._ledger.hold(self._run, usd=self._held_usd, tokens=self._held_tokens)

    def _exhausted(self, worst: WorstCase) -> str:
        spent = f"${self.spent_usd:,.4f} and {self.spent_tokens:,} tokens spent"
        caps = []
        if self._usd_cap != float("inf"):
            caps.append(f"${self._usd_cap:,.4f}".removesuffix("00"))
        if self._tokens_cap != float("inf"):
            caps.append(f"{self._tokens_cap:,} tokens")
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

    def open(self, ledger: Ledger, run: str) -> Budget:
        """Return the budget of a run, with what the ledger has booked to it as spent."""
        return Budget(ledger=ledger, run=run, usd=self.usd, tokens=self.tokens)
