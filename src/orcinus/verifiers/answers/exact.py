"""Find and compare answers that must be the same text: words, names, brackets, lists of words."""

import re
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import orjson

from orcinus.verifiers.answers.abroad import join_last_item
from orcinus.verifiers.answers.channels import plain_text
from orcinus.verifiers.answers.cleaning import cleaned
from orcinus.verifiers.answers.denials import affirmed, is_denied
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
_QUOTED = re.compile(r"\"([^\"\n]{1,80})\"|(?<!\w)'([^'\n]{1,80})'(?!\w)")
_ANOTHER_QUOTE = re.compile(r"\s*(?:,|;|&|\band\b|\bor\b|\s)+[\"']")
_EITHER = re.compile(r"\W*(?:or|and|/)\W*|\W*or (?:maybe|perhaps|possibly)\W*", re.IGNORECASE)
_STATED = re.compile(
    r"\A.*(?::|\b(?:is|are|was|were|(?:would|must|should|could|might"
    r"|can\s+only)\s+be))\s+(\S.*?)[.!]?\Z"
)
_SPELT = re.compile(r"\w{1,3}(?:[\s,]+\w{1,3})+")
_BRACKETS_AT_END = re.compile(
    r"(?<![\w])[()\[\]{}<>](?:[\s()\[\]{}<>]*[()\[\]{}<>])?(?=[\s.`\"']*\Z)"
)
_ARRIVES = re.compile(
    r"\A(?=.*[,+&→=-]).*(?:→|->|=>|⇒|=|[,:]\s*(?:and\s+)?(?:giving|gives|making|makes|spelling"
    r"|spells|forming|forms|"
    r"yielding|yields|which\s+(?:gives|makes|spells|forms|is)|so(?:\s+(?:we\s+get|it\s+is))?"
    r"|resulting\s+in))\s+"
    r"[\"']?(\w+)[\"']?\W*\Z",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?<=[\u3040-\u9fff\uac00-\ud7af])(?:です|でした|だ|である|입니다|이다)[.!\s]*\Z"
)
"""The verb behind an answer in Japanese and Korean."""
_PICTURES = re.compile(r"\s*[\u2600-\u27bf\U0001f000-\U0001faff]+\s*\Z")
_ARTICLE = re.compile(r"\A(?:the|an?|some)\s+(?=\S)")
_OPINION = re.compile(
    r"\A(?:i(?:'d|\s+would)?\s+(?:guess|think|believe|suppose|say)|probably|perhaps|maybe"
    r"|(?:most\s+)?likely|definitely|certainly)(?:\s+(?:that|it\s+is|it's))?[,:]?\s+",
    re.IGNORECASE,
)
_SAID_AFTER = re.compile(
    r",\s+(?:i\s+(?:think|believe|guess|suppose)|i(?:'d|\s+would)\s+(?:say|guess)|probably|presumably"
    r"|most\s+likely|if\s+i'm\s+not\s+mistaken)\W*\Z",
    re.IGNORECASE,
)
_IT_IS = re.compile(r"\A(?:it|this|that|he|she)\b", re.IGNORECASE)
_WORDS_OF_AN_ANSWER = 3
_WORDS_OF_A_LINE = 6
"""Words. A longer line below a heading is the start of an argument."""
_NEAR = 1_000
"""Characters at the end of a line that are searched; a longer line is a loop."""
_BULLET = re.compile(
    r"^[ \t]*(?:\(?\d+[.)]|[a-z][.)]|[-*•]|\|\s*\d+\s*\|)\s+(\S.*?)\s*\|?\s*$", re.MULTILINE
)
_REMARK = re.compile(
    r"\W*(?:these|they|this|that|all|the|i|here)\b[^,;:<>|]*[.!]\s*", re.IGNORECASE
)
"""A sentence about the list above it: "These are sorted alphabetically."."""
_ITEM_LEAD = re.compile(
    r"\A(?:(?:we|it|i|you|then|and|first|next|finally|the\s+list|the\s+order)\s+)*"
    r"(?:starts?|begins?|continues?|ends?|goes|finish(?:es)?)\s+(?:with|on)\s+",
    re.IGNORECASE,
)
"""What leads to an item: "we start with bat"."""
_SHORT_LINE = re.compile(r"\s*[^\s.:,;]+(?:[ -][^\s.:,;]+)?[.\s]*")
_INLINE_NUMBER = re.compile(r"(?:\A|\s)\(?\d+[.)]\s+")
_WE_GET = re.compile(
    r"\A\W*(?:(?:so|thus|hence|therefore|then)[\s,]+)?(?:we|i|this|that|it)\s+(?:get|gets|have|obtain|gives?)\s",
    re.IGNORECASE,
)
_IN_ORDER = re.compile(r",?\s(?:in\s(?:that|this)\sorder|respectively)\Z", re.IGNORECASE)
_ORDER_IS = re.compile(
    r"\b(?:order|sorted|list|words)\b.*?\b(?:is|are|would\s+be|should\s+be|becomes?)\s+(\S.*)\Z",
    re.IGNORECASE,
)
_LONGEST_ITEM = 80
"""Characters of an item of a list, or of a name that ends with an abbreviation."""
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
_SEPARATORS = re.compile(
    r"\s*(?:,|;|&|<|>|→|->|=>|\||\s/\s|\n)\s*(?:and\s+)?(?:(?:then|next|finally|lastly|followed\s+by)\s+)?"
    r"|\s+and\s+(?:(?:then|finally|lastly)\s+)?|\s+followed\s+by\s+"
)
_FIRST_OF_SEVERAL = re.compile(
    r"\Afirst(?:ly)?,?\s+(?=.*\b(?:then|next|finally|last(?:ly)?)\s\w)", re.I
)
"""Before the first item of an order in words: "First red, then green"."""
_PLACE_BEHIND = re.compile(
    r"\s+(?:comes?|goes|is|stands|would\s+be)\s+(?:first|second|third|fourth|next|then|last)\Z",
    re.I,
)
"""Behind an item: "bean comes first"."""
_ORDINAL = re.compile(
    r"(?:\A|(?<=[,;.]\s))(?:and\s+)?(?:the\s+)?(?:first|second|third|fourth|fifth|sixth|next|last)"
    r"(?:\s(?:one|word|item))?\s(?:comes|is|would\s+be)\s+",
    re.IGNORECASE,
)
"""What says the place of an item: "first comes bean, second comes corn"."""


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
    if choices:
        return find_final(text, partial(_known_word, choices=choices), cut_off=cut_off)
    read = _row_of_brackets if brackets else _words_of_answer
    return find_final(text, read, cut_off=cut_off, may_end_open=brackets)


def _words_of_answer(place: Statement, text: str) -> FoundAnswer | None:
    """Read the words of an answer at one place."""
    if place.rule == "text":
        return _words_of_text(place.text)
    line = first_line(without_latex_text(place.text))
    if place.rule == "heading" and len(line.split()) > _WORDS_OF_A_LINE:
        return _words_of_text(place.text)
    if place.rule == "marker":
        if (quoted := _QUOTED.match(line)) and not _ANOTHER_QUOTE.match(line, quoted.end()):
            return FoundAnswer("".join(filter(None, quoted.groups())), "quoted")
        whole = line
        line = affirmed(_first_sentence(_REST.split(line[:_NEAR], maxsplit=1)[0]))
        return _named(_spelt_result(line), "words", whole=whole)
    return _named(line, "words")


def _words_of_text(text: str) -> FoundAnswer:
    """Read the words of an answer that nothing announces: they stand in the last line."""
    if has_refusal(text):
        return FoundAnswer(None, "refused")
    line = _last_cell(last_line(without_latex_text(text)))
    if explained := _explained(text):
        return FoundAnswer(
            explained, "the first line, explained below", confidence="only candidate"
        )
    long = len(line.split()) > _WORDS_OF_AN_ANSWER
    if said := _IS_THE_ANSWER.search(line):
        return FoundAnswer(tidy(line[: said.start()]), "said to be the answer")
    if long and (quotes := _QUOTED.findall(line)):
        return _guess("".join(quotes[-1]), "quoted in the last line", line)
    if (spelt := _spelt_result(line)) != line:
        return _guess(tidy(spelt), "result in the last line", line)
    if (long or _IT_IS.match(line)) and (stated := _STATED.search(line)):
        return _guess(tidy(affirmed(stated.group(1))), "stated in the last line", line)
    words = tidy(affirmed(_SAID_AFTER.sub("", _OPINION.sub("", line))))
    return FoundAnswer(words, "last line", confidence="only candidate", whole=line)


def _last_cell(line: str) -> str:
    """Return the last cell of a row of a table, "| Capital | Rome |"; any other line as it is."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    return cells[-1] if line.startswith("|") and len(cells) > 1 else line


def _named(words: str, rule: str, whole: str | None = None) -> FoundAnswer | None:
    """Return the words as an answer; nothing if no words are left."""
    words = tidy(words)
    return FoundAnswer(words, rule, whole=whole) if words.strip(" .…") else None


def _guess(words: str, rule: str, line: str) -> FoundAnswer:
    return FoundAnswer(words or None, rule, confidence="only candidate", whole=line)


def _explained(text: str) -> str | None:
    """Return a short first line that sentences below explain: "Rome", "It is the capital …"."""
    first, _, below = text.strip().partition("\n")
    short = len(first.split()) <= _WORDS_OF_AN_ANSWER and not first.rstrip().endswith(
        (":", ",", "!")
    )
    explains = (
        short
        and below.startswith("\n")
        and all(
            len(line.split()) > 2 * _WORDS_OF_AN_ANSWER and line.rstrip().endswith((".", "!"))
            for line in below.split("\n")
            if line.strip()
        )
    )
    return tidy(first) if explains else None


def _spelt_result(line: str) -> str:
    """Return what a line arrives at: "l, e, o → leo", "l + e + o = leo", "l, e, o, giving leo"."""
    match = _ARRIVES.search(line)
    return match[1] if match else line


def _first_sentence(line: str) -> str:
    """Cut after the first full stop that ends no abbreviation ("St. Louis", "George W. Bush")."""
    first = ""
    for part in sentences(line):
        end = max(0, len(first) - _LONGEST_ITEM)
        if first and (_OPENER.match(part) or not _ABBREVIATION.search(first, end)):
            break
        first = f"{first} {part}".strip()
    return first


def _known_word(place: Statement, text: str, *, choices: Sequence[str]) -> FoundAnswer | None:
    """Read the known word that is announced first, or is the last one in a sentence.

    If there are two known words and one is denied, the other is the answer.
    """
    if place.rule == "text" and has_refusal(text):
        return FoundAnswer(None, "refused")
    for part in reversed(sentences(place.text)) if place.rule == "text" else [place.text]:
        hits = sorted(
            (match.start(), match.end(), choice)
            for choice in choices
            for match in re.finditer(rf"(?<!\w){re.escape(choice)}(?!\w)", part, re.IGNORECASE)
        )
        if not hits:
            continue
        given = [hit for hit in hits if not is_denied(part, hit[0])]
        if given:
            return _first_or_last(given, part, place.rule)
        if len(choices) == 2:
            return FoundAnswer(
                next(choice for choice in choices if choice != hits[0][2]), "the other is denied"
            )
    return FoundAnswer(None, "no known word is said") if place.rule == "text" else None


def _first_or_last(hits: Sequence[tuple[int, int, str]], part: str, rule: str) -> FoundAnswer:
    for (_, end, first), (start, _, second) in pairwise(hits):
        if first != second and _EITHER.fullmatch(part[end:start]):
            return FoundAnswer(f"{first}, {second}", "two words", several=True)
    if rule != "text":
        return FoundAnswer(hits[0][2], "known word")
    return FoundAnswer(hits[-1][2], "known word in the last sentence", confidence="only candidate")


def _row_of_brackets(place: Statement, text: str) -> FoundAnswer | None:
    """Read a row of brackets: alone in a line, or at the end of what is announced."""
    said = place.text if place.rule != "boxed" else _box_of_brackets(text, place)
    announced = place.rule != "text"
    lines = [first_line(said), last_line(said)] if announced else [said, last_line(said)]
    if not announced and (closes := _CLOSES.search(last_line(said)[-_NEAR:])):
        lines.append(closes[1])
    for line in lines:
        row = line.replace(",", " ").strip(" .`'\"$*")
        if is_brackets(row):
            return FoundAnswer(
                row, "row of brackets", confidence="explicit" if announced else "only candidate"
            )
    line = lines[0][-_NEAR:].replace(",", " ")
    found = _BRACKETS_AT_END.search(line)
    if announced and found and not is_denied(line, found.start()):
        return FoundAnswer(found[0], "end of the line")
    return FoundAnswer(None, "no row of brackets alone")


def _box_of_brackets(text: str, place: Statement) -> str:
    """Return the content of a box up to the last brace of its line; braces may be the answer."""
    line = first_line(text[place.start :])
    return line[line.find("{") + 1 : line.rfind("}")]


def tidy(text: str) -> str:
    """Remove the quotes, emphasis and full stop around a text."""
    text = text.strip().strip("$").strip()
    if not text.isascii():
        text = _COPULA.sub("", text)
    if not text.isascii() and not (bare := _PICTURES.sub("", text)).endswith(":"):
        text = bare or text
    if text.endswith((".", "!")) and not text.endswith("..."):
        text = text[:-1].rstrip()
    return text.rstrip(",;").strip("\"'`* ")


def same_text(answer: str, reference: str) -> bool:
    """Return True if two short texts are equal apart from case and blanks.

    Rows of brackets are equal apart from blanks.
    """
    if is_brackets(reference):
        return "".join(answer.split()) == "".join(reference.split())
    if " " not in reference and _SPELT.fullmatch(tidy(answer)):  # a word spelt out: y a a n
        answer = re.sub(r"[\s,]+", "", answer)
    ours, theirs = _loose(answer), _loose(reference)
    return ours == theirs or _differ_in_form(ours, theirs)


def _differ_in_form(ours: str, theirs: str) -> bool:
    """Return True for a plural, initials with or without dots, and a surname before its name."""
    if ours.replace(".", "") == theirs.replace(".", "") and (
        _INITIALS.fullmatch(ours) or _INITIALS.fullmatch(theirs)
    ):
        return True
    surname, comma, name = ours.partition(", ")
    if comma and f"{name} {surname}" == theirs:
        return True
    return is_plural(ours, theirs)


def is_plural(word: str, reference: str) -> bool:
    """Return True if a word is the plural of the reference: "apples" for "apple"."""
    return (
        len(reference) > 2
        and reference.isalpha()
        and reference[-1] != "s"
        and word.startswith(reference[:-1])
        and word in (f"{reference}s", f"{reference}es", f"{reference[:-1]}ies")
    )


def _loose(text: str) -> str:
    """Return a short text in lower case, without the article at its start, and p.m. as pm."""
    text = " ".join(_JOINED.sub(" ", tidy(plain_text(text)).casefold()).split())
    if "_" in text:
        text = _SUBSCRIPT.sub(r"\1", text)
    if text.startswith("(") and text.endswith(")") and text.count("(") == 1:
        text = text[1:-1].strip()
    if text[:1].isdigit():
        text = _HALF_OF_DAY.sub(r"\1 \2m", text)
    return _ARTICLE.sub("", text)


_JOINED = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
"""A hyphen between words: well-known is "well known"."""
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]\.?")
_SUBSCRIPT = re.compile(r"_\{?(\d)\}?")
_HALF_OF_DAY = re.compile(r"(\d)\s?([ap])\.?m\b\.?")


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
            if len(line) > _LONGEST_ITEM or not _SHORT_LINE.fullmatch(line):
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
        [_PLACE_BEHIND.sub("", _ITEM_LEAD.sub("", tidy(part))) for part in _SEPARATORS.split(line)]
        if _SEPARATORS.search(line)
        else line.split()
    )
    return [word for part in parts for word in part.split()]


def same_list(answer: str, reference: Sequence[str]) -> bool:
    """Return True if the items are equal, in the same order, ignoring case."""
    return [word.casefold().strip("\"',.") for word in answer.split()] == [
        word.casefold() for item in reference for word in item.split()
    ]
