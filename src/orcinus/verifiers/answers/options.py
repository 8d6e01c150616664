"""Find the options that one sentence names: by letter, text, place or date, and not denied.

"Not (A), so the answer is (B)."  →  B
"None of them fits except B."     →  B
"A is too small, B just right."   →  B
"""

import re
from functools import lru_cache
from itertools import pairwise

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.dates import dates_in, may_be_date
from orcinus.verifiers.answers.denials import DENIAL
from orcinus.verifiers.answers.option_listings import LONGEST_SENTENCE, SAID_WRONG, is_said
from orcinus.verifiers.answers.text import FoundAnswer, sentences

_IN_BRACKETS = compile_later(r"[(\[]\s*(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s+)?([A-Z])\s*[)\]]")
_ALONE = compile_later(r"(?<![\w'(\[\\-])([A-Z])(?=[).:,;!\]\s]|\Z)(?!\s*')")
_DENIED_BEFORE = compile_later(
    rf"(?:{DENIAL}|\bexclude[sd]?|\beliminat\w+|\brul\w+ out|\breject\w*|\bexcept|\ball but"
    r"|\b(?:mistake|error|trap|tempt\w+|pitfall|wrong|natural)\b[^,.;]{0,20}\s(?:to|of)"
    rf"|\beverything but|\bneither|\b(?:better|stronger|likelier|more\s+\w+) than"
    r"|不是|不选|不選|并非)\s+"
    r"(?:be\s+|(?:choos(?:e|ing)|pick(?:ing)?|select(?:ing)?|say(?:ing)?|recommend|go\s+(?:with|for))\s+|option\s+"
    r"|choice\s+|answer\s+|the\s+)*[(\[\"']*\Z",
    re.IGNORECASE,
)
DENIED_AFTER = compile_later(
    r"[)\]\"']*\s*(?:(?:is|are|was|were|cannot be|can't be|seems?|looks?)\s+(?:\w+ly\s+|all\s+"
    r"|both\s+|also\s+)?(?:not\b|wrong"
    r"|incorrect|false|ruled out|eliminated|out\b|impossible|implausible|weak)|isn't|aren't"
    r"|do(?:es)?(?:n't"
    r"| not)|contradicts?|fails?\b|can(?:not|'t) be|\?)",
    re.IGNORECASE,
)
_JOINED = compile_later(r"[)\]\"'*]*\s*(?:,|/|&|\band\b|\bor\b|\bnor\b|\s)+[(\[\"'*]*")
"""Stands between two letters of a list."""
_BESIDE_A_LETTER = compile_later(r"\s+(?:or|and|nor|/)\s+(?:maybe\s+|option\s+)?[A-Z](?![\w'])")
_LABEL_OF_SENTENCE = compile_later(
    r"\W*(?:option|choice|answer)?\s*\(?[A-Z](?:\)|:|\)?\s+-)\s", re.IGNORECASE
)
"""A letter that heads a sentence about its option, "Option D: 21 is wrong"."""
_REPORTED = compile_later(
    r"\W*(?:some|others|many|(?:most|some|many)\s+people|people)\s+(?:\w+\s+)?"
    r"(?:say|think|believe|claim|answer|choose|pick|guess)\b(?!.*(?:,\s*(?:but|and|so|yet)|;)\s)",
    re.IGNORECASE,
)
"""Opens what others choose."""
_IS_CHOSEN = compile_later(
    r"\s+(?:is|was|seems|looks|must\s+be|would\s+be)\s+(?:clearly\s+"
    r"|definitely\s+)?(?:the\s+)?(?:correct|right|best|answer|most|only)\b"
)
_IS_A_LETTER = compile_later(r"\b(?:option|choice|answer|letter)\s+\Z", re.IGNORECASE)
_PREFERENCE = compile_later(
    r"[,;]?\s+(?:but|yet|though|however|so|therefore|thus|hence|which\s+leaves|leaving"
    r"|leaves)\b,?|,\s+(?:most\s+)?(?:probably|likely)\b|;",
    re.IGNORECASE,
)
"""What a sentence says behind the last of these is what it arrives at."""
_CONCESSION = compile_later(
    r"(?:\A|[,;]?\s)(?:although|though|even\s+(?:though|if)|while|whereas|despite"
    r"|in\s+spite\s+of)\s"
    r"[^,;.]*(?:[,;.]|\Z)",
    re.IGNORECASE,
)
"""A clause that grants something to another option: "although D is tempting"."""
_EXCEPTION = compile_later(
    r"\b(?:none|nothing|neither|no\s+(?:other\s+)?(?:options?|choices?|answers?)|not\s+(?:one|any))\b[^.;]*?"
    r"\b(?:except|but|other\s+than|apart\s+from|besides|save|aside\s+from)\s+(?:for\s+)?(?!none|not|no\b)"
    r"|\b(?:all|every\w*|each|the\s+others?|the\s+rest)\b[^.;]*?"
    r"(?:\b(?:wrong|incorrect|false|out|fails?|eliminated|excluded)\b|n't\b|\bnot\b)[^.;]*?"
    r"\b(?:except|other\s+than|apart\s+from|besides|save|aside\s+from)\s+(?:for\s+)?",
    re.IGNORECASE,
)
"""What rules out all options but those that follow: "none of them fits except B"."""
_ALL_BUT = compile_later(
    r"\b(?:all|every\w*|each)\s+(?:(?:of\s+)?(?:the\s+)?(?:options?|choices?|answers?)\s+)?"
    r"(?:but|except|other\s+than)\s+(?:for\s+)?(?P<kept>[^,.;]+?)\s+"
    r"(?:is|are|was|were|can|do|does)\s*(?:\w+ly\s+|be\s+)?"
    r"(?:wrong|incorrect|false|out\b|eliminated|excluded|ruled|not\b|n't)",
    re.IGNORECASE,
)
"""The same before its verb: "all but C are wrong"."""


def choose_letter(sentence: str, last: str, one: str, more: str) -> FoundAnswer | None:
    """Read the letters that a sentence names; of several, the one that it concludes with."""
    sentence = sentence[-LONGEST_SENTENCE:]
    if _REPORTED.match(sentence):
        return None
    named = letters_named(sentence, last)
    if len(named) > 1 and len(stated := letters_named(_CONCESSION.sub(" ", sentence), last)) == 1:
        return FoundAnswer(stated[0], one)
    if len(named) > 1 and len(right := _matched(sentence, named)) == 1:
        return FoundAnswer(right[0], "the option that is matched")
    if len(named) > 1 and len(right := _called_right(sentence, named)) == 1:
        return FoundAnswer(right[0], "the letter called right")
    if len(named) > 1:
        preferred = letters_named(_PREFERENCE.split(sentence)[-1], last)
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


_MATCHES = compile_later(
    r"\b(?:[Mm]atches|(?:which|that)\s+is(?=\s+(?:option|choice|answer|letter)\b)|corresponds?\s+(?:best\s+)?to|agrees\s+with|selects?|chooses?|picks?|(?:changed?|switch(?:ed)?)\s+to|settled?\s+(?:on|for))\s+"
    r"(?:(?:option|choice|answer|letter)\s+)?[(\"']*([A-Z])(?![\w'])"
)
_RIGHT_AFTER = compile_later(
    r"[)\]\"']*\s+(?:(?:is|seems|looks|must\s+be|would\s+be)\s+(?:(?:just|clearly|exactly|definitely|the|indeed)\s+)*"
    r"(?:right|correct|best|perfect|true|answer)|fits|works|matches)\b",
    re.IGNORECASE,
)


def letters_named(sentence: str, last: str) -> list[str]:
    """Return the letters that a sentence names and does not deny, in order, each once."""
    label = _LABEL_OF_SENTENCE.match(sentence)
    if label and is_said(sentence[label.end() :], SAID_WRONG):
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
            or DENIED_AFTER.match(sentence, match.end())
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


def keep_excepted(sentence: str) -> str:
    """Return only the options that a sentence excepts, if it rules out all others."""
    near = sentence[-LONGEST_SENTENCE:]
    if match := _ALL_BUT.search(near):
        return match["kept"]
    excepted = _EXCEPTION.search(near)
    return near[excepted.end() :] if excepted else sentence


def letter_left_over(sentence: str, last: str) -> str | None:
    """Return the only letter that a sentence does not name, if it rules out all that it names."""
    named = {match[1] for match in _ALONE.finditer(sentence)}
    every = {chr(code) for code in range(ord("A"), ord(last) + 1)}
    left = every - named
    ruled_out = len(left) == 1 and len(every) > 2 and not letters_named(sentence, last)
    return left.pop() if ruled_out and _RULES_OUT.search(sentence) else None


_RULES_OUT = compile_later(
    r"\b(?:exclude|eliminate|rule|reject|discard|neither|nor|not|wrong|incorrect|false|out)\b", re.I
)
_BY_PLACE = compile_later(
    r"\b(?:(?:the\s+)(?P<word>first|second|third|fourth|fifth|sixth|last)(?:\s+(?:option"
    r"|choice|answer|one|statement"
    r"|alternative|item|possibility)\b|(?=\W*\Z))|(?:option|choice|number|no\.|nr\.)\s*\(?(?P<digit>[1-9])\)?(?![\w.]*\d))"
    r"|(?:\b(?:pick|choose|select|option|choice|letter|answer\s+is|go\s+with|say)\s+\(?(?P<letter>[a-z])\)?"
    r"|(?<!\w)\(?(?P<bracket>[a-z])\))(?=[.,;!\s]*\Z)",
    re.IGNORECASE,
)
"""Names an option by its place: "the third one", "option 2"; or by its letter in lower case."""
_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth")


def find_by_place(sentence: str, last: str) -> FoundAnswer | None:
    """Read an option that is named by its place among them."""
    start = len(sentence) - len(_PREFERENCE.split(sentence)[-1])
    found = [
        match
        for match in _BY_PLACE.finditer(sentence, start)
        if not _DENIED_BEFORE.search(sentence, 0, match.start())
        and not DENIED_AFTER.match(sentence, match.end())
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


def find_by_date(sentence: str, options: tuple[str, ...]) -> str | None:
    """Return the only option in digits, 07/04/1776, that is the date of a sentence in words."""
    said = [date for date in dates_in(sentence) if date.year]
    if len(said) != 1:
        return None
    same = [chr(ord("A") + i) for i, option in enumerate(options) if may_be_date(said[0], option)]
    return same[0] if len(same) == 1 else None


def find_exact_option(text: str, options: tuple[str, ...]) -> str | None:
    """Return the letter of the only option that is the whole text; None without one."""
    loose = _loose(text)
    same = [i for i, option in enumerate(_loose_options(options)) if option == loose]
    return chr(ord("A") + same[0]) if len(same) == 1 else None


@lru_cache(maxsize=4096)
def _loose_options(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_loose, options))


def _loose(text: str) -> str:
    return _LEADING_ZEROS.sub("", " ".join(text.casefold().split()).strip(" .\"'$*()"))


_LEADING_ZEROS = compile_later(r"(?<![\d.,])0+(?=\d)")
_NUMBER_IN_OPTION = compile_later(r"(?<![\d.,])\d")


def find_option_text(text: str, options: tuple[str, ...]) -> FoundAnswer | None:
    """Find the option whose text a sentence holds; a longer text wins over one within it."""
    if not options:
        return None
    first = sentences(text)[0] if sentences(text) else text
    spans: list[tuple[int, int, int]] = []
    for i, pattern in enumerate(option_patterns(options)):
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
        and not (len(kept) > 1 and DENIED_AFTER.match(first, a[1]))
    ]
    letters = sorted({chr(ord("A") + i) for _, _, i in given})
    if len(letters) == 1:
        return FoundAnswer(letters[0], "option text")
    if len(letters) > 1:
        for part in (_CONCESSION.sub(" ", first), _PREFERENCE.split(first)[-1]):
            if part != first and (stated := find_option_text(part, options)) and not stated.several:
                return stated
    if len(letters) > 1:
        return FoundAnswer(", ".join(letters), "several option texts", several=True)
    return None


@lru_cache(maxsize=4096)
def option_patterns(options: tuple[str, ...]) -> tuple["re.Pattern[str]", ...]:
    """Return the patterns that find each option's text in a sentence."""

    def pattern(option: str) -> str:
        words = r"\s+".join(
            _NUMBER_IN_OPTION.sub(r"0*\g<0>", _LEADING_ZEROS.sub("", re.escape(word)))
            for word in option.strip().rstrip(".").split()
        )
        return rf"(?<![\w.])(?:{words})(?![\w])(?!\.\d)" if words else r"(?!)"

    return tuple(re.compile(pattern(option), re.IGNORECASE) for option in options)
