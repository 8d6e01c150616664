"""Read numbers and quantities as the world writes them, and compare them exactly.

    value_of("1.234,5"), value_of("five eighths")   →  2469/2, 5/8
    value_of("6 hours and 20 minutes")              →  19/3, in the larger unit
    names_number("25%", "0.25")                     →  True

Numbers are compared as fractions. Floats compared to five digits would accept 1234568 for 1234567.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.numbers_abroad import SCALES_ABROAD, in_powers, value_abroad
from orcinus.verifiers.answers.text import without_latex_text

_GROUPED = (
    r"\d{1,3}(?:,\d{3})+(?!,?\d)(?:\.\d+)?",  # 1,234,567.8
    r"\d{1,2}(?:,\d{2})+,\d{3}(?!,?\d)(?:\.\d+)?",  # 12,34,567 of India
    r"\d{1,3}(?:'\d{3})+(?!\d)(?:\.\d+)?",  # 1'234'567 of Switzerland
    r"\d{1,3}(?:\.\d{3})+,\d+(?![.,]?\d)",  # 1.234,5 of most of Europe
    r"\d{1,3}(?:\.\d{3}){2,}(?![.,]?\d)",  # 1.234.567
    r"\d{1,3}(?:\ \d{3})+(?!\d)(?:[.,]\d+(?![\d,]))?",  # 1 234 567,8 of France and of science
    r"\d{1,3}(?:_\d{3})+(?!\d)",  # 1_234_567 of programs
)
_DIGITS = (
    rf"(?:{'|'.join(_GROUPED)}|(?<!\d,)\d+,(?:\d{{1,2}}|\d{{4,}})(?!,?\d|\.\d)|\d+(?:\.\d+)?|\.\d+)"
)
_GROUP_SIGNS = compile_later(r"[ '_]")
NUMBER = compile_later(
    rf"""(?<![\w^])(?<!\^-)(?=[-+$€£¥₹\d.\\])(?<!\d[.:])(?P<sign>[-+]\s?)?(?P<currency>[$€£¥₹]\s?)?(?P<sign2>-)?
    (?:
        (?P<whole>\d+)\s*\\[dt]?frac\s*\{{\s*(?P<wn>\d+)\s*\}}\s*\{{\s*(?P<wd>\d+)\s*\}}
      | \\[dt]?frac\s*\{{\s*(?P<fn>-?\d+)\s*\}}\s*\{{\s*(?P<fd>\d+)\s*\}}
      | (?P<mixed>\d+)[\ -](?P<mn>\d+)/(?P<md>\d+)(?![\d/])
      | (?P<num>{_DIGITS})(?:[eE](?P<exp>[-+]?\d{{1,3}})(?!\w))?
        (?:\s?/\s?(?P<den>\d+(?:\.\d+)?)(?![\d/]))?
    )(?!\d|\.\d|:\d|(?:st|nd|rd|th)\b)(?:(?P<percent>\s?\\?%|\s?(?:percent
      |per\scent)\b)|(?P<cents>\s?(?:(?:cents?|pence)\b|¢)))?
    (?:
        \s*(?:[×x*·∙⋅]|\\times|\\cdot)\s*10\s?\^\s?[{{(]?(?P<power>[-+]?\d{{1,3}})[}})]?
      | \s?\^\s?\{{?(?P<raised>-?\d{{1,2}})\}}?
      | \s?(?P<scale>hundred|thousand|million|billion|trillion|dozen|[kK]|mn|bn|(?<=\d)[MB])\b
      | \s+(?P<half>and\s+a\s+half)\b
    )?""",
    re.VERBOSE,
)
CLOCK = compile_later(
    r"(?<![\d:])(\d{1,2}):([0-5]\d)(?::[0-5]\d)?(?![\d:])\s*([ap])?\.?(?(3)m\b)?", re.IGNORECASE
)
"""A time of day. It is no number, and the hour of it is none."""

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
    "m": 10**6,
    "mn": 10**6,
    "billion": 10**9,
    "b": 10**9,
    "bn": 10**9,
    "trillion": 10**12,
}
_ORDINALS = {
    "half": 2,
    "halve": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
    "eleventh": 11,
    "twelfth": 12,
    "fifteenth": 15,
    "sixteenth": 16,
    "twentieth": 20,
    "hundredth": 100,
    "thousandth": 1000,
}
_PARTS = {f"{word}{plural}": n for word, n in _ORDINALS.items() for plural in ("", "s")}
_WHOLE_WORDS = (*_SMALL, *_TENS, *(word for word in _SCALES if len(word) > 2))
_NUMBER_WORD = "|".join(_WHOLE_WORDS)
_PART = "|".join(sorted(_PARTS, key=len, reverse=True))
_TIMES = {"twice": 2, "thrice": 3}
NUMBER_WORDS = frozenset(word.encode() for word in (*_WHOLE_WORDS, *_PARTS, *_TIMES))
WORDS = compile_later(
    rf"\b(?:(?:minus\s+|negative\s+)?(?:{_NUMBER_WORD})(?:[\s-]+(?:and\s+)?(?:{_NUMBER_WORD}))*"
    rf"(?:\s+point(?:\s+(?:{_NUMBER_WORD}))+|\s+and\s+a\s+half|\s+and\s+(?:a|one)\s+(?:{_PART})"
    rf"|\s+and\s+(?:{_NUMBER_WORD})[\s-](?:{_PART})|[\s-](?:{_PART}))?"
    rf"|half(?:\s+an?\s+(?:dozen|hundred|thousand|million|billion)|(?=\s+of\b|\W*\Z))"
    rf"|an?\s+(?:{_PART})(?=\s+of\b|\W*\Z)|(?:a|an)\s+(?:half|third|quarter|dozen|hundred|thousand"
    rf"|million)|twice|thrice)\b",
    re.IGNORECASE,
)
_IDEOGRAMS = compile_later(
    r"(?<![\u4e00-\u9fff])[〇零一二两兩三四五六七八九十百千万萬億亿]+(?![一-鿿]{4})"
)
_IDEOGRAM_DIGITS = {sign: i for i, sign in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
_IDEOGRAM_SCALES = {"十": 10, "百": 100, "千": 1000}
_IDEOGRAM_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}

_UNITS: Mapping[str, tuple[str, str, int]] = {
    "hours": (r"h(?:ours?|rs?)?", r"m(?:in(?:ute)?s?)?", 60),
    "minutes": (r"min(?:ute)?s?|m(?!\w)", r"s(?:ec(?:ond)?s?)?", 60),
    "days": (r"days?", r"h(?:ours?|rs?)?", 24),
    "weeks": (r"weeks?|wks?", r"days?", 7),
    "years": (r"years?|yrs?", r"months?", 12),
    "feet": (r"f(?:ee|oo)?t|'(?=\s?\d{1,2}(?!['\d]))", r"in(?:ch(?:es)?)?|''|\"", 12),
    "yards": (r"yards?|yds?", r"f(?:ee|oo)?t", 3),
    "pounds": (r"pounds?|lbs?", r"ounces?|oz", 16),
    "money": (r"dollars?|euros?|pounds?|bucks?|rupees?", r"cents?|pence|paise|p(?!\w)", 100),
    "metres": (r"met(?:er|re)s?|m(?!\w)", r"centimet(?:er|re)s?|cm", 100),
    "kilometres": (r"kilomet(?:er|re)s?|km", r"met(?:er|re)s?|m(?!\w)", 1000),
    "kilograms": (r"kilo(?:gram(?:me)?)?s?|kg", r"gram(?:me)?s?|g", 1000),
    "litres": (r"lit(?:er|re)s?|l(?!\w)", r"millilit(?:er|re)s?|ml", 1000),
    "gallons": (r"gallons?", r"quarts?|qts?", 4),
}
"""Units that are given together, the smaller one behind the larger: patterns, and how many of the
smaller ones make a larger one."""
_AMOUNT = r"\d[\d,]*(?:\.\d+)?"
_BARE_SECOND = ("hours", "feet")
"""Units behind which a number alone means the smaller one: "4 h 30", "5 ft 11"."""
COMPOUND = compile_later(
    r"(?=[$€£\d])(?:"
    + "|".join(
        rf"(?<![\w.])(?P<{name}>(?:[$€£]\s?)?{_AMOUNT})\s?(?:{large})(?![a-z])\.?,?\s*(?:and\s+)?"
        rf"(?P<{name}_2>{_AMOUNT})"
        + (
            rf"(?:\s*(?:{small})(?!\w)|(?=\s*(?:[.,;!)]|\Z)))"
            if name in _BARE_SECOND
            else rf"\s*(?:{small})(?!\w)"
        )
        for name, (large, small, _) in _UNITS.items()
    )
    + r"|[$€£]\s?(?P<coins>\d[\d,]*)\s+and\s+(?P<coins_2>\d{1,2})\s*(?:cents?|pence)\b)",
    re.IGNORECASE,
)
_COUNT = rf"(?:\d[\d,]*|(?:{_NUMBER_WORD})(?:[\s-](?:{_NUMBER_WORD}))*)"
RATIO = compile_later(
    rf"(?<![\w.,$€£-])(?P<part>{_COUNT})(?:\s+out\s+of\s+(?:every\s+)?(?P<whole>{_COUNT})"
    rf"|\s+in\s+(?:every\s+)?(?P<chance>{_COUNT})(?=\s+(?:chance|probability|likelihood)"
    rf"|[\s.!*]*\Z))(?![\w.,]*\d)",
    re.IGNORECASE,
)
"""A part of a whole: "8 out of 10", "a one in six chance"."""
_MAY_BE_COMPOUND = compile_later(r"\d\s?[hmdwyfplebrkg'][^\d]{0,20}\d|\d\s+and\s+\d", re.IGNORECASE)
"""Two numbers with the first letter of a unit between; asked first, as ``COMPOUND`` is slow."""
_SHORT_FRACTION = compile_later(r"\\[dtc]?frac\s*(\d)\s*(\d)")
_NEGATIVE = compile_later(
    r"(?:\bnegative|(?:\A|\b(?:is|was|equals|be)\s+|[=:]\s*)\bminus)\s+(?=[$\d.])", re.IGNORECASE
)
_COUNTED = compile_later(r"\s?(?:dozen|quarters)\b", re.IGNORECASE)
"""What may be the unit that a question asks for. A million is none: "5 million" is not 5."""
_GROUPED_EUROS = compile_later(
    r"(?:(?<=€\d)|(?<=€\d\d)|(?<=€\d\d\d)|(?<=\d)(?=\.\d{3}\s?(?:€|EUR\b|[Ee]uros?\b)))\.(?=\d{3}(?!\d))"
)
"""The point of a whole amount: "2.500 Euro". Cents have two digits."""
_UNDERLINE = compile_later(r"_(?:(?<!\w_)_*|_*(?!\w))")
_PLAIN = compile_later(
    r"(?P<sign>-)?\$?(?P<whole>[1-9]\d{0,2}(?:,\d{3}){1,9}|\d{1,30})(?:\.(?P<decimals>\d{1,30}))?",
    re.ASCII,
)
"""A number in digits and nothing else, which ``NUMBER`` reads to the same value."""
_LONGEST_NUMBER = 1_000
"""Digits. A longer run of digits is a loop; its value is never compared."""


def value_of(text: str) -> Fraction | None:
    """Return the first number in ``text``, in digits or else in words; None without one.

    >>> value_of("$5,600"), value_of("2 1/2"), value_of("three")
    (Fraction(5600, 1), Fraction(5, 2), Fraction(3, 1))
    """
    if _is_whole(text):
        return Fraction(int(text))
    if plain := _PLAIN.fullmatch(text):
        decimals = plain["decimals"] or ""
        value = Fraction(int(plain["whole"].replace(",", "") + decimals), 10 ** len(decimals))
        return -value if plain["sign"] else value
    text = prepared(text)
    if (compound := find_compound(text)) is not None:
        return value_of_compound(compound)
    if (ratio := find_ratio(text)) is not None:
        return value_of_ratio(ratio)
    match = NUMBER.search(text)
    if match is not None:
        return value_of_match(match)
    words = WORDS.search(text)
    if words is not None:
        return value_of_words(words.group())
    if (abroad := value_abroad(text)) is not None:
        return Fraction(abroad)
    return None if text.isascii() else value_of_ideograms(text)


def _is_whole(text: str) -> bool:
    """Return True for digits alone, which most answers are."""
    return text.isdigit() and text.isascii() and len(text) <= _LONGEST_NUMBER


@lru_cache(maxsize=8192)
def reference_value(reference: str) -> Fraction | None:
    """Return the number of a reference, written in any way that a response may use."""
    return value_of(reference)


def prepared(text: str) -> str:
    """Rewrite LaTeX, underlines and "negative" so that the patterns find the number."""
    if "\\" in text:
        text = (
            _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", without_latex_text(text))
            .replace("\\$", "$")
            .replace("\\!", "")
            .replace("\\,", "")
            .replace("{,}", ",")
        )
    if "€" in text or "uro" in text:
        text = _GROUPED_EUROS.sub("", text)
    if "_" in text:
        text = _UNDERLINE.sub(" ", text)
    if not text.isascii() or any(map(text.__contains__, SCALES_ABROAD)):
        text = in_powers(text)
    if "**" in text:
        text = text.replace("**", "^")
    return _NEGATIVE.sub("-", text) if "negative" in text or "minus" in text else text


def in_digits(text: str) -> str:
    """Write the numbers of a text that are given in words in digits; "one" stays."""

    def digits(match: "re.Match[str]") -> str:
        value = value_of_words(match.group())
        return match.group() if value is None or match.group().lower() == "one" else str(value)

    return WORDS.sub(digits, text)


def find_compound(text: str) -> "re.Match[str] | None":
    """Return the first quantity in two units, "5 ft 11 in"; None without one."""
    return COMPOUND.search(text) if _MAY_BE_COMPOUND.search(text) else None


def find_ratio(text: str) -> "re.Match[str] | None":
    """Return the first part of a whole, "8 out of 10"; None without one."""
    return RATIO.search(text) if " out of " in text or " in " in text else None


def value_of_ratio(match: "re.Match[str]") -> Fraction | None:
    """Return the fraction that a part of a whole is."""
    whole = value_of(match["whole"] or match["chance"])
    part = value_of(match["part"])
    return part / whole if part is not None and whole else None


def value_of_compound(match: "re.Match[str]") -> Fraction:
    """Return the value of a quantity in two units, in the larger one."""
    name = next(name for name in (*_UNITS, "coins") if match[name])
    size = 100 if name == "coins" else _UNITS[name][2]
    large = Fraction(match[name].lstrip("$€£ ").replace(",", ""))
    return large + Fraction(match[f"{name}_2"].replace(",", "")) / size


def _decimal(digits: str) -> Fraction:
    """Return the value of digits with separators of groups and of decimals."""
    if digits.isdigit():
        return Fraction(int(digits))
    digits = _GROUP_SIGNS.sub("", digits)
    comma, point = digits.rfind(","), digits.rfind(".")
    if comma >= 0 and point >= 0:
        other = "," if point > comma else "."
        digits = digits.replace(other, "").replace(",", ".")
    elif comma >= 0:
        grouped = len(digits) - comma == 4 and not digits.startswith("0,")
        digits = digits.replace(",", "" if grouped else ".")
    elif digits.count(".") > 1:
        digits = digits.replace(".", "")
    return Fraction(digits)


def value_of_match(match: "re.Match[str]") -> Fraction | None:
    """Return the value of a match of ``NUMBER``; None if it has none, like 1/0."""
    groups = match.groupdict()
    if len(match[0]) > _LONGEST_NUMBER:
        return None
    try:
        if groups["whole"]:
            value = int(groups["whole"]) + Fraction(int(groups["wn"]), int(groups["wd"]))
        elif groups["fn"]:
            value = Fraction(int(groups["fn"]), int(groups["fd"]))
        elif groups["mixed"]:
            value = int(groups["mixed"]) + Fraction(int(groups["mn"]), int(groups["md"]))
        else:
            value = _decimal(groups["num"])
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


def value_of_words(text: str) -> Fraction | None:
    """Return the value of a match of ``WORDS``: "two and three quarters", "one hundred five"."""
    words = re.split(r"[\s-]+", text.casefold())
    if words[0] in _TIMES:
        return Fraction(_TIMES[words[0]])
    if words[0] == "half" and len(words) == 3:
        return Fraction(_SCALES[words[2]], 2)
    if words[0] in ("minus", "negative"):
        value = value_of_words(" ".join(words[1:]))
        return None if value is None else -value
    if words[0] in ("a", "an"):
        words[0] = "one"
    if words[-1] in _PARTS:
        part, counted = _PARTS[words[-1]], words[:-1]
        if "and" in counted:
            at = len(counted) - 1 - counted[::-1].index("and")
            if (at and counted[at + 1 :] in (["a"], ["one"])) or len(counted) - at == 2:
                count = 1 if counted[at + 1] == "a" else int(_sum_of(counted[at + 1 :]))
                return _sum_of(counted[:at]) + Fraction(count, part)
        return _sum_of(counted) / part if counted else Fraction(1, part)
    return _sum_of(words)


def _sum_of(words: list[str]) -> Fraction:
    """Return the value of number words without a fraction."""
    before, _, after = " ".join(words).partition(" point ")
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
    return value


def find_ideograms(text: str) -> "re.Match[str] | None":
    """Return the first number in Chinese or Japanese numerals; None without one."""
    return _IDEOGRAMS.search(text)


def value_of_ideograms(text: str) -> Fraction | None:
    """Return the first number in Chinese or Japanese numerals: 四十二 is 42; None without one."""
    match = find_ideograms(text)
    if match is None:
        return None
    total = part = digit = 0
    for sign in match[0]:
        if sign in _IDEOGRAM_DIGITS:
            digit = 10 * digit + _IDEOGRAM_DIGITS[sign]
        elif sign in _IDEOGRAM_SCALES:
            part += (digit or 1) * _IDEOGRAM_SCALES[sign]
            digit = 0
        else:
            total += (part + digit or 1) * _IDEOGRAM_MYRIADS[sign]
            part = digit = 0
    return Fraction(total + part + digit)


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
    """Return True if an answer is the reference, in one of the readings of its unit.

    "32 dozen" is 32 if the question asks for dozens, and 384 if not; 25 % is 25 and 0.25; 75 cents
    are 75 and 0.75; 8 out of 10 are 8 and 0.8; 6 hours and 20 minutes are 19/3 and 380. All count.
    But 5 million is not 5.
    """
    if _is_whole(answer) and _is_whole(reference):  # true of most, and cheap
        return int(answer) == int(reference)
    right = reference_value(reference)
    if answer == reference:
        return right is not None or CLOCK.search(reference) is not None
    if ":" in answer or ":" in reference:
        clock, wanted = CLOCK.search(answer), CLOCK.search(reference)
    else:
        clock = wanted = None
    if clock or wanted:
        return clock is not None and wanted is not None and _same_time(clock, wanted)
    if right is None:
        return False
    return any(same_number(value, right) for value in _readings(answer)) or (
        "%" in reference
        and "%" not in answer
        and same_number(value_of(answer) or Fraction(-1), right / 100)
    )


def _readings(answer: str) -> Iterator[Fraction]:
    """Yield the values that an answer may mean."""
    value = value_of(answer)
    if value is None:
        return
    yield value
    if _is_whole(answer):
        return
    if (compound := find_compound(prepared(answer))) is not None:
        yield value * next((size for name, (_, _, size) in _UNITS.items() if compound[name]), 100)
        return
    if (ratio := find_ratio(answer)) is not None:
        if (part := value_of(ratio["part"])) is not None:
            yield part
        return
    if _COUNTED.search(answer) and (plain := value_of(_COUNTED.sub("", answer))) is not None:
        yield plain
    number = NUMBER.search(prepared(answer))
    if number is not None and (number["percent"] or number["cents"]):
        yield value / 100


def names_time(answer: str, reference: str) -> bool:
    """Return True if the reference is a time of day, and the only one that the answer gives."""
    wanted = CLOCK.fullmatch(reference.strip(" .")) if ":" in reference else None
    given = list(CLOCK.finditer(answer)) if wanted else []
    return wanted is not None and len(given) == 1 and _same_time(given[0], wanted)


def _same_time(one: "re.Match[str]", other: "re.Match[str]") -> bool:
    """Compare two times; a time without "am" or "pm" may be either."""
    hours = [int(time[1]) % 12 if time[3] else int(time[1]) for time in (one, other)]
    halves = [
        (time[3] or "").lower() or ("p" if int(time[1]) > 12 else "") for time in (one, other)
    ]
    return (
        one[2] == other[2]
        and hours[0] % 12 == hours[1] % 12
        and (halves[0] == halves[1] or "" in halves)
    )
