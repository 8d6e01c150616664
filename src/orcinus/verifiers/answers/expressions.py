r"""Read a mathematical expression, in LaTeX or plain text, as a tree. Nothing is ever executed.

    read_expression(r"3\frac12 + x")  →  sum(sum(3, quotient(1, 2)), x)
    read_expression("the area")       →  None: these are words

The reader is strict: whatever it does not know makes the whole expression unreadable.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

LONGEST = 2_000
"""Characters of an expression that is read. Answers are shorter; MATH's longest has 150."""
_DEEPEST = 60
"""Brackets inside brackets. Deeper ones would exhaust Python's stack."""
_LONGEST_NUMBER = 4_000
"""Digits of a literal. Python itself refuses to convert more than 4,300."""


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


def set_of_words(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


_COMMANDS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom",
    "cdot": "*", "times": "*", "ast": "*", "bullet": "*", "div": "/",
    "le": "<=", "leq": "<=", "leqslant": "<=", "leqq": "<=",
    "ge": ">=", "geq": ">=", "geqslant": ">=", "geqq": ">=",
    "lt": "<", "gt": ">", "ne": "!=", "neq": "!=", "approx": "~=", "simeq": "~=", "sim": "~=",
    "equiv": "=", "iff": "=>", "Rightarrow": "=>", "implies": "=>", "to": "=>", "mapsto": "=>",
    "rightarrow": "=>", "longrightarrow": "=>", "in": "in", "cup": "cup", "cap": "cap",
    "setminus": "setminus", "backslash": "setminus", "emptyset": "emptyset",
    "varnothing": "emptyset", "pm": "pm", "mp": "mp", "infty": "oo",
    "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")",
    "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "langle": "(", "rangle": ")",
    "land": ",", "lor": ",", "wedge": ",", "vee": ",", "varepsilon": "epsilon", "varphi": "phi",
    "vartheta": "theta", "arctg": "arctan", "tg": "tan", "ctg": "cot", "colon": ":",
    "dots": "...", "ldots": "...", "cdots": "...", "%": "%", "{": "\\{", "}": "\\}", "|": "|",
}  # fmt: skip
_DROPPED = set_of_words(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr middle "
    "displaystyle textstyle scriptstyle limits quad qquad hspace vspace hfill nonumber "
    "phantom , ; : ! > ~ $ hline bf rm it sf"
)
_FUNCTIONS = set_of_words(
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth asin acos atan "
    "log ln lg exp sqrt abs floor ceil min max gcd lcm"
)
_GREEK = set_of_words(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega Pi ell hbar "
    "partial prime angle triangle measuredangle"
)
_TEXT_COMMANDS = set_of_words(
    "text textbf textit textrm textsf texttt mathrm mathbf mathit mathsf mbox hbox "
    "operatorname mathcal mathbb boldsymbol bm textnormal mathop"
)
_SIGNS = {
    "−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "≤": "<=", "≥": ">=",
    "≠": "!=", "≈": "~=", "∈": "in", "∪": "cup", "∩": "cap", "∅": "emptyset", "±": "pm",
    "∓": "mp", "∞": "oo", "√": "sqrt", "²": "^2", "³": "^3", "½": "\\frac12",
    "°": "degree", "′": "'", "→": "=>", "⇒": "=>",
    "⟨": "(", "⟩": ")", "{": "{", "}": "}",
}  # fmt: skip
_LETTERS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "η": "eta",
    "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi",
    "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Σ": "Sigma", "Φ": "Phi",
    "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_GREEK_LETTER = re.compile("[α-ωΓ-Ω]")
_RELATIONS = ("=", "<", ">", "<=", ">=", "!=", "~=", "in")
UNITS = set_of_words(
    "unit units dollar dollars cent cents euro euros pound pounds rupee rupees usd eur "
    "degree degrees deg mm cm dm km m ft feet foot inch inches in yard yards yd mile miles "
    "meter meters metre metres centimeter centimeters centimetres kilometer kilometers "
    "kilometres millimeters second seconds sec s minute minutes min hour hours hr hrs h day "
    "days week weeks month months year years g kg mg gram grams kilogram kilograms ounce "
    "ounces oz lb lbs ton tons liter liters litre litres ml l gallon gallons square cubic "
    "sq cu per mph kmh people points point times ways way students radians rad hz"
    "newton newtons joules watts pa kpa mol k"
)
_TOKEN = re.compile(
    r"""(?P<number>\d+(?:[ ]?\d{3}(?!\d))*(?:\.\d+|\.(?=\\overline))?|\.\d+)
        (?:[eE](?P<exponent>[+-]?\d{1,4})(?![a-zA-Z\d]))?
      | \\(?P<command>[a-zA-Z]+|.)
      | (?P<word>[a-zA-Z]+)
      | (?P<sign>\*\*|<=|>=|!=|==|->|=>|\.\.\.|[^\s\w]|_)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """``number``, ``name``, ``call``, ``text`` or the sign itself."""
    value: Fraction | str = ""
    spaced: bool = False
    """True if a blank stands before it."""
    digits: str = ""


class Unreadable(ValueError):
    """The text is not an expression that this module knows."""


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
        return _Reader(_tokens(_prepare(text, commas=commas))).read()
    except (Unreadable, RecursionError, ZeroDivisionError):
        return None


def is_words(text: str) -> bool:
    """Return True if a text is only words: no digit, no sign of mathematics, no formula."""
    return not re.search(r"[\d=+*/^<>_\\|{}]", text) and bool(re.search(r"[^\W\d_]{2}", text))


_TEXT_BLOCK = re.compile(
    r"\\(?:" + "|".join(sorted(_TEXT_COMMANDS)) + r")\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,]|\.\d*,)")
_MATRICES = ("matrix", "pmatrix", "bmatrix", "vmatrix", "Vmatrix", "Bmatrix", "smallmatrix",
             "array")  # fmt: skip


def _prepare(text: str, *, commas: bool) -> str:
    """Rewrite what is spelled in many ways: delimiters, thousands, text blocks, units."""
    text = re.sub(r"\\tag\*?\s*\{[^{}]*\}|\\label\{[^{}]*\}", "", text)
    text = re.sub(r"\\\[|\\\]|\\\(|\\\)|\$\$?|[€£₹¥]|\\cr\b(?!oss)", " ", text.replace("\\$", " "))
    text = text.replace("\\\\%", "\\%")
    text = re.sub(
        r"(?<=\d)\s?\{,\s?\}(?=\d{3}(?!\d))|(?<=\d),?\\[!,;:]\s*,?(?=\d{3}(?!\d))", "", text
    )
    text = re.sub(r"(?<=\d)\{[,.]\}(?=\d)", ".", text)
    if not commas:
        text = _THOUSANDS.sub(lambda match: match[1].replace(",", ""), text)
    if not text.isascii():
        for sign in ("²", "³", "½"):
            text = text.replace(sign, _SIGNS[sign])
        text = _GREEK_LETTER.sub(
            lambda match: f"\\{_LETTERS[match[0]]} " if match[0] in _LETTERS else match[0], text
        )
    text = _TEXT_BLOCK.sub(_spell_text_block, text)
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[a-zA-Z])", r"\\", text)
    return text.strip().rstrip(".;\\").strip()


def _spell_text_block(match: re.Match[str]) -> str:
    words = match[1].strip()
    lower = words.casefold().strip(" .,;:")
    if lower in ("or", "and", "or both", "and also"):
        return " , "
    if len(lower) == 1 or lower in _FUNCTIONS or re.fullmatch(r"[-+\d.,/ ]+", lower):
        return f" {words} "
    if match[0].startswith(("\\operatorname", "\\mathop")) and lower.isalpha():
        return f"\\{lower} "
    if not lower:
        return " "
    if lower in _PERCENT:
        return " % "
    if match[0].startswith(("\\mathbb", "\\mathcal")):
        return f" \\symbol{{{words}}}"
    if re.fullmatch(r"\\frac.*|[-\d]+\\frac.*", lower):
        return words
    return " \\words{" + re.sub(r"[{}\\]", " ", words) + "} "


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        blank = at
        while at < len(text) and text[at].isspace():
            at += 1
        if at >= len(text):
            break
        spaced = at > blank
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unreadable(text[at])
        at = match.end()
        if match["number"]:
            found.append(_number_token(match, spaced=spaced))
        elif match["command"]:
            at = _add_command(found, match["command"], text, at, spaced=spaced)
        elif match["word"]:
            _add_word(found, match["word"], spaced=spaced)
        else:
            sign = match["sign"]
            sign = {"**": "^", "==": "=", "->": "=>"}.get(sign, _SIGNS.get(sign, sign))
            if sign == "sqrt":
                found.append(_Token("call", sign, spaced))
            else:
                found.append(_Token(sign, spaced=spaced))
    return found


def _number_token(match: re.Match[str], *, spaced: bool) -> _Token:
    digits = match["number"].replace(" ", "")
    if len(digits) > _LONGEST_NUMBER:
        raise Unreadable("a number too long")
    value = Fraction(digits)
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"])
        digits += "e" + match["exponent"]
    return _Token("number", value, spaced, digits)


def _add_command(found: list[_Token], name: str, text: str, at: int, *, spaced: bool) -> int:
    """Add the token of one LaTeX command; return where the text goes on."""
    if name in _DROPPED or name.isspace():
        if name in ("left", "right") and text[at : at + 1] == ".":
            at += 1
        if name in ("hspace", "vspace", "phantom") and (
            block := re.match(r"\{[^{}]*\}", text[at:])
        ):
            at += block.end()
        return at
    name = _COMMANDS.get(name, name)
    glued = re.match(r"q?quad(?=[a-zA-Z])", name)
    if glued:  # \\quadx for \\quad x
        return at - len(name) + glued.end()
    if name in ("words", "symbol"):
        end = text.find("}", at)
        found.append(_Token(name, text[text.find("{", at) + 1 : end].strip(), spaced))
        return end + 1
    if name in ("begin", "end"):
        block = re.match(r"\s*\{([a-zA-Z]*)\*?\}", text[at:])
        if block is None or block[1] not in _MATRICES:
            raise Unreadable(name)
        at += block.end()
        if name == "begin" and block[1] == "array":
            columns = re.match(r"\s*\{[^{}]*\}", text[at:])
            at += columns.end() if columns else 0
        found.append(_Token(name, block[1], spaced))
        return at
    if name in ("circ", "degree", "prime"):
        found.append(_Token("degree" if name != "prime" else "'", spaced=spaced))
    elif name in _FUNCTIONS:
        found.append(_Token("call", name, spaced))
    elif name in ("frac", "binom", "overline", "bar", "vec", "hat", "overrightarrow", "lfloor",
                  "rfloor", "lceil", "rceil"):  # fmt: skip
        found.append(_Token(name, spaced=spaced))
    elif name in _GREEK or name == "pi":
        found.append(_Token("name", name, spaced))
    elif name == "oo":
        found.append(_Token("name", "oo", spaced))
    elif not name.isalpha() or name in ("in", "cup", "cap", "setminus", "emptyset", "pm", "mp"):
        found.append(_Token(name, spaced=spaced))
    else:
        raise Unreadable(name)
    return at


_PERCENT = ("percent", "percentage", "pct")
_SHORT_WORDS = set_of_words(
    "is so the we are as at be by for has he if it its of on to was not no yes all any can day two "
    "one six ten she you our his her got get let may how who why am an do go my me us up but did"
)
"""English words that are no products of variables."""
_KNOWN_WORDS = {"pi": "pi", "inf": "oo", "infinity": "oo", "oo": "oo", "infty": "oo"}


def _add_word(found: list[_Token], word: str, *, spaced: bool) -> None:
    """Add the tokens of letters: a function, a unit, a separator, or a product of variables."""
    lower = word.casefold()
    if lower in _SHORT_WORDS:
        raise Unreadable(word)
    if lower in ("or", "and"):
        found.append(_Token(",", spaced=spaced))
    elif lower in _FUNCTIONS and len(word) > 1:
        found.append(_Token("call", lower, spaced))
    elif lower in _KNOWN_WORDS:
        found.append(_Token("name", _KNOWN_WORDS[lower], spaced))
    elif lower in _GREEK and len(word) > 2:
        found.append(_Token("name", word, spaced))
    elif lower in _PERCENT and found:
        found.append(_Token("%", spaced=spaced))
    elif lower in UNITS and _follows_quantity(found, word, spaced=spaced):
        found.append(_Token("unit", word, spaced))
    elif lower == "in":
        found.append(_Token("in", spaced=spaced))
    elif len(word) <= 3:
        for i, letter in enumerate(word):
            found.append(_Token("name", letter, spaced and i == 0))
    else:
        function = next(
            (name for name in sorted(_FUNCTIONS, key=len, reverse=True) if lower.startswith(name)),
            None,
        )
        if function is None or len(lower) > len(function) + 2:
            raise Unreadable(word)
        found.append(_Token("call", function, spaced))
        for letter in word[len(function) :]:
            found.append(_Token("name", letter))


def _follows_quantity(found: list[_Token], word: str, *, spaced: bool) -> bool:
    """Return True if a unit may stand here: 5 cm, 5 km/h; but 5m is a product."""
    if len(found) > 1 and found[-1].kind == "/" and found[-2].kind in ("unit", "words"):
        return True
    return (
        (len(word) > 1 or spaced)
        and bool(found)
        and (
            found[-1].kind in ("number", "}", "%", "words", "unit", ")") or found[-1].value == "pi"
        )
    )


_CLOSING = {"(": (")", "]"), "[": ("]", ")"), "\\{": ("\\}", "}"), "{": ("}",)}
_AFTER_TERM = (
    "number", "name", "call", "(", "[", "{", "\\{", "frac", "binom", "overline", "vec", "symbol",
    "begin", "lfloor", "lceil", "bar", "hat", "overrightarrow",
)  # fmt: skip
"""Tokens that may stand beside a factor, which multiplies the two."""
_END = _Token("nothing")


class _Reader:
    """A recursive reader of tokens, from separators down to single symbols."""

    def __init__(self, tokens: list[_Token]) -> None:
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

    def peek(self, ahead: int = 0) -> _Token:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else _END

    def take(self, *kinds: str) -> _Token:
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
        while self.peek().kind in (*_RELATIONS, "=>", ":"):
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
            self.tokens[self.at] = _Token("number", Fraction(int(rest)), False, rest)
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
            return Node("name", (), f"{kind}:{_spell(inner)}")
        if kind == "begin":
            return self.matrix()
        if kind in ("|", "lfloor", "lceil"):
            return self.between_bars(kind)
        raise Unreadable(kind)

    def number(self, token: _Token) -> Node:
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
            name = f"{name}_{_spell(index)}"
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


def _spell(node: Node) -> str:
    return f"{node.value}{''.join(map(_spell, node.parts))}"
