"""Find and compare answers that must be the same text: words, names, brackets, lists of words."""

import re
from collections.abc import Sequence
from itertools import pairwise

import orjson

from orcinus.verifiers.answers.denials import affirmed, is_denied
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    cleaned,
    corrected,
    first_line,
    last_line,
    sentences,
    statement,
    without_emphasis,
    without_latex_text,
)

_BRACKETS = re.compile(r"[\s()\[\]{}<>]+")
_REST = re.compile(
    r"\s+(?:because|since|as|which|for)\s|;\s|\s\(|,\s+(?:because|since|so|who|whose|which|where"
    r"|when|with)\s"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:St|Dr|Mr|Mrs|Ms|Mt|Ft|Gen|Lt|Col|Sgt|Capt|Rev|Prof|Gov|Sen|Rep|vs)"
    r"|\b(?:[A-Z]\.)+[A-Z]|(?:\A|\b[A-Z][\w.]*\s)[A-Z])\.\Z"
)
_OPENER = re.compile(
    r"(?:The|This|That|These|It|He|She|They|We|I|In|On|So|As|But|And|Because|Since|There|Therefore"
    r"|Thus|If|Hence)\b"
)
_QUOTED = re.compile(r"\"([^\"\n]{1,80})\"|'([^'\n]{1,80})'")
_ANOTHER_QUOTE = re.compile(r"\s*(?:,|;|&|\band\b|\bor\b|\s)+[\"']")
_EITHER = re.compile(r"\W*(?:or|and|/)\W*|\W*or (?:maybe|perhaps|possibly)\W*", re.IGNORECASE)
_STATED = re.compile(r"^.*(?::|\bis\b|\bare\b|\bwas\b)\s+(\S.*?)[.!]?$")
_SPELT = re.compile(r"\w{1,3}(?:[\s,]+\w{1,3})+")
_BULLET = re.compile(
    r"^\s*(?:\(?\d+[.)]|[a-z][.)]|[-*•]|\|\s*\d+\s*\|)\s+(\S.*?)\s*\|?\s*$", re.MULTILINE
)
_SHORT_LINE = re.compile(r"\s*[^\s.:,;]+(?:[ -][^\s.:,;]+)?[.\s]*")
_INLINE_NUMBER = re.compile(r"(?:\A|\s)\(?\d+[.)]\s+")
_ORDER_IS = re.compile(r"\b(?:order|sorted|list|words)\b.*?\b(?:is|are)\s+(\S.*)\Z", re.IGNORECASE)
_LONGEST_ITEM = 80
_IS_THE_ANSWER = re.compile(
    r"\s(?:is|are|was|were) (?:the|my) (?:(?:final|correct|right) )*answers?\W*\Z", re.IGNORECASE
)
_CLOSES = re.compile(
    r"\b(?:sequence|answer|closing|brackets?|parenthes[ie]s|output|result)\b[^\n]*?(?::|\bis\b"
    r"|\bare\b)\s*([^:\n]*)\Z",
    re.IGNORECASE,
)
_SET_AGAINST = re.compile(r"(?:,\s+and\s+not|\s*\(\s*not)\s.*\Z")
"""Narrower than for other answers, because "not" and "rather" may be items."""
_SEPARATORS = re.compile(r"\s*(?:,|;|<|>|→|->|\||\s/\s|\n)\s*(?:and\s+)?|\s+and\s+")


def is_brackets(text: str) -> bool:
    """Return True if ``text`` is nothing but brackets."""
    return bool(text.strip()) and _BRACKETS.fullmatch(text.strip()) is not None


def find_exact(
    response: str, choices: Sequence[str] | None, *, brackets: bool = False, cut_off: bool = False
) -> FoundAnswer:
    """Find the words of the final answer.

    Args:
        response: What the model wrote.
        choices: The words to choose from, if they are known (``valid``, ``invalid``).
        brackets: True if the answer is a row of brackets.
        cut_off: True if it stopped at the token limit; then only an announced answer counts.
    """
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    if not brackets:
        text = without_emphasis(text)
    place = statement(text)
    if place.rule == "text" and cut_off:
        return FoundAnswer(None, "cut off before an answer was announced")
    if place.rule == "text" and has_refusal(text):
        return FoundAnswer(None, "refused")
    if choices:
        return (
            _find_known_word(place.text, place.rule, choices)
            or _find_known_word(text, "text", choices)
            or FoundAnswer(None, "no known word is said")
        )
    if brackets:
        return _row_of_brackets(place.text, place.rule)
    line = first_line(without_latex_text(place.text)) if place.rule != "text" else last_line(text)
    if fixed := corrected(line):
        line = fixed
    if not line:
        return FoundAnswer(None, "the answer is announced but not given")
    if place.rule == "text" and (said := _IS_THE_ANSWER.search(line)):
        return FoundAnswer(tidy(line[: said.start()]), "said to be the answer")
    if place.rule == "text" and (quotes := _QUOTED.findall(line)) and len(line.split()) > 3:
        return FoundAnswer("".join(quotes[-1]), "quoted in the last line")
    if place.rule == "text" and len(line.split()) > 3 and (stated := _STATED.search(line)):
        return FoundAnswer(tidy(affirmed(stated.group(1))), "stated in the last line")
    if place.rule == "marker":
        if (quoted := _QUOTED.match(line)) and not _ANOTHER_QUOTE.match(line, quoted.end()):
            return FoundAnswer("".join(filter(None, quoted.groups())), "marker: quoted")
        line = affirmed(_first_sentence(_REST.split(line, maxsplit=1)[0]))
    return FoundAnswer(tidy(line), place.rule if place.rule != "text" else "last line")


def _first_sentence(line: str) -> str:
    """Cut after the first full stop that ends no abbreviation ("St. Louis", "George W. Bush")."""
    first = ""
    for part in sentences(line):
        if first and (_OPENER.match(part) or not _ABBREVIATION.search(first)):
            break
        first = f"{first} {part}".strip()
    return first


def _find_known_word(text: str, rule: str, choices: Sequence[str]) -> FoundAnswer | None:
    """Find the known word that is announced first, or is the last one in a sentence.

    If there are two known words and one is denied, the other is the answer.
    """
    for part in reversed(sentences(text) if rule == "text" else [text]):
        hits = sorted(
            (match.start(), match.end(), choice)
            for choice in choices
            for match in re.finditer(rf"(?<!\w){re.escape(choice)}(?!\w)", part, re.IGNORECASE)
        )
        if not hits:
            continue
        given = [hit for hit in hits if not is_denied(part, hit[0])]
        if given:
            return _first_or_last(given, part, rule)
        if len(choices) == 2:
            return FoundAnswer(
                next(choice for choice in choices if choice != hits[0][2]),
                f"{rule}: the other is denied",
            )
    return None


def _first_or_last(hits: Sequence[tuple[int, int, str]], part: str, rule: str) -> FoundAnswer:
    for (_, end, first), (start, _, second) in pairwise(hits):
        if first != second and _EITHER.fullmatch(part[end:start]):
            return FoundAnswer(f"{first}, {second}", f"{rule}: two words", several=True)
    return FoundAnswer(hits[0 if rule != "text" else -1][2], rule)


def _row_of_brackets(text: str, rule: str) -> FoundAnswer:
    lines = [first_line(text), last_line(text)] if rule != "text" else [text, last_line(text)]
    if rule == "text" and (closes := _CLOSES.search(last_line(text))):
        lines.append(closes[1])
    for line in lines:
        row = line.replace(",", " ").strip(" .`'\"$*")
        if is_brackets(row):
            return FoundAnswer(row, rule)
    found = re.findall(
        r"(?<![\w])[()\[\]{}<>](?:[\s()\[\]{}<>]*[()\[\]{}<>])?(?=\s*[.`\"']*\s*\Z)",
        lines[0].replace(",", " "),
    )
    return (
        FoundAnswer(found[-1], f"{rule}: end of the line")
        if found and rule != "text"
        else FoundAnswer(None, "no row of brackets alone")
    )


def tidy(text: str) -> str:
    """Remove the quotes, emphasis and full stop around a text."""
    text = text.strip().strip("$").strip()
    if text.endswith((".", "!")) and not text.endswith("..."):
        text = text[:-1].rstrip()
    return text.strip("\"'`* ")


def same_text(answer: str, reference: str) -> bool:
    """Return True if two short texts are equal apart from case and blanks.

    Rows of brackets are equal apart from blanks.
    """
    if is_brackets(reference):
        return "".join(answer.split()) == "".join(reference.split())
    if " " not in reference and _SPELT.fullmatch(tidy(answer)):  # a word spelt out: y a a n
        answer = re.sub(r"[\s,]+", "", answer)
    return _loose(answer) == _loose(reference)


def _loose(text: str) -> str:
    return " ".join(tidy(text).casefold().split())


def find_list(response: str, *, cut_off: bool = False) -> FoundAnswer:
    """Find the items of a list, and return them joined by blanks."""
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    text = without_emphasis(text)
    place = statement(text)
    if place.rule == "text" and cut_off:
        return FoundAnswer(None, "cut off before an answer was announced")
    if place.rule == "text" and has_refusal(text):
        return FoundAnswer(None, "refused")
    items = _items(without_latex_text(place.text) if place.rule != "text" else _end_of(text))
    return (
        FoundAnswer(" ".join(items), place.rule)
        if items
        else FoundAnswer(None, "no items are listed")
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
    if _BULLET.search(text):
        return text
    if len(lines := _short_lines(text)) > 1:
        return "\n".join(lines)
    line = last_line(text)
    after = line.rpartition(":")[2].strip() or line
    said = _ORDER_IS.search(after)
    return said[1] if said else after


def _short_lines(text: str) -> list[str]:
    """Return the last lines of one or two words each: a list without marks."""
    lines: list[str] = []
    for line in reversed(text.splitlines()):
        if line.strip():
            if len(line) > _LONGEST_ITEM or not _SHORT_LINE.fullmatch(line):
                break
            lines.insert(0, line)
    return lines


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
    parts = (
        [tidy(part) for part in _SEPARATORS.split(line)]
        if _SEPARATORS.search(line)
        else line.split()
    )
    return [word for part in parts for word in part.split()]


def same_list(answer: str, reference: Sequence[str]) -> bool:
    """Return True if the items are equal, in the same order, ignoring case."""
    return [word.casefold().strip("\"',.") for word in answer.split()] == [
        word.casefold() for item in reference for word in item.split()
    ]
