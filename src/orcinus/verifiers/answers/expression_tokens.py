r"""Divide an expression, in LaTeX or plain text, into numbers, names, commands and signs.

divide(r"\frac{x}{2} cm")  →  frac { x } { 2 }: the unit is left out
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from orcinus.core.patterns import compile_later

LONGEST = 2_000
"""Characters of an expression that is read. Answers are shorter; MATH's longest has 150."""
_LONGEST_NUMBER = 4_000
"""Digits of a literal. Python itself refuses to convert more than 4,300."""


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
_GREEK_LETTER = compile_later("[α-ωΓ-Ω]")
RELATIONS = ("=", "<", ">", "<=", ">=", "!=", "~=", "in")
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
_TOKEN = compile_later(
    r"""(?P<number>\d+(?:[ ]?\d{3}(?!\d))*(?:\.\d+|\.(?=\\overline))?|\.\d+)
        (?:[eE](?P<exponent>[+-]?\d{1,4})(?![a-zA-Z\d]))?
      | \\(?P<command>[a-zA-Z]+|.)
      | (?P<word>[a-zA-Z]+)
      | (?P<sign>\*\*|<=|>=|!=|==|->|=>|\.\.\.|[^\s\w]|_)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A sign, a number, a name or a command of an expression."""

    kind: str
    """``number``, ``name``, ``call``, ``text`` or the sign itself."""
    value: Fraction | str = ""
    spaced: bool = False
    """True if a blank stands before it."""
    digits: str = ""


class Unreadable(ValueError):
    """The text is not an expression that this module knows."""


def is_words(text: str) -> bool:
    """Return True if a text is only words: no digit, no sign of mathematics, no formula."""
    return not re.search(r"[\d=+*/^<>_\\|{}]", text) and bool(re.search(r"[^\W\d_]{2}", text))


_TEXT_BLOCK = compile_later(
    r"\\(?:" + "|".join(sorted(_TEXT_COMMANDS)) + r")\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_THOUSANDS = compile_later(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,]|\.\d*,)")
_MATRICES = ("matrix", "pmatrix", "bmatrix", "vmatrix", "Vmatrix", "Bmatrix", "smallmatrix",
             "array")  # fmt: skip


def spell_plainly(text: str, *, commas: bool) -> str:
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
    if "\\mathbb" in text:
        text = re.sub(r"\\mathbb\s+([A-Z])(?![a-zA-Z])", r"\\mathbb{\1}", text)
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


def divide(text: str) -> list[Token]:
    """Return the tokens of an expression that ``spell_plainly`` wrote."""
    found: list[Token] = []
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
                found.append(Token("call", sign, spaced))
            else:
                found.append(Token(sign, spaced=spaced))
    return found


def _number_token(match: re.Match[str], *, spaced: bool) -> Token:
    digits = match["number"].replace(" ", "")
    if len(digits) > _LONGEST_NUMBER:
        raise Unreadable("a number too long")
    value = Fraction(digits)
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"])
        digits += "e" + match["exponent"]
    return Token("number", value, spaced, digits)


def _add_command(found: list[Token], name: str, text: str, at: int, *, spaced: bool) -> int:
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
        found.append(Token(name, text[text.find("{", at) + 1 : end].strip(), spaced))
        return end + 1
    if name in ("begin", "end"):
        block = re.match(r"\s*\{([a-zA-Z]*)\*?\}", text[at:])
        if block is None or block[1] not in _MATRICES:
            raise Unreadable(name)
        at += block.end()
        if name == "begin" and block[1] == "array":
            columns = re.match(r"\s*\{[^{}]*\}", text[at:])
            at += columns.end() if columns else 0
        found.append(Token(name, block[1], spaced))
        return at
    if name in ("circ", "degree", "prime"):
        found.append(Token("degree" if name != "prime" else "'", spaced=spaced))
    elif name in _FUNCTIONS:
        found.append(Token("call", name, spaced))
    elif name in ("frac", "binom", "overline", "bar", "vec", "hat", "overrightarrow", "lfloor",
                  "rfloor", "lceil", "rceil"):  # fmt: skip
        found.append(Token(name, spaced=spaced))
    elif name in _GREEK or name == "pi":
        found.append(Token("name", name, spaced))
    elif name == "oo":
        found.append(Token("name", "oo", spaced))
    elif not name.isalpha() or name in ("in", "cup", "cap", "setminus", "emptyset", "pm", "mp"):
        found.append(Token(name, spaced=spaced))
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


def _add_word(found: list[Token], word: str, *, spaced: bool) -> None:
    """Add the tokens of letters: a function, a unit, a separator, or a product of variables."""
    lower = word.casefold()
    if lower in _SHORT_WORDS:
        raise Unreadable(word)
    if lower in ("or", "and"):
        found.append(Token(",", spaced=spaced))
    elif lower in _FUNCTIONS and len(word) > 1:
        found.append(Token("call", lower, spaced))
    elif lower in _KNOWN_WORDS:
        found.append(Token("name", _KNOWN_WORDS[lower], spaced))
    elif lower in _GREEK and len(word) > 2:
        found.append(Token("name", word, spaced))
    elif lower in _PERCENT and found:
        found.append(Token("%", spaced=spaced))
    elif lower in UNITS and _follows_quantity(found, word, spaced=spaced):
        found.append(Token("unit", word, spaced))
    elif lower == "in":
        found.append(Token("in", spaced=spaced))
    elif len(word) <= 3:
        for i, letter in enumerate(word):
            found.append(Token("name", letter, spaced and i == 0))
    else:
        function = next(
            (name for name in sorted(_FUNCTIONS, key=len, reverse=True) if lower.startswith(name)),
            None,
        )
        if function is None or len(lower) > len(function) + 2:
            raise Unreadable(word)
        found.append(Token("call", function, spaced))
        for letter in word[len(function) :]:
            found.append(Token("name", letter))


def _follows_quantity(found: list[Token], word: str, *, spaced: bool) -> bool:
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


END_TOKEN = Token("nothing")
