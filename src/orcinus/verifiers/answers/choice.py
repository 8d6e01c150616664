"""Find the letter of the chosen option.

    find_choice("Not (A). So the answer is (B).", ("Oslo", "Rome"))  →  FoundAnswer("B", …)

Letters take precedence over option texts. Options that are denied or ruled out do not count. A
response that names two options counts as several answers, and so as a wrong one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import orjson

from orcinus.verifiers.answers.dates import dates_in, may_be_date
from orcinus.verifiers.answers.denials import DENIAL
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    Statement,
    cleaned,
    find_final,
    find_plainly,
    last_line,
    sentences,
    without_emphasis,
    without_latex_text,
)

_LEAD = re.compile(
    r"[\s\"'\[{*_`$:]*(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|letter"
    r"|answer)\s*(?:is\s*)?)?[\s\"'\[{*_`$:]*",
    re.IGNORECASE,
)
_AT_START = re.compile(
    r"\(\s*([A-Za-z])\s*\)|([A-Za-z])(?=\s*(?:[).:,;\]}*\"'`$\\?!<]|-\s|\Z|\n))|([B-HJ-Z])(?=\s)"
)
_IN_BRACKETS = re.compile(r"[(\[]\s*([A-Z])\s*[)\]]")
_ALONE = re.compile(r"(?<![\w'(\[\\-])([A-Z])(?=[).:,;!\]\s]|\Z)(?!\s*')")
_DENIED_BEFORE = re.compile(
    rf"(?:{DENIAL}|\bexclude[sd]?|\beliminat\w+|\brul\w+ out|\breject\w*|\bexcept|\ball but"
    r"|\b(?:mistake|error|trap|tempt\w+|pitfall|wrong|natural)\b[^,.;]{0,20}\s(?:to|of)"
    rf"|\beverything but|\bneither|\b(?:better|stronger|likelier|more\s+\w+) than"
    r"|不是|不选|不選|并非)\s+"
    r"(?:be\s+|(?:choos(?:e|ing)|pick(?:ing)?|select(?:ing)?|say(?:ing)?|recommend|go\s+(?:with|for))\s+|option\s+"
    r"|choice\s+|answer\s+|the\s+)*[(\[\"']*\Z",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[)\]\"']*\s*(?:(?:is|are|was|were|cannot be|can't be|seems?|looks?)\s+(?:\w+ly\s+|all\s+"
    r"|both\s+|also\s+)?(?:not\b|wrong"
    r"|incorrect|false|ruled out|eliminated|out\b|impossible|implausible|weak)|isn't|aren't"
    r"|do(?:es)?(?:n't"
    r"| not)|contradicts?|fails?\b|can(?:not|'t) be|\?)",
    re.IGNORECASE,
)
_OR_ANOTHER = re.compile(
    r"[)\].\"'*]*\s*(?:,|/|&|\bor\b|\band\b|\bor maybe\b|\bor,[^,.()\n]{1,40},)+\s*(?:also\s+"
    r"|maybe\s+|possibly\s+|option\s+)*[(\[\"'*]*([A-Z])(?![\w'])"
)
_JOINED = re.compile(r"[)\]\"'*]*\s*(?:,|/|&|\band\b|\bor\b|\bnor\b|\s)+[(\[\"'*]*")
"""Stands between two letters of a list."""
_BESIDE_A_LETTER = re.compile(r"\s+(?:or|and|nor|/)\s+(?:maybe\s+|option\s+)?[A-Z](?![\w'])")
_LABEL = re.compile(r"\W*([A-Z])\b[).:\]*\s-]+\S")
_LABEL_OF_SENTENCE = re.compile(
    r"\W*(?:option|choice|answer)?\s*\(?[A-Z](?:\)|:|\)?\s+-)\s", re.IGNORECASE
)
"""A letter that heads a sentence about its option, "Option D: 21 is wrong"."""
_OWN_LABEL = re.compile(r"\s*\(?([A-Za-z])[).:]\s+(?=\S)")
_NO_OPTION = re.compile(
    r"(?:option\s+|choice\s+|letter\s+)?(?:\(([A-Z])\)|([A-Z])(?=[).]|\s*\Z))", re.IGNORECASE
)
"""A letter given as the answer, which may be beyond the last option."""
_NEAR = 1_000
"""Characters of a sentence that are searched; a longer sentence is a loop."""
_GAP = 12
"""Characters. Two options of a listing are at most this far apart, with a letter and marks
between."""
_FORMULA = re.compile(r"\\[()\[\]]")
_IS_CHOSEN = re.compile(
    r"\s+(?:is|was|seems|looks|must\s+be|would\s+be)\s+(?:clearly\s+"
    r"|definitely\s+)?(?:the\s+)?(?:correct|right|best|answer|most|only)\b"
)
_CONCLUDES = re.compile(
    r"\W*(?:i\s+|we\s+|it\s+)?(?:so|therefore|thus|hence|consequently|conclude|in\s+conclusion)\b",
    re.I,
)
"""Opens a sentence that arrives at an option."""
_ASIDE = re.compile(r"\s\((?!\s*[A-Z]\s*\))[^()\n]*\)")
"""Says something of an option between it and the next, "C (if it rains), D (if not)"."""
_IS_A_LETTER = re.compile(r"\b(?:option|choice|answer|letter)\s+\Z", re.IGNORECASE)
_PREFERENCE = re.compile(
    r"[,;]?\s+(?:but|yet|though|however|so|therefore|thus|hence|which\s+leaves|leaving"
    r"|leaves)\b,?|,\s+(?:most\s+)?(?:probably|likely)\b|;",
    re.IGNORECASE,
)
"""What a sentence says behind the last of these is what it arrives at."""
_CONCESSION = re.compile(
    r"(?:\A|[,;]?\s)(?:although|though|even\s+(?:though|if)|while|whereas|despite"
    r"|in\s+spite\s+of)\s"
    r"[^,;.]*(?:[,;.]|\Z)",
    re.IGNORECASE,
)
"""A clause that grants something to another option: "although D is tempting"."""
_SAID_RIGHT = re.compile(
    r"\W*(?:✅|✓|✔|☑|(?:←|<-+)\s*(?:answer|correct|this|here)\b|(?:is\s+|this\s+is\s+)?(?:correct|right|true|yes)\b)",
    re.IGNORECASE,
)
_SAID_WRONG = re.compile(
    r"\W*(?:❌|✗|✘|✖|☒|(?:is\s+|this\s+is\s+)?(?:incorrect|wrong|false|no|not)\b)", re.IGNORECASE
)
_ROW_END = re.compile(r"(?:(?:[-:(,=>]|\bis)\s*|\s)(?:\W|\w+\W*)\Z")
"""The last word or mark of a row: "- no", "✗"."""
_SAYS_WHICH = re.compile("[✅✓✔☑❌✗✘✖☒]")
_SAYS_MORE = re.compile(r"(?!(?:answer|options?|choices?|the|are|is)\b)\b\w+", re.IGNORECASE)
"""A word that does more than announce the options."""
_NEXT_OPTION = re.compile(r"(?:(?!\n\s*\n)[\s,;.])*\(([A-Z])\)\s*\w")
_TRIGGER = re.compile(
    r"\b(?:among|from|between)\s+\(?[A-Z]\)?\s+(?:through|to|and|-)\s+\(?[A-Z]\)?,?", re.IGNORECASE
)
_CHANGED_SIGNS = ("*", "`", "_", "\\", "through", "mong", "etween")
"""What a text holds that is rewritten before its options are looked for."""
_EXCEPTION = re.compile(
    r"\b(?:none|nothing|neither|no\s+(?:other\s+)?(?:options?|choices?|answers?)|not\s+(?:one|any))\b[^.;]*?"
    r"\b(?:except|but|other\s+than|apart\s+from|besides|save|aside\s+from)\s+(?:for\s+)?(?!none|not|no\b)"
    r"|\b(?:all|every\w*|each|the\s+others?|the\s+rest)\b[^.;]*?"
    r"(?:\b(?:wrong|incorrect|false|out|fails?|eliminated|excluded)\b|n't\b|\bnot\b)[^.;]*?"
    r"\b(?:except|other\s+than|apart\s+from|besides|save|aside\s+from)\s+(?:for\s+)?",
    re.IGNORECASE,
)
"""What rules out all options but those that follow: "none of them fits except B"."""
_ALL_BUT = re.compile(
    r"\b(?:all|every\w*|each)\s+(?:(?:of\s+)?(?:the\s+)?(?:options?|choices?|answers?)\s+)?"
    r"(?:but|except|other\s+than)\s+(?:for\s+)?(?P<kept>[^,.;]+?)\s+"
    r"(?:is|are|was|were|can|do|does)\s*(?:\w+ly\s+|be\s+)?"
    r"(?:wrong|incorrect|false|out\b|eliminated|excluded|ruled|not\b|n't)",
    re.IGNORECASE,
)
"""The same before its verb: "all but C are wrong"."""
_UNDECIDED = re.compile(
    r"\A\s*(?:unknown|not known|unclear|none\b(?! of)|cannot be determined|uncertain)",
    re.IGNORECASE,
)


def find_choice(
    response: str, choices: Sequence[str] | None, *, cut_off: bool = False
) -> FoundAnswer:
    """Find the chosen option's letter.

    Args:
        response: What the model wrote.
        choices: The options' texts; without them only letters are recognised.
        cut_off: True if it stopped at the token limit; then only an announced answer counts.
    """
    last = chr(ord("A") + (len(choices) if choices else 26) - 1)
    options = _without_labels(tuple(choices or ()))

    def read(place: Statement, text: str) -> FoundAnswer | None:
        if place.rule == "text":
            return _in_text(place.text, last, options)
        return _in_statement(without_latex_text(place.text), last, options)

    plain = find_plainly(response, read, cut_off=cut_off)
    if plain is not None and (
        plain.rule.startswith("marker") or not _may_be_rewritten(response, options)
    ):
        return plain
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    text = without_emphasis(text)
    if "\\" in text:
        text = without_latex_text(_FORMULA.sub(" ", text))
    if "through" in text or "mong" in text or "etween" in text:
        text = _TRIGGER.sub(" ", text)
    if len(options) > 1 and (text := _without_listing(text, options)) == "":
        return FoundAnswer(
            ", ".join(map(chr, range(ord("A"), ord(last) + 1))),
            "all options repeated",
            several=True,
        )
    return find_final(text, read, cut_off=cut_off)


@lru_cache(maxsize=4096)
def _without_labels(options: tuple[str, ...]) -> tuple[str, ...]:
    """Remove the options' own letters, "A. Oslo", if all have one."""
    labels = [_OWN_LABEL.match(option) for option in options]
    if any(
        label is None or label[1].upper() != chr(ord("A") + i) for i, label in enumerate(labels)
    ):
        return options
    return tuple(
        option[label.end() :] for option, label in zip(options, labels, strict=True) if label
    )


def _may_be_rewritten(text: str, options: tuple[str, ...]) -> bool:
    """Return True if marks, ranges of letters, or a listing of all options may be removed."""
    return any(map(text.__contains__, _CHANGED_SIGNS)) or (
        len(options) > 1 and _options_in_a_row(text, options)
    )


def _without_listing(text: str, options: tuple[str, ...]) -> str:
    """Remove a listing of all options, as in the question; return nothing if no more is said."""
    if not _options_in_a_row(text, options) or _SAYS_WHICH.search(text):
        return text
    rest = _listing(options).sub(" ", text)
    return "" if rest != text and not _SAYS_MORE.search(rest) else rest


def _options_in_a_row(text: str, options: tuple[str, ...]) -> bool:
    """Return True if all options follow each other closely somewhere.

    This is checked first, because the pattern for a listing is expensive.
    """
    start = text.find(options[0].rstrip("."))
    while start >= 0:
        end = start + len(options[0])
        for option in options[1:]:
            at = text.find(option.rstrip("."), end - 1, end + len(option) + _GAP)
            if at < 0:
                break
            end = at + len(option)
        else:
            return True
        start = text.find(options[0].rstrip("."), start + 1)
    return False


@lru_cache(maxsize=4096)
def _listing(options: tuple[str, ...]) -> "re.Pattern[str]":
    """Return the pattern for all options in order, with or without their letters."""
    items = (
        rf"(?:{chr(ord('A') + i)}\b\W+)?{re.escape(option.rstrip('.'))}"
        for i, option in enumerate(options)
    )
    return re.compile(
        r"(?<!\w)(?:(?:answer\s+)?(?:options|choices)\s*(?:are)?\W*)?"
        + r"\W+(?:and\s+|or\s+)?".join(items)
        + r"(?!\w)",
        re.IGNORECASE,
    )


def _in_statement(tail: str, last: str, options: tuple[str, ...]) -> FoundAnswer | None:
    """Find the option at the start of an announced answer, or else in its first sentence."""
    if not tail:
        return None
    lead = _LEAD.match(tail)
    at = lead.end() if lead else 0
    match = _AT_START.match(tail, at)
    letter = match and _letter(match, last)
    if match and letter:
        text_wins = (
            _exact_option(tail[at:].strip(), options) if not tail[at:].startswith("(") else None
        )
        if text_wins is not None:
            return FoundAnswer(text_wins, "option text")
        rest = tail[match.end() :]
        rest = _ASIDE.sub("", rest) if " (" in rest else rest
        other = _OR_ANOTHER.match(rest)
        if (
            other
            and "A" <= other.group(1) <= last
            and other.group(1) != letter
            and not _is_word(other, rest)
        ):
            return _of_named(tail[at:], last, "letter in the sentence", "two options")
        also = _listed_next(rest, letter, last, options)
        if also is not None:
            return FoundAnswer(f"{letter}, {also}", "two options", several=True)
        return FoundAnswer(letter, "letter")
    if options and (beyond := _NO_OPTION.match(tail, at)) and _exact_option(tail, options) is None:
        return FoundAnswer((beyond[1] or beyond[2]).upper(), "a letter that is no option")
    first = sentences(tail)[0] if sentences(tail) else tail
    if _UNDECIDED.match(first):
        return None
    found = _of_named(first, last, "letter in the sentence", "two options")
    return found or _option_text(tail, options)


def _of_named(sentence: str, last: str, one: str, more: str) -> FoundAnswer | None:
    """Read the letters that a sentence names; of several, the one that it concludes with."""
    sentence = sentence[-_NEAR:]
    named = _named(sentence, last)
    if len(named) > 1 and len(stated := _named(_CONCESSION.sub(" ", sentence), last)) == 1:
        return FoundAnswer(stated[0], one)
    if len(named) > 1 and len(right := _matched(sentence, named)) == 1:
        return FoundAnswer(right[0], "the option that is matched")
    if len(named) > 1 and len(right := _called_right(sentence, named)) == 1:
        return FoundAnswer(right[0], "the letter called right")
    if len(named) > 1:
        preferred = _named(_PREFERENCE.split(sentence)[-1], last)
        if len(preferred) == 1:
            return FoundAnswer(preferred[0], "letter behind a conclusion")
        return FoundAnswer(", ".join(named), more, several=True)
    return FoundAnswer(named[0], one) if named else None


def _called_right(sentence: str, named: list[str]) -> list[str]:
    """Return the named letters that a sentence calls right: "A is too small, B is just right"."""
    return [
        match[1]
        for match in _ALONE.finditer(sentence)
        if match[1] in named and _RIGHT_AFTER.match(sentence, match.end())
    ]


def _matched(sentence: str, named: list[str]) -> list[str]:
    """Return the named letters that a sentence arrives at: "this matches choice B; C is …"."""
    return [match[1] for match in _MATCHES.finditer(sentence) if match[1] in named]


_MATCHES = re.compile(
    r"\b(?:[Mm]atches|corresponds?\s+(?:best\s+)?to|agrees\s+with|selects?|chooses?|picks?)\s+"
    r"(?:(?:option|choice|answer|letter)\s+)?[(\"']*([A-Z])(?![\w'])"
)
_RIGHT_AFTER = re.compile(
    r"[)\]\"']*\s+(?:(?:is|seems|looks|must\s+be|would\s+be)\s+(?:(?:just|clearly|exactly|definitely|the|indeed)\s+)*"
    r"(?:right|correct|best|perfect|true|answer)|fits|works|matches)\b",
    re.IGNORECASE,
)


def _listed_next(rest: str, letter: str, last: str, options: tuple[str, ...]) -> str | None:
    """Find an option right after the text of another: "(B) show (C) concert venue"."""
    if ord(letter) - ord("A") >= len(options):
        return None
    match = _patterns(options)[ord(letter) - ord("A")].match(rest.lstrip(" ).:"))
    following = _NEXT_OPTION.match(rest.lstrip(" ).:"), match.end()) if match else None
    return following.group(1) if following and letter != following.group(1) <= last else None


def _is_word(match: "re.Match[str]", text: str) -> bool:
    """Return True if a second letter is an article or pronoun: "(B), a store", "B and I think"."""
    letter, end = match.group(1), match.end(1)
    return letter in "AI" and text[end : end + 1] == " " and text[end + 1 : end + 2].isalpha()


def _letter(match: "re.Match[str]", last: str) -> str | None:
    letter = next(group for group in match.groups() if group).upper()
    return letter if letter <= last else None


def _named(sentence: str, last: str) -> list[str]:
    """Return the letters that a sentence names and does not deny, in order, each once."""
    label = _LABEL_OF_SENTENCE.match(sentence)
    if label and _is_said(sentence[label.end() :], _SAID_WRONG):
        return []
    found: list[str] = []
    bracketed = [match for match in _IN_BRACKETS.finditer(sentence) if match.group(1) <= last]
    # Without brackets, A and I at the head of words are the article and the pronoun.
    matches = bracketed or [
        match
        for match in _ALONE.finditer(sentence)
        if match.group(1) <= last
        and (
            match.group(1) not in "AI"
            or sentence[match.end() : match.end() + 1] != " "
            or _BESIDE_A_LETTER.match(sentence, match.end())
            or _IS_CHOSEN.match(sentence, match.end())
            or _IS_A_LETTER.search(sentence, 0, match.start())
        )
    ]
    denied = [
        bool(
            _DENIED_BEFORE.search(sentence, max(0, match.start() - 40), match.start())
            or _DENIED_AFTER.match(sentence, match.end())
        )
        for match in matches
    ]
    # What is said of one letter of a list, "not A, C or D", "A, C and D are wrong", holds for all.
    joined = [
        _JOINED.fullmatch(sentence, first.end(), second.start()) is not None
        for first, second in pairwise(matches)
    ]
    for i, beside in enumerate(joined):
        denied[i + 1] = denied[i + 1] or (beside and denied[i])
    for i, beside in reversed(list(enumerate(joined))):
        denied[i] = denied[i] or (beside and denied[i + 1])
    for match, out in zip(matches, denied, strict=True):
        if not out and match.group(1) not in found:
            found.append(match.group(1))
    return found


def _in_text(text: str, last: str, options: tuple[str, ...]) -> FoundAnswer | None:
    """Find the option in a text without announcement: a bare one, or that of the last sentence."""
    exact = _exact_option(text, options)
    if exact is not None:
        return FoundAnswer(exact, "option text alone")
    if has_refusal(text):
        return FoundAnswer(None, "refused")
    if judged := _judged_in_json(text, options):
        return judged
    if listing := _listing_in(text, options):
        return _of_listing(listing, last, options)
    if _breaks_off_in_listing(text, options):
        return FoundAnswer(None, "a listing of the options breaks off")
    for line, rule in ((text, "letter alone"), (last_line(text), "letter in the last line")):
        at = _LEAD.match(line)
        match = _AT_START.match(line, at.end() if at else 0)
        letter = match and _letter(match, last)
        if (
            match
            and letter
            and (match.group(1) or match.group(2))
            and not _lists_options(text, last)
            and not (line is text and _next_row(letter).search(text))
        ):
            rest = line[match.end() :]
            other = _OR_ANOTHER.match(rest)
            if (
                other
                and "A" <= other.group(1) <= last
                and other.group(1) != letter
                and not _is_word(other, rest)
            ):
                return _of_named(line, last, rule, "two options")
            if _DENIED_AFTER.match(line, match.end()):
                continue
            if line is text and len(text) > 1 and text[1:2] == " ":
                continue
            return FoundAnswer(letter, rule)
    parts = [_without_others(sentence) for sentence in sentences(text)[-3:]]
    if parts and _CONCLUDES.match(parts[-1]) and not _named(parts[-1], last):
        found = _option_text(parts[-1], options)
        if found is not None and not found.several:
            return replace(found, confidence="only candidate")
    for sentence in reversed(parts):
        found = _of_named(sentence, last, "letter in the last sentence", "several options")
        if found is not None:
            return replace(found, confidence="only candidate")
    for sentence in reversed(parts[-2:]):
        found = _option_text(sentence, options) or _by_place(sentence, last)
        if found is not None:
            return replace(found, confidence="only candidate")
    if options and parts and (left := _left_over(last_line(text), last)):
        return FoundAnswer(left, "all others are ruled out", confidence="only candidate")
    if options and parts and (dated := _by_date(parts[-1], options)):
        return FoundAnswer(dated, "the same date", confidence="only candidate")
    return FoundAnswer(None, "no option is named")


def _breaks_off_in_listing(text: str, options: tuple[str, ...]) -> bool:
    """Return True if a text ends with a row that only repeats an option, below the one before."""
    above, _, row = text.rstrip().rpartition("\n")
    label, before = _ROW_LABEL.match(row), _ROW_LABEL.match(last_line(above))
    if label is None or before is None or ord(label[1]) != ord(before[1]) + 1:
        return False
    place, said = ord(label[1]) - ord("A"), row[label.end() :].strip()
    return place < len(options) - 1 and options[place].startswith(said)


@lru_cache(maxsize=32)
def _next_row(letter: str) -> "re.Pattern[str]":
    """Return the pattern for a row behind that of a letter."""
    return re.compile(rf"\n\W*{re.escape(chr(ord(letter) + 1))}[).:]\s+\S")


_ROW_LABEL = re.compile(r"\W*([A-Z])[).:]\s+(?=\S)")


def _without_others(sentence: str) -> str:
    """Return only the options that a sentence excepts, if it rules out all others."""
    if match := _ALL_BUT.search(sentence):
        return match["kept"]
    excepted = _EXCEPTION.search(sentence)
    return sentence[excepted.end() :] if excepted else sentence


def _left_over(sentence: str, last: str) -> str | None:
    """Return the only letter that a sentence does not name, if it rules out all that it names."""
    named = {match[1] for match in _ALONE.finditer(sentence)}
    every = {chr(code) for code in range(ord("A"), ord(last) + 1)}
    left = every - named
    ruled_out = len(left) == 1 and len(every) > 2 and not _named(sentence, last)
    return left.pop() if ruled_out and _RULES_OUT.search(sentence) else None


_RULES_OUT = re.compile(
    r"\b(?:exclude|eliminate|rule|reject|discard|neither|nor|not|wrong|incorrect|false|out)\b", re.I
)
_BY_PLACE = re.compile(
    r"\b(?:(?:the\s+)(?P<word>first|second|third|fourth|fifth|sixth|last)(?:\s+(?:option"
    r"|choice|answer|one|statement"
    r"|alternative|item|possibility)\b|(?=\W*\Z))|(?:option|choice|number|no\.|nr\.)\s*\(?(?P<digit>[1-9])\)?(?![\w.]*\d))"
    r"|(?:\b(?:pick|choose|select|option|choice|letter|answer\s+is|go\s+with|say)\s+\(?(?P<letter>[a-z])\)?"
    r"|(?<!\w)\(?(?P<bracket>[a-z])\))(?=[.,;!\s]*\Z)",
    re.IGNORECASE,
)
"""Names an option by its place: "the third one", "option 2"; or by its letter in lower case."""
_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth")


def _by_place(sentence: str, last: str) -> FoundAnswer | None:
    """Read an option that is named by its place among them."""
    start = len(sentence) - len(_PREFERENCE.split(sentence)[-1])
    found = [
        match
        for match in _BY_PLACE.finditer(sentence, start)
        if not _DENIED_BEFORE.search(sentence, 0, match.start())
        and not _DENIED_AFTER.match(sentence, match.end())
    ]
    letters = {_letter_at(match, last) for match in found}
    letter = letters.pop() if len(letters) == 1 else None
    return FoundAnswer(letter, "named by its place") if letter and letter <= last else None


def _letter_at(match: "re.Match[str]", last: str) -> str:
    if word := match["word"]:
        lower = word.lower()
        return last if lower == "last" else chr(ord("A") + _PLACES.index(lower))
    if match["digit"]:
        return chr(ord("@") + int(match["digit"]))
    return (match["letter"] or match["bracket"]).upper()


def _by_date(sentence: str, options: tuple[str, ...]) -> str | None:
    """Return the only option in digits, 07/04/1776, that is the date of a sentence in words."""
    said = dates_in(sentence)
    if len(said) != 1:
        return None
    same = [chr(ord("A") + i) for i, option in enumerate(options) if may_be_date(said[0], option)]
    return same[0] if len(same) == 1 else None


def _is_said(rest: str, verdict: "re.Pattern[str]") -> bool:
    """Return True if the row of an option begins or ends with a verdict."""
    end = _ROW_END.search(rest)
    return bool(
        verdict.match(rest)
        or (end and verdict.match(rest, end.start()))
        or verdict.match(rest.rstrip()[-1:])
    )


def _lists_options(text: str, last: str) -> bool:
    """Return True if a text lists the options one after the other, repeating the question."""
    starts = re.findall(r"(?:^|\n|\s)\(?([A-Z])[).:]\s", text)
    listed = sorted({letter for letter in starts if letter <= last})
    return len(listed) > 1 and listed[-1] == last


def _judged_in_json(text: str, options: tuple[str, ...]) -> FoundAnswer | None:
    """Read an object that judges each option: {"A": false, "B": true}."""
    if not text.startswith("{") or not text.endswith("}"):
        return None
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    letters = {chr(ord("A") + i): option for i, option in enumerate(options)}
    right = [
        letter
        for letter, option in letters.items()
        if values.get(letter, values.get(letter.lower(), values.get(option))) in _RIGHT_IN_JSON
    ]
    if not any(key in values for pair in letters.items() for key in (*pair, pair[0].lower())):
        return None
    return FoundAnswer(", ".join(right) or None, "judged in JSON", several=len(right) > 1)


_RIGHT_IN_JSON = (True, "true", "yes", "correct", "right", "True", "Yes", "Correct", "Right")


@dataclass(frozen=True, slots=True)
class _Listing:
    """All options, one after the other, as a text goes through them."""

    rows: tuple[str, ...]
    """What is said of each."""
    rest: str
    """What follows the listing."""


_LETTER_LABEL = (
    r"(?<![^\s;,.*_#|>-])[(\[*]{0,3}LABEL(?:[)\].:*]+|(?=\s+(?:is\b|[-(|←✅✓✔☑❌✗✘✖☒])|\n))"
)
_DIGIT_LABEL = r"(?<![^\s;,.*_#|>-])[(\[*]{0,3}LABEL[)\].:*]+(?=\s)"
_LABEL_WORD = re.compile(r"[\s*_#|>-]{0,8}\b(?:option|choice|answer)\s{0,3}\Z", re.IGNORECASE)
"""What stands before the label of the next row: "12 is wrong. Option B: …"."""
_ROW_ENDS = re.compile(r"\n|(?<=[.!?])\s+(?=\S)")


def _listing_in(text: str, options: tuple[str, ...]) -> _Listing | None:
    """Find the listing of all options in a text, by letters, numbers or the options' texts."""
    if len(options) < 2 or not (_SAYS_WHICH.search(text) or _MAY_LIST.search(text)):
        return None
    for patterns in _label_patterns(options):
        ends: list[tuple[int, int]] = []
        at = 0
        for pattern in patterns:
            label = pattern.search(text, at)
            if label is None:
                break
            ends.append(label.span())
            at = label.end()
        if len(ends) < len(options):
            continue
        stops = [start for start, _ in ends[1:]]
        last = text[ends[-1][1] :]
        end = _ROW_ENDS.search(last, len(last) - len(last.lstrip()) + 1)
        # A row of one line, "D? No.", has its verdict behind its first stop.
        inline = end is not None and _VERDICT_ALONE.match(last, end.end())
        end = _ROW_ENDS.search(last, inline.end()) if inline else end
        rows = [
            _LABEL_WORD.sub("", text[stop:start])
            for (_, stop), start in zip(ends, stops, strict=False)
        ]
        rows.append(last[: end.start()] if end else last)
        if max(map(len, rows)) > _NEAR:
            continue
        return _Listing(tuple(rows), last[end.end() :].strip() if end else "")
    return None


_MAY_LIST = re.compile(
    r"(?:\A|[\s(*])(?:[bB]|2)\s?(?:[).:\]*|(]|is\b|-\s|\n)|\?\s+(?:yes|no)\b|:\s+(?:in)?correct",
    re.I,
)
"""The label of a second row, or a verdict behind an option; asked first."""
_VERDICT_ALONE = re.compile(
    r"\W*(?:yes|no|true|false|(?:in)?correct|right|wrong)\b[.!]*(?=\s|\Z)", re.IGNORECASE
)


@lru_cache(maxsize=1024)
def _label_patterns(options: tuple[str, ...]) -> tuple[tuple["re.Pattern[str]", ...], ...]:
    """Return the labels' patterns in order: capitals, small letters, numbers, options' texts."""
    letters = [chr(ord("A") + i) for i in range(len(options))]
    numbered = not any(option.strip()[:1].isdigit() for option in options)
    kinds = [
        [_LETTER_LABEL.replace("LABEL", letter) for letter in letters],
        [_LETTER_LABEL.replace("LABEL", letter.lower()) for letter in letters],
        [_DIGIT_LABEL.replace("LABEL", str(i + 1)) for i in range(len(options))]
        if numbered
        else [],
        [
            r"(?:\A|\n|[.?!]\s)[\s*_|>-]{0,8}" + re.escape(option.strip().rstrip(".")) + r"(?!\w)"
            for option in options
        ],
    ]
    return tuple(tuple(re.compile(text, re.IGNORECASE if i > 1 else 0) for text in kind)
                 for i, kind in enumerate(kinds) if kind)  # fmt: skip


def _of_listing(listing: _Listing, last: str, options: tuple[str, ...]) -> FoundAnswer:
    """Read what follows a listing of all options, or else what its rows say."""
    if listing.rest:
        after = _in_text(listing.rest, last, options)
        if after is not None and after.answer is not None:
            return after
    letters = [chr(ord("A") + i) for i in range(len(options))]
    rows = list(zip(letters, listing.rows, strict=True))
    right = [letter for letter, row in rows if _is_said(row, _SAID_RIGHT)]
    wrong = [letter for letter, row in rows if _is_said(row, _SAID_WRONG)]
    left = [letter for letter in letters if letter not in wrong]
    if len(right) == 1 and (right == left or len(wrong) != len(letters) - 1):
        return FoundAnswer(right[0], "the only option called right")
    if len(left) == 1 and not right:
        return FoundAnswer(left[0], "the only option not called wrong")
    plain = [letter for letter, row in rows if not _FALLS_SHORT.search(row)]
    if len(plain) == 1 and not right and plain[0] in left:
        return FoundAnswer(plain[0], "the only option without a fault", confidence="guessed")
    return FoundAnswer(", ".join(letters), "all options repeated", several=True)


_FALLS_SHORT = re.compile(
    r"\b(?:no|not|wrong|incorrect|false|fails?|too|never)\b|n't\b", re.IGNORECASE
)
"""What a row says of an option that is not right."""


def _exact_option(text: str, options: tuple[str, ...]) -> str | None:
    loose = _loose(text)
    same = [i for i, option in enumerate(_loose_options(options)) if option == loose]
    return chr(ord("A") + same[0]) if len(same) == 1 else None


@lru_cache(maxsize=4096)
def _loose_options(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_loose, options))


def _loose(text: str) -> str:
    return _LEADING_ZEROS.sub("", " ".join(text.casefold().split()).strip(" .\"'$*()"))


_LEADING_ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")
_NUMBER_IN_OPTION = re.compile(r"(?<![\d.,])\d")


def _option_text(text: str, options: tuple[str, ...]) -> FoundAnswer | None:
    """Find the option whose text a sentence holds; a longer text wins over one within it."""
    if not options:
        return None
    first = sentences(text)[0] if sentences(text) else text
    spans: list[tuple[int, int, int]] = []
    for i, pattern in enumerate(_patterns(options)):
        match = pattern.search(first)
        if match:
            spans.append((match.start(), match.end(), i))
    kept = [
        a
        for a in spans
        if not any(b[0] <= a[0] and a[1] <= b[1] and (b[1] - b[0]) > (a[1] - a[0]) for b in spans)
    ]
    given = [
        a
        for a in kept
        if not _DENIED_BEFORE.search(first, max(0, a[0] - 40), a[0])
        and not (len(kept) > 1 and _DENIED_AFTER.match(first, a[1]))
    ]
    letters = sorted({chr(ord("A") + i) for _, _, i in given})
    if len(letters) == 1:
        return FoundAnswer(letters[0], "option text")
    if len(letters) > 1:
        for part in (_CONCESSION.sub(" ", first), _PREFERENCE.split(first)[-1]):
            if part != first and (stated := _option_text(part, options)) and not stated.several:
                return stated
    if len(letters) > 1:
        return FoundAnswer(", ".join(letters), "several option texts", several=True)
    return None


@lru_cache(maxsize=4096)
def _patterns(options: tuple[str, ...]) -> tuple["re.Pattern[str]", ...]:
    def pattern(option: str) -> str:
        words = r"\s+".join(
            _NUMBER_IN_OPTION.sub(r"0*\g<0>", _LEADING_ZEROS.sub("", re.escape(word)))
            for word in option.strip().rstrip(".").split()
        )
        return rf"(?<![\w.])(?:{words})(?![\w])(?!\.\d)" if words else r"(?!)"

    return tuple(re.compile(pattern(option), re.IGNORECASE) for option in options)
