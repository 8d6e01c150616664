r"""Read a mathematical expression, in LaTeX or plain text, as a tree. Nothing is ever executed.

    read_expression(r"3\frac12 + x")  →  sum(sum(3, quotient(1, 2)), x)
    read_expression("the area")       →  None: these are words

The reader is strict: whatever it does not know makes the whole expression unreadable.
"""

from fractions import Fraction
from functools import lru_cache

from orcinus.verifiers.answers.expression_tokens import (
    END_TOKEN,
    LONGEST,
    RELATIONS,
    Token,
    Unreadable,
    divide,
    spell_plainly,
)
from orcinus.verifiers.answers.nodes import Node, spell_node

_DEEPEST = 60
"""Brackets inside brackets. Deeper ones would exhaust Python's stack."""


@lru_cache(maxsize=8192)
def read_expression(text: str, *, commas: bool = False) -> Node | None:
    """Read an expression; return None if it is not one.

    Args:
        text: The expression, in LaTeX or plain text, without words around it.
        commas: True if ``1,234`` is a list of two numbers; otherwise it is one number.
    """
    if len(text) > LONGEST or not text.strip():
        return None
    try:
        return _Reader(divide(spell_plainly(text, commas=commas))).read()
    except (Unreadable, RecursionError, ZeroDivisionError):
        return None


_CLOSING = {"(": (")", "]"), "[": ("]", ")"), "\\{": ("\\}", "}"), "{": ("}",)}
_AFTER_TERM = (
    "number", "name", "call", "(", "[", "{", "\\{", "frac", "binom", "overline", "vec", "symbol",
    "begin", "lfloor", "lceil", "bar", "hat", "overrightarrow",
)  # fmt: skip
"""Tokens that may stand beside a factor, which multiplies the two."""


class _Reader:
    """A recursive reader of tokens, from separators down to single symbols."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.bars = 0

    def read(self) -> Node:
        if not self.tokens:
            raise Unreadable("nothing")
        node = self.separated(("nothing",))
        if self.at < len(self.tokens):
            raise Unreadable(self.tokens[self.at].kind)
        return node

    def peek(self, ahead: int = 0) -> Token:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else END_TOKEN

    def take(self, *kinds: str) -> Token:
        token = self.peek()
        if kinds and token.kind not in kinds:
            raise Unreadable(token.kind)
        self.at += 1
        return token

    def separated(self, ends: tuple[str, ...]) -> Node:
        """Read items between commas or semicolons; one item is itself."""
        items = []
        while True:
            while self.peek().kind in (",", ";"):
                self.at += 1
            if self.peek().kind in ends:
                break
            items.append(self.relation())
            self.skip_units()
            if self.peek().kind in (",", ";"):
                continue
            if self.peek().kind in ends:
                break
            raise Unreadable(self.peek().kind)
        if not items:
            raise Unreadable("nothing between brackets")
        return items[0] if len(items) == 1 else Node("list", tuple(items))

    def relation(self) -> Node:
        """Read sides joined by = or <; the signs stand in ``value``."""
        sides: list[Node] = [self.union()]
        signs: list[str] = []
        while self.peek().kind in (*RELATIONS, "=>", ":"):
            sign = self.take().kind
            if sign == "=>" and not signs:
                raise Unreadable("=>")
            signs.append("ratio" if sign == ":" else sign)
            if sign == "=>":  # x + 1 = 3 => x = 2
                sides, signs = [self.union()], []
                continue
            sides.append(self.union())
        if not signs:
            return sides[0]
        if set(signs) == {"ratio"}:
            return Node("ratio", tuple(sides))
        if "ratio" in signs:
            raise Unreadable(":")
        return Node("relation", tuple(sides), " ".join(signs))

    def union(self) -> Node:
        node = self.sum()
        while self.peek().kind in ("cup", "cap", "setminus"):
            sign = self.take().kind
            node = Node("union" if sign == "cup" else sign, (node, self.sum()))
        return node

    def sum(self) -> Node:
        node = self.product()
        while self.peek().kind in ("+", "-", "pm", "mp"):
            sign = self.take().kind
            other = self.product()
            if sign == "-":
                other = Node("negative", (other,))
            elif sign in ("pm", "mp"):
                other = Node("plus_minus", (other,), sign)
            node = Node("sum", (node, other))
        return node

    def product(self) -> Node:
        node = self.signed()
        while True:
            kind = self.peek().kind
            if kind == "*":
                self.at += 1
                node = Node("product", (node, self.signed()))
            elif kind == "/":
                self.at += 1
                if self.peek().kind in ("words", "unit"):  # 5 km/h
                    self.at += 1
                    self.skip_units()
                    continue
                node = Node("quotient", (node, self.signed()))
            elif kind in ("words", "unit", "degree"):
                self.skip_units()
            elif kind in _AFTER_TERM or (kind == "|" and not self.bars):
                if kind == "number" and self.tokens[self.at - 1].kind == "number":
                    node = self.mixed(node)
                    continue
                before = self.at
                other = self.factor()
                node = (
                    Node("sum", (node, other))
                    if _is_mixed(node, other, self.tokens[before - 1].kind)
                    else Node("product", (node, other))
                )
            else:
                return node

    def mixed(self, whole: Node) -> Node:
        """Read ``7 1/2`` as a mixed number."""
        above, slash, below = self.peek(), self.peek(1), self.peek(2)
        if whole.kind != "number" or slash.kind != "/" or below.kind != "number":
            raise Unreadable("two numbers side by side")
        self.at += 3
        part = Node("quotient", (Node("number", (), above.value), Node("number", (), below.value)))
        if not _is_mixed(whole, part, "number"):
            raise Unreadable("two numbers side by side")
        return Node("sum", (whole, part))

    def signed(self) -> Node:
        kind = self.peek().kind
        if kind in ("-", "+", "pm", "mp"):
            self.at += 1
            node = self.first_factors()
            if kind in ("pm", "mp"):
                return Node("plus_minus", (node,), kind)
            return Node("negative", (node,)) if kind == "-" else node
        return self.first_factors()

    def first_factors(self) -> Node:
        """Read a factor, with the fraction of a mixed number behind it: -7½ is -(7 + ½)."""
        if self.peek().kind in ("-", "+", "pm", "mp"):
            return self.signed()
        node = self.factor()
        if node.kind == "number" and self.tokens[self.at - 1].kind == "number":
            if self.peek().kind == "number":
                return self.mixed(node)
            if self.peek().kind == "frac":
                before = self.at
                part = self.factor()
                if _is_mixed(node, part, "number"):
                    return Node("sum", (node, part))
                self.at = before
        return node

    def factor(self) -> Node:
        """Read an atom with what stands behind it: powers, factorials, percent, primes."""
        node = self.atom()
        while True:
            kind = self.peek().kind
            if kind == "^":
                self.at += 1
                if self.peek().kind in ("degree", "'"):
                    self.at += 1
                    continue
                if self.peek().kind == "{" and self.peek(1).kind in ("degree", "'"):
                    self.at += 2
                    self.take("}")
                    continue
                node = Node("power", (node, self.script()))
            elif kind == "!":
                self.at += 1
                node = Node("call", (node,), "factorial")
            elif kind == "%":
                self.at += 1
                node = Node("percent", (node,))
            elif kind == "'" and node.kind == "name":
                self.at += 1
                node = Node("name", (), f"{node.value}'")
            elif kind == "degree":
                self.at += 1
            else:
                return node

    def script(self) -> Node:
        """Read what stands above ``^``: a group, a signed number or one symbol."""
        kind = self.peek().kind
        if kind == "-":
            self.at += 1
            return Node("negative", (self.script(),))
        if kind == "{":
            return self.braces()
        node = self.atom()
        return Node("power", (node, self.script())) if self._takes("^") else node

    def _takes(self, kind: str) -> bool:
        if self.peek().kind != kind:
            return False
        self.at += 1
        return True

    def braces(self) -> Node:
        self.take("{")
        node = self.inside(("}",))
        self.take("}")
        return node

    def inside(self, ends: tuple[str, ...]) -> Node:
        self.depth += 1
        bars, self.bars = self.bars, 0
        if self.depth > _DEEPEST:
            raise Unreadable("too many brackets")
        node = self.separated(ends)
        self.depth -= 1
        self.bars = bars
        return node

    def argument(self) -> Node:
        r"""Read the argument of a command: a group, or one digit as in ``\frac12``."""
        token = self.peek()
        if token.kind == "{":
            return self.braces()
        if token.kind == "number" and len(token.digits) > 1 and token.digits.isdigit():
            rest = token.digits[1:]
            self.tokens[self.at] = Token("number", Fraction(int(rest)), False, rest)
            return Node("number", (), Fraction(int(token.digits[0])))
        return self.atom()

    def atom(self) -> Node:
        token = self.take()
        kind = token.kind
        if kind == "number":
            return self.number(token)
        if kind == "name":
            return self.subscripted(str(token.value))
        if kind == "symbol":
            return Node("name", (), f"\\{token.value}")
        if kind == "emptyset":
            return Node("set")
        if kind in _CLOSING:
            return self.bracketed(kind)
        if kind == "frac":
            above = self.argument()
            return Node("quotient", (above, self.argument()))
        if kind == "binom":
            above = self.argument()
            return Node("call", (above, self.argument()), "binomial")
        if kind == "call":
            return self.call(str(token.value))
        if kind in ("overline", "bar", "vec", "hat", "overrightarrow"):
            inner = self.argument()
            return Node("name", (), f"{kind}:{spell_node(inner)}")
        if kind == "begin":
            return self.matrix()
        if kind in ("|", "lfloor", "lceil"):
            return self.between_bars(kind)
        raise Unreadable(kind)

    def number(self, token: Token) -> Node:
        """Read a number, maybe with repeating digits or a base behind it."""
        if self.peek().kind == "overline" and "." in token.digits + ".":
            place = self.at
            self.at += 1
            self.take("{")
            repeated = self.take("number").digits
            if repeated.isdigit() and self._takes("}") and "." in token.digits:
                scale = 10 ** len(token.digits.partition(".")[2])
                period = Fraction(int(repeated), 10 ** len(repeated) - 1)
                return Node("number", (), Fraction(token.value) + period / scale)
            self.at = place
        if self.peek().kind == "_":
            self.at += 1
            base = self.script()
            if base.kind != "number":
                raise Unreadable("a base that is no number")
            return Node("base", (base,), token.digits)
        return Node("number", (), token.value)

    def subscripted(self, name: str) -> Node:
        if name in ("Gamma", "zeta") and self.peek().kind == "(":
            raise Unreadable(name)  # a function that is not computed here
        if self._takes("_"):
            token = self.peek()
            index = self.braces() if token.kind == "{" else self.atom()
            name = f"{name}_{spell_node(index)}"
        return Node("name", (), name)

    def bracketed(self, opened: str) -> Node:
        ends = _CLOSING[opened]
        if (self.peek().kind in ends and opened in ("\\{", "(")) or (
            opened == "\\{" and self.peek().kind == "|"
        ):
            self.take(*ends)
            return Node("set" if opened == "\\{" else "group", (), "")
        if opened == "\\{" and self.peek().kind == "name" and self.peek(1).kind in ("|", ":", "in"):
            self.skip_set_variable()
            node = self.inside(ends)
            self.take(*ends)
            return node
        node = self.inside(ends)
        closed = self.take(*ends).kind
        items = node.parts if node.kind == "list" else (node,)
        if opened == "\\{":
            return Node("set", items)
        if opened == "{" and len(items) > 1:
            return Node("list", items)
        if len(items) > 1:
            return Node("group", items, opened + closed)
        if opened + closed not in ("()", "[]", "{}"):
            raise Unreadable("brackets that do not close")
        return node

    def skip_set_variable(self) -> None:
        r"""Skip the head of a set of all x with a property: ``x \in \mathbb{R} |``."""
        self.take("name")
        if self._takes("in"):
            self.take("symbol")
        self.take("|", ":")

    def between_bars(self, opened: str) -> Node:
        closed = {"|": "|", "lfloor": "rfloor", "lceil": "rceil"}[opened]
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Unreadable("too many brackets")
        self.bars += opened == "|"
        node = self.sum()
        self.bars -= opened == "|"
        self.depth -= 1
        self.take(closed)
        return Node("call", (node,), {"|": "abs", "lfloor": "floor", "lceil": "ceil"}[opened])

    def call(self, name: str) -> Node:
        r"""Read a function with its power, base and argument: ``\log_2 8``, ``\sin^2 x``."""
        power: Node | None = None
        base: Node | None = None
        if name == "sqrt" and self.peek().kind == "[":
            self.at += 1
            base = self.inside(("]",))
            self.take("]")
        while self.peek().kind in ("_", "^"):
            if self.take().kind == "_":
                base = self.script()
            else:
                power = self.script()
        argument = self.function_argument(name)
        if base is not None:
            argument = (*argument, base)
        node = Node("call", argument, name)
        if power is None:
            return node
        if power == Node("negative", (Node("number", (), Fraction(1)),)):
            return Node("call", argument, f"arc{name}")
        return Node("power", (node, power))

    def function_argument(self, name: str) -> tuple[Node, ...]:
        kind = self.peek().kind
        if name == "sqrt" and kind not in ("(", "{"):
            return (self.argument(),)
        if kind in ("{", "("):
            node = self.bracketed(self.take().kind)
            return node.parts if node.kind in ("group", "set") else (node,)
        node = self.signed_factor()
        while self.peek().kind in ("number", "name", "frac", "(", "{"):
            node = Node("product", (node, self.factor()))
        return (node,)

    def signed_factor(self) -> Node:
        return Node("negative", (self.factor(),)) if self._takes("-") else self.factor()

    def matrix(self) -> Node:
        kind = self.tokens[self.at - 1].value
        rows: list[Node] = []
        row: list[Node] = []
        while self.peek().kind != "end":
            row.append(self.relation())
            if self._takes("&"):
                continue
            rows.append(Node("row", tuple(row)))
            row = []
            if self.peek().kind != "\\":
                break
            self.at += 1
        self.take("end")
        return Node("call" if "vmatrix" in str(kind) else "matrix", tuple(rows), "determinant")

    def skip_units(self) -> None:
        while self.peek().kind in ("words", "unit", "degree", "/", "*"):
            kind = self.peek().kind
            if kind in ("/", "*") and self.peek(1).kind not in ("words", "unit"):
                return
            if self.at == 0:
                raise Unreadable("words")
            self.at += 1
            if self.peek().kind == "^" and kind in ("words", "unit"):
                self.at += 1
                self.script()


def _is_mixed(whole: Node, part: Node, before: str) -> bool:
    """Return True for a whole number with a proper fraction of whole numbers behind it."""
    if whole.kind != "number" or part.kind != "quotient" or before != "number":
        return False
    above, below = part.parts
    return (
        Fraction(whole.value).denominator == 1
        and above.kind == below.kind == "number"
        and 0 < Fraction(above.value) < Fraction(below.value)
        and Fraction(above.value).denominator == Fraction(below.value).denominator == 1
    )
