"""Find and compare answers that must be the same text: words, names, brackets."""

import re
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import plain_text
from orcinus.verifiers.answers.cleaning import cleaned
from orcinus.verifiers.answers.denials import affirmed, is_denied, is_doubted_at
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.final_answer import find_final
from orcinus.verifiers.answers.statements import explains_only, labelled
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    Statement,
    first_line,
    last_line,
    sentences,
    without_emphasis,
    without_latex_text,
)

_BRACKETS = compile_later(r"[\s()\[\]{}<>]+")
_REST = compile_later(
    r"\s+(?:because|since|as|which|for)\s|;\s|\s\(|,\s+(?:because|since|so|who|whose|which|where"
    r"|when|with)\s"
)
_ABBREVIATION = compile_later(
    r"(?:\b(?:St|Dr|Mr|Mrs|Ms|Mt|Ft|Gen|Lt|Col|Sgt|Capt|Rev|Prof|Gov|Sen|Rep|vs)"
    r"|\b(?:[A-Z]\.)+[A-Z]|(?:\A|\b[A-Z][\w.]*\s)[A-Z])\.\Z"
)
_OPENER = compile_later(
    r"(?:The|This|That|These|It|He|She|They|We|I|In|On|So|As|But|And|Because|Since|There|Therefore"
    r"|Thus|If|Hence)\b"
)
_QUOTED = compile_later(r"\"([^\"\n]{1,80})\"|(?<!\w)'([^'\n]{1,80})'(?!\w)")
_ANOTHER_QUOTE = compile_later(r"\s*(?:,|;|&|\band\b|\bor\b|\s)+[\"']")
_EITHER = compile_later(r"\W*(?:or|and|/)\W*|\W*or (?:maybe|perhaps|possibly)\W*", re.IGNORECASE)
_STATED = compile_later(
    r"\A.*(?::|\b(?:is|are|was|were|(?:would|must|should|could|might"
    r"|can\s+only)\s+be))\s+(\S.*?)[.!]?\Z"
)
_SPELT = compile_later(r"\w{1,3}(?:[\s,]+\w{1,3})+")
_BRACKETS_AT_END = compile_later(
    r"(?<![\w])[()\[\]{}<>](?:[\s()\[\]{}<>]*[()\[\]{}<>])?(?=[\s.`\"']*\Z)"
)
_ARRIVES = compile_later(
    r"\A(?=.*[,+&→=-]).*(?:→|->|=>|⇒|=|[,:]\s*(?:and\s+)?(?:giving|gives|making|makes|spelling"
    r"|spells|forming|forms|"
    r"yielding|yields|which\s+(?:gives|makes|spells|forms|is)|so(?:\s+(?:we\s+get|it\s+is))?"
    r"|resulting\s+in))\s+"
    r"[\"']?(\w+)[\"']?\W*\Z",
    re.IGNORECASE,
)
_COPULA = compile_later(
    r"(?<=[\u3040-\u9fff\uac00-\ud7af])(?:です|でした|だ|である|입니다|이다)[.!\s]*\Z"
)
"""The verb behind an answer in Japanese and Korean."""
_PICTURES = compile_later(r"\s*[\u2600-\u27bf\U0001f000-\U0001faff]+\s*\Z")
_ARTICLE = compile_later(r"\A(?:the|an?|some)\s+(?=\S)")
_OPINION = compile_later(
    r"\A(?:i(?:'d|\s+would)?\s+(?:guess|think|believe|suppose|say)|probably|perhaps|maybe"
    r"|(?:most\s+)?likely|definitely|certainly)(?:\s+(?:that|it\s+is|it's))?[,:]?\s+",
    re.IGNORECASE,
)
_SAID_AFTER = compile_later(
    r",\s+(?:i\s+(?:think|believe|guess|suppose)|i(?:'d|\s+would)\s+(?:say|guess)|probably|presumably"
    r"|most\s+likely|if\s+i'm\s+not\s+mistaken)\W*\Z",
    re.IGNORECASE,
)
_IT_IS = compile_later(r"\A(?:it|this|that|he|she)\b", re.IGNORECASE)
_WORDS_OF_AN_ANSWER = 3
_WORDS_OF_A_LINE = 6
"""Words. A longer line below a heading is the start of an argument."""
_NEAR = 1_000
"""Characters at the end of a line that are searched; a longer line is a loop."""
_NOT_ALONE = compile_later(
    r"(?:the|an?|not|no|yes|it|this|that|hm+|well|ok(?:ay)?|sure|right|easy|good|great|so|ah|oh)\b",
    re.IGNORECASE,
)
"""Begins a first sentence that is no answer by itself."""
_DESCRIBED = compile_later(
    r"\s+(?:because\b|since\b|(?:it|he|she|they|this|that)\s(?:(?:is|was|are|were|has|had)\s(?:\w+ly\s)?"
    r"|\w+s\s|\w+ed\s)(?:the|an?)\s(?:[a-z]\w*\s){1,3}?(?:of|that|which|who|in|on|for|with|where|to|by|from)\b)"
    r"[^.!?,\n]*[.!]?",
    re.IGNORECASE,
)
"""A sentence that says what an answer before it is: "It is the capital of Italy."."""
LONGEST_ITEM = 80
"""Characters of an item of a list, or of a name that ends with an abbreviation."""
_IS_THE_ANSWER = compile_later(
    r"\s(?:is|are|was|were) (?:the|my) (?:(?:final|correct|right) )*answers?\W*\Z", re.IGNORECASE
)
_CLOSES = compile_later(
    r"\b(?:sequence|answer|closing|brackets?|parenthes[ie]s|output|result)\b[^\n]*?(?::|\bis\b"
    r"|\bare\b)\s*([^:\n]*)\Z",
    re.IGNORECASE,
)


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
    alone = "" if "\n" in text else _first_sentence(text)
    if (
        0 < len(alone.split()) <= _WORDS_OF_AN_ANSWER
        and alone.endswith(".")
        and not _NOT_ALONE.match(alone)
        and text.startswith(alone)
        and _DESCRIBED.fullmatch(text, len(alone))
    ):
        return tidy(alone)
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
        end = max(0, len(first) - LONGEST_ITEM)
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
    for part in _deciding(place.text, choices) if place.rule == "text" else [place.text]:
        hits = sorted(
            (match.start(), match.end(), choice)
            for choice in choices
            for match in re.finditer(rf"(?<!\w){re.escape(choice)}(?!\w)", part, re.IGNORECASE)
        )
        if not hits:
            continue
        given = [hit for hit in hits if not is_denied(part, hit[0])]
        if given and place.rule == "text" and is_doubted_at(part, *given[-1][:2]):
            return FoundAnswer(None, "the word is doubted")
        if given:
            return _first_or_last(given, part, place.rule)
        if len(choices) == 2:
            return FoundAnswer(
                next(choice for choice in choices if choice != hits[0][2]), "the other is denied"
            )
    return FoundAnswer(None, "no known word is said") if place.rule == "text" else None


def _deciding(text: str, choices: Sequence[str]) -> list[str]:
    """Return the parts of a text that may name the answer, the first to ask first.

    A label comes first, "Label: neutral", then a word in front that the rest explains.
    """
    parts = sentences(text)
    first = parts[0] if parts else ""
    if tidy(first).casefold() in map(str.casefold, choices) and explains_only(text, len(first)):
        parts = [first]
    label = labelled(text)
    return [*([label] if label else []), *reversed(parts)]


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


_JOINED = compile_later(r"(?<=[^\W\d_])-(?=[^\W\d_])")
"""A hyphen between words: well-known is "well known"."""
_INITIALS = compile_later(r"(?:[^\W\d_]\.)+[^\W\d_]\.?")
_SUBSCRIPT = compile_later(r"_\{?(\d)\}?")
_HALF_OF_DAY = compile_later(r"(\d)\s?([ap])\.?m\b\.?")
