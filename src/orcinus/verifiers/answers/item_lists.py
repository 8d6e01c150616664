"""Find and compare lists of words: in brackets, in rows, or in a sentence.

find_list("It is closed on Monday and Friday.")  →  FoundAnswer("Monday Friday", "items")
"""

import re
from collections.abc import Sequence

import orjson

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.abroad import join_last_item
from orcinus.verifiers.answers.cleaning import cleaned
from orcinus.verifiers.answers.exact import LONGEST_ITEM, tidy
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.final_answer import find_final, statement
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    Statement,
    first_line,
    last_line,
    sentences,
    without_emphasis,
    without_latex_text,
)

_BULLET = compile_later(
    r"^[ \t]*(?:\(?\d+[.)]|[a-z][.)]|[-*•]|\|\s*\d+\s*\|)\s+(\S.*?)\s*\|?\s*$", re.MULTILINE
)
_REMARK = compile_later(
    r"\W*(?:these|they|this|that|all|the|i|here)\b[^,;:<>|]*[.!]\s*", re.IGNORECASE
)
"""A sentence about the list above it: "These are sorted alphabetically."."""
_ITEM_LEAD = compile_later(
    r"\A(?:(?:we|it|i|you|then|and|first|next|finally|the\s+list|the\s+order)\s+)*"
    r"(?:starts?|begins?|continues?|ends?|goes|finish(?:es)?)\s+(?:with|on)\s+",
    re.IGNORECASE,
)
"""What leads to an item: "we start with bat"."""
_SHORT_LINE = compile_later(r"\s*[^\s.:,;]+(?:[ -][^\s.:,;]+)?[.\s]*")
_INLINE_NUMBER = compile_later(r"(?:\A|\s)\(?\d+[.)]\s+")
_WE_GET = compile_later(
    r"\A\W*(?:(?:so|thus|hence|therefore|then)[\s,]+)?(?:we|i|this|that|it)\s+(?:get|gets|have|obtain|gives?)\s",
    re.IGNORECASE,
)
_IN_ORDER = compile_later(r",?\s(?:in\s(?:that|this)\sorder|respectively)\Z", re.IGNORECASE)
_ORDER_IS = compile_later(
    r"\b(?:order|sorted|list|words)\b.*?\b(?:is|are|would\s+be|should\s+be|becomes?)\s+(\S.*)\Z",
    re.IGNORECASE,
)
_SET_AGAINST = compile_later(r"(?:,\s+and\s+not|,\s+but\s+(?:not?)|\s*\(\s*not)\s.*\Z")
"""Narrower than for other answers, because "not" and "rather" may be items."""
_SEPARATORS = compile_later(
    r"\s*(?:,|;|&|<|>|→|->|=>|\||\s/\s|\n)\s*(?:and\s+)?(?:(?:then|next|finally|lastly|followed\s+by)\s+)?"
    r"|\s+and\s+(?:(?:then|finally|lastly)\s+)?|\s+followed\s+by\s+"
)
_FIRST_OF_SEVERAL = compile_later(
    r"\Afirst(?:ly)?,?\s+(?=.*\b(?:then|next|finally|last(?:ly)?)\s\w)", re.I
)
"""Before the first item of an order in words: "First red, then green"."""
_PLACE_BEHIND = compile_later(
    r"\s+(?:comes?|goes|is|stands|would\s+be)\s+(?:first|second|third|fourth|next|then|last)\Z",
    re.I,
)
"""Behind an item: "bean comes first"."""
_ORDINAL = compile_later(
    r"(?:\A|(?<=[,;.]\s))(?:and\s+)?(?:the\s+)?(?:first|second|third|fourth|fifth|sixth|next|last)"
    r"(?:\s(?:one|word|item))?\s(?:comes|is|would\s+be)\s+",
    re.IGNORECASE,
)
"""What says the place of an item: "first comes bean, second comes corn"."""
_LEADS_TO = compile_later(
    r"\s(?:is|are|was|were|be|on|in|at|of|from|to|by|with|for|into|through|between|among|includes?"
    r"|contains?|has|have|needs?)\s+(?:the\s+)?(?=\S)"
)
"""A verb or a preposition that leads to the items of a sentence."""
_SUBJECT = compile_later(
    r"(?:she|he|it|they|we|you|i|the|there|these|those|die|der|das|los|las|les)\s", re.IGNORECASE
)
"""Opens a sentence whose verb leads to the items: "She visited Rome, Paris and Oslo"."""
_LEADS_AWAY = compile_later(
    r"\b(?:not|never|no|nor|neither|except|without|excluding|besides|apart|other)\b|n't\b",
    re.IGNORECASE,
)
"""What makes the items of a sentence those that are not meant."""


def find_list(response: str, *, cut_off: bool = False) -> FoundAnswer:
    """Find the items of a list, and return them joined by blanks."""
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    text = without_emphasis(text)
    return find_final(text, _read_list, cut_off=cut_off, may_end_open=True)


def _read_list(place: Statement, text: str) -> FoundAnswer | None:
    if place.rule == "text" and has_refusal(text):
        return FoundAnswer(None, "refused")
    announced = place.rule != "text"
    items = _items(without_latex_text(place.text) if announced else _end_of(place.text))
    if not items:
        return None if announced else FoundAnswer(None, "no items are listed")
    return FoundAnswer(
        " ".join(items), "items", confidence="explicit" if announced else "only candidate"
    )


def listed(response: str, *, cut_off: bool = False) -> list[str]:
    """Return the items of an answer that is a JSON array or ends in bullets; else nothing."""
    text, _ = cleaned(response)
    place = statement(without_emphasis(text))
    if place.rule == "text" and cut_off:
        return []
    part = without_latex_text(place.text).strip()
    return (
        _items(part)
        if part.startswith("[") or (place.rule != "json" and _BULLET.match(last_line(part)))
        else []
    )


def _end_of(text: str) -> str:
    """Return the part that lists: the bullets, or else the last line after its colon."""
    above, _, remark = text.rstrip().rpartition("\n")
    if above.strip() and _REMARK.fullmatch(remark):
        text = above.rstrip()
    if _BULLET.search(text):
        return text
    if len(lines := _short_lines(text)) > 1:
        return "\n".join(lines)
    line = _WE_GET.sub("", _sentence_of_items(last_line(text)))
    after = line.rpartition(":")[2].strip() or line
    said = _ORDER_IS.search(after)
    return said[1] if said else after


def _sentence_of_items(line: str) -> str:
    """Return the last sentence of a line that separates items; the line if none does."""
    parts = sentences(line)
    return next((part for part in reversed(parts) if len(parts) > 1 and "," in part), line)


def _short_lines(text: str) -> list[str]:
    """Return the last lines of one or two words each: a list without marks."""
    lines: list[str] = []
    for line in reversed(text.splitlines()):
        if line.strip():
            if len(line) > LONGEST_ITEM or not _SHORT_LINE.fullmatch(line):
                break
            lines.append(line)
    return lines[::-1]


def _items(text: str) -> list[str]:
    stripped = text.strip()
    if stripped.startswith("["):
        try:
            return [str(item) for item in orjson.loads(stripped[: stripped.rfind("]") + 1])]
        except orjson.JSONDecodeError:
            stripped = stripped.strip("[]")
    bullets = _BULLET.findall(stripped)
    if len(bullets) > 1:
        return [tidy(item) for item in bullets]
    if len(numbered := _INLINE_NUMBER.split(first_line(stripped))) > 2 and not numbered[0].strip():
        return [word for part in numbered for word in tidy(part).rstrip(",;").split()]
    lines = _short_lines(stripped)
    if len(lines) > 1 and lines[0] == stripped.splitlines()[0]:
        return [word for line in lines for word in tidy(line).split()]
    line = _SET_AGAINST.sub("", (sentences(first_line(stripped)) or [""])[0]).rstrip(".")
    line = join_last_item(line)
    line = _FIRST_OF_SEVERAL.sub("", _IN_ORDER.sub("", _ORDINAL.sub("", line)))
    parts = (
        [_PLACE_BEHIND.sub("", _ITEM_LEAD.sub("", tidy(part))) for part in _split_items(line)]
        if _SEPARATORS.search(line)
        else line.split()
    )
    return [word for part in parts for word in part.split()]


def _split_items(line: str) -> list[str]:
    """Split a sentence into its items; its first words may only lead to them.

    "It is closed on Monday, Thursday and Friday" has no item longer than one word but the first.
    """
    first, *others = _SEPARATORS.split(line)
    longest = max((len(item.split()) for item in others), default=0)
    if len(first.split()) <= max(longest, 2) or _LEADS_AWAY.search(first):
        return [first, *others]
    cut = (first[lead.end() :] for lead in _LEADS_TO.finditer(first))
    item = next((item for item in cut if len(item.split()) <= longest), None)
    if item is None and _SUBJECT.match(first):
        item = " ".join(first.split()[-longest:])
    return [item or first, *others]


def same_list(answer: str, reference: Sequence[str]) -> bool:
    """Return True if the items are equal, in the same order, ignoring case."""
    return [word.casefold().strip("\"',.") for word in answer.split()] == [
        word.casefold() for item in reference for word in item.split()
    ]
