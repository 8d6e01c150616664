r"""Read intervals, inequalities and unions of them as regions of the real line.

x \le 3  →  the same region as (-\infty, 3]
"""

import math
from fractions import Fraction

from orcinus.verifiers.answers.computation import Undecided, real_value
from orcinus.verifiers.answers.nodes import Node, is_function, is_name, names_in
from orcinus.verifiers.answers.values import are_same_value

TURNED_SIGNS = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_Interval = tuple[Node, bool, Node, bool]
_INFINITE = Node("name", (), "oo")
_MINUS_INFINITE = Node("negative", (_INFINITE,))


def is_real_line(node: Node) -> bool:
    """Return True for the set of all real numbers."""
    return node.kind == "name" and node.value == "\\R"


def find_region(node: Node) -> list[_Interval] | None:
    """Return the intervals of a set of real numbers, in order; None if it is none."""
    if is_real_line(node):
        return [(_MINUS_INFINITE, False, _INFINITE, False)]
    if node.kind == "group" and len(node.parts) == 2:
        low, high = node.parts
        return [(low, str(node.value)[0] == "[", high, str(node.value)[1] == "]")]
    if node.kind == "set":
        return [(part, True, part, True) for part in node.parts]
    if node.kind in ("union", "list"):
        pieces: list[_Interval] = []
        for part in node.parts:
            piece = find_region(part)
            if piece is None:
                return None
            pieces += piece
        return _in_order(pieces)
    if node.kind == "setminus":
        return _without_points(*node.parts)
    return _region_of_relation(node) if node.kind == "relation" else None


def _without_points(whole: Node, points: Node) -> list[_Interval] | None:
    r"""Return the region of ``\mathbb{R} \setminus \{0, 1\}``; None where an end is taken out."""
    is_line = whole.kind == "name" and whole.value == "R"
    pieces = find_region(Node("name", (), "\\R") if is_line else whole)
    if pieces is None or points.kind != "set":
        return None
    for _, _, point, _ in _in_order([(part, True, part, True) for part in points.parts]):
        at = real_value(point)
        low, has_low, high, has_high = pieces[-1]
        if at is None or not _value_of_bound(low) < at < _value_of_bound(high):
            return None
        pieces[-1:] = [(low, has_low, point, False), (point, False, high, has_high)]
    return pieces


def _region_of_relation(node: Node) -> list[_Interval] | None:
    signs, sides = str(node.value).split(), node.parts
    if len(sides) == 2 and sides[0].kind == "call" and sides[0].value == "abs":
        return _around(sides[0].parts[0], signs[0], sides[1])
    if len(sides) == 2 and not is_name(sides[0]) and is_name(sides[1]):
        sides, signs = sides[::-1], [TURNED_SIGNS.get(signs[0], signs[0])]
    if len(sides) == 2 and is_name(sides[0]) and not names_in(sides[1]) - {"pi", "e", "oo"}:
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
    if len(sides) == 3 and (is_name(sides[1]) or is_function(sides[1])):
        if set(signs) <= {"<", "<="}:
            return [(sides[0], signs[0] == "<=", sides[2], signs[1] == "<=")]
        if set(signs) <= {">", ">="}:
            return [(sides[2], signs[1] == ">=", sides[0], signs[0] == ">=")]
    return None


def _around(inside: Node, sign: str, radius: Node) -> list[_Interval] | None:
    """Return the region of ``|x - centre| < radius``, or of one of the other signs."""
    centre: Node = Node("number", (), Fraction(0))
    if inside.kind == "sum" and len(inside.parts) == 2:
        inside, shift = inside.parts
        centre = Node("negative", (shift,))
    if not is_name(inside) or names_in(centre) | names_in(radius) or sign not in TURNED_SIGNS:
        return None
    low = Node("sum", (centre, Node("negative", (radius,))))
    high = Node("sum", (centre, radius))
    closed = sign.endswith("=")
    if sign.startswith("<"):
        return [(low, closed, high, closed)]
    return [(_MINUS_INFINITE, False, low, closed), (high, closed, _INFINITE, False)]


def _in_order(pieces: list[_Interval]) -> list[_Interval]:
    return sorted(pieces, key=lambda piece: _value_of_bound(piece[0]))


def _value_of_bound(bound: Node) -> float:
    if bound in (_MINUS_INFINITE, _INFINITE):
        return -math.inf if bound == _MINUS_INFINITE else math.inf
    value = real_value(bound)
    if value is None:
        raise Undecided("a bound that is no number")
    return value


def are_same_regions(first: list[_Interval], second: list[_Interval]) -> bool | None:
    """Return True if two regions have the same intervals with the same brackets."""
    if len(first) != len(second):
        return False
    found = []
    for a, b in zip(first, second, strict=True):
        found += [a[1] == b[1], a[3] == b[3], _same_bound(a[0], b[0]), _same_bound(a[2], b[2])]
    return False if False in found else None if None in found else True


def _same_bound(a: Node, b: Node) -> bool | None:
    infinite = [node in (_INFINITE, _MINUS_INFINITE) for node in (a, b)]
    return a == b if any(infinite) else are_same_value(a, b)
