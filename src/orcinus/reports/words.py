"""Format numbers and texts for a reader.

"after" → student trained on explanations      0.5 → 50.0 %      -0.031 → −3.1      0.0004 → < 0.001
"""

from collections.abc import Callable, Mapping
from typing import Any

from orcinus.core.printing import markdown_text
from orcinus.reports.glossary import explain


def percent(share: float | None, digits: int = 1) -> str:
    """Format a share: ``0.5`` → ``50.0 %``; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def points(difference: float) -> str:
    """Format a difference of two shares in percentage points: ``0.031`` → ``+3.1``."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def count(number: int | None) -> str:
    """Format a number of things: ``12345`` → ``12,345``; a dash for None."""
    return "–" if number is None else f"{number:,}"


def chance(p: float | None) -> str:
    """Format a p-value with three digits: ``0.0312`` → ``0.031``; a dash for None."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_value(p: float) -> str:
    """Format a p-value for a sentence, with its sign: ``0.0312`` → ``= 0.031``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def dollars(amount: float) -> str:
    """Format an amount of money, with four digits below one dollar: ``0.0123`` → ``$0.0123``."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def rating(mean: float | None) -> str:
    """Format a judge's rating with two digits: ``7.25``; a dash for None."""
    return "–" if mean is None else f"{mean:.2f}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "percent": percent,
    "points": points,
    "count": count,
    "chance": chance,
    "dollars": dollars,
    "rating": rating,
    "cell": markdown_text,
    "explain": explain,
}
"""The functions above, as filters of templates."""
