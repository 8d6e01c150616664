r"""Find and compare mathematical expressions, in LaTeX or plain text.

    find_math("So the area is\n\\[\n\\frac{3}{5}\n\\]")      →  FoundAnswer(r"\frac{3}{5}", …)
    compare_math(r"7\frac12", "15/2")                     →  Comparison(True, "equal values")

Rules compare them exactly where they can. What no rule can read goes to the library math-verify.
"""

import asyncio
import re
from collections.abc import Sequence
from functools import lru_cache

from orcinus.core.patterns import compile_later
from orcinus.core.types import Confidence
from orcinus.verifiers.answers import math_library
from orcinus.verifiers.answers.cleaning import cleaned
from orcinus.verifiers.answers.computation import is_too_large, rational_value, real_value
from orcinus.verifiers.answers.denials import affirmed, is_doubted
from orcinus.verifiers.answers.equality import are_equal, count_values, has_variables
from orcinus.verifiers.answers.expression_tokens import LONGEST, is_words
from orcinus.verifiers.answers.expressions import read_expression
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.final_answer import find_final, statement
from orcinus.verifiers.answers.math_library import Comparison
from orcinus.verifiers.answers.nodes import Node, holds, names_in
from orcinus.verifiers.answers.solutions import boxes, last_boxes, reference_piece
from orcinus.verifiers.answers.statements import explains_only
from orcinus.verifiers.answers.text import FoundAnswer, Statement, first_line, without_latex_text

NEEDS_LIBRARY = "no rule can read it"
"""The rule of a comparison that is left to the library."""
_EMPHASIS = compile_later(r"(?<![\w)}])\*\*|\*\*(?![\w({\\-])|`")
"""Markdown's bold and code marks; in 2**3 they are a power."""
_SEARCHED = 8 * LONGEST
"""Characters at the end of a text, or behind an announcement, that are searched."""
_LINES_SEARCHED = 6
"""Lines from the end of a text without an announced answer that are searched for an expression."""
_SHORT_LINE = 3
"""Words. A response of one line that is no longer is an answer, if not an expression."""


# Finding the expression.

_DISPLAY = compile_later(
    r"\\\[((?:[^\\]|\\[^\[\]])*+)\\\]|\$\$([^$]*+)\$\$|\\\(((?:[^\\]|\\[^()])*+)\\\)"
)
_BARE_DISPLAY = compile_later(
    r"^[ \t]*\[[ \t]*\n(.{0,400}?)\n[ \t]*\][ \t]*$", re.DOTALL | re.MULTILINE
)
_ROWS = compile_later(
    r"\\begin\{(align(?:ed)?|gather(?:ed)?|eqnarray|split|multline)\*?\}(.{0,2000}?)(?:\\\\\s*)?\\end\{\1\*?\}",
    re.DOTALL,
)
"""Steps of a calculation, one a row; the last row is what they arrive at."""
_FORMULA = compile_later(r"(?<!\\)\$((?:[^$\\\n]|\\.)+)\$")
_SENTENCE_END = compile_later(r"(?<=[.!?。])\s+(?=[A-Z$\\])")
_OPENED = compile_later(r"\s*(?!\d[\d.,]*(?:\s|\Z))(?:[^\s]*[\\=+*/^_]|[a-zA-Z]\s*\Z)")
"""Behind a dollar sign: the beginning of a formula, no amount of money."""
_DOLLAR = compile_later(r"(?<!\\)\$")
_UNFINISHED = compile_later(r"(?:[-+*/=^({\\]|\\(?:cdot|times|frac|sqrt|le|ge|pm|mp|div))\s*\Z")
_AFTER_DOLLAR = compile_later(r"(?<=[$.])[*_]+\Z")
_REASON = compile_later(
    r"[.;]\s+(?=[A-Z\\$])|,?\s+(?:because|since)\s|,?\s+as\s(?=[a-z])|,\s+(?:which|where|for)\s"
)
_VERB = compile_later(
    r"(?<![\w$])(?:is|are|be|was|equals?|equal\s+to|get|gives?|have|obtain|becomes?|yields?|to|of|by"
    r"|has|therefore|thus|so|hence|then|namely)(?![\w$])[:,]?\s*|:\s+", re.IGNORECASE
)  # fmt: skip
_BETWEEN_ITEMS = compile_later(
    r"\s*(?:,|;|,?\s*\band\b|,?\s*\bor\b|\\text\{\s*(?:and|or)\s*\})\s*", re.IGNORECASE
)
_LAST_POINT = compile_later(r"(?<![\w)])([(\[]\s*[-\d./]+(?:\s*,\s*[-\d./]+)+\s*[)\]])\W*\Z")
"""A point or an interval at the end of a sentence: "the vertex is at (0.5, 3)"."""
_LAST_NUMBER = compile_later(
    r"(?<![\w.^])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:[.,]\d+)?(?:\s?/\s?\d+)?(?:[eE][+-]?\d+)?%?"
)


def find_math(
    response: str, reference: str | tuple[str, ...] | None = None, *, cut_off: bool = False
) -> FoundAnswer:
    """Find the final expression, as it was written.

    Args:
        response: The whole text.
        reference: Only its form matters: how many values it has, and whether it is words.
        cut_off: True if the response stopped at the token limit.
    """
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    references = (reference,) if isinstance(reference, str) else reference or ()
    if any(_SPACING.sub("", spell_set(item)) in _NAMED_SETS for item in references):
        text = _NOTHING.sub(r"$\\emptyset$", text.replace("\\varnothing", "\\emptyset"))
        text = _REALS.sub(r"$(-\\infty, \\infty)$", text)
    if any(_words(text) == _words(item) for item in references):
        return FoundAnswer(text, "the whole text")
    trees = [_readings(reference_piece(item)) for item in references]
    values = max((count_values(tree) for found in trees for tree in found), default=1)

    def read(place: Statement, whole: str) -> FoundAnswer | None:
        if place.rule == "boxed":
            return _join_boxes(whole, place.text, values)
        if place.rule == "text":
            return _find_in_text(place.text[-_SEARCHED:], words=[] in trees)
        line = first_line(_one_line_formulas(place.text[:_SEARCHED]))
        if found := _find_in_line(line, announced=True):
            return FoundAnswer(found, "expression")
        words = _without_marks(line)
        return FoundAnswer(words, "words") if words else None

    return find_final(text, read, cut_off=cut_off)


_REALS = compile_later(
    r"(?:\$|\\\()?\s{0,3}(?:\w\s{0,3}\\in\s{0,3})?\\mathbb\s{0,3}\{?\s{0,3}R\s{0,3}\}?\s{0,3}(?:\$|\\\))?(?![\^_\w])|ℝ"
    r"|\b(?:(?:the\s{1,3}set\s{1,3}of\s{1,3})?(?:all|the)\s{1,3}real(?:s\b|\s{1,3}numbers?)|(?:every|any)\s{1,3}real\s{1,3}number)\b",
    re.IGNORECASE,
)
_NOTHING = compile_later(
    r"\b(?:(?:there\s{1,3}(?:is|are)\s{1,3})?no\s{1,3}(?:real\s{1,3})?solutions?|(?:the\s{1,3})?(?:empty|null)\s{1,3}set)\b(?:\s{1,3}exists?\b)?",
    re.IGNORECASE,
)


_NAMED_SETS = ("(-\\infty,\\infty)", "(-\\infty,+\\infty)", "\\emptyset", "\\varnothing", "\\{\\}")


def spell_set(text: str) -> str:
    r"""Return the formula of a set that has a name: "all real numbers", ``\mathbb{R}``."""
    bare = without_latex_text(text).strip(" .$")
    if _REALS.fullmatch(bare):
        return "(-\\infty,\\infty)"
    return "\\emptyset" if _NOTHING.fullmatch(bare) else text


def _find_in_text(text: str, *, words: bool) -> FoundAnswer:
    """Find the expression of the last sentence that has one; ``words``: the reference has none."""
    if has_refusal(text):
        return FoundAnswer(None, "refused")
    body = _one_line_formulas(text)
    if _is_unfinished(body):
        return FoundAnswer(None, "the text breaks off inside a formula")
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    if len(lines) == 1 and (alone := _alone_in_front(lines[0])):
        return FoundAnswer(alone, "the first sentence, explained behind it")
    for line in lines[: -_LINES_SEARCHED - 1 : -1]:
        for sentence in reversed(_SENTENCE_END.split(line)):
            if found := _find_in_line(sentence, announced=False):
                if is_doubted(sentence.replace("$", ""), found):
                    return FoundAnswer(None, "the expression is doubted")
                confidence: Confidence = (
                    "guessed" if _is_picked(found, sentence) else "only candidate"
                )
                return FoundAnswer(found, "last expression", confidence=confidence)
    if words or (len(lines) == 1 and len(lines[0].split()) <= _SHORT_LINE):
        return FoundAnswer(_without_marks(lines[-1]), "words", confidence="only candidate")
    return FoundAnswer(None, "the text holds no expression")


def _alone_in_front(line: str) -> str | None:
    r"""Return the formula that is the first sentence, "$\frac34$. Of 8 parts, 6 are shaded."."""
    first, *rest = _SENTENCE_END.split(line, maxsplit=1)
    formula = _FORMULA.fullmatch(first.strip().rstrip("."))
    explained = formula and rest and "$" not in rest[0] and explains_only(rest[0], 0)
    return formula[1].strip() if formula and explained else None


def _is_picked(found: str, sentence: str) -> bool:
    """Return True if an expression stands beside others, and nothing says which is the answer."""
    formulas = list(_FORMULA.finditer(sentence))
    start = _last_verb(sentence, formulas)
    beside = {formula[1].strip() for formula in formulas if formula.start() >= start}
    beside = beside or set(_LAST_NUMBER.findall(sentence[start:]))
    return len(beside) > 1 and found in beside


def _without_marks(line: str) -> str:
    return _EMPHASIS.sub("", line).strip().rstrip(".").strip()


def _one_line_formulas(text: str) -> str:
    """Write each formula on one line between dollar signs."""
    if "\\end{" in text:
        text = _ROWS.sub(
            lambda match: match[2].rpartition("\\\\")[2].replace("&", " ").lstrip(" ="), text
        )
    text = _BARE_DISPLAY.sub(lambda match: f"${' '.join(match[1].split())}$", text)
    return _DISPLAY.sub(
        lambda match: f"${' '.join((match[1] or match[2] or match[3] or '').split()).strip('$')}$",
        text,
    )


def _is_unfinished(text: str) -> bool:
    """Return True if a text ends in an operator or inside a formula; $5 and 5$ open none."""
    end = _AFTER_DOLLAR.sub("", text[-LONGEST:].rstrip())
    if _UNFINISHED.search(end):
        return True
    line = end.rpartition("\n")[2].replace("\\$", "")
    opened = line.rpartition("$")[2]
    return line.count("$") % 2 == 1 and not is_words(opened) and bool(_OPENED.match(opened))


def _find_in_line(line: str, *, announced: bool) -> str | None:
    """Find the expression that a sentence states: the whole line, a formula, or a number in it."""
    if _is_code(line.strip(' ."\\')):
        return line
    line = _EMPHASIS.sub("", line.replace('\\"', '"')).strip().strip('*_ "').rstrip(".").strip()
    line = re.sub(r"\A(?:[-*•]\s+|\d+[.)]\s+(?=\S))", "", line) if not announced else line
    for piece in (line, affirmed(_REASON.split(line, maxsplit=1)[0]) if announced else ""):
        if piece and _is_expression(piece):
            return _DOLLAR.sub("", piece).strip()
    if announced:
        line = affirmed(_REASON.split(line, maxsplit=1)[0]).strip().rstrip(".,;:").strip()
    formulas = [one for one in _FORMULA.finditer(line) if one[1][0] != "^"]  # cm$^2$ is a unit
    start = _last_verb(line, formulas)
    stated = [formula for formula in formulas if formula.start() >= start]
    if stated:
        return _joined(line, stated, announced=announced)
    tail = line[start:].strip()
    if _is_expression(tail):
        return tail
    if chunk := _last_latex(tail):
        return chunk
    if point := _LAST_POINT.search(tail):
        return point[1]
    numbers = _LAST_NUMBER.findall(tail) or _LAST_NUMBER.findall(_masked(line, formulas))
    if numbers and (announced or not formulas):
        return str(numbers[0 if announced and start else -1])
    return formulas[-1][1].strip() if formulas else None


_WORD_OR_BLANK = compile_later(r"[^\x21-\x7e]+|(?<![\\\w{])[a-zA-Z]{2,}(?![\w{(])[:,.]?")


def _last_latex(text: str) -> str | None:
    """Return the last piece of LaTeX that stands in a sentence without dollar signs."""
    if "\\" not in text:
        return None
    for piece in reversed(_WORD_OR_BLANK.split(text)):
        bare = piece.strip(".,;:")
        if "\\" in bare and _is_expression(bare):
            return bare
    return None


def _masked(line: str, formulas: list[re.Match[str]]) -> str:
    """Return the line with zeros instead of its formulas, which no pattern for words skips."""
    pieces, end = [], 0
    for formula in formulas:
        pieces += [line[end : formula.start()], "\0" * len(formula[0])]
        end = formula.end()
    return "".join([*pieces, line[end:]])


def _last_verb(line: str, formulas: list[re.Match[str]]) -> int:
    """Return where the statement behind the last verb outside formulas begins; 0 without one."""
    masked = _masked(line, formulas)
    digits = max((digit.end() for digit in re.finditer(r"\d", masked)), default=0)
    last = max(digits, formulas[-1].end() if formulas else 0)
    return max((verb.end() for verb in _VERB.finditer(masked) if verb.end() < last), default=0)


def _joined(line: str, formulas: list[re.Match[str]], *, announced: bool) -> str:
    """Return the formulas that form a list, or else the first of an announcement, or the last."""
    runs = [[formulas[0]]]
    for formula in formulas[1:]:
        if _BETWEEN_ITEMS.fullmatch(line[runs[-1][-1].end() : formula.start()]):
            runs[-1].append(formula)
        else:
            runs.append([formula])
    run = runs[0] if announced or len(runs[-1]) == 1 == len(runs) else runs[-1]
    if not announced and len(runs) > 1 and "i.e" in line[runs[0][-1].end() : runs[-1][0].start()]:
        run = runs[0]
    text = ", ".join(dict.fromkeys(formula[1].strip("= ") for formula in run))
    behind = line[run[-1].end() :]
    return text + "%" if behind.lstrip().startswith(("%", "\\%", "percent")) else text


_MATHEMATICAL = compile_later(r"[\d\\=(\[]|\A\W?\w\W?\Z|[-+*/^]")
"""A sign that makes a readable text an expression; a word of three letters is none."""


def _is_expression(text: str) -> bool:
    if not text or len(text) > LONGEST or is_words(text):
        return False
    bare = text.replace("$", "")
    return read_expression(bare) is not None and bool(_MATHEMATICAL.search(bare))


def _join_boxes(text: str, last: str, values: int) -> FoundAnswer:
    r"""Return the last box with those that it continues: ``\boxed{3} or \boxed{-3}``.

    If the reference has more values than that, return as many of the last boxes.
    """
    run = last_boxes(text)
    if not run or run[-1] != last:
        run = [last]
    if len(run) == 1 and values > 1 and not any(count_values(t) > 1 for t in _readings(last)):
        every = list(dict.fromkeys(box.content for box in boxes(text) if box.end))
        run = every[-values:] if len(every) >= values else run
    joined = ", ".join(dict.fromkeys(run))
    return FoundAnswer(joined or None, "expression" if joined else "the box is empty")


# Comparing it with the reference.


@lru_cache(maxsize=8192)
def compare_math(answer: str, reference: str) -> Comparison:
    """Compare by rules; the rule is NEEDS_LIBRARY if only the library may be able to."""
    if _words(answer) == _words(reference):
        return Comparison(True, "the same text")
    reference = spell_set(reference_piece(reference))
    answer = spell_set(answer)
    if "=" not in reference and (computed := _COMPUTED.match(answer)):
        answer = answer[computed.end() :]
    if _is_code(answer):
        return Comparison(False, "no expression")
    times = [_CLOCK.fullmatch(text.strip(" $.")) for text in (answer, reference)]
    if all(times):
        return Comparison(False, "other times of day")
    if "=" not in answer or "=" not in reference:
        answer, reference = _LENGTH.sub("", answer), _LENGTH.sub("", reference)
    first, second = _readings(answer), _readings(reference)
    plain = without_latex_text(answer), without_latex_text(reference)
    if not first and not second and all(map(is_words, plain)):
        return Comparison(False, "other words")
    undecided = not first or not second
    for a in first:
        for b in second:
            same = are_equal(a, b)
            if same:
                return Comparison(True, "equal values")
            undecided = undecided or same is None
    bare = _UNIT_BEHIND.sub("", answer)
    if (
        bare != answer
        and not any(map(has_variables, second))
        and compare_math(bare, reference).same
    ):
        return Comparison(True, "equal values")
    if _DECIMAL.fullmatch(reference) and any(
        are_equal(side, b) for a in first for side in _last_sides(a) for b in second
    ):
        return Comparison(True, "equal values")
    if not undecided:
        return Comparison(_is_decimal_comma(answer, second), "other values")
    if (second and is_words(answer)) or (first and is_words(reference)):
        return Comparison(False, "words for an expression")
    if any(map(is_too_large, (*first, *second))):
        return Comparison(None, "cannot be compared: too large to compute")
    if not _is_formula(answer):
        return Comparison(None, "cannot be compared: the answer is no expression")
    if not _is_formula(reference):
        return Comparison(None, "cannot be compared: the reference is no expression")
    return Comparison(None, NEEDS_LIBRARY)


def compare_with_library(answer: str, references: Sequence[str]) -> Comparison:
    """Compare by the library; blocks the calling thread for two seconds a reference at most."""
    return _first_equal([math_library.submit(answer, text).result() for text in references])


async def await_library(answer: str, references: Sequence[str]) -> Comparison:
    """Compare by the library while the event loop goes on."""
    return _first_equal(
        [await asyncio.wrap_future(math_library.submit(answer, text)) for text in references]
    )


def _first_equal(found: list[Comparison]) -> Comparison:
    undecided = next((one for one in found if one.same is None), found[0])
    return next((one for one in found if one.same), undecided)


_SPACING = compile_later(r"[\s$]|\\[,;:! ]|\\(?:left|right|displaystyle)(?![a-zA-Z])")


def _words(text: str) -> str:
    """Return a text without spacing and, if it is words, in lower case: (C) is c."""
    text = _SPACING.sub("", without_latex_text(text))
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").rstrip(".")
    if re.fullmatch(r"\(\w\)", text):
        text = text[1]
    return text.casefold() if is_words(text) else text


def _readings(text: str) -> list[Node]:
    """Return the trees that a text may stand for: 1,234 is a number or a list of two."""
    found = [read_expression(text)]
    if "," in text:
        found.append(read_expression(text, commas=True))
    return list(dict.fromkeys(tree for tree in found if tree is not None))


_CLOCK = compile_later(r"\d{1,2}:[0-5]\d")
_LENGTH = compile_later(r"\A[\s$]*\|?\s*[A-Z]{2}\s*\|?\s*=\s*")
"""The name of a line whose length an equation gives: ``|AB| = 1``."""
_COMPUTED = compile_later(
    r"\s*(?:[PpfghFGHTSVEN]|\\?Pr)'{0,2}\s*(?:\\left)?\([^()=]{1,20}\)\s*=|"
    r"\s*\\(?:det|dim|nabla|operatorname\s*\{[a-zA-Z]+\})[^=]{0,40}=|"
    r"\s*\\(?:int|iint|oint|lim|sum|prod|d?frac\s*\{(?:d|\\partial)[^{}]{0,9}\}\s*\{(?:d|\\partial)).*="
)
"""The function, integral, limit, sum or derivative whose value an equation gives."""
_UNIT_BEHIND = compile_later(r"(?<=\d)\s?(?:[cdkm]?m|k?g|s|h|L|l|ml|€|£)(?:\^\{?[23]\}?|[²³])?\Z")
"""A unit that stands right behind a number, where it could also be a variable."""
_DECIMAL = compile_later(r"[\s$]*-?\d*\.\d{2,}[\s$]*")


def _last_sides(chain: Node) -> list[Node]:
    r"""Return the exact value that a formula is set equal to: ``4\pi`` of ``2\pi r = 4\pi``.

    It is nothing for an equation that is still to be solved, 2x = 10.
    """
    if chain.kind != "relation" or set(str(chain.value).split()) != {"="}:
        return []
    formula, last = chain.parts[0], chain.parts[-1]
    names = names_in(formula)
    is_formula = (
        "pi" in names or len(names) > 1 or holds(formula, "power") or holds(formula, "call")
    )
    exact = not has_variables(last) and rational_value(last) is None
    return [last] if is_formula and exact and formula.kind in ("product", "quotient") else []


_DECIMAL_COMMA = compile_later(r"[-+]?\d+,(?:\d{1,2}|\d{4,})")


def _is_decimal_comma(answer: str, references: list[Node]) -> bool:
    """Return True if the answer is 3,5 for a reference of 3.5."""
    text = answer.strip().strip("$ ")
    if not _DECIMAL_COMMA.fullmatch(text):
        return False
    tree = read_expression(text.replace(",", "."))
    return tree is not None and any(are_equal(tree, other) for other in references)


_CODE = compile_later(
    r"__|\"[^\"]*[A-Za-z][^\"]*\"|(?<![\w}'])'[^']+'|\b(?:exec|eval|open|print)\("
    r"|(?<!\\)\b(?:import|lambda|def|return)\s|(?<!\\)\blambda:"
)


def _is_code(text: str) -> bool:
    """Return True if a text holds what only programs hold. It is never given to the library."""
    return _CODE.search(text) is not None


def _is_formula(text: str) -> bool:
    """Return True unless words make up most of a text."""
    text = re.sub(r"\\(?:begin|end)\s*\{\w*\}", "(", text)
    bare = re.sub(r"\\[a-zA-Z]+", " ", without_latex_text(text).replace("\\text", " "))
    words = re.findall(r"[^\W\d_]{3,}", bare)
    return len(words) < 3 and bool(re.search(r"[\d\\=+*/^()<>|]", text))


def value_of(text: str) -> float | None:
    """Return the value of an expression without variables; None for any other text."""
    tree = read_expression(text) if len(text) <= 200 else None
    if tree is None:
        return None
    exact = rational_value(tree)
    return float(exact) if exact is not None and abs(exact) < 10**300 else real_value(tree)


_PUZZLE = compile_later(r"(-?\d+) from ((?:\d+ )+\d+)")
_EXPRESSION = compile_later(r"[\d(][\d\s+\-*/().]*")


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
    tree = read_expression(expression)
    return tree is not None and rational_value(tree) == int(match[1])
