"""Find and compare spans of a text, numbers and dates: DROP (Dua et al. 2019, arXiv:1903.00161).

    find_spans("… So both Ann Lee and Bob scored.")      →  FoundAnswer("Ann Lee and Bob", …)
    same_spans("Bob and Ann Lee", "Ann Lee and Bob")     →  True: spans in any order
    exact_match(("the Bears",), ("Bears",))              →  True: by the authors' rule
    f1(("Bears",), ("Chicago Bears",))                   →  0.67: by the authors' rule

``exact_match`` and ``f1`` follow the definition in the paper (section 5.1) and its evaluation
program. Our own verdict also accepts right answers that these reject: number words, units and signs
beside a number, another order of a date.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.exact import find_exact
from orcinus.verifiers.answers.item_lists import listed
from orcinus.verifiers.answers.number import find_number
from orcinus.verifiers.answers.quantities import names_number, value_of
from orcinus.verifiers.answers.text import FoundAnswer

Spans = tuple[str, ...]

_CUT = compile_later(r"[ -]")
_PUNCTUATION = compile_later(r"[!-/:-@\[-`{-~]")
_ARTICLE = compile_later(r"\b(?:a|an|the)\b")
_BETWEEN = compile_later(r"\s*(?:;|,(?!\d{3}\b)|&|\band\b)\s*(?:and\s+)?", re.IGNORECASE)
_BARE_NUMBER = compile_later(r"\s*[-+]?\$?(?:\d[\d,]*)?\.?\d+\s*%?\s*")
_STARTS_WITH_NUMBER = compile_later(r"[-+$\s]*\.?\d")
_LEAD = compile_later(
    r"\A\W*(?:both|about|approximately|around|exactly|on|in|an?|the)\s+", re.IGNORECASE
)
_RANGE = compile_later(r"(?<=\d)\s*(?:-|\bto\b)\s*(?=\d)", re.IGNORECASE)
_NUMBER_WORD = compile_later(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen"
    r"|fifteen|sixteen|seventeen|eighteen|nineteen"
    r"|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:-(?:one|two|three|four|five|six"
    r"|seven|eight|nine))?)\b",
    re.IGNORECASE,
)
_MONTH = compile_later(
    r"\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t"
    r"|tember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b",
    re.IGNORECASE,
)
_OF_DATE = compile_later(r"\d+|[a-z]{3,}")


def find_spans(
    response: str, reference: str | Sequence[str] | None = None, *, cut_off: bool = False
) -> FoundAnswer:
    """Find the final answer: spans as written; items of a JSON list or bullets joined by "; ".

    Args:
        response: What the model wrote.
        reference: The annotators' answers; only used to see whether all are bare numbers.
        cut_off: True if it stopped at the token limit; then only an announced answer counts.
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
    """Return True if an answer has the reference's spans in any order, its number or its date."""
    ours, theirs = _plain(answer), _plain(reference)
    if _MONTH.search(theirs) and _parts_of_date(ours) == _parts_of_date(theirs):
        return True
    if _BARE_NUMBER.fullmatch(reference) and _STARTS_WITH_NUMBER.match(ours):
        return names_number(ours, reference) and len(readings(ours)) == 1
    return any(exact_match(some, others) for some in readings(ours) for others in readings(theirs))


def _plain(text: str) -> str:
    """Remove a leading article or the like, write numbers in digits, and unify ranges."""
    return _RANGE.sub(
        "-", _NUMBER_WORD.sub(lambda match: str(value_of(match.group())), _LEAD.sub("", text))
    )


def _parts_of_date(text: str) -> list[str]:
    """Return day, month and year in one order; months by their first three letters."""
    words = _OF_DATE.findall(re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", text.casefold()))
    return sorted(word[:3] if word.isalpha() else word for word in words if word != "the")


def readings(text: str) -> tuple[Spans, ...]:
    """Return a text as one span and, if commas or "and" divide it, also as several."""
    parts = tuple(part.strip() for part in _BETWEEN.split(text) if part.strip())
    return ((text,), parts) if len(parts) > 1 else ((text,),)


def exact_match(answer: Spans, reference: Spans) -> bool:
    """Return DROP's exact match: True for the same normalised spans, in any order."""
    ours, theirs = [normalised(span) for span in answer], [normalised(span) for span in reference]
    return len(ours) == len(theirs) and set(ours) == set(theirs)


def f1(answer: Spans, reference: Spans) -> float:
    """Return DROP's F1, from 0 to 1.

    Spans are paired one to one to maximise the shared words; unpaired ones count zero.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and rarely needed

    ours, theirs = [_bag(span) for span in answer], [_bag(span) for span in reference]
    points = [[_shared(our, their) for our in ours] for their in theirs]
    rows, columns = linear_sum_assignment(points, maximize=True)
    total = sum(points[row][column] for row, column in zip(rows, columns, strict=True))
    return float(round(total / max(len(ours), len(theirs)), 2))


def _bag(span: str) -> frozenset[str]:
    return frozenset(normalised(span).split())


def _shared(answer: frozenset[str], reference: frozenset[str]) -> float:
    """Return the F1 of two bags of words; 0 if the answer has none of the reference's numbers."""
    numbers = {word for word in reference if _is_number(word)}
    common = len(answer & reference)
    if not common or (numbers and not numbers & answer):
        return 0.0
    precision, recall = common / len(answer), common / len(reference)
    return 2 * precision * recall / (precision + recall)


@lru_cache(maxsize=8192)
def normalised(span: str) -> str:
    """Normalise as DROP does: ``The 48-yard`` → ``48.0 yard``.

    Words are split at blanks and hyphens, in lower case, without punctuation and articles; numbers
    become floats.
    """
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
