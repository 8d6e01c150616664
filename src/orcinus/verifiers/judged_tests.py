"""Rewrite the tests of a program so that no object of its own can say yes for itself.

    assert add(2, 3) == 5     →     assert judge_9f3c(('==',), (add(2, 3), 5))

An object of the program's own class decides by its own methods what it equals. So the judge's
functions compare: they look at the kinds of both sides first. They are defined before the program
runs, under names that it cannot know, and hold the built-in functions that they need. What the
program put in the place of built-in functions is taken back before the tests run.
"""

import ast
import builtins
import hashlib
import re
from typing import Any, NamedTuple

_MODULES = frozenset({"math", "cmath", "random", "json", "re"})
"""Modules that tests use by name and that the program may have put something in the place of."""
_BUILT_IN = frozenset(name for name in dir(builtins) if not name.startswith("_"))
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
_NUMERIC = frozenset({"abs", "round", "int", "float", "complex", "pow", "sum"})
"""Built-in functions that ask an object for a number."""

_JUDGE = """
def NAME_kinds():
    atoms = [bool, int, float, complex, str, bytes, range, slice, type(int), type(None), type(...)]
    rows = [list, tuple, set, frozenset, type({}.keys()), type({}.values()), type({}.items())]
    tables = [dict]
    try:
        from collections import Counter, defaultdict, deque
        rows = rows + [deque]
        tables = tables + [Counter, defaultdict]
    except ImportError:
        pass
    try:
        from decimal import Decimal
        atoms = atoms + [Decimal]
    except ImportError:
        pass
    try:
        from datetime import date, datetime, time, timedelta
        atoms = atoms + [date, datetime, time, timedelta]
    except ImportError:
        pass
    return tuple(atoms), tuple(rows), tuple(tables)

NAME_atoms, NAME_rows, NAME_tables = NAME_kinds()

def NAME_plain(value, type=type, isinstance=isinstance, tuple=tuple):
    kind = type(value)
    if kind in NAME_atoms:
        return True
    # A named tuple is equal to a plain one. Monty has no classes that inherit from a tuple.
    if kind in NAME_rows or isinstance(value, tuple):
        for item in value:
            if not NAME_plain(item):
                return False
        return True
    if kind in NAME_tables:
        for key, item in value.items():
            if not (NAME_plain(key) and NAME_plain(item)):
                return False
        return True
    return False

def NAME_equal(left, right, type=type):
    one, other = NAME_plain(left), NAME_plain(right)
    if one and other:
        return left == right
    return one == other and type(left) is type(right) and left == right

def NAME_holds(operator, left, right, type=type):
    if operator == '==':
        return NAME_equal(left, right)
    if operator == '!=':
        one, other = NAME_plain(left), NAME_plain(right)
        return left != right if one == other else True
    if operator == 'in' or operator == 'not in':
        kind = type(right)
        if kind in NAME_rows or kind in NAME_tables:
            found = False
            for item in right:
                found = found or NAME_equal(left, item)
        elif NAME_plain(right):
            found = NAME_plain(left) and left in right
        else:
            found = left in right
        return found if operator == 'in' else not found
    if operator == 'is':
        return left is right
    if operator == 'is not':
        return left is not right
    if NAME_plain(left) != NAME_plain(right):
        raise NotImplementedError('an object of its own class is compared with a plain value')
    if operator == '<':
        return left < right
    if operator == '<=':
        return left <= right
    return left > right if operator == '>' else left >= right

def NAME(operators, values, len=len, range=range):
    for at in range(len(operators)):
        if not NAME_holds(operators[at], values[at], values[at + 1]):
            return False
    return True

def NAME_number(result, *values, len=len):
    own = [value for value in values if not NAME_plain(value)]
    if own and (len(own) == 1 or len(own) < len(values)) and NAME_plain(result):
        raise NotImplementedError('an object of its own class gives the number that is tested')
    return result
"""


class JudgedTests(NamedTuple):
    """The code to run before a program, and after it in place of its tests."""

    before: str
    after: str
    names: frozenset[str]
    """Built-in functions and modules that the tests use."""


def judged(tests: str, program: str) -> JudgedTests | None:
    """Return the rewritten tests of a program; None where they cannot be rewritten."""
    name = "judge_" + hashlib.blake2b(f"{program}\0{tests}".encode(), digest_size=12).hexdigest()
    try:
        tree = ast.parse(tests)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        after = ast.unparse(ast.fix_missing_locations(_Rewrite(name).visit(tree)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    functions, modules = sorted(used & _BUILT_IN), sorted(used & _MODULES)
    before = [_JUDGE.replace("NAME", name)]
    before += [_try(f"{name}_{one} = {one}") for one in functions]
    restored = [_try(f"{one} = {name}_{one}") for one in functions]
    restored += [_try(f"import {one}") for one in modules]
    names = frozenset([*functions, *modules])
    return JudgedTests("\n".join(before), "\n".join([*restored, after]), names)


def _try(statement: str) -> str:
    """Return a statement that does nothing where the sandbox lacks the name in it."""
    return f"try:\n    {statement}\nexcept (NameError, ImportError):\n    pass"


def replaced_by(program: str, names: frozenset[str]) -> list[str]:
    """Return those of the names that a program seems to bind to something of its own."""
    bound = r"\b(?:def|class|as|for|global)\s+{0}\b|\b{0}\s*(?::[^=\n]*)?=(?!=)"
    return [name for name in sorted(names) if re.search(bound.format(re.escape(name)), program)]


class _Rewrite(ast.NodeTransformer):
    """Replace comparisons, arithmetic and calls for a number by the judge's functions."""

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Replace ``a < b < c`` by ``judge(('<', '<'), (a, b, c))``."""
        self.generic_visit(node)
        operators = tuple(_OPERATORS[type(operator)] for operator in node.ops)
        values = ast.Tuple([node.left, *node.comparators], ast.Load())
        return _call(f"{self._name}({operators!r}, 0)", {1: values})

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Replace ``a - b`` by a call that computes it and looks at all three."""
        self.generic_visit(node)
        sign = _OPERATORS.get(type(node.op))
        if sign is None or (isinstance(node.left, _FIXED) and isinstance(node.right, _FIXED)):
            return node
        source = f"(lambda a, b: {self._name}_number(a {sign} b, a, b))(0, 0)"
        return _call(source, {0: node.left, 1: node.right})

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replace ``abs(a)`` by a call that computes it and looks at both."""
        self.generic_visit(node)
        function = node.func.id if isinstance(node.func, ast.Name) else ""
        if function not in _NUMERIC or not node.args or node.keywords:
            return node
        source = f"(lambda *values: {self._name}_number({function}(*values), *values))()"
        return _call(source, dict(enumerate(node.args)))


_FIXED = ast.Constant | ast.Tuple | ast.List
"""What stands in the tests themselves."""


def _call(source: str, arguments: dict[int, ast.expr]) -> ast.expr:
    """Return a call from its source, with some of its arguments replaced."""
    call: Any = ast.parse(source, mode="eval").body
    for place, argument in arguments.items():
        call.args[place : place + 1] = [argument]
    made: ast.expr = call
    return made
