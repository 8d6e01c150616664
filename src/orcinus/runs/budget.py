"""A hard cap on what a run may spend."""

import asyncio

from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.errors import BudgetError
from orcinus.core.types import Attempt, WorstCase
from orcinus.runs.ledger import Ledger


class Budget:
    """A hard cap for one run: what is spent plus the worst case of what is in flight never passes it.

    The worst case is held in the ledger before it is sent, so the cap also stands when the process is killed: what may have
    been in flight then counts as spent.
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
            BudgetError: It does not fit, and nothing in flight could make room.
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
        """A call has ended and is in the ledger: what it really used replaces its worst case."""
        self.spent_usd += attempt.cost_usd
        self.spent_tokens += attempt.usage.tokens_in + attempt.usage.tokens_out
        if self._capped:
            self._in_flight_usd -= worst.usd
            self._in_flight_tokens -= worst.tokens
            self._released.set()

    def close(self) -> None:
        """Nothing is in flight any more."""
        if self._held_tokens:
            self._held_usd, self._held_tokens = 0.0, 0
            self._ledger.hold(self._run, usd=0.0, tokens=0)

    def _fits(self, worst: WorstCase) -> bool:
        return (
            self.spent_usd + self._in_flight_usd + worst.usd <= self._usd_cap
            and self.spent_tokens + self._in_flight_tokens + worst.tokens <= self._tokens_cap
        )

    def _hold(self, worst: WorstCase) -> None:
        # Twice what is needed now, so that a rising number of calls in flight costs a few syncs and not one a call.
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
            caps.append(f"${self._usd_cap:,.2f}")
        if self._tokens_cap != float("inf"):
            caps.append(f"{self._tokens_cap:,} tokens")
        return (
            f"the budget of {' and '.join(caps)} is used up: {spent}, and the next call may use up to "
            f"${worst.usd:,.4f} and {worst.tokens:,} tokens; raise the recipe's budget and run again to go on from here"
        )


class BudgetConfig(Config):
    """A hard cap: what is spent plus the worst case in flight never passes it."""

    usd: float | None = Field(default=None, ge=0)
    """Dollars for the whole run; None is no cap."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens in and out for the whole run; None is no cap."""
