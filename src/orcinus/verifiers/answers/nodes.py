"""Hold an expression as a tree, and answer simple questions about one."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression: what it is, its parts, and for a leaf its value."""

    kind: str
    """``number``, ``name``, ``sum``, ``product``, ``quotient``, ``power``, ``negative``, ``call``,
    ``percent``, ``plus_minus``; or a structure: ``list``, ``set``, ``group`` (a tuple or an
    interval with the brackets in ``value``), ``matrix``, ``row``, ``relation``, ``union``,
    ``base`` (digits in a number base)."""
    parts: tuple["Node", ...] = ()
    value: Fraction | str = ""


def is_name(node: Node) -> bool:
    """Return True for a variable, and for a tuple of variables."""
    if node.kind == "group":
        return all(map(is_name, node.parts))
    return node.kind == "name" and node.value not in ("e", "i", "pi", "oo")


def is_function(node: Node) -> bool:
    """Return True for f(x), the left side of a definition, and for AB, a length."""
    return node.kind == "product" and all(
        part.kind == "name" or (part.kind == "group" and not part.value) or is_function(part)
        for part in node.parts
    )


def is_label(node: Node) -> bool:
    r"""Return True for what only names a value: ``A^{-1}``, ``f^{-1}(x)``, ``|AB|``, ``A \cup B``.

    An equation that is still to be solved has more on its left side: x^2 = 9, 2x = 10.
    """
    if node.kind == "name":
        return True
    if node.kind == "power":
        base, raised = node.parts
        return base.kind == "name" and base.value not in _UNKNOWNS and spell_node(raised) in _MARKS
    return node.kind in ("product", "union", "cap", "group", "call") and (
        node.value in ("", "()", "abs") and all(map(is_label, node.parts))
    )


_MARKS = ("T", "1")
"""Exponents that make another name of a name: transposed, and the inverse (-1)."""
_UNKNOWNS = ("x", "y", "z", "t", "e", "pi")
"""Names whose inverse is a value to be solved for, or is one."""


def holds(node: Node, kind: str) -> bool:
    """Return True if a tree has a node of that kind."""
    return node.kind == kind or any(holds(part, kind) for part in node.parts)


@lru_cache(maxsize=8192)
def names_in(node: Node) -> frozenset[str]:
    """Return the names in an expression, constants included."""
    if node.kind == "name":
        return frozenset([str(node.value)])
    return frozenset().union(*map(names_in, node.parts))


def spell_node(node: Node) -> str:
    """Return the names and values of a tree in one word."""
    return f"{node.value}{''.join(map(spell_node, node.parts))}"
