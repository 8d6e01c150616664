"""Upper bounds of what one call can use, and the tries that were made of it, for budgets.

try 1 sent, reply lost  ──► its worst case is booked, and room for try 2 is reserved
try 2 answered          ──► its cost is booked
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

import orjson

from orcinus.core.requests import as_sent
from orcinus.core.types import Request, WorstCase


def prompt_bound(request: Request) -> int:
    """Return the most tokens that the prompt can have: one for each byte, 16 for each turn."""
    if request.scoring is not None:
        return len(request.scoring.prompt) + len(request.scoring.response)
    messages, sampling = as_sent(request)
    extra = len(orjson.dumps(sampling.extra)) if sampling.extra else 0  # tools, for example
    texts = [message.content for message in messages]
    sizes = [len(text if text.isascii() else text.encode()) for text in texts]
    return extra + sum(sizes) + 16 * len(sizes)


def free_call(request: Request) -> WorstCase:
    """Return the bounds of a call that costs no money."""
    return WorstCase(usd=0.0, tokens=prompt_bound(request) + request.sampling.max_tokens)


class Tries:
    """The tries of one call, for the budget that pays for them."""

    def __init__(
        self,
        worst_case: Callable[[], WorstCase],
        reserve: Callable[[WorstCase], Awaitable[bool]] | None,
        run: str = "",
    ) -> None:
        """Start with one try, which is reserved.

        Args:
            worst_case: Returns the bounds of one try.
            reserve: Reserves room for another try if there is some now; None without a budget.
            run: The run whose budget has a cap; empty where there is none.
        """
        self.run = run
        self._worst_case, self._reserve = worst_case, reserve
        self._worst: WorstCase | None = None
        self.reserved = 1
        self.lost = 0
        self.retries = 0
        """Tries that failed and were followed by another one."""
        self.sent = True
        """False while no try is under way that a server may charge for."""

    @property
    def worst(self) -> WorstCase:
        """The bounds of one try."""
        if self._worst is None:
            self._worst = self._worst_case()
        return self._worst

    @property
    def lost_usd(self) -> float:
        """Worst case of the lost tries in dollars; 0 where no price is known."""
        return self.lost * self.worst.usd if self.lost and math.isfinite(self.worst.usd) else 0.0

    @property
    def lost_tokens(self) -> int:
        """Worst case of the lost tries in tokens."""
        return self.lost * self.worst.tokens if self.lost else 0

    async def reserve_another(self) -> bool:
        """Reserve room for another try; return False if there is none now."""
        if self._reserve is not None:
            if not await self._reserve(self.worst):
                return False
            self.reserved += 1
        return True


tries_of_call: ContextVar[Tries | None] = ContextVar("tries_of_call", default=None)
"""The tries of the call that the current task makes."""


def current_tries() -> list[Tries]:
    """Return the tries of the current call, in a list: several calls can share one exchange."""
    tries = tries_of_call.get()
    return [] if tries is None else [tries]


def mark_sent(calls: Sequence[Tries], sent: bool) -> None:
    """Note that a try is under way, or that none is."""
    for call in calls:
        call.sent = sent


async def book_lost_try(calls: Sequence[Tries]) -> bool:
    """Book the worst case of a try whose reply was lost, and reserve room for another one.

    Returns:
        False when there is no room: the call ends with this try.
    """
    for call in calls:
        if not await call.reserve_another():
            return False
    for call in calls:
        call.lost += 1
    return True
