"""Find and compare mathematical expressions, in LaTeX or plain text.

They are compared as normalised text, as values, and as sets, tuples and intervals. What these rules
cannot read goes to the math-verify library, if it is installed (the extra ``math``).
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from orcinus.verifiers.answers.denials import affirmed
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    cleaned,
    first_line,
    last_line,
    statement,
    without_latex_text,
)

_UNITS = re.compile(
    r"\\?(?:text|mbox|mathrm)\s*\{[^{}]*\}|\b(?:units?|dollars?|degrees?|cm|inches|meters?|feet"
    r"|hours?|minutes?|days?)\b|\^\\circ|\\circ|°|\\%|%|\\\$|\$"
)
_SPACES = re.compile(r"\\[,;:! ]|~|\\quad|\\qquad|\\left|\\right|\\displaystyle|\s+")
_SHORT_FRAC = re.compile(r"\\[dtc]?frac\s*(?:(\d)\s*(\d)|\{([^{}]*)\}\s*(\d)|(\d)\s*\{([^{}]*)\})")
_SHORT_SQRT = re.compile(r"\\sqrt\s*(\w)")
_LEFT_SIDE = re.compile(r"\A[a-zA-Z](?:\([a-z]\))?(?:=|\\in)")
_REASON = re.compile(r"[.;]\s+(?=[A-Z])|,?\s+(?:because|since)\s")
_TERM = re.compile(r"[+-]?[^+-]+")
_TOLERANCE = 1e-9


def find_math(response: str, *, cut_off: bool = False) -> FoundAnswer:
    """Find the final expression, as it was written."""
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    place = statement(text)
    if place.rule == "text" and cut_off:
        return FoundAnswer(None, "cut off before an answer was announced")
    if place.rule == "text" and has_refusal(text):
        return FoundAnswer(None, "refused")
    line = (
        place.text
        if place.rule == "boxed"
        else first_line(place.text)
        if place.rule != "text"
        else last_line(text)
    )
    if place.rule != "boxed":
        line = affirmed(_REASON.split(line, maxsplit=1)[0])
    formulas = re.findall(r"\$([^$]+)\$", line)
    answer = (
        (formulas[0] if place.rule == "marker" else formulas[-1]) if formulas else line.rstrip(".")
    )
    return (
        FoundAnswer(answer.strip(), place.rule)
        if answer.strip()
        else FoundAnswer(None, "the answer is announced but not given")
    )


def same_math(answer: str, reference: str) -> bool:
    """Return True if two expressions mean the same."""
    first, second = normal_form(answer), normal_form(reference)
    if not first or not second:  # only words: \\text{east}
        return _words(answer) == _words(reference)
    if first == second or _terms(first) == _terms(second):
        return True
    if _same_parts(first, second):
        return True
    a, b = value_of(first), value_of(second)
    if a is not None and b is not None:
        return math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=1e-12)
    return _library_says_same(answer, reference)


def _words(text: str) -> str:
    return " ".join(without_latex_text(text).replace("$", "").casefold().split()).strip(" .()")


def _terms(text: str) -> list[str]:
    """Return the sorted terms of a sum without brackets: the same for 1+x^2 and x^2+1."""
    if any(sign in text for sign in "({[,=<>|\\"):
        return [text]
    return sorted(term if term[0] in "+-" else f"+{term}" for term in _TERM.findall(text))


@lru_cache(maxsize=8192)
def normal_form(text: str) -> str:
    """Reduce what LaTeX can spell in many ways to one spelling."""
    text = (
        text.strip().strip("$").rstrip(".").replace("−", "-").replace("{,}", "").replace(",\\!", "")
    )
    text = (
        text.replace("\\dfrac", "\\frac")
        .replace("\\tfrac", "\\frac")
        .replace("\\cdot", "*")
        .replace("\\times", "*")
        .replace("\\div", "/")
    )
    text = _UNITS.sub("", text.replace("\\\\", "\x00"))  # keep a matrix's line breaks
    text = _SPACES.sub("", text)
    text = _LEFT_SIDE.sub("", text, count=1) if "==" not in text else text
    text = _SHORT_FRAC.sub(
        lambda m: f"\\frac{{{m[1] or m[3] or m[5]}}}{{{m[2] or m[4] or m[6]}}}", text
    )
    text = _SHORT_SQRT.sub(r"\\sqrt{\1}", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return text.replace("\\{", "{").replace("\\}", "}") if text.startswith("\\{") else text


def _same_parts(first: str, second: str) -> bool:
    """Compare sets and comma lists in any order, tuples and intervals with their brackets."""
    a, b = _parts(first), _parts(second)
    if a is None or b is None or a[0] != b[0] or len(a[1]) != len(b[1]):
        return False
    if a[0] in ("{}", ""):
        left = list(b[1])
        for item in a[1]:
            twin = next((other for other in left if _same_value(item, other)), None)
            if twin is None:
                return False
            left.remove(twin)
        return True
    return all(_same_value(x, y) for x, y in zip(a[1], b[1], strict=True))


def _parts(text: str) -> tuple[str, list[str]] | None:
    """Return (brackets, parts) of an expression with commas; None for any other."""
    brackets = text[:1] + text[-1:]
    if brackets in ("()", "[]", "(]", "[)", "{}") and "," in text:
        return brackets, _split(text[1:-1])
    parts = _split(text)
    return ("", parts) if len(parts) > 1 else None


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "({[") - (character in ")}]")
        if character == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


def _same_value(first: str, second: str) -> bool:
    if first == second:
        return True
    a, b = value_of(first), value_of(second)
    return a is not None and b is not None and math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=1e-12)


_FRAC = re.compile(r"\\frac\{([^{}]*)\}\{([^{}]*)\}")
_SQRT = re.compile(r"\\sqrt(?:\[(\d+)\])?\{([^{}]*)\}")
_POWER = re.compile(r"\^\{([^{}]*)\}")
_PLAIN = re.compile(r"[-+*/().\d\s a-z_^]*\Z")
_OPERATORS: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@lru_cache(maxsize=8192)
def value_of(text: str) -> float | None:
    """Return the value of an expression without variables; None for any other text.

    Only numbers, π, e, roots, fractions, powers and the four operations are evaluated, with bounded
    exponents.
    """
    if len(text) > 200:
        return None
    for _ in range(6):
        text = _FRAC.sub(r"((\1)/(\2))", text)
        text = _SQRT.sub(lambda m: f"(({m[2]})**(1/{m[1] or 2}))", text)
        text = _POWER.sub(r"**(\1)", text)
    text = text.replace("\\pi", "(pi)").replace("^", "**")
    text = re.sub(r"(?<=[\d)])(?=\()", "*", text)
    if not _PLAIN.match(text.replace("**", "*")):
        return None
    try:
        return _evaluate(ast.parse(text, mode="eval").body)
    except (
        SyntaxError,
        ValueError,
        ZeroDivisionError,
        OverflowError,
        TypeError,
        RecursionError,
        MemoryError,
    ):
        return None


def _evaluate(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id == "pi":
        return math.pi
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _evaluate(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _evaluate(node.left), _evaluate(node.right)
        result = _OPERATORS[type(node.op)](left, right)
        if isinstance(result, complex):
            raise ValueError("not a real number")
        return float(result)
    raise ValueError("not an expression of numbers")


def _library_says_same(answer: str, reference: str) -> bool:
    try:
        from math_verify import parse, verify
    except ImportError:
        return False
    return bool(verify(parse(f"${reference}$"), parse(f"${answer}$")))


_PUZZLE = re.compile(r"(-?\d+) from ((?:\d+ )+\d+)")
_EXPRESSION = re.compile(r"[\d(][\d\s+\-*/().]*")


def is_puzzle(reference: object) -> bool:
    """Return True if a reference asks for a number made from others: ``24 from 4 5 7 9``."""
    return isinstance(reference, str) and _PUZZLE.fullmatch(reference) is not None


def find_expression(response: str) -> FoundAnswer:
    """Find the announced arithmetic expression, without its result."""
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    line = first_line(statement(text).text).partition("=")[0]
    match = _EXPRESSION.search(line.replace("×", "*").replace("÷", "/"))
    return (
        FoundAnswer(match.group().strip(), "expression")
        if match
        else FoundAnswer(None, "no arithmetic expression is given")
    )


def solves_puzzle(expression: str, reference: str) -> bool:
    """Return True if ``expression`` uses each given number once and equals the target."""
    match = _PUZZLE.fullmatch(reference)
    if match is None or sorted(re.findall(r"\d+", expression)) != sorted(match[2].split()):
        return False
    value = value_of(expression)
    return value is not None and math.isclose(value, float(match[1]), rel_tol=_TOLERANCE)
