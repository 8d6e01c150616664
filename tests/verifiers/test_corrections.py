"""A correction that a text confirms counts; a check that confirms the first answer changes none."""

from typing import Literal

import pytest

from orcinus.verifiers.rules import judge


@pytest.mark.parametrize(
    ("rest", "answer"),
    [
        ("Wait, I made a mistake: I get 27, and that is correct.", "27"),
        ("Oops, that was wrong. It should be 27. That is correct.", "27"),
        ("I made an error: the total comes to 27, which is right.", "27"),
        ("Wait, I made a mistake in a step: it should be 8. But the answer still stands.", "20"),
        ("I made a typo: it should be 8 apples, but that is fine.", "20"),
        ("I made a typo, it should be 8 apples. But that is fine, I think so.", "20"),
        ("Oops, it should be 8 in the first line, and the answer is correct.", "20"),
        ("Let me recheck: the first is 12, the second is 8, so that is correct.", "20"),
        ("Wait, let me check: 12 + 8 = 20, so it is correct.", "20"),
        ("I was wrong to doubt it, and that is correct.", "20"),
    ],
)
def test_what_is_confirmed_is_the_answer(rest: str, answer: str) -> None:
    assert judge(f"The answer is 20. {rest}", "number", None, answer).value == 1.0


def test_the_words_of_the_confirmation_are_no_part_of_the_answer() -> None:
    text = "The answer is Lima. Sorry, I made a mistake: it should be Paris, and that is correct."
    assert judge(text, "exact", None, "Paris").value == 1.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 5. No wait, it is 6. That is correct.", "6"),
        ("The answer is 5. Oops, 6. This is my final answer.", "6"),
        ("The answer is 5. I first thought 6. That is wrong.", "5"),
        ("The answer is 5. Hmm, is it 6? No. That is correct.", "5"),
        ("#### 5\nWait: 4? No, 5. That is correct.", "5"),
        ("The answer is $5$. No wait, it is $6$. That is correct.", "6"),
    ],
)
def test_an_assurance_behind_a_correction_confirms_the_last_answer(text: str, answer: str) -> None:
    kinds: tuple[Literal["number", "math"], ...] = ("number", "math")
    for kind in kinds:
        assert judge(text, kind, None, answer).value == 1.0
        other = "5" if answer == "6" else "6"
        assert judge(text, kind, None, other).value == 0.0
