"""Find the final answer: the last explicit statement in the final channel of a response.

    "We get 18 + 38 = 56. So the answer is 56."   →   Statement("56.", rule="marker")

Five stages lead to a verdict, and the finders of all answer types share the first two:

    channel     ``channels``, ``cleaning``       what the response says to its reader
    statement   ``statements``, ``corrections``  the places that announce it, the last one first
    piece       the module of the type           the words of a place that hold the answer
    reading     the module of the type           what they mean
    comparison  the module of the type           whether that is the reference
"""

import re
from dataclasses import replace
from itertools import islice

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.corrections import (
    Correction,
    bare_answer,
    concluding_answer,
    correction,
    restated,
)
from orcinus.verifiers.answers.solutions import last_box
from orcinus.verifiers.answers.statements import statements
from orcinus.verifiers.answers.text import FoundAnswer, Reader, Statement, sentences

_LAST_WORDS = 60
"""Characters at the end of a text that show whether it breaks off."""
_OPEN_CLAUSE = compile_later(
    r"(?<![\w'])(?:the|a|an|of|to|is|are|was|were|and|or|then|we|so|because|"
    r"since|with|in|by|for|that|which|if|from|at|as|have|has|had|i|(?:and|that|then|so|if|but)\s+it|its|their|his|her|this"
    r"|these|be|"
    r"will|would|can|could|should|gives?|let|than|into|per|but|when|where|while|also|need|needs"
    r"|get|"
    r"equals?|plus|minus|times|not|before|after|until|unless|whether|although|though|whereas|among|without|within|upon|about|around|approximately|roughly|nearly|almost|each|every|my"
    r"|your|our|through|during|between|very|such|whose|they|he|she)\s*\Z"
)
"""What no finished sentence ends with. Only lower-case words: "I" and "A" may be answers."""
_OPEN_CLAUSE_ABROAD = compile_later(
    r"(?<=[^.。!?！？,，:：\n]{5})[是为為在与與和或被把将將はがをにで를을]\Z"
)
"""The particle that a sentence breaks off behind, in scripts without blanks."""
_OPEN_FORMULA = compile_later(r"(?:[=/×÷^\\(,]|(?<=\s)\+|(?<=[\w)]\s)[*−-]|(?<=\d)\*)\Z")
"""The last sign of a text that breaks off within a formula."""
_LAST_STEP = 200
"""Characters at the end of a text in which its last step may begin."""
_STEP = compile_later(
    r"(?:first|second|third|next|then|now|finally|after\s+that|step\s+\w+|let(?:'s|\s+us|\s+me)|to\s+\w+)\b[,:]?"
    r"(?:\s+[^\W\d]+,?){2,}",
    re.IGNORECASE,
)
"""A sentence in words alone that opens a step: "Next we need to subtract"."""
_SHORT_TEXT = 4
"""Words. A text as short as this is an answer, whichever word it ends with."""
_BRACKETS = "()[]{}"
_MARKS = " \t\n*_:.…'\"`$\\-"
"""Signs that hold no answer by themselves."""


def find_final(
    text: str, read: Reader, *, cut_off: bool = False, may_end_open: bool = False
) -> FoundAnswer:
    """Return the last answer that a ``cleaned`` text states and that ``read`` understands.

    A correction comes first, then the announcements from the last to the first, then the text.

    Args:
        text: The text.
        read: Reads one place.
        cut_off: True if the text stopped at the token limit; then only what it announced counts.
        may_end_open: True if a bracket or a word like "with" may end an answer.
    """
    places = statements(text)
    place = next(places, None)
    nothing = "no answer is given" if place is None else "the answer is announced but not given"
    fix = correction(text, 0 if place is None else place.start + 1)
    if fix is not None and (found := _read_correction(fix, read)) is not None:
        return replace(found, rule=f"corrected: {found.rule}", confidence="explicit")
    while place is not None:
        if not place.text.strip(_MARKS if may_end_open else _MARKS + _BRACKETS):
            return FoundAnswer(None, "the answer is announced but not given")
        if (
            place.rule == "marker"
            and not may_end_open
            and ends_in_formula(place.text)
            and len(sentences(place.text)) == 1
            and not (place.text.endswith(",") and len(place.text.split()) == 1)
        ):
            return FoundAnswer(None, "the text breaks off")
        if "?" in place.text:
            place = _behind_question(place)
        found = read(place, text)
        if found is not None:
            if found.several and (decided := _decided_below(place, read)) is not None:
                return decided
            return explicit(found, place.rule)
        place = next(places, None)
    if cut_off:
        return FoundAnswer(None, "cut off before an answer was announced")
    if not may_end_open and is_broken_off(text):
        return FoundAnswer(None, "the text breaks off")
    return read(Statement(text, "text"), text) or FoundAnswer(None, nothing)


def _behind_question(place: Statement) -> Statement:
    """Return a place without a first sentence that only asks: "(A)? No, it is (C)."."""
    first, *later = sentences(place.text)
    asks = first.endswith("?") and later
    return replace(place, text=" ".join(later)) if asks else place


def _decided_below(place: Statement, read: Reader) -> FoundAnswer | None:
    """Return the one answer that later sentences of a place choose among several."""
    first, *later = sentences(place.text)
    rest = " ".join(later)
    found = read(Statement(rest, "text"), rest) if rest else None
    if found is None or found.answer is None or found.several or found.confidence == "guessed":
        return None
    return replace(found, confidence="explicit") if found.answer in first else None


def explicit(found: FoundAnswer, rule: str) -> FoundAnswer:
    """Return an answer as one that a place with that rule announces."""
    return FoundAnswer(
        found.answer,
        f"{rule}: {found.rule}",
        found.several,
        "guessed" if found.confidence == "guessed" else "explicit",
        found.whole,
    )


def _read_correction(fix: Correction, read: Reader) -> FoundAnswer | None:
    """Read what a correction says instead; None if it says nothing that can be read."""
    for place in _restatements(fix):
        found = read(place, fix.rest) if place.text.strip(_MARKS) else None
        if found is not None and found.answer is not None:
            return found
    if not fix.strong:
        return None
    found = read(Statement(fix.rest.strip(" ,.:!-\n"), "text"), fix.rest)
    return found if found is not None and found.answer is not None else None


def _restatements(fix: Correction) -> list[Statement]:
    """Return the places of a correction that state another answer."""
    stated = list(islice(statements(fix.rest), 1))
    cue = restated(fix.rest)
    if cue is not None and not (stated and len(stated[0].text) <= len(cue)):
        stated.append(Statement(cue.strip(), "marker"))
    elif not stated and (bare := concluding_answer(fix.rest) or bare_answer(fix.rest)):
        stated.append(Statement(bare, "marker"))
    return stated


def statement(text: str) -> Statement:
    """Return the part of a ``cleaned`` text where the answer should stand."""
    place = next(statements(text), None)
    fix = correction(text, 0 if place is None else place.start + 1)
    if fix is not None and (stated := _restatements(fix)):
        return stated[0]
    return place or Statement(text, "text")


def is_broken_off(text: str) -> bool:
    """Return True if a text ends within a formula or a clause: "Then 156 + 4 =", "(B) is"."""
    end = text[-_LAST_WORDS:]
    return (
        ends_in_formula(end)
        or ("\\boxed{" in end and last_box(text) is None)
        or (not end.isascii() and _OPEN_CLAUSE_ABROAD.search(end) is not None)
        or (_OPEN_CLAUSE.search(end) is not None and len(end.split()) > _SHORT_TEXT)
        or _ends_in_a_step(text)
    )


def _ends_in_a_step(text: str) -> bool:
    """Return True if the last sentence opens another step, and has neither a stop nor a number."""
    if not text[-1:].isalpha():
        return False
    last = sentences(text[-_LAST_STEP:])[-1:]
    return bool(last) and len(last[0]) < len(text) and _STEP.fullmatch(last[0].strip()) is not None


def ends_in_formula(text: str) -> bool:
    """Return True if a text ends with a sign that a formula goes on behind."""
    end = text.rstrip()
    return _OPEN_FORMULA.match(end, max(0, len(end) - 1)) is not None
