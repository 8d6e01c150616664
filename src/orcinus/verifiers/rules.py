"""Find the final answer in a text by the example's answer type, and compare it with the reference.

    find_answer("… So the answer is (B).", "choice", choices)  →  FoundAnswer("B", "marker: letter")
    judge(…, "choice", choices, "B")                       →  Outcome(1.0, "B", "marker: letter")

If no answer is found the value is None, never 0.0. Two different answers count as a wrong one.
"""

from collections.abc import Sequence

from orcinus.core.types import AnswerType
from orcinus.verifiers.answers.boolean import find_bool, truth_of
from orcinus.verifiers.answers.choice import find_choice
from orcinus.verifiers.answers.exact import find_exact, find_list, is_brackets, same_list, same_text
from orcinus.verifiers.answers.json_values import find_json, same_json
from orcinus.verifiers.answers.maths import (
    find_expression,
    find_math,
    is_puzzle,
    same_math,
    solves_puzzle,
)
from orcinus.verifiers.answers.number import find_number, names_number
from orcinus.verifiers.answers.spans import find_spans, same_spans
from orcinus.verifiers.answers.text import FoundAnswer, Outcome
from orcinus.verifiers.programs import final_program, passes, printed_by

Reference = str | tuple[str, ...] | None


def judge(
    response: str,
    answer_type: AnswerType,
    choices: Sequence[str] | None,
    reference: Reference,
    *,
    cut_off: bool = False,
) -> Outcome:
    """Judge one response.

    Args:
        response: The whole text.
        answer_type: How the answer is found and compared.
        choices: The options, if there are any.
        reference: The right answer. A tuple holds the items of a ``list``, or several right
        answers.
        cut_off: True if the response stopped at the token limit.
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
        return Outcome(None, found.answer, "there is no reference to compare with")
    right = not found.several and _is_right(found.answer, answer_type, reference)
    return Outcome(1.0 if right else 0.0, found.answer, rule + found.rule)


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
            return find_math(response, cut_off=cut_off)
        case "list":
            return find_list(response, cut_off=cut_off)
        case "spans":
            return find_spans(response, reference, cut_off=cut_off)
        case "json":
            return find_json(response)
        case _:
            brackets = isinstance(reference, str) and is_brackets(reference)
            return find_exact(response, choices, brackets=brackets, cut_off=cut_off)


def _is_right(answer: str, answer_type: AnswerType, reference: Reference) -> bool:
    if reference is None:
        return False
    if answer_type == "list":
        return same_list(answer, reference if isinstance(reference, tuple) else reference.split())
    if isinstance(reference, tuple):
        return any(_is_right(answer, answer_type, item) for item in reference)
    match answer_type:
        case "choice":
            return answer == reference.strip("() .").upper()
        case "bool":
            return answer == truth_of(reference)
        case "number":
            return names_number(answer, reference)
        case "math":
            return same_math(answer, reference)
        case "spans":
            return same_spans(answer, reference)
        case "json":
            return same_json(answer, reference)
        case _:
            return same_text(answer, reference)
