"""Upper bounds of what one call can use, for budgets and rate limits."""

from orcinus.core.requests import as_sent
from orcinus.core.types import Request, WorstCase


def prompt_bound(request: Request) -> int:
    """Return the most tokens that the prompt can have: one for each byte, 16 for each turn."""
    messages, _ = as_sent(request)
    return sum(len(message.content.encode()) + 16 for message in messages)


def free_call(request: Request) -> WorstCase:
    """Return the bounds of a call that costs no money."""
    return WorstCase(usd=0.0, tokens=prompt_bound(request) + request.sampling.max_tokens)
