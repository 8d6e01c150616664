r"""Cut a text into steps of reasoning: its paragraphs, lines, sentences or clauses.

    steps_in("1. 17 + 25 = 42\n2. 42 + 8 = 50\nThe answer is 50.")   →   three ranges of characters

The coarsest unit that gives several steps is used. The ranges cover the text without gaps: what
separates two steps belongs to the first.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

UNITS = tuple(map(re.compile, (r"\n\s*\n\s*", r"\n\s*", r"(?<=[.!?])\s+", r"(?<=[.!?,;])\s+")))
"""What separates paragraphs, lines, sentences and clauses."""


def steps_in(text: str, separator: str | None = None, *, fewest: int = 3) -> list[range]:
    """Return the places of the steps of ``text``.

    Args:
        text: An explanation.
        separator: Text that ends a step; None takes one of ``UNITS``.
        fewest: The coarsest unit with at least this many steps is used; else the finest.
    """
    if separator is not None:
        return _cut(text, re.compile(re.escape(separator)))
    found: list[range] = []
    for unit in UNITS:
        found = _cut(text, unit)
        if len(found) >= fewest:
            return found
    return found


def texts_of(text: str, steps: Sequence[range]) -> list[str]:
    """Return the text of each step."""
    return [text[step.start : step.stop] for step in steps]


def _cut(text: str, separator: re.Pattern[str]) -> list[range]:
    ends = [match.end() for match in separator.finditer(text) if text[: match.start()].strip()]
    places = [0, *(end for end in ends if text[end:].strip()), len(text)]
    return [range(a, b) for a, b in pairwise(places) if b > a]
