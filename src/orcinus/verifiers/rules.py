"""Find the final answer in a text by the example's answer type, and compare it with the reference.

    find_answer("… So the answer is (B).", "choice", choices)  →  FoundAnswer("B", "marker: letter")
    judge(…, "choice", choices, "B")                       →  Outcome(1.0, "B", "marker: letter")

If no answer is found the value is None, never 0.0. Two different answers count as a wrong one.
"""

from collections.abc import Sequence
from dataclasses import replace

from orcinus.core.types import AnswerType, Finish, Verdict
from orcinus.verifiers.answers.boolean import find_bool, truth_of
from orcinus.verifiers.answers.choice import find_choice
from orcinus.verifiers.answers.dates import names_date
from orcinus.verifiers.answers.exact import find_exact, is_brackets, same_text
from orcinus.verifiers.answers.item_lists import find_list, same_list
from orcinus.verifiers.answers.json_values import find_json, same_json
from orcinus.verifiers.answers.math_library import Comparison
from orcinus.verifiers.answers.maths import (
    NEEDS_LIBRARY,
    await_library,
    compare_math,
    compare_with_library,
    find_expression,
    find_math,
    is_puzzle,
    solves_puzzle,
)
from orcinus.verifiers.answers.number import find_number
from orcinus.verifiers.answers.quantities import names_number, names_time
from orcinus.verifiers.answers.spans import find_spans, same_spans
from orcinus.verifiers.answers.stated import denies, states
from orcinus.verifiers.answers.text import FoundAnswer, Outcome
from orcinus.verifiers.answers.units import names_quantity
from orcinus.verifiers.programs import final_program, passes, printed_by

Reference = str | tuple[str, ...] | None
VERSION = 3
"""Raised when a rule changes, so that a verdict shows which rules it was made by."""


def judge_reply(
    text: str,
    finish: Finish,
    answer_type: AnswerType,
    choices: Sequence[str] | None,
    reference: Reference,
) -> Outcome:
    """Judge a model's reply; where a library must be asked, the reason is ``NEEDS_LIBRARY``."""
    if finish == "error":
        return Outcome(None, None, "no answer came")
    if finish == "refusal":
        return Outcome(None, None, "refused")
    cut_off = finish == "length"
    return judge(text, answer_type, choices, reference, cut_off=cut_off, library=False)


def verdict_of(outcome: Outcome, answer_type: AnswerType, attempt_id: str) -> Verdict:
    """Return an outcome as the verdict on an attempt."""
    return Verdict(
        attempt_id=attempt_id,
        verifier=f"{answer_type}@{VERSION}",
        value=outcome.value,
        answer=outcome.answer,
        reason=outcome.reason,
        confidence=outcome.confidence,
    )


def judge(
    response: str,
    answer_type: AnswerType,
    choices: Sequence[str] | None,
    reference: Reference,
    *,
    cut_off: bool = False,
    library: bool = True,
) -> Outcome:
    """Judge one response.

    Args:
        response: The whole text.
        answer_type: How the answer is found and compared.
        choices: The options, if there are any.
        reference: The right answer. A tuple holds the items of a ``list``, or several right
        answers.
        cut_off: True if the response stopped at the token limit.
        library: Ask the library about expressions that no rule can read, and wait for its reply.
            Without it their reason is ``NEEDS_LIBRARY``.
    """
    if answer_type == "free" and isinstance(reference, str) and is_puzzle(reference):
        found = find_expression(response)
        value = None if found.answer is None else float(solves_puzzle(found.answer, reference))
        return Outcome(value, found.answer, found.rule)
    if answer_type == "free":
        return Outcome(None, None, "free text has no rule; it needs a judge")
    if answer_type == "program":
        tests = "\n".join(reference) if isinstance(reference, tuple) else reference
        return (
            passes(response, tests) if tests else Outcome(None, None, "there are no tests to run")
        )
    rule = ""
    program = None if cut_off or answer_type == "json" else final_program(response)
    if program is not None:
        printed, failure = printed_by(program)
        if printed is None:
            return Outcome(None, None, failure)
        response, rule = f"The answer is {printed}", "what its program prints: "
    found = find_answer(response, answer_type, choices, reference, cut_off=cut_off)
    if found.answer is None:
        return Outcome(None, None, rule + found.rule)
    if reference is None:
        return Outcome(
            None, found.answer, "there is no reference to compare with", found.confidence
        )
    if answer_type == "math" and not found.several:
        return _judge_math(found, rule, _as_tuple(reference), library=library)
    answer = found.answer
    right = not found.several and _is_right(answer, answer_type, reference)
    if answer_type == "number" and not found.several:
        by_unit = [names_quantity(answer, one, response) for one in _as_tuple(reference)]
        right = True in by_unit or (right and False not in by_unit)
    if right and found.whole not in (None, answer) and denies(found.whole or "", answer):
        right = False
    if not right and found.whole is not None and _is_right(found.whole, answer_type, reference):
        right, answer = True, found.whole
    if not right and not found.several and found.whole is not None:
        said = {one: states(found.whole, one) for one in _as_tuple(reference)}
        stated = next((one for one, verdict in said.items() if verdict), None)
        if stated is None and None in said.values():
            return Outcome(None, answer, rule + "the reference is named beside another", "guessed")
        right, answer = stated is not None, stated or answer
    return Outcome(1.0 if right else 0.0, answer, rule + found.rule, found.confidence)


def find_answer(
    response: str,
    answer_type: AnswerType,
    choices: Sequence[str] | None,
    reference: Reference = None,
    *,
    cut_off: bool = False,
) -> FoundAnswer:
    """Find the final answer in a text.

    Only the form of the reference matters here: whether it is a row of brackets, or bare numbers.
    """
    match answer_type:
        case "choice":
            return find_choice(response, choices, cut_off=cut_off)
        case "bool":
            return find_bool(response, cut_off=cut_off)
        case "number":
            return find_number(response, cut_off=cut_off)
        case "math":
            return find_math(response, reference, cut_off=cut_off)
        case "list":
            return find_list(response, cut_off=cut_off)
        case "spans":
            return find_spans(response, reference, cut_off=cut_off)
        case "json":
            return find_json(response)
        case _:
            brackets = isinstance(reference, str) and is_brackets(reference)
            return find_exact(response, choices, brackets=brackets, cut_off=cut_off)


def _as_tuple(reference: str | tuple[str, ...]) -> tuple[str, ...]:
    return reference if isinstance(reference, tuple) else (reference,)


def _judge_math(
    found: FoundAnswer, rule: str, references: tuple[str, ...], *, library: bool
) -> Outcome:
    answer = found.answer or ""
    compared = [compare_math(answer, reference) for reference in references]
    undecided = next((one for one in compared if one.same is None), compared[0])
    best = next((one for one in compared if one.same), undecided)
    if best.rule == NEEDS_LIBRARY and library:
        best = compare_with_library(answer, references)
    return _math_outcome(replace(found, rule=rule + found.rule), best)


async def judge_by_library(answer: str, reference: str | tuple[str, ...]) -> Outcome:
    """Judge an expression that no rule can read, while the event loop goes on."""
    found = FoundAnswer(answer, "")
    return _math_outcome(found, await await_library(answer, _as_tuple(reference)))


def _math_outcome(found: FoundAnswer, compared: Comparison) -> Outcome:
    """Return the outcome of a comparison, with its rule where that says more than the finder's."""
    if compared.same is None:
        return Outcome(None, found.answer, compared.rule, found.confidence)
    plain = compared.rule in _PLAIN_RULES
    rule = found.rule if plain else f"{found.rule}, {compared.rule}".lstrip(", ")
    return Outcome(float(compared.same), found.answer, rule, found.confidence)


_PLAIN_RULES = ("the same text", "equal values", "other values", "other words")


def _is_right(answer: str, answer_type: AnswerType, reference: Reference) -> bool:
    if reference is None:
        return False
    if answer_type == "list":
        return same_list(answer, reference if isinstance(reference, tuple) else reference.split())
    if isinstance(reference, tuple):
        return any(_is_right(answer, answer_type, item) for item in reference)
    if answer_type in ("exact", "spans") and (
        names_date(answer, reference) or names_time(answer, reference)
    ):
        return True
    match answer_type:
        case "choice":
            return answer == reference.strip("() .").upper()
        case "bool":
            return answer == truth_of(reference)
        case "number":
            return names_number(answer, reference)
        case "spans":
            return same_spans(answer, reference)
        case "json":
            return same_json(answer, reference)
        case _:
            return same_text(answer, reference)
