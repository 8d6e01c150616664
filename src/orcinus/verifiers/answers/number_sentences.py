"""Find the number that one sentence arrives at.

    read_sentence("30 minus 21 leaves 9.", …)          →  "9", "behind the verb of a result"
    read_sentence("With 3 machines, 15 are made.", …)  →  "15", "the only number that is not given"

The rules go from what a sentence says of its result to what it only suggests; the last ones guess.
"""

import re
from dataclasses import replace
from itertools import pairwise

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.denials import is_doubted_at
from orcinus.verifiers.answers.number_candidates import (
    Candidate,
    find_candidates,
    is_bound,
    is_denied_number,
)
from orcinus.verifiers.answers.numbers_abroad import find_abroad
from orcinus.verifiers.answers.quantities import (
    NUMBER,
    NUMBER_WORDS,
    WORDS,
    find_ideograms,
    find_ratio,
    in_digits,
    value_of,
    value_of_words,
)
from orcinus.verifiers.answers.text import FoundAnswer

_LETTERS = bytes(code if chr(code).isalpha() and code < 128 else 32 for code in range(256))
"""Translates every byte that is not a letter to a blank."""
_RANGE = compile_later(
    r"\bbetween\s+[$€£]?[\d.,]+\s+and\s+[$€£]?[\d.,]*\d|(?<![\d.,*/+-])[$€£]?\d[\d.,]*\s?(?:-"
    r"|to)\s?[$€£]?\d[\d.,]*(?!\s*(?:=|\d|[-+*/x]))",
    re.IGNORECASE,
)
_FROM_TO = compile_later(
    r"\bfrom\s+[$€£]?\d[\d.,]*%?(?:\s[a-z]+)?\s+to\s+[$€£]?\d[\d.,]*%?", re.IGNORECASE
)
"""What changed, behind by how much: "rose by 20%, from $50 to $60"."""
_NEEDS = compile_later(
    r"\b(?:needs?|needed|uses?|used|takes?|took|requires?|required)\b", re.IGNORECASE
)
_PURPOSE = compile_later(r"\bto\s+(?!be\b|an?\b|the\b|equal\b|about\b|exactly\b)[a-z]{3,}\b")
_ALL_NUMBERS = compile_later(
    r"[\s\W]*(?:\d[\d,.]*\d|\d)(?:\s*(?:,\s|;|\band\b|&|,\s*and\b)\s*[$€£]?-?(?:\d[\d,.]*\d"
    r"|\d))+\W*"
)
_LISTED = compile_later(
    r"\b(?:solutions?|values?|answers?|roots|numbers|options|possibilities|results"
    r"|candidates)\s+(?:are|is|would\s+be"
    r"|include)\s*:?\s*(?:either\s+)?\Z",
    re.IGNORECASE,
)
_BETWEEN = compile_later(r"\s*(?:,|;|&|\band\b|,\s*and\b)\s*")
_LABEL = compile_later(
    r"\s*(?:(?:[^\w\s]\W*)?(?:step|part|question|problem|case)\s+\d+\s*[:.)]|\d+[.)]\s)\s*(?=\S)",
    re.IGNORECASE,
)
_TOTAL = compile_later(
    r"(?:\b(?:for|is|makes|has|have|are|was)\s+a|\A\W*(?:an?|the|in))\s+total\s+of\s+(?:about\s+|exactly\s+|only\s+)?\Z",
    re.IGNORECASE,
)
_SO_THAT = compile_later(r"\b(?:so\s+that|in\s+order|if|until)\b", re.IGNORECASE)
"""Opens a purpose or a condition, whose numbers are no answer."""
_BOTH_RIGHT = compile_later(
    r"\b(?:both|equally|all)\s+(?:\w+\s+)?(?:possible|correct|valid|right|work|fit"
    r"|answers|solutions)\b",
    re.IGNORECASE,
)
_CALLED_RIGHT = compile_later(
    r"\s+(?:\w+\s+)?(?:is|was)\s+(?:the\s+(?:\w+\s+)?answer|right|correct)\b", re.IGNORECASE
)
_ARE_BOTH = compile_later(r"\s+and\s+[$€£]?\d[\d,.]*\s+(?:are|were|both)\b", re.IGNORECASE)
"""Behind the first of two numbers of which something is said: "11 and 13 are both prime"."""
_PARTITIVE = compile_later(
    r"\bof\s+(?:the|his|her|their|its|your|my|our|these|those)\s+(?:original\s+|total\s+)?\Z",
    re.IGNORECASE,
)
"""Before the whole of which a part is the answer: "25 of his 40 cards"."""
_ARROW = compile_later(r"\s*(?:→|⇒|->|=>)\s*(?=[-+]?[$€£]?\d)")
_TOTAL_BEHIND = compile_later(
    r"(?:\s+[a-z]+){0,2}\s+(?:in\s+total|en\s+total|au\s+total|insgesamt|altogether|in\s+all|overall|left|remaining"
    r"|(?:are|is|were|was|will\s+be)\s+(?:needed|required|necessary)|(?:more|fewer|less)\s+than)\b",
    re.IGNORECASE,
)
"""Behind a number that its sentence arrives at: "18 books in total", "6 trips are needed"."""
_CALCULATION = compile_later(
    r"[\s$]*\d[\d.,]*(?:(?:\s*[+*×]\s*|\s+[-/÷x]\s+|\s*÷\s*)\$?\d[\d.,]*)+(?:\s?[cdkm]?m[23]?\b)?[\s.$=]*"
)
"""A sum without its result. It is not done for the model."""
_OPERATOR = compile_later(
    r"\W*(?:[a-z]{1,3}\s+)?(?:[×*+x]|plus|minus|times)\s*[$€£]?", re.IGNORECASE
)
"""Between two numbers of a sum that is not done: "12 cm × 5 cm", "$15, plus $3"."""
_BRACKETED = compile_later(r"\([^()]*\)")
_REASON_IN_FRONT = compile_later(
    r"\W*(?:(?:and|but|so|now|then)\s+)?(?:since|because|as|given\s+that|although|though|while|whereas)\b"
    r"(?:[^,;]|,(?=\d))*,\s+",
    re.IGNORECASE,
)
"""A clause before the main one, whose numbers are given: "Since it has 9 pages, …"."""
_REASON = compile_later(r",?\s+(?:because|since)\s", re.IGNORECASE)
_YEAR = compile_later(r"\b(?:in|since|by|until|of|year)\s+\Z", re.IGNORECASE)
_RESULT = compile_later(r"=\s*([-+]?[$€£]?\s?[\d,]*\.?\d+)(?!\s*[-+*/x×÷^(\d])")
_MORE_RESULTS = compile_later(r"(?:\s*(?:,\s*(?:and|or)?|;|\bor\b|\band\b)\s*-?\d[\d.]*)+[\s.$]*")
"""Other results behind the first one: "n = 3, 4, 5"."""
_VERB = compile_later(
    r"\b(?:is|are|was|were|be|been|equals?|has|have|had|needs?|left|costs?|makes?|gets?|holds?"
    r"|contains?|weighs?|(?:can|will|could|would|must)\s+\w+)\b",
    re.IGNORECASE,
)
_CONCLUSION = compile_later(
    r"(?:[,;:-]\s*(?:and\s+)?(?:so|therefore|thus|hence)|\b(?:which\s+(?:(?:is|are)(?!\s+(?:about|roughly|approximately|around)\b|\s+[$€£]?\d[\d,.]*%?\s+(?:\w+\s+){0,2}?times\s)|means|makes"
    r"|equals|leaves|gives|rounds\s+to|brings\s+(?:it|(?:the|his|her|their)\s+\w+)\s+to"
    r"|works\s+out\s+(?:to|at|as)|"
    r"comes\s+to|amounts\s+to)(?:\s+(?:equivalent|equal|the\s+same)\s+(?:to|as))?|that\s+is"
    r"|i\.?e\.?|in\s+other\s+words|"
    r"equivalent\s+to|leaving|making|giving|totall?ing|so\s+that\s+makes|for\s+a\s+total\s+of"
    r"|but\s+i(?:'ll|'d|\s+will|\s+would)?\s+(?:say|pick|choose|guess|go\s+(?:with"
    r"|for)|settle\s+on)"
    r"|but\s+(?:\w+\s+){0,8}?(?:it(?:\s+is|'s)|\w+(?=,\s+[$€£]?\d[\d.,]*\W*\Z))|with\s+\w+\s+"
    r"\w+\s+it\s+is))\b|;(?!\s*(?:before|previously|originally|initially|at\s+first|because|since"
    r"|that\s+is|this\s+is)\b)|:(?=\s[$€£]?\d[\d.,]*\W*\Z)",
    re.IGNORECASE,
)
"""What a sentence says behind the last of these is what it arrives at."""
_ASIDE = compile_later(
    r"(?<!\bbut)(?<!\band)(?<!\bso),?\s(?:because|since|(?:after|before|when|while)\s+\w+ing)\s"
    r"|,\s(?:who|whose|whom|where|when|while|whereas|although|though|even\s+though|as|compared"
    r"|(?:which\s+is\s+|or\s+|i\.e\.,?\s+)?(?:about|roughly|approximately|around))\s",
    re.IGNORECASE,
)
"""Opens a clause that explains or compares: "14 more than Ann, who has 6"."""
_ARRIVES = compile_later(
    r"\b(?:(?:you|we|i|one)\s+(?:will\s+|would\s+)?(?:get|got|have|obtain|end\s+up\s+with)"
    r"|leaves|leaving|becomes|ending\s+(?:up\s+)?(?:with|at|on)|gives(?!\s+away)|giving(?!\s+away)|yields"
    r"|equals?|totals|totall?ing|results\s+in|comes\s+to|amounts\s+to|makes|means"
    r"|rounds\s+(?:up\s+|down\s+|off\s+)?to|works\s+out\s+(?:to|at|as)"
    r"|left\s+with|adds\s+up\s+to|sums\s+(?:up\s+)?to)\s",
    re.IGNORECASE,
)
"""The verb of a result, behind the numbers that it is made of: "30 minus 21 leaves 9"."""
_CONDITION = compile_later(r"\s(?:when|if|once|where|provided|given)\s", re.IGNORECASE)
"""Opens a condition, whose numbers are given: "x is 12 when y is 3"."""
_COMPARED = compile_later(
    r",\s+(?:which\s+is\s+)?[$€£]?\d[\d,.]*\s+(?:(?:\w+\s+){0,2}?(?:more|fewer|less|\w+er)\s+than"
    r"|times\s+(?:as\s+\w+\s+as|that|those|the))\b",
    re.IGNORECASE,
)
"""Compares the number of the clause before: "75 points, 5 fewer than last time's 80"."""
_GIVEN = compile_later(
    r"\b(?:in|for|at|per|plus|minus|times|over|after|with|within|during|by|from|of|on|than|among|between"
    r"|every|each|against|under"
    r"|since|until|through|to|the|these|those|all|both|his|her|its|their|my|our|your"
    r"|other|first|last|next)"
    r"\s+(?:about\s+|only\s+|just\s+)?[$€£]?\Z",
    re.IGNORECASE,
)
"""Before a number that a preposition or "the" marks as known: "15 parts in 5 minutes"."""
_TURNED = compile_later(
    r"\s*(?:[a-z]+\s+)?(?:is|are|was|were)\s+(?:the\s+(?:sum|product|difference|quotient"
    r"|result|total|average|mean)\s+of\b"
    r"|[$€£]?\d[\d,.]*\s+(?:\w+\s+)?(?:more|fewer|less|\w+er)\s+than\b)",
    re.IGNORECASE,
)
"""Behind a number at the start that is explained: "18 is the sum of 12 and 6"."""
_TWO_OBJECTS = compile_later(r"\s+[a-z]+(?:\s+[a-z]+)?\s+\Z", re.IGNORECASE)
_JOINS = compile_later(
    r"\b(?:and|or|in|for|at|of|on|with|by|from|to|per|than|is|are|was|were|minus"
    r"|plus|times|each|every)\b",
    re.I,
)
_TAKES = compile_later(
    r"\b(?:takes?|took|gives?|gave|costs?|pays?|paid)\s+(?:about\s+)?[$€£]?\Z", re.IGNORECASE
)
"""Before the first of two objects: "it takes 4 painters 3 days"."""
_NAME = compile_later(
    r"(?<![\w'-])(?!(?:The|In|At|On|By|For|Of|With|After|About|Only|Just|All|Each"
    r"|Every|Since|If|When|Answer|Total|Sum|Result)\b)[A-Z][a-z]+\s+\Z"
)
"""Before a number that is part of a name: "Apollo 11"."""
_MAY_BE = compile_later(
    r"\b(?:could|might|may)\s+(?:also\s+|well\s+)?be\b|\bmaybe\b", re.IGNORECASE
)
_ONE = compile_later(
    r"\s+(?:possib|way|reason|approach|thing|option|could|might|may|can|must|should|would|has\s+to)",
    re.IGNORECASE,
)
"""Behind "one" at the start of a sentence that counts nothing."""
_MOST_NUMBERS = 50
"""Numbers. A sentence with more is a loop or a table, and holds no answer."""


def holds_digit(text: str) -> bool:
    """Look for a digit, in a twentieth of the time that a pattern takes to find none."""
    return any(map(text.__contains__, "0123456789"))


def _holds_number_word(text: str) -> bool:
    return not NUMBER_WORDS.isdisjoint(
        text.lower().encode("utf-8", "replace").translate(_LETTERS).split()
    )


def read_sentence(sentence: str, text: str) -> FoundAnswer | None:
    """Find the result of a sentence of ``text``: after its last equals sign, or the best one."""
    if "→" in sentence or "⇒" in sentence or ">" in sentence:
        sentence = _ARROW.sub(" = ", sentence)
    if "=" in sentence:
        reason = _REASON.search(sentence)
        if reason and holds_digit(sentence[: reason.start()].partition("=")[0]):
            return read_sentence(sentence[: reason.start()], text)
        head, _, result = sentence.rpartition("=")
        if (conclusion := _conclusion(result)) and (said := read_sentence(conclusion, text)):
            return replace(said, rule="the conclusion behind an equation")
        match = NUMBER.search(result)
        if match is not None and not (
            _CALCULATION.fullmatch(result) and NUMBER.fullmatch(head.strip())
        ):
            if more := _MORE_RESULTS.fullmatch(result, match.end()):
                return FoundAnswer(match[0] + more[0].rstrip(), "several results", several=True)
            return _candidate(match, "result of the equation")
        sentence = head
    if _CALCULATION.fullmatch(sentence):
        return FoundAnswer(None, "a calculation without its result")
    if label := _LABEL.match(sentence):
        sentence = sentence[label.end() :]
    found = find_candidates(sentence) if holds_digit(sentence) else []
    if not found:
        return _in_words(sentence)
    if len(found) == 1 and is_bound(found[0], sentence):
        return FoundAnswer(None, "the number is only bounded")
    if len(found) == 1:
        return FoundAnswer(found[0].text, "the only number", confidence="only candidate")
    if len(found) > _MOST_NUMBERS:
        return FoundAnswer(None, "too many numbers in a sentence")
    return _of_several(found, sentence, text)


def _candidate(match: "re.Match[str]", rule: str) -> FoundAnswer:
    return FoundAnswer(match.group().strip(), rule, confidence="only candidate")


def _in_words(sentence: str) -> FoundAnswer | None:
    """Find a number in words; "one" alone within a sentence is a pronoun."""
    if not sentence.isascii() and (sign := find_ideograms(sentence)):
        return _candidate(sign, "number in ideograms")
    if not _holds_number_word(sentence):
        abroad = find_abroad(sentence)
        return (
            FoundAnswer(abroad, "number in words", confidence="only candidate") if abroad else None
        )
    if ratio := find_ratio(sentence):
        return _candidate(ratio, "a part of a whole")
    words = [
        match for match in WORDS.finditer(sentence) if not is_denied_number(match.start(), sentence)
    ]
    if not words or (
        len(words) == 1
        and words[0].group().casefold() == "one"
        and (sentence[: words[0].start()].strip() != "" or _ONE.match(sentence, words[0].end()))
    ):
        return None
    if len({value_of_words(match.group()) for match in words}) > 1:
        digits = in_digits(sentence)
        if digits != sentence and (found := read_sentence(digits, sentence)) is not None:
            return replace(found, rule=f"{found.rule}, in words")
        return FoundAnswer(words[0].group(), "first number in words", confidence="guessed")
    return _candidate(words[0], "number in words")


def _of_several(found: list[Candidate], sentence: str, text: str) -> FoundAnswer:
    """Read a sentence with several numbers."""
    found = _before_a_purpose(_outside_brackets(found, sentence), sentence)
    if (fronted := _REASON_IN_FRONT.match(sentence)) and found[-1].start >= fronted.end():
        found = [one for one in found if one.start >= fronted.end()]
    found = found[:1] + [one for one in found[1:] if not _PARTITIVE.search(sentence, 0, one.start)]
    asserted = [one for one in found if not is_doubted_at(sentence, one.start, one.end)]
    found = asserted or found
    if len(found) == 1:
        return FoundAnswer(
            found[0].text, "the only number that is not explained", confidence="only candidate"
        )
    if len({one.value for one in found}) > 1 and (
        _ALL_NUMBERS.fullmatch(sentence) or _is_list(found, sentence)
    ):
        return FoundAnswer(
            ", ".join(one.text for one in found), "nothing but numbers", several=True
        )
    if len({one.value for one in found}) > 1 and _BOTH_RIGHT.search(sentence):
        return FoundAnswer(", ".join(one.text for one in found), "both called right", several=True)
    called = [one for one in found if _CALLED_RIGHT.match(sentence, one.end)]
    if len(called) == 1:
        return FoundAnswer(called[0].text, "called the answer", confidence="only candidate")
    if _ARE_BOTH.match(sentence, found[0].end) and not sentence[: found[0].start].strip(" *"):
        return FoundAnswer(", ".join(one.text for one in found), "two numbers", several=True)
    if either := _alternatives(found, sentence):
        return FoundAnswer(either, "two numbers", several=True)
    conclusion = _conclusion(sentence)
    said = read_sentence(conclusion, text) if conclusion else None
    if said is not None and said.answer:
        return replace(said, rule="the conclusion")
    if _TURNED.match(sentence, found[0].end) and not sentence[: found[0].start].strip(" *$"):
        return FoundAnswer(found[0].text, "explained behind it", confidence="only candidate")
    condition = _CONDITION.search(sentence, found[0].end)
    if condition is not None and condition.start() < found[-1].start:
        return read_sentence(sentence[: condition.start()], text) or _among(found, sentence, text)
    for verb in reversed(list(_ARRIVES.finditer(sentence, found[0].end))):
        after = next((one for one in found if one.start >= verb.end()), None)
        if after is not None:
            return FoundAnswer(
                after.text, "behind the verb of a result", confidence="only candidate"
            )
    compared = _COMPARED.search(sentence, found[0].end)
    if compared is not None and sum(one.start < compared.start() for one in found) == 1:
        return FoundAnswer(found[0].text, "compared behind it", confidence="only candidate")
    if (change := _FROM_TO.search(sentence)) and len(
        outside := [one for one in found if not change.start() <= one.start < change.end()]
    ) == 1:
        return FoundAnswer(outside[0].text, "the change", confidence="only candidate")
    if change and not outside:
        return FoundAnswer(found[-1].text, "what it changed to", confidence="guessed")
    if _RANGE.search(sentence):
        return FoundAnswer(" to ".join(one.text for one in found[:2]), "a range", several=True)
    aside = _ASIDE.search(sentence, found[0].end)
    if aside is not None and aside.start() < found[-1].start:
        return read_sentence(sentence[: aside.start()], text) or _among(found, sentence, text)
    if len({one.value for one in found}) > 1 and len(_MAY_BE.findall(sentence)) > 1:
        return FoundAnswer(", ".join(one.text for one in found), "several guesses", several=True)
    return _among(found, sentence, text)


def _conclusion(sentence: str) -> str | None:
    """Return what a sentence says behind its last conclusion, if that holds a number."""
    ends = [match.end() for match in _CONCLUSION.finditer(sentence)]
    last = next(
        (
            end
            for end in reversed(ends)
            if holds_digit(sentence[end:]) or _holds_number_word(sentence[end:])
        ),
        None,
    )
    return None if last is None else sentence[last:]


def _outside_brackets(found: list[Candidate], sentence: str) -> list[Candidate]:
    """Leave out numbers in brackets after others: they explain, "30 (10 for Ann, 20 for Bob)"."""
    spans = (
        [match.span() for match in _BRACKETED.finditer(sentence, found[0].end)]
        if "(" in sentence
        else []
    )
    return [one for one in found if not any(start <= one.start < end for start, end in spans)]


def _before_a_purpose(found: list[Candidate], sentence: str) -> list[Candidate]:
    """Leave out the numbers of a purpose that follows: "needs 310 ounces to make 8 batches"."""
    purpose = _NEEDS.search(sentence, 0, found[0].start) and _PURPOSE.search(sentence, found[0].end)
    return [one for one in found if one.start < purpose.start()] if purpose else found


def _is_list(found: list[Candidate], sentence: str) -> bool:
    """Return True if a sentence lists its numbers as answers: "The solutions are 4 and 9"."""
    return _LISTED.search(sentence, 0, found[0].start) is not None and all(
        _BETWEEN.fullmatch(sentence, one.end, other.start) for one, other in pairwise(found)
    )


def _alternatives(found: list[Candidate], sentence: str) -> str | None:
    """Return two different numbers that are joined by "or"; None without them.

    One number written in two ways, "3/8 or .375", is one.
    """
    for one, other in pairwise(found):
        between = sentence[one.end : other.start].strip(" ,")
        if (
            (
                between.casefold() in ("or", "or maybe", "or perhaps", "or possibly")
                or between.casefold().endswith(("otherwise", "or else"))
            )
            and one.currency == other.currency
            and one.value is not None
            and other.value is not None
            and other.value not in (one.value, 100 * one.value, one.value / 100)
        ):
            return f"{one.text} or {other.text}"
    return None


def _is_sum(one: Candidate, other: Candidate, sentence: str) -> bool:
    return _OPERATOR.fullmatch(sentence, one.end, other.start) is not None


def _among(found: list[Candidate], sentence: str, text: str) -> FoundAnswer:
    """Choose among several numbers of a sentence by what is said around them.

    A total, a result computed before, an amount, or the object of the verb is the answer.
    """
    sums = [pair for pair in pairwise(found) if _is_sum(*pair, sentence)]
    if sums:
        outside = [one for one in found if not any(one in pair for pair in sums)]
        if len(outside) == 1 and (outside[0] is found[-1] or outside[0].start <= 1):
            return FoundAnswer(outside[0].text, "the number outside a sum", confidence="guessed")
        if not outside or outside[-1].start < sums[0][0].start:
            return FoundAnswer(None, "a calculation without its result")
    totals = [
        one
        for one in found
        if _TOTAL.search(sentence, 0, one.start)
        or (_TOTAL_BEHIND.match(sentence, one.end) and not _SO_THAT.search(sentence, 0, one.start))
    ]
    if totals:
        return FoundAnswer(totals[-1].text, "a total", confidence="only candidate")
    for result in reversed(_RESULT.findall(text)):
        value = value_of(result)
        for one in found:
            if one.value is not None and one.value == value:
                return FoundAnswer(one.text, "a result computed before", confidence="guessed")
    priced = [one for one in found if one.currency]
    if len(priced) == 1:
        return FoundAnswer(priced[0].text, "the only amount of money", confidence="guessed")
    undated = [
        one
        for one in found
        if not (_YEAR.search(sentence, 0, one.start) and len(one.text) == len("2020"))
    ]
    if len(undated) == 1 and _NAME.search(sentence, 0, undated[0].start):
        undated = [one for one in found if one is not undated[0]][:1]
        return FoundAnswer(undated[0].text, "a year, beside a name", confidence="guessed")
    if len(undated) == 1:
        return FoundAnswer(
            undated[0].text, "the only number but a year", confidence="only candidate"
        )
    unknown = [one for one in found if not _GIVEN.search(sentence, 0, one.start)]
    if len(unknown) == 1 and (unknown[0].currency or not any(one.currency for one in found)):
        return FoundAnswer(
            unknown[0].text, "the only number that is not given", confidence="guessed"
        )
    if len(unknown) == 2 and _TAKES.search(sentence, 0, unknown[0].start):
        between = sentence[unknown[0].end : unknown[1].start]
        if _TWO_OBJECTS.fullmatch(between) and not _JOINS.search(between):
            return FoundAnswer(unknown[1].text, "the second object", confidence="guessed")
    for verb in reversed(list(_VERB.finditer(sentence))):
        after = next((one for one in found if one.start >= verb.end()), None)
        if after is not None:
            return FoundAnswer(after.text, "number after the verb", confidence="guessed")
    if found[0].start <= 1:
        return FoundAnswer(found[0].text, "first number", confidence="guessed")
    return FoundAnswer(None, "several numbers, and no sign which one is the answer")
