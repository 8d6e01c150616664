"""Compare quantities that are given in two units of one kind: 2400 mL and 2.4 L.

names_quantity("2400", "2.4 L", "It holds 2400 mL.")  →  True
names_quantity("45", "45 kg", "She weighs 45 g.")     →  False
names_quantity("45", "45 kg", "She weighs 45.")       →  None: a number without a unit
"""

import re
from fractions import Fraction
from functools import cache, lru_cache
from typing import NamedTuple

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.quantities import reference_value, same_number, value_of


class Unit(NamedTuple):
    """A unit: what it measures, and how many of that measure's base unit it is."""

    measure: str
    size: Fraction


_SPELLINGS: dict[str, dict[str, str]] = {
    "length": {
        "0.001": "mm millimeter millimetre",
        "0.01": "cm centimeter centimetre",
        "1": "m meter metre",
        "1000": "km kilometer kilometre",
        "0.0254": "inch inches",
        "0.3048": "ft foot feet",
        "0.9144": "yd yard",
        "1609.344": "mi mile",
    },
    "mass": {
        "0.001": "mg milligram",
        "1": "g gram gramme",
        "1000": "kg kilogram kilogramme kilo",
        "1000000": "tonne",
        "28.349523125": "oz ounce",
        "453.59237": "lb pound",
    },
    "volume": {
        "0.001": "ml mL milliliter millilitre",
        "0.01": "cl cL centiliter centilitre",
        "0.1": "dl dL deciliter decilitre",
        "1": "l L liter litre",
    },
    "time": {
        "0.001": "ms millisecond",
        "1": "s sec second",
        "60": "min minute",
        "3600": "h hr hour",
        "86400": "day",
        "604800": "week",
    },
    "area": {"0.0001": "cm^2 cm²", "1": "m^2 m²", "1000000": "km^2 km²"},
    "room": {"0.000001": "cm^3 cm³", "1": "m^3 m³"},
}
"""By measure and size, the spellings of a unit; one of three letters or more may have an s."""
_NAME = (
    r"\s?(?:\\[,; ])?\s?(?:\\(?:text|mathrm|rm)\s?\{\s?)?([A-Za-z]+(?:\^\{?[23]|[²³])?)"
    r"(?:\s?/\s?([A-Za-z]+)|\s+per\s+([A-Za-z]+))?"
)
_BEHIND = compile_later(rf"{_NAME}(?![\w/])(?!\s?(?:/|per\b))")
"""A unit behind a number, maybe one for each of another: metres per second are no metres."""
_QUANTITY = compile_later(rf"\W{{0,3}}\d(?:[\d.,/ ]*\d)?{_NAME}\}}?[\s.]*")
"""A reference that is a number with a unit, and nothing else."""


@cache
def _units() -> dict[str, Unit]:
    """Return the units by their spellings."""
    found: dict[str, Unit] = {}
    for measure, sizes in _SPELLINGS.items():
        for size, names in sizes.items():
            for name in names.split():
                plural = {f"{name}s"} if name.isalpha() and len(name) > 1 else set()
                found |= {spelling: Unit(measure, Fraction(size)) for spelling in {name, *plural}}
    return found


def _named(name: str) -> Unit | None:
    name = name.replace("{", "")
    return _units().get(name) or (_units().get(name.lower()) if len(name) > 1 else None)


def _unit_in(match: "re.Match[str]") -> Unit | None:
    """Return the unit of a match, "km" or "km/h"; None if one of its names is none."""
    unit, each = _named(match[1]), match[2] or match[3]
    if each is None or unit is None:
        return unit
    by = _named(each)
    return Unit(f"{unit.measure}/{by.measure}", unit.size / by.size) if by else None


@lru_cache(maxsize=8192)
def unit_of(reference: str) -> Unit | None:
    """Return the unit of a reference that is one quantity; None for any other."""
    match = _QUANTITY.fullmatch(reference)
    return _unit_in(match) if match else None


def unit_behind(answer: str, text: str) -> Unit | None:
    """Return the unit that the text has behind the answer where it names it last."""
    at = text.rfind(answer)
    match = _BEHIND.match(text, at + len(answer)) if at >= 0 else None
    return _unit_in(match) if match else None


def names_quantity(answer: str, reference: str, text: str) -> bool | None:
    """Return whether an answer is the reference in another unit; None where units do not decide.

    Args:
        answer: The number.
        reference: With its unit.
        text: Where the answer was found, with its unit.
    """
    wanted = unit_of(reference)
    given = unit_behind(answer, text) if wanted else None
    if wanted is None or given is None or given.measure != wanted.measure or given == wanted:
        return None
    value, right = value_of(answer), reference_value(reference)
    if value is None or right is None:
        return None
    return same_number(value * given.size / wanted.size, right)
