"""Find the letter of the chosen option.

    find_choice("Not (A). So the answer is (B).", ("Oslo", "Rome"))  →  FoundAnswer("B", …)

Letters take precedence over option texts. Options that are denied or ruled out do not count. A
response that names two options counts as several answers, and so as a wrong one.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.cleaning import cleaned
from orcinus.verifiers.answers.denials import is_doubted, is_doubted_at
from orcinus.verifiers.answers.failures import ends_undetermined, has_refusal
from orcinus.verifiers.answers.final_answer import find_final
from orcinus.verifiers.answers.option_listings import (
    are_options_in_a_row,
    breaks_off_in_listing,
    find_listing,
    lists_options,
    next_row_pattern,
    read_json_listing,
    read_listing,
    read_marked_lines,
    without_listing,
)
from orcinus.verifiers.answers.options import (
    DENIED_AFTER,
    choose_letter,
    find_by_date,
    find_by_place,
    find_exact_option,
    find_option_text,
    keep_excepted,
    letter_left_over,
    letters_named,
    option_patterns,
)
from orcinus.verifiers.answers.plain_endings import find_plainly
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    Statement,
    last_line,
    sentences,
    without_emphasis,
    without_latex_text,
)

_LEAD = compile_later(
    r"[\s\"'\[{*_`$:]*(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|letter"
    r"|answer)\s*(?:is\s*)?)?[\s\"'\[{*_`$:]*",
    re.IGNORECASE,
)
_AT_START = compile_later(
    r"\(\s*([A-Za-z])\s*\)|([A-Za-z])(?=\s*(?:[).:,;\]}*\"'`$\\?!<]|-\s|\Z|\n))|([B-HJ-Z])(?=\s)"
)
_OR_ANOTHER = compile_later(
    r"(?:[)\].\"'*]*\s*(?:(?:,|/|&|\bor\b|\band\b|\bor,[^,.()\n]{1,40},)\s*)+(?:also\s+"
    r"|maybe\s+|perhaps\s+|possibly\s+|option\s+)*[(\[\"'*]*|\s?\((?=[A-Z]\)))([A-Z])(?![\w'])"
)
_EACH_ANNOUNCED = compile_later(r"(?:^\W*answer\s*:\W*[A-Z]\W*$\n?){3,}", re.I | re.M)
"""An announcement of one option after another, for a judge to choose from."""
_NOT_EXCLUDED = compile_later(
    r"\b(?:can(?:not|['’]t)|could(?:n['’]t|\s+not)|do(?:n['’]t|\s+not))\s+(?:\w+ly\s+)?"
    r"(?:rule\s+out|exclude|dismiss)\b",
    re.IGNORECASE,
)
"""Says of another option only that it is possible, too."""
_OWN_LABEL = compile_later(r"\s*\(?([A-Za-z])[).:]\s+(?=\S)")
_NO_OPTION = compile_later(
    r"(?:option\s+|choice\s+|letter\s+)?(?:\(([A-Z])\)|([A-Z])(?=[).]|\s*\Z))", re.IGNORECASE
)
"""A letter given as the answer, which may be beyond the last option."""
_NONE_IS_RIGHT = compile_later(
    r"\b(?:none|neither|not\s+one)\s+of\s+(?:the|these|those)\s+(?:\w+\s+)?(?:options?|choices?|answers?|alternatives)"
    r"\s+(?:given\s+|listed\s+)?(?:is|are|seems?|looks?|fits?|works?|matche?s?|appl\w+)\b(?![^.]*\b(?:except|but|besides|other)\b)",
    re.IGNORECASE,
)
_FORMULA = compile_later(r"\\[()\[\]]")
_CONCLUDES = compile_later(
    r"\W*(?:i\s+|we\s+|it\s+)?(?:so|therefore|thus|hence|consequently|conclude|in\s+conclusion)\b",
    re.I,
)
"""Opens a sentence that arrives at an option."""
_ASIDE = compile_later(r"\s\((?!\s*[A-Z]\s*\))[^()\n]*\)")
"""Says something of an option between it and the next, "C (if it rains), D (if not)"."""
_NEXT_OPTION = compile_later(r"(?:(?!\n\s*\n)[\s,;.])*\(([A-Z])\)\s*\w")
_TRIGGER = compile_later(
    r"\b(?:among|from|between)\s+\(?[A-Z]\)?\s+(?:through|to|and|-)\s+\(?[A-Z]\)?,?", re.IGNORECASE
)
_CHANGED_SIGNS = ("*", "`", "_", "\\", "through", "mong", "etween")
"""What a text holds that is rewritten before its options are looked for."""
_BARE_LETTER = compile_later(r"\(([A-Za-z])\)\.?|([A-Za-z])\)?\.?")
_LONGEST_LETTER = len("(A).")
_UNDECIDED = compile_later(
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

    def read_plainly(place: Statement, text: str) -> FoundAnswer | None:
        listed = len(place.text) > _LONGEST_LETTER and len(options) > 1 and place.rule != "text"
        return None if listed and are_options_in_a_row(text, options) else read(place, text)

    plain = find_plainly(response, read_plainly, cut_off=cut_off)
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
    if (each := _EACH_ANNOUNCED.search(text)) and len(set(re.findall(r"\b[A-Z]\b", each[0]))) > 2:
        return FoundAnswer(" ".join(each[0].split()), "one option after another", several=True)
    if len(options) > 1 and (text := without_listing(text, options)) == "":
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
        len(options) > 1 and are_options_in_a_row(text, options)
    )


def _in_statement(tail: str, last: str, options: tuple[str, ...]) -> FoundAnswer | None:
    """Find the option at the start of an announced answer, or else in its first sentence."""
    if not tail:
        return None
    if bare := _bare_letter(tail, last, options):
        return FoundAnswer(bare, "letter")
    lead = _LEAD.match(tail)
    at = lead.end() if lead else 0
    match = _AT_START.match(tail, at)
    letter = match and _letter(match, last)
    if match and letter:
        text_wins = (
            find_exact_option(tail[at:].strip(), options) if not tail[at:].startswith("(") else None
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
            return choose_letter(tail[at:], last, "letter in the sentence", "two options")
        also = _listed_next(rest, letter, last, options)
        if also is not None:
            return FoundAnswer(f"{letter}, {also}", "two options", several=True)
        return FoundAnswer(letter, "letter")
    if (
        options
        and (beyond := _NO_OPTION.match(tail, at))
        and find_exact_option(tail, options) is None
    ):
        return FoundAnswer((beyond[1] or beyond[2]).upper(), "a letter that is no option")
    first = sentences(tail)[0] if sentences(tail) else tail
    if _UNDECIDED.match(first):
        return None
    found = choose_letter(first, last, "letter in the sentence", "two options")
    return found or find_option_text(tail, options)


def _bare_letter(text: str, last: str, options: tuple[str, ...]) -> str | None:
    """Return the letter of an option if a text is nothing else, as most places are."""
    match = _BARE_LETTER.fullmatch(text) if len(text) <= _LONGEST_LETTER else None
    letter = (match[1] or match[2]).upper() if match else ""
    if not match or letter > last or (match[2] and find_exact_option(text, options) is not None):
        return None
    return letter


def _listed_next(rest: str, letter: str, last: str, options: tuple[str, ...]) -> str | None:
    """Find an option right after the text of another: "(B) show (C) concert venue"."""
    if ord(letter) - ord("A") >= len(options):
        return None
    match = option_patterns(options)[ord(letter) - ord("A")].match(rest.lstrip(" ).:"))
    following = _NEXT_OPTION.match(rest.lstrip(" ).:"), match.end()) if match else None
    return following.group(1) if following and letter != following.group(1) <= last else None


def _is_word(match: "re.Match[str]", text: str) -> bool:
    """Return True if a second letter is an article or pronoun: "(B), a store", "B and I think"."""
    letter, end = match.group(1), match.end(1)
    return letter in "AI" and text[end : end + 1] == " " and text[end + 1 : end + 2].isalpha()


def _only_asks(line: str) -> bool:
    """Return True if the first sentence of a line is a question, and an answer may follow."""
    parts = sentences(line) if "?" in line else []
    return len(parts) > 1 and parts[0].endswith("?")


def _is_doubted_text(sentence: str, letter: str, options: tuple[str, ...]) -> bool:
    """Return True if a sentence doubts the option that it names by its text."""
    place = ord(letter) - ord("A") if len(letter) == 1 else len(options)
    named = list(option_patterns(options)[place].finditer(sentence)) if place < len(options) else []
    return bool(named) and is_doubted_at(sentence, *named[-1].span())


def _names_all_before(sentence: str, parts: list[str], options: tuple[str, ...]) -> bool:
    """Return True if a sentence names every option by its text, and the last one names just one."""
    found = find_option_text(parts[-1], options) if sentence is not parts[-1] else None
    return (
        found is not None
        and not found.several
        and all(pattern.search(sentence) for pattern in option_patterns(options))
    )


def _letter(match: "re.Match[str]", last: str) -> str | None:
    letter = next(group for group in match.groups() if group).upper()
    return letter if letter <= last else None


def _in_text(text: str, last: str, options: tuple[str, ...]) -> FoundAnswer | None:
    """Find the option in a text without announcement: a bare one, or that of the last sentence."""
    exact = find_exact_option(text, options)
    if exact is not None:
        return FoundAnswer(exact, "option text alone")
    if bare := _bare_letter(text, last, ()):
        return FoundAnswer(bare, "letter alone")
    if has_refusal(text):
        return FoundAnswer(None, "refused")
    if ends_undetermined(text):
        return FoundAnswer(None, "left open")
    if judged := read_json_listing(text, options):
        return judged
    if marked := read_marked_lines(text, options):
        after = _in_text(marked[1], last, options) if marked[1] else None
        return after if after is not None and after.answer is not None else marked[0]
    if listing := find_listing(text, options):
        after = _in_text(listing.rest, last, options) if listing.rest else None
        return after if after is not None and after.answer is not None else read_listing(listing)
    if _NONE_IS_RIGHT.search(text):
        return FoundAnswer(None, "no option is called right")
    if breaks_off_in_listing(text, options):
        return FoundAnswer(None, "a listing of the options breaks off")
    for line, rule in ((text, "letter alone"), (last_line(text), "letter in the last line")):
        at = _LEAD.match(line)
        match = _AT_START.match(line, at.end() if at else 0)
        letter = match and _letter(match, last)
        if (
            match
            and letter
            and (match.group(1) or match.group(2))
            and not lists_options(text, last)
            and not (line is text and next_row_pattern(letter).search(text))
        ):
            rest = line[match.end() :]
            other = _OR_ANOTHER.match(rest)
            if (
                other
                and "A" <= other.group(1) <= last
                and other.group(1) != letter
                and not _is_word(other, rest)
            ):
                if found := choose_letter(line, last, rule, "two options"):
                    return found
                continue
            if DENIED_AFTER.match(line, match.end()) or _only_asks(line):
                continue
            if line is text and len(text) > 1 and text[1:2] == " ":
                continue
            return FoundAnswer(letter, rule)
    parts = [keep_excepted(sentence) for sentence in sentences(text)[-3:]]
    if parts and _CONCLUDES.match(parts[-1]) and not letters_named(parts[-1], last):
        found = find_option_text(parts[-1], options)
        if found is not None and not found.several:
            return replace(found, confidence="only candidate")
    if len(parts) > 1 and _NOT_EXCLUDED.search(parts[-1]):
        parts.pop()
    for sentence in reversed(parts):
        found = choose_letter(sentence, last, "letter in the last sentence", "several options")
        if found is not None and found.answer and is_doubted(sentence, found.answer):
            return FoundAnswer(None, "the option is doubted")
        if found is not None and found.several and _names_all_before(sentence, parts, options):
            continue
        if found is not None:
            return replace(found, confidence="only candidate")
    for sentence in reversed(parts[-2:]):
        found = find_option_text(sentence, options) or find_by_place(sentence, last)
        if found is not None and _is_doubted_text(sentence, found.answer or "", options):
            return FoundAnswer(None, "the option is doubted")
        if found is not None:
            return replace(found, confidence="only candidate")
    if options and parts and (left := letter_left_over(last_line(text), last)):
        return FoundAnswer(left, "all others are ruled out", confidence="only candidate")
    if options and parts and (dated := find_by_date(parts[-1], options)):
        return FoundAnswer(dated, "the same date", confidence="only candidate")
    return FoundAnswer(None, "no option is named")
