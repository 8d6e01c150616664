r"""Decide whether two expressions, read as trees, mean the same.

    are_equal(read_expression(r"(x-1)(x+1)"), read_expression("x^2-1"))  →  True
    are_equal(read_expression("2^{100}+1"), read_expression("2^{100}"))   →  False

Rational numbers are compared exactly, of any size. Other values are computed to forty digits, with
variables at fixed sample points. None means that these rules cannot tell.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from orcinus.verifiers.answers.computation import Undecided
from orcinus.verifiers.answers.nodes import Node, holds, is_function, is_label, is_name, names_in
from orcinus.verifiers.answers.regions import (
    TURNED_SIGNS,
    are_same_regions,
    find_region,
    is_real_line,
)
from orcinus.verifiers.answers.values import are_proportional, are_same_value


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
    return bool(names_in(_plain(node)) - {"e", "i", "pi", "oo"})


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
        if node.kind == "list" and len(set(items)) == 1:
            return items[0]
        return Node(node.kind, tuple(items)) if len(items) != 1 or node.kind == "set" else items[0]
    if node.kind == "group":
        return Node("group", tuple(map(_plain, node.parts)), node.value)
    if holds(node, "plus_minus"):
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
        if at == 0 and is_name(sides[0]):
            return _plain(_relation(sides[1:], signs[1:]))
        return _plain(_relation(sides[: at + 1], signs[:at]))
    if signs == ["in"] and is_name(sides[0]):
        return _plain(sides[1])
    if set(signs) != {"="}:
        return node
    last = sides[-1]
    if len(sides) == 2 and is_name(last) and not names_in(sides[0]) - {"pi", "e", "i"}:
        return _plain(sides[0])
    named = all(is_name(side) or is_function(side) for side in sides[:-1])
    if named or not names_in(node):
        return _plain(last)
    if len(sides) > 2 and (is_name(sides[0]) or is_function(sides[0])):
        return _plain(last)
    if is_label(sides[0]) or _is_identity(sides[0], last):
        return _plain(last)
    return node


def _is_identity(first: Node, last: Node) -> bool:
    """Return True if an equation holds for all values, so that its last side is what it found."""
    if first.kind in _STRUCTURES or last.kind in _STRUCTURES or not names_in(first):
        return False
    try:
        return are_same_value(first, last) is True
    except (Undecided, RecursionError, OverflowError, ZeroDivisionError, MemoryError):
        return False


def _is_equation(node: Node) -> bool:
    return node.kind == "relation" and node.value == "="


def _relation(sides: Sequence[Node], signs: Sequence[str]) -> Node:
    return Node("relation", tuple(sides), " ".join(signs)) if signs else sides[0]


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
        return are_same_value(a, b)
    if "ratio" in (a.kind, b.kind):
        return _same_ratio(a, b)
    kinds = {a.kind, b.kind}
    if kinds & {"relation", "union", "setminus"} or is_real_line(a) or is_real_line(b):
        first, second = find_region(a), find_region(b)
        if first is not None and second is not None:
            return are_same_regions(first, second)
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
    found = [are_same_value(x, y) for x, y in crossed]
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
        return are_proportional(_difference(a), _difference(b), any_sign=True)
    if len(a.parts) == 2 and signs[0][0] in TURNED_SIGNS and signs[1][0] in TURNED_SIGNS:
        first, second = _difference(a), _difference(b)
        if signs[0] != signs[1]:
            if TURNED_SIGNS[signs[0][0]] != signs[1][0]:
                return False
            second = Node("negative", (second,))
        return are_proportional(first, second, any_sign=False)
    return _same_in_order(a.parts, b.parts) if signs[0] == signs[1] else None


def _difference(node: Node) -> Node:
    left, right = node.parts
    if left.kind in _STRUCTURES or right.kind in _STRUCTURES:
        raise Undecided("an equation of structures")
    return Node("sum", (left, Node("negative", (right,))))
