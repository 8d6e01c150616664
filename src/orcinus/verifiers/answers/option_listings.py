"""Read texts that go through all options: which row is called right, and where they break off.

A) Oslo - no   B) Rome - yes   →  B, the only option called right
{"A": false, "B": true}        →  B, judged in JSON
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import orjson

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.text import FoundAnswer, last_line

LONGEST_SENTENCE = 1_000
"""Characters of a sentence that are searched; a longer sentence is a loop."""
_GAP = 12
"""Characters. Two options of a listing are at most this far apart, with a letter and marks
between."""
_SAID_RIGHT = compile_later(
    r"\W*(?:✅|✓|✔|☑|(?:←|<-+)\s*(?:answer|correct|this|here)\b|(?:is\s+|this\s+is\s+)?(?:correct|right|true|yes)\b)",
    re.IGNORECASE,
)
SAID_WRONG = compile_later(
    r"\W*(?:❌|✗|✘|✖|☒|(?:is\s+|this\s+is\s+)?(?:incorrect|wrong|false|no|not)\b)", re.IGNORECASE
)
_ROW_END = compile_later(r"(?:(?:[-:(,=>]|\bis)\s*|\s)(?:\W|\w+\W*)\Z")
"""The last word or mark of a row: "- no", "✗"."""
_SAYS_WHICH = compile_later("[✅✓✔☑❌✗✘✖☒]")
_MARKS_WRONG = frozenset("❌✗✘✖☒")
_SAYS_MORE = compile_later(r"(?!(?:answer|options?|choices?|the|are|is)\b)\b\w+", re.IGNORECASE)
"""A word that does more than announce the options."""


def without_listing(text: str, options: tuple[str, ...]) -> str:
    """Remove a listing of all options, as in the question; return nothing if no more is said."""
    if not are_options_in_a_row(text, options) or _SAYS_WHICH.search(text):
        return text
    rest = _listing(options).sub(" ", text)
    return "" if rest != text and not _SAYS_MORE.search(rest) else rest


def are_options_in_a_row(text: str, options: tuple[str, ...]) -> bool:
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


def breaks_off_in_listing(text: str, options: tuple[str, ...]) -> bool:
    """Return True if a text ends with a row that only repeats an option, below the one before."""
    above, _, row = text.rstrip().rpartition("\n")
    label, before = _ROW_LABEL.match(row), _ROW_LABEL.match(last_line(above))
    if label is None or before is None or ord(label[1]) != ord(before[1]) + 1:
        return False
    place, said = ord(label[1]) - ord("A"), row[label.end() :].strip()
    return place < len(options) - 1 and options[place].startswith(said)


@lru_cache(maxsize=32)
def next_row_pattern(letter: str) -> "re.Pattern[str]":
    """Return the pattern for a row behind that of a letter."""
    return re.compile(rf"\n\W*{re.escape(chr(ord(letter) + 1))}[).:]\s+\S")


_ROW_LABEL = compile_later(r"\W*([A-Z])[).:]\s+(?=\S)")


def is_said(rest: str, verdict: "re.Pattern[str]") -> bool:
    """Return True if the row of an option begins or ends with a verdict."""
    end = _ROW_END.search(rest)
    return bool(
        verdict.match(rest)
        or (end and verdict.match(rest, end.start()))
        or verdict.match(rest.rstrip()[-1:])
    )


def read_marked_lines(text: str, options: tuple[str, ...]) -> tuple[FoundAnswer, str] | None:
    """Read lines that mark options right and wrong, and what follows them: "✅ B) Rome", "❌ C".

    A line with both kinds, as in a table of several columns, is called wrong.
    """
    if not _SAYS_WHICH.search(text):
        return None
    verdicts: dict[str, bool] = {}
    end = 0
    for line in re.finditer(r".+", text):
        marks = _SAYS_WHICH.findall(line[0])
        letter = _option_of_line(line[0], options) if marks else None
        if letter is not None:
            verdicts[letter] = verdicts.get(letter, True) and _MARKS_WRONG.isdisjoint(marks)
            end = line.end()
    right = [letter for letter, called_right in verdicts.items() if called_right]
    if not right or len(right) == len(verdicts):
        return None
    rule = "the only option marked right" if len(right) == 1 else "several options marked right"
    return FoundAnswer(", ".join(right), rule, several=len(right) > 1), text[end:].strip()


_HEAD_OF_LINE = compile_later(r"[\W_]*(?:(?:option|choice|answer)\s+)?", re.IGNORECASE)


def _option_of_line(line: str, options: tuple[str, ...]) -> str | None:
    """Return the letter of the option that a line begins with, by its letter or its text."""
    head = _HEAD_OF_LINE.match(line)
    said = line[head.end() :].casefold() if head else line.casefold()
    texts = [option.strip().rstrip(".").casefold() for option in options]
    for i, option in enumerate(texts):
        letter = chr(ord("a") + i)
        if re.match(rf"{letter}(?:[).:\]|*]|\s+(?:\W|{re.escape(option)}))", said):
            return letter.upper()
    named = [i for i, option in enumerate(texts) if option and said.startswith(option)]
    best = max(named, key=lambda i: len(texts[i]), default=None)
    return None if best is None else chr(ord("A") + best)


def lists_options(text: str, last: str) -> bool:
    """Return True if a text lists the options one after the other, repeating the question."""
    starts = re.findall(r"(?:^|\n|\s)\(?([A-Z])[).:]\s", text)
    listed = sorted({letter for letter in starts if letter <= last})
    return len(listed) > 1 and listed[-1] == last


def read_json_listing(text: str, options: tuple[str, ...]) -> FoundAnswer | None:
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
_LABEL_WORD = compile_later(r"[\s*_#|>-]{0,8}\b(?:option|choice|answer)\s{0,3}\Z", re.IGNORECASE)
"""What stands before the label of the next row: "12 is wrong. Option B: …"."""
_ROW_ENDS = compile_later(r"\n|(?<=[.!?])\s+(?=\S)")


def find_listing(text: str, options: tuple[str, ...]) -> _Listing | None:
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
        if max(map(len, rows)) > LONGEST_SENTENCE:
            continue
        return _Listing(tuple(rows), last[end.end() :].strip() if end else "")
    return None


_MAY_LIST = compile_later(
    r"(?:\A|[\s(*])(?:[bB]|2)\s?(?:[).:\]*|(]|is\b|-\s|\n)|\?\s+(?:yes|no)\b|:\s+(?:in)?correct",
    re.I,
)
"""The label of a second row, or a verdict behind an option; asked first."""
_VERDICT_ALONE = compile_later(
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


def read_listing(listing: _Listing) -> FoundAnswer:
    """Read what the rows of a listing of all options say."""
    letters = [chr(ord("A") + i) for i in range(len(listing.rows))]
    rows = list(zip(letters, listing.rows, strict=True))
    right = [letter for letter, row in rows if is_said(row, _SAID_RIGHT)]
    wrong = [letter for letter, row in rows if is_said(row, SAID_WRONG)]
    left = [letter for letter in letters if letter not in wrong]
    if len(right) == 1 and (right == left or len(wrong) != len(letters) - 1):
        return FoundAnswer(right[0], "the only option called right")
    if len(left) == 1 and not right:
        return FoundAnswer(left[0], "the only option not called wrong")
    plain = [letter for letter, row in rows if not _FALLS_SHORT.search(row)]
    if len(plain) == 1 and not right and plain[0] in left:
        return FoundAnswer(plain[0], "the only option without a fault", confidence="guessed")
    return FoundAnswer(", ".join(letters), "all options repeated", several=True)


_FALLS_SHORT = compile_later(
    r"\b(?:no|not|wrong|incorrect|false|fails?|too|never)\b|n't\b", re.IGNORECASE
)
"""What a row says of an option that is not right."""
