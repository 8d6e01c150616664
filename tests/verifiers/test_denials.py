"""Contrasts and denials beside an answer, for all answer types, and texts that only look alike."""

import pytest

from orcinus.core.types import AnswerType
from orcinus.verifiers.answers.denials import affirmed, is_denied
from orcinus.verifiers.rules import Reference, judge

VALIDITY = ("valid", "invalid")
COLOURS = ("red", "dark red", "blue", "none of these")

RIGHT: list[tuple[AnswerType, Reference, str]] = [
    ("exact", "invalid", "The answer is invalid, and not valid."),
    ("exact", "invalid", "The answer is not valid but invalid."),
    ("exact", "invalid", "The answer is invalid rather than valid."),
    ("exact", "invalid", "The argument is invalid instead of valid."),
    ("exact", "invalid", "So the argument is not valid."),
    ("exact", "invalid", "The answer is invalid, not valid."),
    ("exact", "invalid", "Rather than valid, the argument is invalid."),
    ("exact", "valid", "Not invalid, but valid."),
    ("exact", "valid", "The answer is valid, and not invalid."),
    ("exact", "valid", "So the argument is not invalid."),
    ("exact", "valid", "The argument is not invalid. The answer is valid."),
    ("exact", "invalid", "The argument isn't valid."),
    ("exact", "invalid", "The argument cannot be valid."),
    ("exact", "invalid", "It is not deductively valid."),
    ("exact", "invalid", "The argument is not a valid one."),
    ("exact", "invalid", "The answer is neither sound nor valid."),
    (
        "exact",
        "valid",
        "The argument is valid. It would be invalid if the premise failed. The answer is valid.",
    ),
    ("exact", "invalid", "The argument is, despite appearances of being valid, invalid."),
    ("exact", "valid", "I would not say the argument is invalid."),
    (
        "exact",
        "invalid",
        "An argument is valid if it follows. Here it does not, so the argument is invalid.",
    ),
    ("exact", "invalid", "The conclusion doesn't follow, so invalid."),
    ("exact", "invalid", "**Invalid** (and not valid)"),
    ("exact", "invalid", "NOT VALID"),
    ("exact", "invalid", "The answer is no longer valid."),
    ("exact", "valid", "There is no reason to call it invalid: the answer is valid."),
    ("exact", "valid", "The answer is nothing but valid."),
    ("exact", "valid", "The answer is not only valid but sound."),
    ("exact", "valid", "Whether or not the premises hold, the argument is valid."),
    ("exact", "invalid", "The first premise is not relevant here; the argument is invalid."),
    ("exact", "Paris", "The answer is Paris, and not London."),
    ("exact", "Paris", "The answer is not London but Paris."),
    ("exact", "Paris", "The answer is Paris rather than London."),
    ("exact", "Paris", "The answer is Paris, not London."),
    ("exact", "Paris", "The answer is Paris instead of London."),
    ("exact", "Paris", "It is Paris, and not London."),
    ("exact", "not guilty", "The answer is not guilty."),
    ("exact", "to be or not to be", "The answer is to be or not to be."),
    ("spans", "Bears", "The answer is the Bears, and not the Lions."),
    ("spans", "Bears", "The answer is not the Lions but the Bears."),
    ("spans", "Bears", "The answer is the Bears, not the Lions."),
    ("spans", "3", "The answer is 3, not 4."),
    ("spans", "3", "The answer is not 4 but 3."),
    ("choice", "C", "The answer is (C), and not (A)."),
    ("choice", "C", "The answer is not (A) but (C)."),
    ("choice", "C", "The answer is (C) rather than (A)."),
    ("choice", "C", "Rather than (A), the answer is (C)."),
    ("choice", "C", "The answer is blue, and not red."),
    ("choice", "C", "The answer is not red but blue."),
    ("choice", "C", "The answer is blue rather than dark red."),
    ("choice", "C", "The answer is C, not A."),
    ("choice", "C", "The answer is neither (A) nor (B) but (C)."),
    ("choice", "C", "The answer is neither A nor B; it is C."),
    ("choice", "C", "It isn't A. It's C."),
    ("choice", "C", "The answer is (C) as opposed to (A)."),
    ("choice", "C", "The answer is (C), never (A)."),
    ("choice", "C", "The answer is (C); (A) and (B) are not correct."),
    ("bool", "no", "The answer is no, and not yes."),
    ("bool", "no", "The answer is not yes but no."),
    ("bool", "no", "The answer is no rather than yes."),
    ("bool", "no", "The answer is not yes."),
    ("bool", "yes", "The answer is not no."),
    ("bool", "yes", "The statement is not false."),
    ("bool", "no", "The statement is not true."),
    ("bool", "no", "So the statement isn't true."),
    ("bool", "no", "Rather than yes, the answer is no."),
    ("bool", "yes", "The answer is true, not false."),
    ("bool", "yes", "It is not true that cats bark, so the answer is yes."),
    ("bool", "no", "It is not true that all cats are dogs."),
    ("number", "18", "The answer is 18, and not 21."),
    ("number", "18", "The answer is not 21 but 18."),
    ("number", "18", "The answer is 18 rather than 21."),
    ("number", "18", "The answer is 18 instead of 21."),
    ("number", "18", "Not 21, but 18."),
    ("number", "18", "The answer is 18 as opposed to 21."),
    ("number", "18", "Rather than 21, the answer is 18."),
    ("number", "18", "The answer isn't 21, it's 18."),
    ("number", "18", "She has 18 apples, not the 21 she expected."),
    ("math", "\\frac{1}{2}", "The answer is 1/2, not 1/3."),
    ("math", "\\frac{1}{2}", "The answer is $\\frac12$, and not $\\frac13$."),
    ("math", "\\frac{1}{2}", "The answer is not $\\frac13$ but $\\frac12$."),
    ("list", ("ant", "bee"), "The answer is ant bee, and not bee ant."),
    ("list", ("ant", "bee"), "The answer is ant, bee (not bee, ant)."),
    ("list", ("not", "or"), "The answer is not or."),
]
WRONG: list[tuple[AnswerType, Reference, str]] = [
    ("exact", "valid", "The answer is valid or invalid."),
    ("exact", "invalid", "The answer is valid or invalid."),
    ("exact", "invalid", "The answer is both valid and invalid."),
    ("exact", "invalid", "valid, not invalid"),
    ("exact", "London", "The answer is not London but Paris."),
    ("exact", "London", "The answer is not London."),
]
NOT_JUDGED: list[tuple[AnswerType, Reference, str]] = [
    ("choice", "A", "The answer is neither (A) nor (B)."),
    ("choice", "C", "The answer is anything but (C)."),
    ("number", "21", "The answer is not 21."),
]


def value(kind: AnswerType, reference: Reference, text: str) -> float | None:
    choices = COLOURS if kind == "choice" else VALIDITY if reference in VALIDITY else None
    return judge(text, kind, choices, reference).value


@pytest.mark.parametrize(("kind", "reference", "text"), RIGHT)
def test_right(kind: AnswerType, reference: Reference, text: str) -> None:
    assert value(kind, reference, text) == 1.0


@pytest.mark.parametrize(("kind", "reference", "text"), WRONG)
def test_wrong(kind: AnswerType, reference: Reference, text: str) -> None:
    assert value(kind, reference, text) == 0.0


@pytest.mark.parametrize(("kind", "reference", "text"), NOT_JUDGED)
def test_what_is_only_denied_is_no_answer(
    kind: AnswerType, reference: Reference, text: str
) -> None:
    assert value(kind, reference, text) is None


def test_an_answer_that_only_looks_like_a_contrast_stays_whole() -> None:
    for answer in ("not guilty", "to be or not to be", "not only red but blue", "Notre Dame"):
        assert affirmed(answer) == answer


def test_a_step_of_a_computation_is_no_denial() -> None:
    assert judge("not not False = not False", "bool", None, "False").value == 1.0


def test_a_denial_ends_with_its_clause() -> None:
    assert is_denied("It is not deductively valid", 22)
    assert not is_denied("It is not, I think, valid", 20)
