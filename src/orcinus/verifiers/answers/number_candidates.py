"""Find the numbers of a sentence that may be its result: not denied, bounded or called wrong.

find_candidates("It is not 10 but 12.")   →  12
find_candidates("He is 5 ft 11 tall.")    →  5 ft 11, as one quantity
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.dates import days_beside_years
from orcinus.verifiers.answers.denials import DENIAL, holds_denial
from orcinus.verifiers.answers.quantities import (
    CLOCK,
    NUMBER,
    find_compound,
    find_ratio,
    value_of_compound,
    value_of_match,
    value_of_ratio,
)

_DENIED = compile_later(
    rf"{DENIAL}\s+(?:be\s+|have\s+|has\s+|need\s+|cost\s+|take\s+|weigh\s+|contain\s+|hold\s+"
    rf"|the\s+|equal\s+(?:to\s+)?)*[$€£]?\Z",
    re.IGNORECASE,
)
_NO_VALUE = compile_later(
    r"\W*(?:here\s+are\s+\S+\s+(?:\w+\s+)?(?:ways|steps|reasons|examples|methods|points|facts|hints)\b"
    r"|(?:the|this|my)\s+answer\s+(?:has|contains|consists|lies)\b)",
    re.IGNORECASE,
)
"""Opens a sentence about an answer, which gives none: "the answer has 3 digits"."""
_BOUND = compile_later(
    r"(?:\b(?:more|less|fewer|greater|higher|lower|larger|smaller|bigger)\s+than(?:\s+or\s+equal\s+to)?"
    r"|\b(?:above|below|beyond|under|over|before|exceeds?|exceeding)"
    r"|(?<!add)(?<!adds)(?<!sum)(?<!sums)(?<!adding)(?<!comes)(?<!works)\s+up\s+to"
    r"|\b(?:is|are|was|were|be|has|have|had|there|costs?|takes?)\s+at\s+(?:least|most))"
    r"\s+(?:about\s+)?[$€£]?\Z",
    re.IGNORECASE,
)
"""Before a number that only bounds the answer."""
_REFUTED = compile_later(
    r"\s*,?\s*(?:(?:which|that)\s+)?(?:is|was|would\s+be)\s+(?:\w+ly\s+)?"
    r"(?:wrong|false|incorrect|mistaken|extraneous|rejected|not\s+(?:right|correct|true|it)\b)",
    re.IGNORECASE,
)
"""Behind a number that is called wrong."""
_BEFORE = 40
"""Characters before a number that are searched for a word that denies it."""


@dataclass(frozen=True)
class Candidate:
    """A number of a sentence: a match of ``NUMBER``, ``COMPOUND``, ``RATIO`` or ``CLOCK``."""

    match: re.Match[str]
    read: Callable[[re.Match[str]], Fraction | None] | None
    """Reads its value; None for a time of day, which has none."""

    # Most sentences are read without these.
    @cached_property
    def start(self) -> int:
        """Return where it begins."""
        return self.match.start()

    @cached_property
    def end(self) -> int:
        """Return where it ends."""
        return self.match.end()

    @cached_property
    def text(self) -> str:
        """Return how it was written."""
        return self.match.group().strip()

    @cached_property
    def value(self) -> Fraction | None:
        """Return the value."""
        return self.read(self.match) if self.read else None

    @property
    def currency(self) -> str | None:
        """Return the sign of a currency before the number."""
        return self.match["currency"] if self.read is value_of_match else None


def is_denied_number(start: int, sentence: str) -> bool:
    """Return True if a word before a number denies it."""
    return _DENIED.search(sentence, max(0, start - _BEFORE), start) is not None


def is_bound(one: Candidate, sentence: str) -> bool:
    """Return True if a number only bounds the answer: "more than 40", "it is at least 12"."""
    return _BOUND.search(sentence, max(0, one.start - _BEFORE), one.start) is not None


def find_candidates(sentence: str) -> list[Candidate]:
    """Return the numbers of a sentence that it does not deny.

    A quantity in two units is one, and a date with a year is that year.
    """
    denies = holds_denial(sentence)
    found = [
        Candidate(match, value_of_match)
        for match in NUMBER.finditer(sentence)
        if not (denies and is_denied_number(match.start(), sentence))
    ]
    if len(found) == 1 and (_NO_VALUE.match(sentence) or _REFUTED.match(sentence, found[0].end)):
        return []
    if len(found) > 1 and (days := days_beside_years(sentence)):
        found = [one for one in found if one.start not in days]
    whole = None
    if found and (compound := find_compound(sentence)) is not None:
        whole = Candidate(compound, value_of_compound)
    elif found and (ratio := find_ratio(sentence)) is not None:
        whole = Candidate(ratio, value_of_ratio)
    if whole is not None:
        found = [one for one in found if not whole.start <= one.start < whole.end]
        found.append(whole)
        found.sort(key=lambda one: one.start)
    if not found and ":" in sentence and (clock := CLOCK.search(sentence)):
        found.append(Candidate(clock, None))
    return found
