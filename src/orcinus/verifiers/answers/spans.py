"""Spans of a text, numbers and dates as answers: DROP (Dua et al. 2019, arXiv:1903.00161).

    find_spans("… So both Ann Lee and Bob scored.")      →  FoundAnswer("Ann Lee and Bob", …)
    same_spans("Bob and Ann Lee", "Ann Lee and Bob")     →  True: spans in any order
    exact_match(("the Bears",), ("Bears",))              →  True: by the authors' rule
    f1(("Bears",), ("Chicago Bears",))                   →  0.67: by the authors' rule

``exact_match`` and ``f1`` are written from the definition in the paper (section 5.1) and its evaluation program. Our own verdict is kinder where that is
wrong about a right answer: number words, units and signs beside a number, the order of a date.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from orcinus.verifiers.answers.exact import find_exact, listed
from orcinus.verifiers.answers.number import find_number, names_number, value_of
from orcinus.verifiers.answers.text import FoundAnswer

Spans = tuple[str, ...]

_CUT = re.compile(r"[ -]")
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_BETWEEN = re.compile(r"\s*(?:;|,(?!\d{3}\b)|&|\band\b)\s*(?:and\s+)?", re.IGNORECASE)
_BARE_NUMBER = re.compile(r"\s*[-+]?\$?(?:\d[\d,]*)?\.?\d+\s*%?\s*")
_STARTS_WITH_NUMBER = re.compile(r"[-+$\s]*\.?\d")
_LEAD = re.compile(
    r"\A\W*(?:both|about|approximately|around|exactly|on|in|an?|the)\s+", re.IGNORECASE
)
_RANGE = re.compile(r"(?<=\d)\s*(?:-|\bto\b)\s*(?=\d)", re.IGNORECASE)
_NUMBER_WORD = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
    r"|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:-(?:one|two|three|four|five|six|seven|eight|nine))?)\b",
    re.IGNORECASE,
)
_MONTH = re.compile(
    r"\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t|tember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b",
    re.IGNORECASE,
)
_OF_DATE = re.compile(r"\d+|[a-z]{3,}")


def find_spans(
    response: str, reference: str | Sequence[str] | None = None, *, cut_off: bool = False
) -> FoundAnswer:
    """The final answer: spans as the text wrote them, items of a JSON list or of bullets joined by "; ".

    Args:
        response: What the model wrote.
        reference: The annotators' answers; only looked at for whether all are bare numbers.
        cut_off: It stopped at the token limit, so that only an announced answer counts.
    """
    answers = (reference,) if isinstance(reference, str) else tuple(reference or ())
    if answers and all(map(_BARE_NUMBER.fullmatch, answers)):
        return find_number(response, cut_off=cut_off)
    items = listed(response, cut_off=cut_off)
    return (
        FoundAnswer("; ".join(items), "list")
        if items
        else find_exact(response, None, cut_off=cut_off)
    )


def same_spans(answer: str, reference: str) -> bool:
    """Whether an answer names the reference: the same spans in any order, the same number, or the same date."""
    ours, theirs = _plain(answer), _plain(reference)
    if _MONTH.search(theirs) and _parts_of_date(ours) == _parts_of_date(theirs):
        return True
    if _BARE_NUMBER.fullmatch(reference) and _STARTS_WITH_NUMBER.match(ours):
        return names_number(ours, reference) and len(readings(ours)) == 1
    return any(exact_match(some, others) for some in readings(ours) for others in readings(theirs))


def _plain(text: str) -> str:
    """Without a word before it that changes nothing, numbers in digits, ranges in one spelling."""
    return _RANGE.sub(
        "-", _NUMBER_WORD.sub(lambda match: str(value_of(match.group())), _LEAD.sub("", text))
    )


def _parts_of_date(text: str) -> list[str]:
    """Day, month and year in any order; months by their first three letters."""
    words = _OF_DATE.findall(re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", text.casefold()))
    return sorted(word[:3] if word.isalpha() else word for word in words if word != "the")


def readings(text: str) -> tuple[Spans, ...]:
    """A text as one span and, where commas or "and" part it, as several."""
    parts = tuple(part.strip() for part in _BETWEEN.split(text) if part.strip())
    return ((text,), parts) if len(parts) > 1 else ((text,),)


def exact_match(answer: Spans, reference: Spans) -> bool:
    """DROP's exact match: the same normalised spans, in any order."""
    ours, theirs = [normalised(span) for span in answer], [normalised(span) for span in reference]
    return len(ours) == len(theirs) and set(ours) == set(theirs)


def f1(answer: Spans, reference: Spans) -> float:
    """DROP's F1, 0 to 1: spans are paired one to one so that their shared words count most; unpaired ones count zero."""
    from scipy.optimize import linear_sum_assignment  # not wanted where no figure is asked for

    ours, theirs = [_bag(span) for span in answer], [_bag(span) for span in reference]
    points = [[_shared(our, their) for our in ours] for their in theirs]
    rows, columns = linear_sum_assignment(points, maximize=True)
    total = sum(points[row][column] for row, column in zip(rows, columns, strict=True))
    return float(round(total / max(len(ours), len(theirs)), 2))


def _bag(span: str) -> frozenset[str]:
    return frozenset(normalised(span).split())


def _shared(answer: frozenset[str], reference: frozenset[str]) -> float:
    """F1 of two bags of words; zero where the reference has numbers and the answer none of them."""
    numbers = {word for word in reference if _is_number(word)}
    common = len(answer & reference)
    if not common or (numbers and not numbers & answer):
        return 0.0
    precision, recall = common / len(answer), common / len(reference)
    return 2 * precision * recall / (precision + recall)


@lru_cache(maxsize=8192)
def normalised(span: str) -> str:
    """Words at blanks and hyphens, in lower case, without punctuation and articles; numbers as floats: ``The 48-yard`` → ``48.0 yard``."""
    return " ".join(word for token in _CUT.split(span) for word in _words(token.lower()))


def _words(token: str) -> Iterator[str]:
    word = token if _is_number(token) else _PUNCTUATION.sub("", token)
    return iter([str(float(word))] if _is_number(word) else _ARTICLE.sub(" ", word).split())


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
