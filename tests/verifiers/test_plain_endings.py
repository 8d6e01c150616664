"""Plain endings: "The answer is 42." is read without the text before it, to the same effect."""

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orcinus.core.types import AnswerType
from orcinus.verifiers.answers import boolean, choice, number
from orcinus.verifiers.answers.corrections import _BARE_STATEMENT, _HINTS
from orcinus.verifiers.answers.plain_endings import find_plainly
from orcinus.verifiers.answers.text import FoundAnswer
from orcinus.verifiers.rules import find_answer

BEFORE = (
    "", "We get 3 + 4 = 7.\n", "We get 3 + 4 = 7. ", "It is wrong\n", "It is not\n", "Not ",
    "Q: What?\n", "5\n\nQ: What else?\n", "Note that 3 + 4 = 7. ", "First,\nnote: 7. ",
    "Fine.\nI hope this helps. ", "Sure! Here is my answer. ", "<think>7</think>", "<think>",
    "x < 5, a[1]. ", "[INST]\n", "a &amp; b. ", "a&#10;Q: b. ", "The answer is 5.\n", "**So:** ",
    "Yes or no: ", "(A) Oslo (B) Rome\n", "Oslo, Rome. ", "analysis of it. ", "\r\n", "   ", "é. ",
    "La respuesta es 4.\n", "It is so that the ", "We see that it is ", "As it is, ", "If so, ",
    "Wait, it is 7.\n", "Here is 7. ", "It is negative\n", "Is it? ", "Answer:\n", "So it is:\n",
    "[ ] Yes\n", "[x] 5\n[ ]\n", "each of\n", "all the ", "It is both ", "It is true, ",
    "from a to\n", "\\text{so\n", "It is 4.\nnsulta. ", "I cannot help. ", "42\n", "#",
    "among A through C, ", "Wait, ", "Actually, ", "the answer is wrong, ", "B: 7\n", "b: no, ",
    "12, ",
)  # fmt: skip
ANNOUNCED = (
    "", "the answer is ", "So the answer is ", "Therefore, the final answer is: ", "Answer: ",
    "The answer (Yes or No) is ", "#### ", "The wrong answer is ", "the  answer is ", "A: ",
    "the answer is not ", "not the answer is ", "the correct answer is ", "Thus the answer was ",
)  # fmt: skip
SAID = (
    "42", "-$1,200.50", "12%", "1234,5", "1,23", "0,123", "5.", "3 4", "(B)", "b", "I", "Z", "yes",
    "No.", "true", "right", "wrong", "wait", "4!", "5</s>", "7:30", "1e5", "(7", "5th", "6 or 7",
)  # fmt: skip
AFTER = ("", ".", "\n", " \n\n", ".\nI hope this helps!", ". I am sure.", "</s>", "?")
KINDS: tuple[AnswerType, ...] = ("number", "choice", "bool")
OPTIONS = (None, ("Oslo", "Rome"), ("A", "B"), ("4", "42", "b"))


def both_ways(
    text: str, kind: AnswerType, options: tuple[str, ...] | None, *, cut_off: bool
) -> tuple[FoundAnswer, FoundAnswer]:
    """Return the answer that is found, and the one that is found through all stages."""
    found = find_answer(text, kind, options, cut_off=cut_off)
    with pytest.MonkeyPatch.context() as patched:
        for module in (boolean, choice, number):
            patched.setattr(module, "find_plainly", lambda *_, **__: None)
        return found, find_answer(text, kind, options, cut_off=cut_off)


def test_each_announcement_with_each_answer_is_read_alike_both_ways() -> None:
    for place, (before, announced, said) in enumerate(product(("", "So 7.\n"), ANNOUNCED, SAID)):
        for kind in KINDS[place % 2 :: 2]:
            quick, slow = both_ways(before + announced + said, kind, None, cut_off=False)
            assert quick == slow, (before + announced + said, kind)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(BEFORE), max_size=3).map("".join),
    st.sampled_from(ANNOUNCED),
    st.sampled_from(SAID),
    st.sampled_from(AFTER),
    st.sampled_from(KINDS),
    st.sampled_from(OPTIONS),
    st.booleans(),
)
def test_texts_of_all_kinds_are_read_alike_both_ways(
    before: str,
    announced: str,
    said: str,
    after: str,
    kind: AnswerType,
    options: tuple[str, ...] | None,
    cut_off: bool,
) -> None:
    quick, slow = both_ways(before + announced + said + after, kind, options, cut_off=cut_off)
    assert quick == slow


def test_common_endings_are_read_plainly() -> None:
    for text in (
        "Then 7 x 6.\nThe answer is 42.", "So 42. #### 42", "42", "A: 42",
        "As it is even, the answer is 42.",
    ):  # fmt: skip
        found = find_plainly(text, number._read, cut_off=False)
        assert found is not None
        assert found.answer == "42"


def test_no_statement_without_words_holds_the_hint_of_a_correction() -> None:
    words = "nswer is", "ption is", "hoice is", "boxed"
    for hint in _HINTS:
        runs = re.findall("[a-z]{2,}", hint)
        assert not all(any(run in word for word in words) for run in runs), hint
        assert not _BARE_STATEMENT.fullmatch(f"nswer is {hint}")
