r"""Decide whether two expressions, read as trees, mean the same.

    are_equal(read_expression(r"(x-1)(x+1)"), read_expression("x^2-1"))  →  True
    are_equal(read_expression("2^{100}+1"), read_expression("2^{100}"))   →  False

Rational numbers are compared exactly, of any size. Other values are computed to forty digits, with
variables at fixed sample points. None means that these rules cannot tell.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from orcinus.verifiers.answers.expressions import Node

_LARGEST_BITS = 40_000
"""Bits of an exact number. A larger one is not computed: 9^(9^9) has a thousand million."""
_LARGEST_FACTORIAL = 3_000
"""Factorials above this are not computed."""
_DIGITS = 40
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


class Undecided(ArithmeticError):
    """The value cannot be computed here: too large, undefined, or not a number at all."""


class TooLarge(Undecided):
    """The value has more digits than are computed here."""


class _Inexact(ArithmeticError):
    """The value is no rational number."""


def are_equal(answer: Node, reference: Node) -> bool | None:
    """Return True if both mean the same; None if that cannot be decided here."""
    try:
        a, b = _plain(answer), _plain(reference)
        equations = all(_is_equation(node) for node in (answer, reference))
        if equations and "relation" in (a.kind, b.kind):
            a, b = answer, reference  # y = 2x and 2x - y = 0: the name is part of the equation
        return _same(a, b)
    except (Undecided, RecursionError, OverflowError, ZeroDivisionError, MemoryError):
        return None


def count_values(node: Node) -> int:
    r"""Return how many values an expression lists: 2 for ``x = 1, 2`` and for ``\pm 3``."""
    node = _plain(node)
    return len(node.parts) if node.kind in ("list", "set") else 1


def has_variables(node: Node) -> bool:
    """Return True if a name in the expression is no constant."""
    return bool(_names(_plain(node)) - {"e", "i", "pi", "oo"})


def is_too_large(node: Node) -> bool:
    """Return True if the value of an expression has more digits than are computed here."""
    try:
        _exact(node, {})
    except TooLarge:
        return True
    except (ArithmeticError, RecursionError):
        return False
    return False


def rational_value(node: Node) -> Fraction | None:
    """Return the exact value of an expression without variables; None if it is not rational."""
    try:
        return _exact(node, {})
    except (ArithmeticError, RecursionError):
        return None


def real_value(node: Node) -> float | None:
    """Return the value of an expression without variables as a float."""
    try:
        if _names(node) - {"e", "pi"}:
            return None
        value = _inexact(node, {}, 20)
        return float(value.real) if abs(value.imag) < 1e-12 else None
    except (ArithmeticError, RecursionError, ValueError, TypeError):
        return None


# Structures: lists, sets, intervals, matrices, equations.


@lru_cache(maxsize=4096)
def _plain(node: Node) -> Node:
    """Drop names that only introduce a value, x = 5, and write ± as two values."""
    if node.kind == "relation":
        return _without_left_side(node)
    if node.kind in ("list", "set"):
        items: list[Node] = []
        for part in map(_plain, node.parts):
            items += part.parts if part.kind == "list" else (part,)
        if tuples := _named_tuples(node):
            return tuples
        return Node(node.kind, tuple(items)) if len(items) != 1 or node.kind == "set" else items[0]
    if node.kind == "group":
        return Node("group", tuple(map(_plain, node.parts)), node.value)
    if _holds(node, "plus_minus"):
        return Node("list", (_choose_sign(node, upper=True), _choose_sign(node, upper=False)))
    return node


def _named_tuples(node: Node) -> Node | None:
    """Return p = 5, q = 2; p = 7, q = 2 as a list of pairs; None for any other list."""
    parts = node.parts
    if not all(part.kind == "relation" and part.value == "=" for part in parts):
        return None
    names = [part.parts[0] for part in parts]
    width = len(set(names))
    if width < 2 or width == len(names) or names != names[:width] * (len(names) // width):
        return None
    values = [_plain(part) for part in parts]
    rows = [tuple(values[i : i + width]) for i in range(0, len(values), width)]
    return Node("list", tuple(Node("group", row, "()") for row in rows))


def _without_left_side(node: Node) -> Node:
    signs = str(node.value).split()
    sides = node.parts
    if "~=" in signs:  # an exact value, and about what it is
        at = signs.index("~=")
        if at == 0 and _is_name(sides[0]):
            return _plain(_relation(sides[1:], signs[1:]))
        return _plain(_relation(sides[: at + 1], signs[:at]))
    if signs == ["in"] and _is_name(sides[0]):
        return _plain(sides[1])
    if set(signs) != {"="}:
        return node
    last = sides[-1]
    if len(sides) == 2 and _is_name(last) and not _names(sides[0]) - {"pi", "e", "i"}:
        return _plain(sides[0])
    named = all(_is_name(side) or _is_function(side) for side in sides[:-1])
    if named or not _names(node):
        return _plain(last)
    if len(sides) > 2 and (_is_name(sides[0]) or _is_function(sides[0])):
        return _plain(last)
    return node


def _is_equation(node: Node) -> bool:
    return node.kind == "relation" and node.value == "="


def _relation(sides: Sequence[Node], signs: Sequence[str]) -> Node:
    return Node("relation", tuple(sides), " ".join(signs)) if signs else sides[0]


def _is_name(node: Node) -> bool:
    """Return True for a variable, and for a tuple of variables."""
    if node.kind == "group":
        return all(map(_is_name, node.parts))
    return node.kind == "name" and node.value not in ("e", "i", "pi", "oo")


def _is_function(node: Node) -> bool:
    """Return True for f(x), the left side of a definition, and for AB, a length."""
    return node.kind == "product" and all(
        part.kind == "name" or (part.kind == "group" and not part.value) or _is_function(part)
        for part in node.parts
    )


def _holds(node: Node, kind: str) -> bool:
    return node.kind == kind or any(_holds(part, kind) for part in node.parts)


def _choose_sign(node: Node, *, upper: bool) -> Node:
    parts = tuple(_choose_sign(part, upper=upper) for part in node.parts)
    if node.kind == "plus_minus":
        return parts[0] if upper == (node.value == "pm") else Node("negative", parts)
    return Node(node.kind, parts, node.value)


_STRUCTURES = ("list", "set", "group", "matrix", "relation", "union", "cap", "setminus", "ratio")


def _same(a: Node, b: Node) -> bool | None:
    if a == b:
        return True
    if a.kind not in _STRUCTURES and b.kind not in _STRUCTURES:
        return _same_value(a, b)
    if "ratio" in (a.kind, b.kind):
        return _same_ratio(a, b)
    kinds = {a.kind, b.kind}
    if kinds & {"relation", "union"} or _is_real_line(a) or _is_real_line(b):
        first, second = _region(a), _region(b)
        if first is not None and second is not None:
            return _same_regions(first, second)
    if a.kind == b.kind == "relation":
        return _same_relation(a, b)
    if kinds & {"cap", "setminus", "union"}:
        return None
    if "matrix" in kinds:
        return _same_matrix(a, b)
    if kinds <= {"list", "set"}:
        return _same_in_any_order(a.parts, b.parts)
    if kinds <= {"group", "list"}:
        brackets = {str(node.value) for node in (a, b) if node.kind == "group"}
        if brackets not in ({"()"}, {"[]"}) and len(a.parts) == 2 and len(brackets) > 1:
            return False
        if "list" in kinds and not brackets & {"()", "[]"}:
            return False
        return _same_in_order(a.parts, b.parts)
    return False


def _same_in_order(first: Sequence[Node], second: Sequence[Node]) -> bool | None:
    if len(first) != len(second):
        return False
    found = [_same(x, y) for x, y in zip(first, second, strict=True)]
    return False if False in found else None if None in found else True


def _same_in_any_order(first: Sequence[Node], second: Sequence[Node]) -> bool | None:
    first, second = _distinct(first), list(_distinct(second))
    if len(first) != len(second):
        return False
    undecided = False
    for item in first:
        for other in second:
            found = _same(item, other)
            if found:
                second.remove(other)
                break
            undecided = undecided or found is None
        else:
            return None if undecided else False
    return True


def _distinct(items: Sequence[Node]) -> list[Node]:
    """Drop values that are listed twice."""
    kept: list[Node] = []
    for item in items:
        if not any(item == other or _same(item, other) for other in kept):
            kept.append(item)
    return kept


def _same_ratio(a: Node, b: Node) -> bool | None:
    def terms(node: Node) -> tuple[Node, ...] | None:
        if node.kind == "ratio":
            return node.parts
        return None if node.kind in _STRUCTURES else (node, Node("number", (), Fraction(1)))

    first, second = terms(a), terms(b)
    if first is None or second is None or len(first) != len(second):
        return False
    crossed = [
        (Node("product", (x, second[0])), Node("product", (y, first[0])))
        for x, y in zip(first[1:], second[1:], strict=True)
    ]
    found = [_same_value(x, y) for x, y in crossed]
    return False if False in found else None if None in found else True


def _same_matrix(a: Node, b: Node) -> bool | None:
    def rows(node: Node) -> list[tuple[Node, ...]] | None:
        if node.kind == "matrix":
            return [row.parts for row in node.parts]
        return [(part,) for part in node.parts] if node.kind == "group" else None

    first, second = rows(a), rows(b)
    if first is None or second is None:
        return None if {a.kind, b.kind} - set(_STRUCTURES) else False
    if len(second) == 1 and "group" in (a.kind, b.kind):
        second = [(item,) for item in second[0]]
    if len(first) == 1 and "group" in (a.kind, b.kind):
        first = [(item,) for item in first[0]]
    if [len(row) for row in first] != [len(row) for row in second]:
        return False
    return _same_in_order([x for row in first for x in row], [x for row in second for x in row])


def _same_relation(a: Node, b: Node) -> bool | None:
    """Compare equations by the ratio of their two differences, which must be constant."""
    signs = (str(a.value).split(), str(b.value).split())
    if len(a.parts) != len(b.parts):
        return False
    if len(a.parts) == 2 and signs[0] == signs[1] and signs[0][0] in ("=", "!="):
        return _proportional(_difference(a), _difference(b), any_sign=True)
    if len(a.parts) == 2 and signs[0][0] in _TURNED and signs[1][0] in _TURNED:
        first, second = _difference(a), _difference(b)
        if signs[0] != signs[1]:
            if _TURNED[signs[0][0]] != signs[1][0]:
                return False
            second = Node("negative", (second,))
        return _proportional(first, second, any_sign=False)
    return _same_in_order(a.parts, b.parts) if signs[0] == signs[1] else None


_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _difference(node: Node) -> Node:
    left, right = node.parts
    if left.kind in _STRUCTURES or right.kind in _STRUCTURES:
        raise Undecided("an equation of structures")
    return Node("sum", (left, Node("negative", (right,))))


def _proportional(a: Node, b: Node, *, any_sign: bool) -> bool:
    names = sorted(_names(a) | _names(b))
    ratios = []
    for point in _POINTS:
        place = _assign(names, point)
        below, above = _inexact(b, place, _DIGITS), _inexact(a, place, _DIGITS)
        if not below or not above:
            return not below and not above
        ratios.append(above / below)
    close = all(abs(ratio - ratios[0]) < 1e-20 * abs(ratios[0]) for ratio in ratios)
    return close and (any_sign or ratios[0].real > 0)


# Regions of the real line: intervals, inequalities and unions of them.

_Interval = tuple[Node, bool, Node, bool]
_INFINITE = Node("name", (), "oo")
_MINUS_INFINITE = Node("negative", (_INFINITE,))


def _is_real_line(node: Node) -> bool:
    return node.kind == "name" and node.value == "\\R"


def _region(node: Node) -> list[_Interval] | None:
    """Return the intervals of a set of real numbers, in order; None if it is none."""
    if _is_real_line(node):
        return [(_MINUS_INFINITE, False, _INFINITE, False)]
    if node.kind == "group" and len(node.parts) == 2:
        low, high = node.parts
        return [(low, str(node.value)[0] == "[", high, str(node.value)[1] == "]")]
    if node.kind == "set":
        return [(part, True, part, True) for part in node.parts]
    if node.kind in ("union", "list"):
        pieces: list[_Interval] = []
        for part in node.parts:
            piece = _region(part)
            if piece is None:
                return None
            pieces += piece
        return _in_order(pieces)
    return _region_of_relation(node) if node.kind == "relation" else None


def _region_of_relation(node: Node) -> list[_Interval] | None:
    signs, sides = str(node.value).split(), node.parts
    if len(sides) == 2 and not _is_name(sides[0]) and _is_name(sides[1]):
        sides, signs = sides[::-1], [_TURNED.get(signs[0], signs[0])]
    if len(sides) == 2 and _is_name(sides[0]) and not _names(sides[1]) - {"pi", "e", "oo"}:
        bound = sides[1]
        if signs[0] == "!=":
            return [
                (_MINUS_INFINITE, False, bound, False),
                (bound, False, _INFINITE, False),
            ]
        if signs[0] in ("<", "<="):
            return [(_MINUS_INFINITE, False, bound, signs[0] == "<=")]
        if signs[0] in (">", ">="):
            return [(bound, signs[0] == ">=", _INFINITE, False)]
        return None
    if len(sides) == 3 and (_is_name(sides[1]) or _is_function(sides[1])):
        if set(signs) <= {"<", "<="}:
            return [(sides[0], signs[0] == "<=", sides[2], signs[1] == "<=")]
        if set(signs) <= {">", ">="}:
            return [(sides[2], signs[1] == ">=", sides[0], signs[0] == ">=")]
    return None


def _in_order(pieces: list[_Interval]) -> list[_Interval]:
    def place(piece: _Interval) -> float:
        if piece[0] == _MINUS_INFINITE:
            return -math.inf
        value = real_value(piece[0])
        if value is None:
            raise Undecided("a bound that is no number")
        return value

    return sorted(pieces, key=place)


def _same_regions(first: list[_Interval], second: list[_Interval]) -> bool | None:
    if len(first) != len(second):
        return False
    found = []
    for a, b in zip(first, second, strict=True):
        found += [a[1] == b[1], a[3] == b[3], _same_bound(a[0], b[0]), _same_bound(a[2], b[2])]
    return False if False in found else None if None in found else True


def _same_bound(a: Node, b: Node) -> bool | None:
    infinite = [node in (_INFINITE, _MINUS_INFINITE) for node in (a, b)]
    return a == b if any(infinite) else _same_value(a, b)


# Values.


def _same_value(answer: Node, reference: Node) -> bool | None:
    """Compare two values: exactly, or as the rounding of a decimal reference allows."""
    if "base" in (answer.kind, reference.kind):
        return _same_in_base(answer, reference)
    percents = [_without_percent(node) for node in (answer, reference)]
    if (percents[0] is None) != (percents[1] is None):  # 25 % is 0.25, or 25
        bare = (percents[0] or answer, percents[1] or reference)
        if _same_value(*bare):
            return True
    names = sorted(_names(answer) | _names(reference))
    if "oo" in names:
        return _spelled(answer) == _spelled(reference)
    if not names:
        try:
            a, b = _exact(answer, {}), _exact(reference, {})
        except _Inexact:
            return _close(answer, reference, {}) or _rounds(answer, reference)
        return a == b or _rounds(answer, reference)
    variables = [name for name in names if name not in ("e", "i", "pi")]
    if not variables:
        return _close(answer, reference, {}) or _rounds(answer, reference)
    found = [_same_at(answer, reference, _assign(variables, point)) for point in _POINTS]
    return False if False in found else None if None in found[:2] else True


def _same_at(answer: Node, reference: Node, place: Mapping[str, Fraction]) -> bool | None:
    try:
        return _exact(answer, place) == _exact(reference, place)
    except _Inexact:
        if min(place.values()) < 0 and not _is_real(answer, reference, place):
            return True  # log(x^2) is 2 log(x) where both are real
        return _close(answer, reference, place)
    except ZeroDivisionError:
        return None


def _is_real(answer: Node, reference: Node, place: Mapping[str, Fraction]) -> bool:
    values = [_inexact(node, place, 20) for node in (answer, reference)]
    return all(abs(value.imag) < 1e-15 * (1 + abs(value)) for value in values)


def _assign(names: Sequence[str], point: Sequence[Fraction]) -> dict[str, Fraction]:
    return {
        name: point[i % len(point)] + i // len(point) for i, name in enumerate(names)
        if name not in ("e", "i", "pi")
    }  # fmt: skip


@lru_cache(maxsize=8192)
def _names(node: Node) -> frozenset[str]:
    if node.kind == "name":
        return frozenset([str(node.value)])
    return frozenset().union(*map(_names, node.parts))


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
    a, b = _inexact(answer, place, _DIGITS), _inexact(reference, place, _DIGITS)
    difference = abs(a - b)
    size = max(abs(a), abs(b))
    if difference <= size * 1e-30:
        return True
    if difference > 1e-20 and difference > size * 1e-20:
        return False
    finer = abs(_inexact(answer, place, 2 * _DIGITS) - _inexact(reference, place, 2 * _DIGITS))
    return bool(finer < difference * 1e-20)


def _rounds(answer: Node, reference: Node) -> bool:
    """Return True if a decimal is what the other value rounds to, as far as that is allowed."""
    step = _step(reference)
    if step is not None:
        right = _exact(reference, {})
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
    given, exactly = _exact(answer, {}), _fraction(reference)
    return (
        exactly is not None
        and abs(given) >= step * 10 ** (_LONG_DECIMAL - 1)
        and abs(given - exactly) <= step
    )


def _fraction(node: Node) -> Fraction | None:
    """Return the value as a fraction, exact or to twenty digits."""
    try:
        return _exact(node, {})
    except _Inexact:
        value = _inexact(node, {}, 30)
        if abs(value.imag) > 1e-20 or not abs(value.real) < 1e30:
            return None
        from mpmath import nstr

        return Fraction(nstr(value.real, 25, min_fixed=-60, max_fixed=60))


def _step(node: Node) -> Fraction | None:
    """Return the unit of the last digit of a decimal number; None for any other expression."""
    if not _is_decimal(node):
        return None
    value = abs(_exact(node, {}))
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


def _exact(node: Node, place: Mapping[str, Fraction]) -> Fraction:
    """Return the value as a fraction."""
    kind = node.kind
    if kind == "number":
        return Fraction(node.value)
    if kind == "name":
        if node.value in place:
            return place[str(node.value)]
        raise _Inexact(node.value)
    values = [_exact(part, place) for part in node.parts]
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
            raise _Inexact("power")
        return _exact_power(_root(base, exponent.denominator), Fraction(exponent.numerator))
    bits = base.numerator.bit_length() + base.denominator.bit_length()
    if abs(exponent) * bits > _LARGEST_BITS and base not in (0, 1, -1):
        raise TooLarge("too large")
    return base ** int(exponent)


def _root(value: Fraction, degree: int) -> Fraction:
    if value < 0 or value.numerator.bit_length() + value.denominator.bit_length() > 2_000:
        raise _Inexact("root")
    parts = []
    for whole in (value.numerator, value.denominator):
        root = _whole_root(whole, degree)
        if root**degree != whole:
            raise _Inexact("root")
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
            raise _Inexact(name)
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
    raise _Inexact(name)


_LARGEST_EXPONENT = 10**6
"""Exponents above this are not computed: the result would not fit into memory."""


def _inexact(node: Node, place: Mapping[str, Fraction], digits: int) -> Any:
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
