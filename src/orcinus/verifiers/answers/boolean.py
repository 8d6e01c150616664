"""Find an answer of yes or no, true or false.

find_bool("No doubt, it is true.")  →  FoundAnswer("yes", …)
"""

import re

from orcinus.verifiers.answers.denials import is_denied
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    cleaned,
    corrected,
    sentences,
    statement,
    without_emphasis,
    without_latex_text,
)

_WORD = re.compile(r"(?<![\w'-])(yes|yep|yeah|no|nope|true|false)(?![\w'-])", re.IGNORECASE)
_VALUES = {
    "yes": "yes",
    "yep": "yes",
    "yeah": "yes",
    "true": "yes",
    "no": "no",
    "nope": "no",
    "false": "no",
}
_OPPOSITE = {"yes": "no", "no": "yes"}
_BOTH = re.compile(
    r"\byes\s+(?:and|or)\s+no\b|\btrue\s+(?:and|or)\s+false\b|\byes\s*/\s*no\b", re.IGNORECASE
)
_REWRITING = re.compile(r"(?:[=(]|\bnot)\s*not\s+\Z")
"""A step of a computation, such as "= not False", states no answer yet."""
_QUESTION = re.compile(r"\A\W*(?:yes or no|true or false)\s*[:?]", re.IGNORECASE)
_RESULT = re.compile(r"=\s*(yes|no|true|false)\W*\Z", re.IGNORECASE)
_IDIOM = re.compile(
    r"\bno (?:doubt|matter|one|longer|more|way)\b,?|\bthere (?:is|are|was|were) no\b|\b(?:has|have"
    r"|had) no\b",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\A\W*(?:not (?:known|certain|clear|sure)|unknown|uncertain|unclear|cannot be determined)",
    re.IGNORECASE,
)
_JUDGED = re.compile(
    r"(?:\A|\b(?:statement|claim|assertion|sentence|proposition|conclusion|that|this|it)(?: is"
    r"| was|'s) (?P<denied>not )?)"
    r"(?:indeed |entirely |completely )?(?P<word>correct|incorrect|right|wrong)[.!]?\Z",
    re.IGNORECASE,
)
"""A judgement of the question itself; searched for if neither yes nor no is said."""
_OPEN = re.compile(r"\b(?:whether|if)\b", re.IGNORECASE)


def truth_of(word: str) -> str | None:
    """Return ``yes`` or ``no`` for a word that means it."""
    return _VALUES.get(word.strip().casefold().rstrip("."))


def find_bool(response: str, *, cut_off: bool = False) -> FoundAnswer:
    """Find ``yes`` or ``no``; ``true`` and ``false`` mean the same."""
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    text = _QUESTION.sub(" ", without_emphasis(text))
    place = statement(text)
    fixed = corrected(place.text)
    if fixed and (found := _last_word((sentences(fixed) or [""])[-1])):
        return FoundAnswer(found.answer, f"corrected: {found.rule}", found.several)
    if place.rule != "text":
        tail = without_latex_text(place.text)
        first = (sentences(tail) or [""])[0]
        if _UNDECIDED.match(first):
            return FoundAnswer(None, "undecided")
        found = _first_word(first) or _first_word(tail)
        if found is not None:
            return FoundAnswer(found.answer, f"{place.rule}: {found.rule}", found.several)
    if cut_off:
        return FoundAnswer(None, "cut off before an answer was announced")
    parts = sentences(text)
    opening = parts[0] if parts else ""
    start = re.match(r"\W*(yes|yep|yeah|no|nope|true|false)(?=[\s.,;:!]|\Z)", text, re.IGNORECASE)
    if start and not _IDIOM.match(opening) and not _BOTH.search(opening):
        return FoundAnswer(_VALUES[start.group(1).casefold()], "first word")
    for sentence in reversed(parts[-2:]):
        found = _last_word(sentence)
        if found is not None:
            return found
    if has_refusal(text):
        return FoundAnswer(None, "refused")
    if parts and (judged := _JUDGED.search(parts[-1].strip())) and not _OPEN.search(parts[-1]):
        right = judged["word"].casefold() in ("correct", "right")
        return FoundAnswer(
            "yes" if right != bool(judged["denied"]) else "no", "said to be right or wrong"
        )
    return FoundAnswer(None, "neither yes nor no is said")


def _words(text: str) -> list[str]:
    plain = _IDIOM.sub(" ", text) if "no " in text.casefold() or "No " in text else text
    words = []
    for match in _WORD.finditer(plain):
        word = _VALUES[match.group().casefold()]
        denied = is_denied(plain, match.start()) and not _REWRITING.search(plain, 0, match.start())
        words.append(_OPPOSITE[word] if denied else word)
    return words


def _first_word(text: str) -> FoundAnswer | None:
    if _BOTH.search(text):
        return FoundAnswer("yes, no", "both", several=True)
    words = _words(text)
    return FoundAnswer(words[0], "first word") if words else None


def _last_word(sentence: str) -> FoundAnswer | None:
    if result := _RESULT.search(sentence):
        sentence = result[1]
    if _BOTH.search(sentence):
        return FoundAnswer("yes, no", "both", several=True)
    words = _words(sentence)
    return FoundAnswer(words[-1], "last sentence") if words else None
