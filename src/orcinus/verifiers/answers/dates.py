"""Read dates in words, and compare them.

dates_in("It was on March 12, 1912.")              →  [Date(12, 3, 1912)]
names_date("The 12th of March, 1912", "12 March 1912")  →  True
"""

import re
from typing import NamedTuple

from orcinus.core.patterns import compile_later

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sep(?:t|tember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATE = compile_later(
    rf"\b(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH})\b"
    rf"|(?P<month2>{_MONTH})\.?\s+(?:the\s+)?(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?)\.?"
    r"(?:,?\s+(?:of\s+)?(?P<year>\d{4}))?(?!\w)",
    re.IGNORECASE,
)
_ISO = compile_later(r"\s*(\d{4})-(\d{2})-(\d{2})[\s.]*")
_IN_DIGITS = compile_later(r"\s*(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})\s*")


class Date(NamedTuple):
    """A day; the year is None where none is said."""

    day: int
    month: int
    year: int | None


def dates_in(text: str) -> list[Date]:
    """Return the dates that a text gives in words, in order, or the one that it is: 1912-03-12."""
    if iso := _ISO.fullmatch(text):
        return [Date(int(iso[3]), int(iso[2]), int(iso[1]))]
    return [
        Date(
            int(match["day"] or match["day2"]),
            _MONTHS.index((match["month"] or match["month2"])[:3].lower()) + 1,
            int(match["year"]) if match["year"] else None,
        )
        for match in _DATE.finditer(text)
    ]


def days_beside_years(text: str) -> set[int]:
    """Return where the days of dates with a year stand: 20 in "July 20, 1969"."""
    dates = [match for match in _DATE.finditer(text) if match["year"]]
    return {match.start("day" if match["day"] else "day2") for match in dates}


def names_date(answer: str, reference: str) -> bool:
    """Return True if the reference is a date, and the only one that the answer gives."""
    if not any(map(str.isdigit, reference)):
        return False
    if _IN_DIGITS.fullmatch(reference):
        said = dates_in(answer)
        return len(said) == 1 and may_be_date(said[0], reference)
    is_date = _ISO.fullmatch(reference) or _DATE.fullmatch(reference.strip(" ."))
    return is_date is not None and dates_in(answer) == dates_in(reference)


def may_be_date(date: Date, written: str) -> bool:
    """Return True if ``written`` is that date in digits, 07/04/1776, in either order."""
    match = _IN_DIGITS.fullmatch(written)
    return bool(
        match
        and {int(match[1]), int(match[2])} == {date.day, date.month}
        and int(match[3]) == date.year
    )
