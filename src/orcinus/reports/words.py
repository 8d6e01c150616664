"""Names and numbers as a reader wants them."""

ARMS = {
    "before": "student before training",
    "prompted": "student before, prompted with its best strategy",
    "answer_only": "student trained on answers only",
    "after": "student trained on explanations",
    "teacher": "teacher",
}
"""What each arm of an evaluation is, in words."""


def percent(share: float | None, digits: int = 1) -> str:
    """``0.5`` → ``50.0 %``; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def count(number: int | None) -> str:
    """``12345`` → ``12,345``."""
    return "–" if number is None else f"{number:,}"


def chance(p: float | None) -> str:
    """A p-value: three digits, or a bound."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def dollars(amount: float) -> str:
    """Money, with more digits where it is little."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"
