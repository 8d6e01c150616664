"""Find and compare numbers: with signs, thousands, decimals, exponents, fractions, per cent, words.

    find_number("She has 3 + 4 = 7 apples.")  →  FoundAnswer("7", "result of the equation")
    names_number("5,600", "$5600")            →  True

Numbers are compared exactly, as fractions. Floats compared to five digits would accept 1234568 for
1234567.
"""

import re
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from orcinus.verifiers.answers.denials import DENIAL
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.maths import value_of as expression_value
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    cleaned,
    corrected,
    sentences,
    statement,
    without_emphasis,
    without_latex_text,
)

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:\ \d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+"
NUMBER = re.compile(
    rf"""(?<![\w.^])(?<!\d:)(?P<sign>[-+]\s?)?(?P<currency>[$€£]\s?)?(?P<sign2>-)?
    (?:
        (?P<whole>\d+)\s*\\[dt]?frac\s*\{{\s*(?P<wn>\d+)\s*\}}\s*\{{\s*(?P<wd>\d+)\s*\}}
      | \\[dt]?frac\s*\{{\s*(?P<fn>-?\d+)\s*\}}\s*\{{\s*(?P<fd>\d+)\s*\}}
      | (?P<mixed>\d+)[\ -](?P<mn>\d+)/(?P<md>\d+)(?![\d/])
      | (?P<num>{_DIGITS})(?:[eE](?P<exp>[-+]?\d{{1,3}})(?!\w))?
        (?:\s?/\s?(?P<den>\d+(?:\.\d+)?)(?![\d/]))?
    )(?!\d|\.\d|:\d\d\b|(?:st|nd|rd|th)\b)(?P<percent>\s?\\?%)?
    (?:
        \s*(?:×|x|\*|\\times)\s*10\s?\^\s?\{{?(?P<power>[-+]?\d{{1,3}})\}}?
      | \s?\^\s?\{{?(?P<raised>\d{{1,2}})\}}?
      | \s?(?P<scale>thousand|million|billion|trillion|dozen|[kK])\b
      | \s+(?P<half>and\s+a\s+half)\b
    )?""",
    re.VERBOSE,
)
_SMALL = {
    word: i
    for i, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    word: 10 * i
    for i, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2
    )
}
_SCALES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
    "k": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "thirds": 3,
    "quarter": 4,
    "quarters": 4,
    "fourth": 4,
    "fourths": 4,
    "fifth": 5,
    "fifths": 5,
}
_WHOLE_WORDS = (*_SMALL, *_TENS, *(word for word in _SCALES if word != "k"))
_NUMBER_WORD = "|".join(_WHOLE_WORDS)
_NUMBER_WORDS = frozenset(word.encode() for word in _WHOLE_WORDS)
_LETTERS = bytes(code if chr(code).isalpha() and code < 128 else 32 for code in range(256))
"""Translates every byte that is not a letter to a blank."""
WORDS = re.compile(
    rf"\b(?:minus\s+|negative\s+)?(?:{_NUMBER_WORD})(?:[\s-]+(?:and\s+)?(?:{_NUMBER_WORD}))*(?:\s+point(?:\s+(?:{_NUMBER_WORD}))+|\s+and\s+a\s+half|[\s-](?:{'|'.join(_PARTS)}))?\b",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"\bbetween\s+[$€£]?[\d.,]+\s+and\s+[$€£]?[\d.,]*\d|(?<![\d.,*/+-])[$€£]?\d[\d.,]*\s?(?:-"
    r"|to)\s?[$€£]?\d[\d.,]*(?!\s*(?:=|\d|[-+*/x]))",
    re.IGNORECASE,
)
_DENIED = re.compile(rf"{DENIAL}\s+(?:be\s+|the\s+|equal\s+(?:to\s+)?)*[$€£]?\Z", re.IGNORECASE)
_NEEDS = re.compile(
    r"\b(?:needs?|needed|uses?|used|takes?|took|requires?|required)\b", re.IGNORECASE
)
_PURPOSE = re.compile(r"\bto\s+(?!be\b|an?\b|the\b|equal\b|about\b|exactly\b)[a-z]{3,}\b")
_EXPLAINED = re.compile(
    r"[\s*_:]*([-+]?[$€£]?\s?[\d,./]*\d%?)(?:\s+[a-z]+){0,2}[.\s*_]*\n\s*(?:\W*(?:Explanation"
    r"|Reason|Reasoning|Solution|Steps?|Proof|Working|Check|Verification)\b|(?:This|That|Because"
    r"|Since|Here|To|We|There|The|In|First)\b)"
)
_ALL_NUMBERS = re.compile(
    r"[\s\W]*(?:\d[\d,.]*\d|\d)(?:\s*(?:,\s|;|\band\b|&|,\s*and\b)\s*[$€£]?-?(?:\d[\d,.]*\d"
    r"|\d))+\W*"
)
_SHORT_FRACTION = re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)")
_NEGATIVE = re.compile(
    r"(?:\bnegative|(?:\A|\b(?:is|was|equals|be)\s+|[=:]\s*)\bminus)\s+(?=[$\d.])", re.IGNORECASE
)
_SCALE = re.compile(
    r"\s?(?:thousand|million|billion|trillion|dozen|quarters|(?<=\d)[kK])\b", re.IGNORECASE
)
_UNDERLINE = re.compile(r"(?<!\w)_+|_+(?!\w)")
_LABEL = re.compile(
    r"\s*(?:\W*(?:step|part|question|problem|case)\s+\d+\s*[:.)]|\d+[.)]\s)\s*(?=\S)", re.IGNORECASE
)
_TOTAL = re.compile(
    r"\b(?:for|is|makes|has|have|are|was)\s+a\s+total\s+of\s+(?:about\s+|exactly\s+|only\s+)?\Z",
    re.IGNORECASE,
)
_CALCULATION = re.compile(r"[\s$]*\d[\d.,]*(?:(?:\s*[+*×]\s*|\s+[-/÷x]\s+)\$?\d[\d.,]*)+[\s.$]*")
_BRACKETED = re.compile(r"\([^()]*\)")
_YEAR = re.compile(r"\b(?:in|since|by|until|of|year)\s+\Z", re.IGNORECASE)
_RESULT = re.compile(r"=\s*([-+]?[$€£]?\s?[\d,]*\.?\d+)(?!\s*[-+*/x×÷^(\d])")
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|been|equals?|has|have|had|needs?|left|costs?|makes?|gets?|holds?"
    r"|contains?|weighs?)\b",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\s*(?:therefore|thus|hence|so|in total|altogether|in all|as a result|this means)\b",
    re.IGNORECASE,
)
_WORDS_OF_AN_ANSWER = 3
_BEFORE = 40
"""Characters before a number that are searched for a word that denies it."""
_NEAR = 1000
"""Characters after an announcement, or before the end, that are searched for the number."""


def value_of(text: str) -> Fraction | None:
    """Return the first number in ``text``, in digits or else in words; None without one.

    >>> value_of("$5,600"), value_of("2 1/2"), value_of("three")
    (Fraction(5600, 1), Fraction(5, 2), Fraction(3, 1))
    """
    match = NUMBER.search(_prepared(text))
    if match is not None:
        return _of_match(match)
    words = WORDS.search(text)
    return None if words is None else _of_words(words.group())


@lru_cache(maxsize=8192)
def reference_value(reference: str) -> Fraction | None:
    """Return the number of a reference, written in any way that a response may use."""
    return value_of(reference)


def _prepared(text: str) -> str:
    if "\\" in text:
        text = (
            _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", without_latex_text(text))
            .replace("\\$", "$")
            .replace("\\!", "")
            .replace("\\,", "")
            .replace("{,}", ",")
        )
    if "_" in text:
        text = _UNDERLINE.sub(" ", text)
    return _NEGATIVE.sub("-", text) if "negative" in text or "minus" in text else text


def _of_match(match: "re.Match[str]") -> Fraction | None:
    groups = match.groupdict()
    try:
        if groups["whole"]:
            value = int(groups["whole"]) + Fraction(int(groups["wn"]), int(groups["wd"]))
        elif groups["fn"]:
            value = Fraction(int(groups["fn"]), int(groups["fd"]))
        elif groups["mixed"]:
            value = int(groups["mixed"]) + Fraction(int(groups["mn"]), int(groups["md"]))
        else:
            value = Fraction(groups["num"].replace(",", "").replace(" ", ""))
            if groups["exp"]:
                value *= Fraction(10) ** int(groups["exp"])
            if groups["den"]:
                value /= Fraction(groups["den"])
    except (ZeroDivisionError, ValueError):
        return None
    if groups["power"]:
        value *= Fraction(10) ** int(groups["power"])
    if groups["raised"]:
        value = value ** int(groups["raised"])
    if groups["scale"]:
        value *= _SCALES[groups["scale"].casefold()]
    if groups["half"]:
        value += Fraction(1, 2)
    negative = "-" in (groups["sign"] or "") or bool(groups["sign2"])
    return -value if negative else value


def _of_words(text: str) -> Fraction | None:
    words = re.split(r"[\s-]+", text.casefold())
    negative = words[0] in ("minus", "negative")
    if words[-1] in _PARTS:
        halves = words[-3:] == ["and", "a", "half"]
        whole = _of_words(" ".join(words[: -3 if halves else -1]))
        return (
            None
            if whole is None
            else whole + Fraction(-1 if negative else 1, 2)
            if halves
            else whole / _PARTS[words[-1]]
        )
    before, _, after = " ".join(words[negative:]).partition(" point ")
    total = current = 0
    for word in before.split():
        if word in _SMALL:
            current += _SMALL[word]
        elif word in _TENS:
            current += _TENS[word]
        elif word in ("hundred", "dozen"):
            current = max(current, 1) * _SCALES[word]
        elif word in _SCALES:
            total += max(current, 1) * _SCALES[word]
            current = 0
    value = Fraction(total + current)
    if after:
        digits = "".join(str(_SMALL.get(word, _TENS.get(word, 0))) for word in after.split())
        value += Fraction(int(digits), 10 ** len(digits))
    return -value if negative else value


def same_number(answer: Fraction, reference: Fraction) -> bool:
    """Compare exactly; within 1 in 10,000 if the reference is no whole number and so rounded.

    An example is 3333/10000 for 1/3.
    """
    if answer == reference:
        return True
    if reference.denominator == 1:
        return False
    return abs(answer - reference) <= abs(reference) / 9_999


def names_number(answer: str, reference: str) -> bool:
    """Return True if an answer is the reference.

    "32 dozen" is 32 if the question asks for dozens, and 384 if not: both count.
    """
    right = reference_value(reference)
    if answer == reference:  # true of most right answers, and cheap
        return right is not None
    values = [value_of(answer), value_of(_SCALE.sub("", answer)) if _SCALE.search(answer) else None]
    return right is not None and any(
        value is not None and same_number(value, right) for value in values
    )


def find_number(response: str, *, cut_off: bool = False) -> FoundAnswer:
    """Find the final number, as it was written."""
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    text = _prepared(without_emphasis(text))
    place = statement(text)
    mended = corrected(place.text) if place.rule != "text" else None
    if mended and (after := _in_text(mended, text)).answer is not None:
        return FoundAnswer(after.answer, f"corrected: {after.rule}", after.several)
    if place.rule in ("heading", "text") and (first := _explained(place.text)):
        return FoundAnswer(first, f"{place.rule}: the first line, explained below")
    if place.rule == "heading":
        below = _in_text(place.text, text)
        if below.answer is not None:
            return FoundAnswer(below.answer, f"heading: {below.rule}", below.several)
    elif place.rule != "text":
        found = _concluded(place.text, text) or _in_statement(place.text, text)
        if found is not None:
            return FoundAnswer(found.answer, f"{place.rule}: {found.rule}", found.several)
        if place.rule != "marker":
            return FoundAnswer(None, "the answer is announced but holds no number")
    if cut_off:
        return FoundAnswer(None, "cut off before an answer was announced")
    if place.rule == "text" and has_refusal(text):
        return FoundAnswer(None, "refused")
    return _in_text(text, text)


def _explained(text: str) -> str | None:
    """Find a number on a line of its own, before an explanation."""
    match = _EXPLAINED.match(text)
    number = NUMBER.match(match.group(1)) if match else None
    return number.group().strip() if number else None


def _concluded(tail: str, text: str) -> FoundAnswer | None:
    """Find the number in a concluding last sentence, if the announced answer is a story.

    "Ann had 5 and 3 came. Therefore, she has 8".
    """
    parts = sentences(tail[-_NEAR:])
    if (
        len(parts) < 2
        or len(parts[0].split()) <= _WORDS_OF_AN_ANSWER
        or not _CONCLUDES.match(parts[-1])
    ):
        return None
    return _result_of(parts[-1], text)


def _in_statement(tail: str, text: str) -> FoundAnswer | None:
    """Find the number after an announcement, in the first sentence that has one."""
    for sentence in sentences(tail[:_NEAR])[:3]:
        found = _result_of(sentence, text)
        if found is not None:
            return found
    return None


def _in_text(part: str, text: str) -> FoundAnswer:
    """Find the number that the end of a text arrives at."""
    for sentence in reversed(sentences(part[-_NEAR:])[-4:]):
        found = _result_of(sentence, text)
        if found is not None:
            return found
    return FoundAnswer(None, "no number is given")


def _holds_digit(text: str) -> bool:
    """Look for a digit, in a twentieth of the time that a pattern takes to find none."""
    return any(map(text.__contains__, "0123456789"))


def _holds_number_word(text: str) -> bool:
    return not _NUMBER_WORDS.isdisjoint(text.lower().encode().translate(_LETTERS).split())


def _value_of_calculation(sentence: str) -> str | None:
    """Return the value of a calculation without a result."""
    text = sentence.strip(" .$\n").replace("$", "").replace(",", "")
    value = expression_value(text.replace("×", "*").replace("x", "*").replace("÷", "/"))
    return None if value is None else f"{value:.12g}"


def _is_denied(match: "re.Match[str]", sentence: str) -> bool:
    start = match.start()
    return _DENIED.search(sentence, max(0, start - _BEFORE), start) is not None


def _result_of(sentence: str, text: str) -> FoundAnswer | None:
    """Find the result of a sentence of ``text``: after its last equals sign, or the best one."""
    if "=" in sentence:
        head, _, result = sentence.rpartition("=")
        match = NUMBER.search(result)
        if match is not None:
            return FoundAnswer(match.group().strip(), "result of the equation")
        sentence = head
    if (
        _CALCULATION.fullmatch(sentence)
        and (comes_to := _value_of_calculation(sentence)) is not None
    ):
        return FoundAnswer(comes_to, "a calculation")
    if label := _LABEL.match(sentence):
        sentence = sentence[label.end() :]
    matches = []
    if _holds_digit(sentence):
        matches = [match for match in NUMBER.finditer(sentence) if not _is_denied(match, sentence)]
    if not matches:
        if not _holds_number_word(sentence):
            return None
        words = [match for match in WORDS.finditer(sentence) if not _is_denied(match, sentence)]
        if not words or (
            len(words) == 1
            and words[0].group().casefold() == "one"
            and sentence[: words[0].start()].strip() != ""
        ):
            return None
        return FoundAnswer(words[0].group(), "number in words")
    if len(matches) == 1:
        return FoundAnswer(matches[0].group().strip(), "the only number")
    matches = _before_a_purpose(_outside_brackets(matches, sentence), sentence)
    if len(matches) == 1:
        return FoundAnswer(matches[0].group().strip(), "the only number that is not explained")
    if _ALL_NUMBERS.fullmatch(sentence) and len({_of_match(match) for match in matches}) > 1:
        return FoundAnswer(
            ", ".join(match.group().strip() for match in matches),
            "nothing but numbers",
            several=True,
        )
    if either := _alternatives(matches, sentence):
        return FoundAnswer(either, "two numbers", several=True)
    if _RANGE.search(sentence):
        return FoundAnswer(
            " to ".join(match.group().strip() for match in matches[:2]), "a range", several=True
        )
    if matches[0].start() <= 1:
        return FoundAnswer(matches[0].group().strip(), "first number")
    return _among(matches, sentence, text)


def _outside_brackets(matches: "list[re.Match[str]]", sentence: str) -> "list[re.Match[str]]":
    """Leave out numbers in brackets after others: they explain, "30 (10 for Ann, 20 for Bob)"."""
    spans = (
        [match.span() for match in _BRACKETED.finditer(sentence, matches[0].end())]
        if "(" in sentence
        else []
    )
    return [
        match for match in matches if not any(start <= match.start() < end for start, end in spans)
    ]


def _before_a_purpose(matches: "list[re.Match[str]]", sentence: str) -> "list[re.Match[str]]":
    """Leave out the numbers of a purpose that follows: "needs 310 ounces to make 8 batches"."""
    purpose = _NEEDS.search(sentence, 0, matches[0].start()) and _PURPOSE.search(
        sentence, matches[0].end()
    )
    return [match for match in matches if match.start() < purpose.start()] if purpose else matches


def _alternatives(matches: "list[re.Match[str]]", sentence: str) -> str | None:
    """Return True if two different numbers are joined by "or".

    One number written in two ways, "3/8 or .375", is one.
    """
    for first, second in pairwise(matches):
        between = sentence[first.end() : second.start()].strip()
        if (
            between.casefold() in ("or", "or maybe", "or perhaps", "or possibly")
            and first["currency"] == second["currency"]
        ):
            one, other = _of_match(first), _of_match(second)
            if (
                one is not None
                and other is not None
                and one != other
                and 100 * one != other
                and one != 100 * other
            ):
                return f"{first.group().strip()} or {second.group().strip()}"
    return None


def _among(matches: "list[re.Match[str]]", sentence: str, text: str) -> FoundAnswer:
    """Choose among several numbers of a sentence.

    A result computed before, an amount, or the object of the verb is the answer.
    """
    if totals := [match for match in matches if _TOTAL.search(sentence, 0, match.start())]:
        return FoundAnswer(totals[-1].group().strip(), "a total")
    values = [_of_match(match) for match in matches]
    for result in reversed(_RESULT.findall(text)):
        value = value_of(result)
        for match, own in zip(matches, values, strict=True):
            if own is not None and own == value:
                return FoundAnswer(match.group().strip(), "a result computed before")
    priced = [match for match in matches if match["currency"]]
    if len(priced) == 1:
        return FoundAnswer(priced[0].group().strip(), "the only amount of money")
    for verb in reversed(list(_VERB.finditer(sentence))):
        after = next((match for match in matches if match.start() >= verb.end()), None)
        if after is not None:
            return FoundAnswer(after.group().strip(), "number after the verb")
    undated = [
        match
        for match in matches
        if not (_YEAR.search(sentence, 0, match.start()) and len(match.group().strip()) == 4)
    ]
    return FoundAnswer(
        (undated or matches)[0 if "," not in sentence else -1].group().strip(),
        "number in the sentence",
    )
