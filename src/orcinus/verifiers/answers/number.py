"""Find the final number of a text.

    find_number("She has 3 + 4 = 7 apples.")        →  FoundAnswer("7", "result of …")
    find_number("8 cats came, so 3 more than dogs.")  →  FoundAnswer("3", "the conclusion")

A sentence with several numbers is read from its end: a conclusion, a total, a result computed
before. What only guesses among them says so, and a sentence without any such sign has no answer.
``quantities`` reads and compares the numbers themselves.
"""

import re
from fractions import Fraction
from itertools import permutations

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.cleaning import cleaned
from orcinus.verifiers.answers.denials import holds_denial, is_doubted
from orcinus.verifiers.answers.failures import ends_undetermined, has_refusal
from orcinus.verifiers.answers.final_answer import find_final
from orcinus.verifiers.answers.number_sentences import holds_digit, read_sentence
from orcinus.verifiers.answers.plain_endings import find_plainly
from orcinus.verifiers.answers.quantities import NUMBER, NUMBER_WORDS, prepared, value_of
from orcinus.verifiers.answers.statements import explains_only
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    Statement,
    sentences,
    without_emphasis,
)

_BARE = compile_later(r"(-?\$?(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?:\.\d{1,30})?%?)\.?")
"""A number and nothing else, in a form that ``NUMBER`` reads as a whole."""
_AMONG_WORDS = compile_later(
    r"(?P<before>(?:[A-Za-z]+ )*)"
    r"(?P<number>-?\$?(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?:\.\d{1,30})?)"
    r"(?P<after>(?: [A-Za-z]+)*)\.?"
)
"""One number among words."""
_TELLING = frozenset(word.decode() for word in NUMBER_WORDS).union(
    ("not", "nor", "neither", "never", "no", "cannot", "rather", "instead", "opposed", "anything"),
    (
        "far",
        "longer",
        "than",
        "least",
        "most",
        "above",
        "below",
        "beyond",
        "under",
        "over",
        "before",
    ),
    ("exceeds", "exceed", "exceeding", "up", "percent", "per", "cent", "cents", "pence", "k", "mn"),
    (
        "bn",
        "m",
        "b",
        "and",
        "x",
        "out",
        "here",
        "answer",
        "wrong",
        "false",
        "incorrect",
        "mistaken",
    ),
    ("extraneous", "rejected", "right", "true", "minus", "negative", "st", "nd", "rd", "th"),
)
"""Words that say more of a number than what it counts, or that are numbers."""
_EXPLAINED = compile_later(
    r"[\s*_:]*([-+]?[$€£]?\s?[\d,./]*\d%?)(?:\s+[a-z]+){0,2}[.\s*_]*\n\s*(?:\W*(?:Explanation"
    r"|Reason|Reasoning|Solution|Steps?|Proof|Working|Check|Verification)\b|(?:This|That|Because"
    r"|Since|Here|To|We|There|The|In|First)\b)"
)
_EXPLAINED_BESIDE = compile_later(
    r"[\s*_:]*([-+]?[$€£]?\s?[\d,./]*\d%?)(?:\s+[a-z]+){0,2}[.*_]+\s+(?:This\s+is\s+because|Because"
    r"|Since|The\s+reason|Reason|Explanation|Here(?:'s|\s+is)\s+(?:why|how))\b"
)
_BESIDE = compile_later(
    r"\s*\([^()]*\)\W*\Z|\s*(?:but\s+|and\s+)?(?:if|had|were|suppose|without|otherwise)\b.*"
    r"(?:\b(?:would|could|might)\b|'d\b)"
    r"|\s*i\s+(?:wrote|said|had|put|gave)\b.*\b(?:above|before|earlier|first)\b",
    re.IGNORECASE,
)
"""A sentence beside the answer: in brackets, a supposition, or what was said before."""
_ARGUED = compile_later(r"=|\b(?:so|therefore|thus|hence|is|are)\b", re.IGNORECASE)
"""What a sentence holds that states an answer before another supposes something."""
_CONCLUDES = compile_later(
    r"\s*(?:therefore|thus|hence|so|in total|altogether|in all|as a result|this means)\b",
    re.IGNORECASE,
)
_PLACES = ("third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ORDINAL = compile_later(
    rf"(?<![\w.,/])(?<!\bis )(?P<digits>\d{{1,9}})(?:st|nd|rd|th)\b"
    rf"|\bthe\s+(?P<word>{'|'.join(_PLACES)})\s+[a-z]",
    re.IGNORECASE,
)
"""A place in an order, in digits, or in words before its noun."""
_ALONE_IN_FRONT = compile_later(
    r"\s*(?!1\.)([-+]?[$€£]?\s?[\d,./]*\d%?)(?:\s+[a-z]+){0,2}\.\s+(?=[A-Z])(?!(?:First|Then|Next|Now)\b)"
)
"""A number as the first sentence of a line. "1." is the label of a list."""
_ROW = compile_later(
    r"[\s*|•-]*(?:\d+[.)]\s+)?(?P<label>[^:|=\d\n]{1,40})[:|][\s*]*(?P<sum>[^=\n]*=\s*)?(?P<number>[-+]?[$€£]?\s?\d[\d,.]*%?)(?:\s[a-z]+)?[\s*|.]*",
    re.IGNORECASE,
)
"""A row of a list or table: what it counts, and the number."""
_TOTAL = compile_later(
    r"\b(?:total|sum|all|altogether|answers?|results?|final|conclusion|so|therefore|left|rest|remain\w*"
    r"|solution|difference|product|average|mean|profit|overall|net|together|total\w*)\b",
    re.IGNORECASE,
)
"""What the label of a row says that holds the answer."""
_LONGEST_ROW = 200
"""Characters. A longer line is no row of a list."""
_MOST_ROWS = 6
"""Rows from the end that are looked at."""
_WORDS_OF_AN_ANSWER = 3
_NEAR = 1000
"""Characters after an announcement, or before the end, that are searched for the number."""


def find_number(response: str, *, cut_off: bool = False) -> FoundAnswer:
    """Find the final number, as it was written."""
    plain = find_plainly(response, _read_prepared, cut_off=cut_off)
    sure = plain is not None and plain.answer is not None and plain.confidence != "guessed"
    if plain is not None and (sure or "=" not in response):
        return plain  # a guess looks for results before it
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    return find_final(prepared(without_emphasis(text)), _read, cut_off=cut_off)


def _read_prepared(place: Statement, text: str) -> FoundAnswer | None:
    if bare := _BARE.fullmatch(place.text):
        return FoundAnswer(bare[1], "the only number", confidence="only candidate")
    alone = _AMONG_WORDS.fullmatch(place.text)
    if alone and _TELLING.isdisjoint(f"{alone['before']} {alone['after']}".lower().split()):
        return FoundAnswer(alone["number"], "the only number", confidence="only candidate")
    return _read(Statement(prepared(place.text), place.rule, place.start), text)


def _read(place: Statement, text: str) -> FoundAnswer | None:
    if bare := _BARE.fullmatch(place.text):  # most places, and read in a tenth of the time
        return FoundAnswer(bare[1], "the only number", confidence="only candidate")
    if place.rule in ("heading", "text") and (first := _explained(place.text)):
        return FoundAnswer(first, "the first line, explained below")
    if place.rule == "heading":
        below = _in_text(place.text, text)
        return None if below.answer is None else below
    if place.rule == "text":
        refused = has_refusal(text) or ends_undetermined(text)
        return FoundAnswer(None, "refused") if refused else _in_text(text, text)
    tail = place.text[:_NEAR]
    parts = sentences(tail)
    concluded = _concluded(tail, text) if len(parts) > 1 else None
    found = concluded or _in_statement(parts[:3], text)
    if found is None and place.rule != "marker":
        return FoundAnswer(None, "the answer is announced but holds no number")
    return found


def _explained(text: str) -> str | None:
    """Find a number on a line of its own, or a sentence of its own, before an explanation."""
    near = text[:_NEAR]
    match = _EXPLAINED.match(near) or _EXPLAINED_BESIDE.match(near)
    if match is None and "\n" not in text and (alone := _ALONE_IN_FRONT.match(near)):
        match = alone if explains_only(text, alone.end()) else None
    number = NUMBER.match(match.group(1)) if match else None
    return number.group().strip() if number else None


def _concluded(tail: str, text: str) -> FoundAnswer | None:
    """Find the number in the last sentence, if the announced answer is a story.

    "Ann had 5 and 3 came. Therefore, she has 8"; "Kim has 15. She gives 4 to Lee. She keeps 11".
    """
    paragraph = tail.partition("\n\n")[0]
    parts = sentences(paragraph)
    if len(parts) < 2 or len(parts[0].split()) <= _WORDS_OF_AN_ANSWER:
        return None
    if not _CONCLUDES.match(parts[-1]) and (len(parts) < 3 or "=" in paragraph):
        return None
    return read_sentence(parts[-1], text)


def _in_statement(parts: list[str], text: str) -> FoundAnswer | None:
    """Find the number after an announcement, in the first sentence that has one."""
    for i, sentence in enumerate(parts):
        if sentence.rstrip().endswith("=") and i + 1 < len(parts):
            continue
        found = read_sentence(sentence, text)
        if found is not None:
            return found
    return None


def _in_text(part: str, text: str) -> FoundAnswer:
    """Find the number that the end of a text arrives at."""
    if _is_row_of_several(part):
        return FoundAnswer(None, "a row among others, without a total")
    parts = sentences(part[-_NEAR:])[-4:]
    while len(parts) > 1 and _BESIDE.match(parts[-1]) and _states_number(parts[-2]):
        parts.pop()
    for sentence in reversed([part for part in parts[:-1] if part[-1:] != "?"] + parts[-1:]):
        found = read_sentence(sentence, text)
        if found is not None and found.answer and is_doubted(sentence, found.answer):
            return FoundAnswer(None, "the number is doubted")
        if found is not None:
            return found
    return _ordinal(part) or FoundAnswer(None, "no number is given")


def _is_row_of_several(text: str) -> bool:
    """Return True if the last line is a row like those before, "Tom: 5", "Ann: 8"."""
    lines = text.rstrip().rsplit("\n", _MOST_ROWS)[-_MOST_ROWS:]
    rows: list[re.Match[str]] = []
    for line in reversed(lines):
        if len(line) > _LONGEST_ROW or (row := _ROW.fullmatch(line)) is None:
            break
        rows.append(row)
    if len(rows) < 2 or _TOTAL.search(rows[0]["label"]):
        return False
    if any(row["number"] in (rows[0]["sum"] or "") for row in rows[1:]):
        return False
    last, *others = (value_of(row["number"]) or Fraction(0) for row in rows)
    results = {one + sign * two for one, two in permutations(others, 2) for sign in (1, -1)}
    return others.count(last) < len(others) and last not in {*results, sum(others)}


def _ordinal(text: str) -> FoundAnswer | None:
    """Read the place of a text without any other number: "on the 7th day"."""
    found = list(_ORDINAL.finditer(text))
    if len(found) != 1 or holds_denial(text):
        return None
    place = found[0]["digits"] or str(3 + _PLACES.index(found[0]["word"].lower()))
    return FoundAnswer(place, "a place in an order", confidence="only candidate")


def _states_number(sentence: str) -> bool:
    return holds_digit(sentence) and _ARGUED.search(sentence) is not None
