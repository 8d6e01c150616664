"""Replace the numbers of an item whose answer a formula gives, and compute the new answer.

    "Bo has 12 nuts and eats 5." with ``n1 - n2``  →  "Bo has 47 nuts and eats 8.", answer 39

``n1`` is the first number of the question, ``n2`` the second. Arithmetic is exact.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from random import Random

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w]|\.\d)")
_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: lambda a, b: a % b,
}
TRIES = 200
"""Draws of new numbers, until the answer is of the same kind (whole, positive) as before."""


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text in order, as they are written."""
    return _NUMBER.findall(text)


def value_of(formula: str, numbers: Sequence[Fraction]) -> Fraction:
    """Return the value of a formula.

    Args:
        formula: Of numbers, ``n1``, ``n2`` …, ``+ - * / // %`` and parentheses.
        numbers: The values of ``n1``, ``n2`` …

    Raises:
        ValueError: It holds anything else, or divides by zero.
    """

    def walk(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int() | float() as value):
                return Fraction(str(value))
            case ast.Name(id=name) if re.fullmatch(r"n[1-9]\d*", name):
                if int(name[1:]) > len(numbers):
                    raise ValueError(f"the question has no number {name}")
                return numbers[int(name[1:]) - 1]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](walk(left), walk(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -walk(operand)
        raise ValueError("a formula holds numbers, n1, n2 …, + - * / // % and parentheses")

    try:
        return walk(ast.parse(formula.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"cannot be computed: {error}") from error


def with_new_numbers(prompt: str, formula: str, reference: str, random: Random) -> tuple[str, str]:
    """Return the question with other numbers of as many digits, and its answer.

    Equal numbers stay equal.

    Raises:
        ValueError: The formula does not give the stated answer, or no numbers fit.
    """
    old = numbers_in(prompt)
    before = value_of(formula, [Fraction(number) for number in old])
    try:
        stated = Fraction(reference.replace(",", "").strip())
    except ValueError as error:
        raise ValueError(f"its answer {reference!r:.40} is no plain number") from error
    if before != stated:
        raise ValueError(f"its formula gives {_written(before)}, and its answer says {reference}")
    for _ in range(TRIES):
        drawn = {number: _drawn(number, random) for number in dict.fromkeys(old)}
        try:
            after = value_of(formula, [Fraction(drawn[number]) for number in old])
        except ValueError:  # this draw divides by zero
            continue
        same_kind = (after > 0) == (before > 0) and (after.denominator == 1) == (
            before.denominator == 1
        )
        if same_kind and after != before and _is_short(after):
            return _with_numbers(prompt, drawn), _written(after)
    raise ValueError("no other numbers give an answer of the same kind")


def _with_numbers(prompt: str, drawn: Mapping[str, str]) -> str:
    return _NUMBER.sub(lambda found: drawn[found[0]], prompt)


def _drawn(number: str, random: Random) -> str:
    whole, dot, part = number.partition(".")
    first = str(random.randint(1, 9)) if len(whole) > 1 or not dot else str(random.randint(0, 9))
    digits = [str(random.randint(0, 9)) for _ in range(len(whole) - 1 + len(part))]
    text = first + "".join(digits)
    return text[: len(whole)] + dot + text[len(whole) :]


def _is_short(value: Fraction) -> bool:
    """Return whether a value can be written with a few decimals."""
    return (value * 10_000).denominator == 1


def _written(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else str(float(value))
