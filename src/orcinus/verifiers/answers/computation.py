"""Compute the value of an expression: exactly where it is rational, else to some digits.

rational_value(read_expression("1/3 + 1/6"))  →  1/2
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from orcinus.verifiers.answers.nodes import Node, names_in

_LARGEST_BITS = 40_000
"""Bits of an exact number. A larger one is not computed: 9^(9^9) has a thousand million."""
_LARGEST_FACTORIAL = 3_000
"""Factorials above this are not computed."""


class Undecided(ArithmeticError):
    """The value cannot be computed here: too large, undefined, or not a number at all."""


class TooLarge(Undecided):
    """The value has more digits than are computed here."""


class Inexact(ArithmeticError):
    """The value is no rational number."""


def is_too_large(node: Node) -> bool:
    """Return True if the value of an expression has more digits than are computed here."""
    try:
        compute_exactly(node, {})
    except TooLarge:
        return True
    except (ArithmeticError, RecursionError):
        return False
    return False


def rational_value(node: Node) -> Fraction | None:
    """Return the exact value of an expression without variables; None if it is not rational."""
    try:
        return compute_exactly(node, {})
    except (ArithmeticError, RecursionError):
        return None


def real_value(node: Node) -> float | None:
    """Return the value of an expression without variables as a float."""
    try:
        if names_in(node) - {"e", "pi"}:
            return None
        value = compute_nearly(node, {}, 20)
        return float(value.real) if abs(value.imag) < 1e-12 else None
    except (ArithmeticError, RecursionError, ValueError, TypeError):
        return None


def compute_exactly(node: Node, place: Mapping[str, Fraction]) -> Fraction:
    """Return the value as a fraction."""
    kind = node.kind
    if kind == "number":
        return Fraction(node.value)
    if kind == "name":
        if node.value in place:
            return place[str(node.value)]
        raise Inexact(node.value)
    values = [compute_exactly(part, place) for part in node.parts]
    if kind == "sum":
        return _bounded(values[0] + values[1])
    if kind == "product":
        return _bounded(values[0] * values[1])
    if kind == "quotient":
        return _bounded(values[0] / values[1])
    if kind == "negative":
        return -values[0]
    if kind == "percent":
        return values[0] / 100
    if kind == "power":
        return _exact_power(values[0], values[1])
    if kind == "call":
        return _exact_call(str(node.value), values)
    raise Undecided(kind)


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > _LARGEST_BITS:
        raise TooLarge("too large")
    return value


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if exponent.denominator > 100:
            raise Inexact("power")
        return _exact_power(_root(base, exponent.denominator), Fraction(exponent.numerator))
    bits = base.numerator.bit_length() + base.denominator.bit_length()
    if abs(exponent) * bits > _LARGEST_BITS and base not in (0, 1, -1):
        raise TooLarge("too large")
    return base ** int(exponent)


def _root(value: Fraction, degree: int) -> Fraction:
    if value < 0 or value.numerator.bit_length() + value.denominator.bit_length() > 2_000:
        raise Inexact("root")
    parts = []
    for whole in (value.numerator, value.denominator):
        root = _whole_root(whole, degree)
        if root**degree != whole:
            raise Inexact("root")
        parts.append(root)
    return Fraction(*parts)


def _whole_root(whole: int, degree: int) -> int:
    low, high = 0, 1 << (whole.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= whole else (low, middle - 1)
    return low


def _exact_call(name: str, values: list[Fraction]) -> Fraction:
    whole = all(value.denominator == 1 for value in values)
    first = values[0]
    if name == "abs":
        return abs(first)
    if name == "sqrt":
        degree = values[1] if len(values) > 1 else Fraction(2)
        if degree.denominator != 1 or not 1 < degree < 100:
            raise Inexact(name)
        return _root(first, int(degree))
    if name == "floor":
        return Fraction(math.floor(first))
    if name == "ceil":
        return Fraction(math.ceil(first))
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    if name == "factorial" and whole and first >= 0:
        if first > _LARGEST_FACTORIAL:
            raise TooLarge("too large")
        return Fraction(math.factorial(int(first)))
    if name == "binomial" and whole and 0 <= values[1] <= first <= _LARGEST_FACTORIAL:
        return Fraction(math.comb(int(first), int(values[1])))
    if name in ("gcd", "lcm") and whole:
        return Fraction((math.gcd if name == "gcd" else math.lcm)(*map(int, values)))
    raise Inexact(name)


_LARGEST_EXPONENT = 10**6
"""Exponents above this are not computed: the result would not fit into memory."""


def compute_nearly(node: Node, place: Mapping[str, Fraction], digits: int) -> Any:
    """Return the value to so many digits, as a complex number of mpmath."""
    import mpmath

    with mpmath.workdps(digits):
        try:
            value = _compute(node, place, mpmath)
        except (ValueError, TypeError, mpmath.libmp.ComplexResult, ZeroDivisionError) as error:
            raise Undecided(str(error)) from error
        if not mpmath.isfinite(value):
            raise Undecided("not finite")
        return mpmath.mpc(value)


def _compute(node: Node, place: Mapping[str, Fraction], mp: Any) -> Any:
    kind = node.kind
    if kind == "number":
        return mp.mpf(Fraction(node.value).numerator) / Fraction(node.value).denominator
    if kind == "name":
        if node.value in place:
            value = place[str(node.value)]
            return mp.mpf(value.numerator) / value.denominator
        constants = {"pi": mp.pi, "e": mp.e, "i": mp.mpc(0, 1)}
        if node.value not in constants:
            raise Undecided(f"{node.value} has no value")
        return +constants[str(node.value)]
    values = [_compute(part, place, mp) for part in node.parts]
    if kind == "sum":
        return values[0] + values[1]
    if kind == "product":
        return values[0] * values[1]
    if kind == "quotient":
        return values[0] / values[1]
    if kind == "negative":
        return -values[0]
    if kind == "percent":
        return values[0] / 100
    if kind == "power":
        if abs(values[1]) > _LARGEST_EXPONENT or abs(mp.mag(values[0] or 1)) > _LARGEST_EXPONENT:
            raise TooLarge("too large")
        return _real_root(values[0], node.parts[1], mp) or values[0] ** values[1]
    if kind == "call":
        return _call(str(node.value), values, mp)
    raise Undecided(kind)


def _real_root(base: Any, exponent: Node, mp: Any) -> Any:
    """Return the real odd root of a negative number, (-8)^(1/3) = -2; None for any other power."""
    power = rational_value(exponent)
    if power is None or power.denominator % 2 == 0 or power.denominator == 1 or mp.im(base):
        return None
    if mp.re(base) >= 0:
        return None
    sign = -1 if power.numerator % 2 else 1
    return sign * (-mp.re(base)) ** (mp.mpf(power.numerator) / power.denominator)


def _call(name: str, values: list[Any], mp: Any) -> Any:
    first = values[0]
    if name == "sqrt":
        degree = values[1] if len(values) > 1 else 2
        if degree == 2:
            return mp.sqrt(first)
        if mp.im(first) == 0 and mp.re(first) < 0 and mp.re(degree) % 2 == 1:
            return -mp.root(-mp.re(first), int(mp.re(degree)))
        return first ** (1 / mp.mpmathify(degree))
    if name in ("log", "ln", "lg"):
        if len(values) > 1:
            return mp.log(first) / mp.log(values[1])
        return mp.log(first) / mp.log(10) if name == "lg" else mp.log(first)
    if name == "exp" and abs(first) > _LARGEST_EXPONENT:
        raise TooLarge("too large")
    if name in ("factorial", "binomial") and any(abs(value) > 10**5 for value in values):
        raise TooLarge("too large")
    functions: Mapping[str, Callable[..., Any]] = {
        "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "cot": mp.cot, "sec": mp.sec, "csc": mp.csc,
        "arcsin": mp.asin, "arccos": mp.acos, "arctan": mp.atan, "arccot": mp.acot,
        "asin": mp.asin, "acos": mp.acos, "atan": mp.atan, "sinh": mp.sinh, "cosh": mp.cosh,
        "tanh": mp.tanh, "coth": mp.coth, "exp": mp.exp, "abs": abs, "factorial": mp.factorial,
        "binomial": mp.binomial, "floor": mp.floor, "ceil": mp.ceil, "arcsinh": mp.asinh,
    }  # fmt: skip
    if name not in functions:
        raise Undecided(name)
    return functions[name](*values)
