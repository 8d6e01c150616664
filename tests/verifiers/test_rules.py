"""Final answers in made-up texts: a row for each rule, so that a broken rule shows its name."""

import pytest

from orcinus.core.types import AnswerType
from orcinus.verifiers.rules import Reference, judge

COLOURS = ("red", "dark red", "blue", "none of these")

RIGHT: list[tuple[AnswerType, Reference, str]] = [
    ("choice", "C", "C"),
    ("choice", "C", "(c)"),
    ("choice", "C", "**C**"),
    ("choice", "C", "\\boxed{\\text{C}}"),
    ("choice", "C", "<answer>C</answer>"),
    ("choice", "C", '{"answer": "C"}'),
    ("choice", "C", "blue"),
    ("choice", "B", "It is dark red."),
    ("choice", "C", "The options are (A) to (D). (A) is wrong. So the answer is (C)."),
    ("choice", "C", "Among A through D, the answer is C."),
    ("choice", "C", "The answer is (C), because (A) and (B) are not."),
    ("choice", "C", "I first said (A). On second thought the answer is (C)."),
    ("choice", "C", "<think>Could be (A).</think> The answer is (C)."),
    ("choice", "C", "The answer is (C).\n\nQ: What is next?\nA: (A)"),
    ("number", "1200", "The answer is $1,200.00."),
    ("number", "12", "3 * 4 = 12"),
    ("number", "0.75", "3/4"),
    ("number", "2.5", "2 1/2"),
    ("number", "120", "one hundred and twenty"),
    ("number", "-3", "The answer is −3."),
    ("number", "42", "#### 42"),
    ("number", "40", "The sum of their ages in 10 years will be 40."),
    ("number", "18", "20 - 2 = 18\n\nTherefore, she has 18 left after 2 days."),
    ("bool", "yes", "True"),
    ("bool", "No", "Yes, people say so, but the answer is no."),
    ("bool", "yes", "No doubt, the answer is yes."),
    ("exact", "invalid", "So the argument is invalid. The answer is invalid."),
    ("exact", "] )", "])"),
    ("exact", "Paris", "The capital of France is Paris."),
    ("exact", ("Paris", "paris, France"), "The answer is Paris."),
    ("list", ("ant", "bee", "cow"), "1. ant\n2. bee\n3. cow"),
    ("list", ("ant", "bee", "cow"), "So the answer is ant bee cow."),
    ("math", "\\frac{1}{2}", "0.5"),
    ("math", "2\\sqrt{3}", "The answer is $\\sqrt{12}$."),
    ("math", "\\{1,2\\}", "\\{2, 1\\}"),
    ("json", '{"a": [1, 2]}', 'Here it is:\n```json\n{"a": [1,2]}\n```'),
    ("free", "24 from 4 5 7 9", "Answer: (7 - 4) * 5 + 9 = 24"),
]
WRONG: list[tuple[AnswerType, Reference, str]] = [
    ("choice", "C", "(A) red (B) dark red (C) blue (D) none of these"),
    ("choice", "C", "The answer is (B) or (C)."),
    ("choice", "A", "It is dark red."),
    ("number", "1234567", "The answer is 1234568."),
    ("number", "42", "The answer is between 40 and 42."),
    ("bool", "yes", "yes and no"),
    ("exact", "valid", "The answer is invalid."),
    ("exact", "Onion", "Onion ring"),
    ("exact", "] )", ") ]"),
    ("list", ("ant", "bee"), "bee ant"),
    ("math", "(3,4]", "(3,4)"),
    ("free", "24 from 4 5 7 9", "Answer: 4 * 6 = 24"),
]
NOT_JUDGED: list[tuple[AnswerType, Reference, str, str]] = [
    ("choice", "C", "", "empty"),
    ("choice", "C", "The answer is (", "announced"),
    ("choice", "C", "I'm sorry, but I cannot help with that.", "refused"),
    ("choice", "C", "<think>The answer is (C). But", "never ended"),
    ("choice", "C", "It is not (C).", "no option"),
    ("bool", "yes", "The answer (Yes or No) is not known.", "undecided"),
    ("number", "42", "It is not 42.", "no number"),
    ("free", "a poem", "a poem", "judge"),
    ("program", None, "print(1)", "no tests"),
]


@pytest.mark.parametrize(("kind", "reference", "text"), RIGHT)
def test_right(kind: AnswerType, reference: Reference, text: str) -> None:
    outcome = judge(text, kind, COLOURS if kind == "choice" else None, reference)
    assert outcome.value == 1.0, outcome


@pytest.mark.parametrize(("kind", "reference", "text"), WRONG)
def test_wrong(kind: AnswerType, reference: Reference, text: str) -> None:
    outcome = judge(text, kind, COLOURS if kind == "choice" else None, reference)
    assert outcome.value == 0.0, outcome


@pytest.mark.parametrize(("kind", "reference", "text", "why"), NOT_JUDGED)
def test_what_cannot_be_judged_is_none(
    kind: AnswerType, reference: Reference, text: str, why: str
) -> None:
    outcome = judge(text, kind, COLOURS if kind == "choice" else None, reference)
    assert outcome.value is None
    assert why in outcome.reason


def test_a_cut_off_text_counts_only_when_it_announced_its_answer() -> None:
    assert judge("First 6 apples, then 7", "number", None, "7", cut_off=True).value is None
    assert judge("The answer is 7. To see this", "number", None, "7", cut_off=True).value == 1.0


def test_without_a_reference_the_answer_is_found_and_not_judged() -> None:
    outcome = judge("The answer is 7.", "number", None, None)
    assert (outcome.value, outcome.answer) == (None, "7")


def test_a_hostile_expression_is_not_evaluated() -> None:
    assert judge("9**9**9**9", "math", None, "1").value is None  # too large to compute
    assert judge("__import__('os').system('x')", "math", None, "1").value == 0.0
    assert judge("(" * 5000, "math", None, "1").value is None
    assert judge("1/0", "math", None, "1").value == 0.0
