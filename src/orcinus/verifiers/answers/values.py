"""Decide whether two values are the same: exactly, or as the rounding of a decimal allows.

With variables, the values at fixed sample points decide.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from orcinus.verifiers.answers.computation import (
    Inexact,
    compute_exactly,
    compute_nearly,
    rational_value,
)
from orcinus.verifiers.answers.nodes import Node, names_in

DIGITS = 40
"""Digits to which a value with roots or π is computed; twice as many where two values are close."""
_FEWEST_DIGITS = 3
"""Digits of a decimal reference that stands for all exact values that round to it: 3.14 for π, but
2.3 not for 7/3."""
_FLOAT_NOISE = Fraction(1, 10**12)
"""Relative error of a decimal that a program computed: 0.30000000000000004 is 0.3."""
_LONG_DECIMAL = 10
"""Digits after which a decimal answer counts as the exact number that it rounds: 0.3333333333."""
_POINTS = (
    (Fraction(10_007, 1_009), Fraction(100_003, 10_009), Fraction(7_919, 613)),
    (Fraction(8_191, 4_093), Fraction(5_741, 997), Fraction(9_973, 2_003)),
    (Fraction(-7_477, 1_511), Fraction(6_421, 887), Fraction(-3_571, 541)),
)
"""Values of the variables. They are no values at which unequal expressions usually meet."""


def are_proportional(a: Node, b: Node, *, any_sign: bool) -> bool:
    """Return True if one expression is the other times a constant, as equations may differ."""
    names = sorted(names_in(a) | names_in(b))
    ratios = []
    for point in _POINTS:
        place = _assign(names, point)
        below, above = compute_nearly(b, place, DIGITS), compute_nearly(a, place, DIGITS)
        if not below or not above:
            return not below and not above
        ratios.append(above / below)
    close = all(abs(ratio - ratios[0]) < 1e-20 * abs(ratios[0]) for ratio in ratios)
    return close and (any_sign or ratios[0].real > 0)


def are_same_value(answer: Node, reference: Node) -> bool | None:
    """Compare two values: exactly, or as the rounding of a decimal reference allows."""
    if "base" in (answer.kind, reference.kind):
        return _same_in_base(answer, reference)
    percents = [_without_percent(node) for node in (answer, reference)]
    if (percents[0] is None) != (percents[1] is None):  # 25 % is 0.25, or 25
        bare = (percents[0] or answer, percents[1] or reference)
        if are_same_value(*bare):
            return True
    names = sorted(names_in(answer) | names_in(reference))
    if "oo" in names:
        return _spelled(answer) == _spelled(reference)
    if not names:
        try:
            a, b = compute_exactly(answer, {}), compute_exactly(reference, {})
        except Inexact:
            return _close(answer, reference, {}) or _rounds(answer, reference)
        return a == b or _rounds(answer, reference)
    variables = [name for name in names if name not in ("e", "i", "pi")]
    if not variables:
        return _close(answer, reference, {}) or _rounds(answer, reference)
    found = [_same_at(answer, reference, _assign(variables, point)) for point in _POINTS]
    return False if False in found else None if None in found[:2] else True


def _same_at(answer: Node, reference: Node, place: Mapping[str, Fraction]) -> bool | None:
    try:
        return compute_exactly(answer, place) == compute_exactly(reference, place)
    except Inexact:
        if min(place.values()) < 0 and not _is_real(answer, reference, place):
            return True  # log(x^2) is 2 log(x) where both are real
        return _close(answer, reference, place)
    except ZeroDivisionError:
        return None


def _is_real(answer: Node, reference: Node, place: Mapping[str, Fraction]) -> bool:
    values = [compute_nearly(node, place, 20) for node in (answer, reference)]
    return all(abs(value.imag) < 1e-15 * (1 + abs(value)) for value in values)


def _assign(names: Sequence[str], point: Sequence[Fraction]) -> dict[str, Fraction]:
    return {
        name: point[i % len(point)] + i // len(point) for i, name in enumerate(names)
        if name not in ("e", "i", "pi")
    }  # fmt: skip


def _spelled(node: Node) -> str:
    inner = ",".join(map(_spelled, node.parts))
    return f"{node.kind}:{node.value}({inner})"


def _without_percent(node: Node) -> Node | None:
    if node.kind == "percent":
        return node.parts[0]
    if node.kind == "negative" and node.parts[0].kind == "percent":
        return Node("negative", node.parts[0].parts)
    return None


def _same_in_base(answer: Node, reference: Node) -> bool:
    """Compare numbers in a base; the base may be left out on one side."""
    values: list[tuple[str, Fraction | str | None]] = []
    for node in (answer, reference):
        if node.kind == "base":
            values.append((str(node.value), node.parts[0].value))
        elif (value := rational_value(node)) is not None:
            values.append((str(value), None))
        else:
            return False
    (a, first), (b, second) = values
    if first is None or second is None or first == second:
        return a == b
    try:
        return int(a, int(first)) == int(b, int(second))
    except ValueError:
        return False


def _close(answer: Node, reference: Node, place: Mapping[str, Fraction]) -> bool:
    """Compare two values to thirty digits; a difference that shrinks with precision is none."""
    a, b = compute_nearly(answer, place, DIGITS), compute_nearly(reference, place, DIGITS)
    difference = abs(a - b)
    size = max(abs(a), abs(b))
    if difference <= size * 1e-30:
        return True
    if difference > 1e-20 and difference > size * 1e-20:
        return False
    finer = abs(
        compute_nearly(answer, place, 2 * DIGITS) - compute_nearly(reference, place, 2 * DIGITS)
    )
    return bool(finer < difference * 1e-20)


def _rounds(answer: Node, reference: Node) -> bool:
    """Return True if a decimal is what the other value rounds to, as far as that is allowed."""
    step = _step(reference)
    if step is not None:
        right = compute_exactly(reference, {})
        value = _fraction(answer)
        if value is None:
            return False
        error = abs(value - right)
        if error <= abs(right) * _FLOAT_NOISE:
            return True
        finest = _step(answer)
        if finest is not None and finest > step / 100:  # 12.54 is not 12.5, which may be exact
            return False
        return error <= step / 2 and abs(right) >= step * 10 ** (_FEWEST_DIGITS - 1)
    step = _step(answer)
    exact = rational_value(reference)
    if step is None or (exact is not None and exact.denominator == 1):
        return False
    given, exactly = compute_exactly(answer, {}), _fraction(reference)
    return (
        exactly is not None
        and abs(given) >= step * 10 ** (_LONG_DECIMAL - 1)
        and abs(given - exactly) <= step
    )


def _fraction(node: Node) -> Fraction | None:
    """Return the value as a fraction, exact or to twenty digits."""
    try:
        return compute_exactly(node, {})
    except Inexact:
        value = compute_nearly(node, {}, 30)
        if abs(value.imag) > 1e-20 or not abs(value.real) < 1e30:
            return None
        from mpmath import nstr

        return Fraction(nstr(value.real, 25, min_fixed=-60, max_fixed=60))


def _step(node: Node) -> Fraction | None:
    """Return the unit of the last digit of a decimal number; None for any other expression."""
    if not _is_decimal(node):
        return None
    value = abs(compute_exactly(node, {}))
    if not value:
        return None
    twos, fives = _count_factor(value.denominator, 2)[0], _count_factor(value.denominator, 5)[0]
    if twos or fives:
        return Fraction(1, 10 ** max(twos, fives))
    twos, fives = _count_factor(value.numerator, 2)[0], _count_factor(value.numerator, 5)[0]
    return Fraction(10 ** min(twos, fives))


def _count_factor(number: int, factor: int) -> tuple[int, int]:
    """Return how often a factor divides a number, and what is left of the number."""
    if number % factor:
        return 0, number
    times, left = _count_factor(number, factor * factor)  # few steps, also for 10**8000
    return (2 * times, left) if left % factor else (2 * times + 1, left // factor)


def _is_decimal(node: Node) -> bool:
    """Return True for 1.5, -1.5, 1.5 × 10^3 and 1.5 %."""
    if node.kind == "number":
        value = Fraction(node.value)
        left = _count_factor(_count_factor(value.denominator, 2)[1], 5)[1]
        return value.denominator != 1 and left == 1
    if node.kind in ("negative", "percent"):
        return _is_decimal(node.parts[0])
    if node.kind == "product" and node.parts[1].kind == "power":
        base = node.parts[1].parts[0]
        return base == Node("number", (), Fraction(10)) and _is_decimal(node.parts[0])
    return False
