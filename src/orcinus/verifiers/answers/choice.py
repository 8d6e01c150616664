"""Find the letter of the chosen option.

    find_choice("Not (A). So the answer is (B).", ("Oslo", "Rome"))  →  FoundAnswer("B", …)

Letters take precedence over option texts. Options that are denied or ruled out do not count. A
response that names two options counts as several answers, and so as a wrong one.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

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
    rf"|\beverything but|\bneither|不是|不选|不選|并非)\s+"
    r"(?:be\s+|(?:choose|pick|select|say|recommend|go\s+(?:with|for))\s+|option\s+|choice\s+|answer\s+|the\s+)*[(\[\"']*\Z",
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
_IS_A_LETTER = re.compile(r"\b(?:option|choice|answer|letter)\s+\Z", re.IGNORECASE)
_PREFERENCE = re.compile(
    r"[,;]?\s+(?:but|yet|though|however|so|therefore|thus|hence|which\s+leaves|leaving"
    r"|leaves)\b,?|,\s+(?:most\s+)?(?:probably|likely)\b|;",
    re.IGNORECASE,
)
"""What a sentence says behind the last of these is what it arrives at."""
_CONCESSION = re.compile(
    r"(?:\A|[,;]?\s)(?:although|though|even\s+(?:though|if)|while|whereas|despite|in\s+spite\s+of)\s"
    r"[^,;.]*(?:[,;.]|\Z)",
    re.IGNORECASE,
)
"""A clause that grants something to another option: "although D is tempting"."""
_SAID_RIGHT = re.compile(
    r"\W*(?:✅|✓|✔|☑|(?:is\s+|this\s+is\s+)?(?:correct|right|true|yes)\b)", re.IGNORECASE
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
    if plain is not None and not _may_be_rewritten(response, options):
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
    if len(named) > 1:
        preferred = _named(_PREFERENCE.split(sentence)[-1], last)
        if len(preferred) == 1:
            return FoundAnswer(preferred[0], "letter behind a conclusion")
        return FoundAnswer(", ".join(named), more, several=True)
    return FoundAnswer(named[0], one) if named else None


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
    for line, rule in ((text, "letter alone"), (last_line(text), "letter in the last line")):
        at = _LEAD.match(line)
        match = _AT_START.match(line, at.end() if at else 0)
        letter = match and _letter(match, last)
        if (
            match
            and letter
            and (match.group(1) or match.group(2))
            and not _lists_options(text, last)
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
    if rows := _rows_of_a_listing(text, options):
        right = [letter for letter, rest in rows if _is_said(rest, _SAID_RIGHT)]
        wrong = [letter for letter, rest in rows if _is_said(rest, _SAID_WRONG)]
        left = [letter for letter, _ in rows if letter not in wrong]
        if len(left) == 1 and right in ([], left):
            return FoundAnswer(left[0], "the only option not called wrong")
        return FoundAnswer(
            ", ".join(letter for letter, _ in rows), "all options repeated", several=True
        )
    parts = sentences(text)
    for sentence in reversed(parts[-3:]):
        found = _of_named(sentence, last, "letter in the last sentence", "several options")
        if found is not None:
            return replace(found, confidence="only candidate")
    for sentence in reversed(parts[-2:]):
        found = _option_text(sentence, options)
        if found is not None:
            return replace(found, confidence="only candidate")
    return FoundAnswer(None, "no option is named")


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


def _rows_of_a_listing(text: str, options: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (letter, rest) of the last lines if they go through all options; else nothing."""
    lines = [line for line in text.splitlines() if line.strip()][-len(options) :]
    rows = [(match[1], line[match.end() - 1 :]) for line in lines if (match := _LABEL.match(line))]
    letters = {letter for letter, _ in rows}
    whole = (
        len(options) > 1
        and len(rows) == len(options) == len(letters)
        and max(letters) == chr(ord("@") + len(options))
    )
    return rows if whole else []


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
    given = [a for a in kept if not _DENIED_BEFORE.search(first, max(0, a[0] - 40), a[0])]
    letters = sorted({chr(ord("A") + i) for _, _, i in given})
    if len(letters) == 1:
        return FoundAnswer(letters[0], "option text")
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
