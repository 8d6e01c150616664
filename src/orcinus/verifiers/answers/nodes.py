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
