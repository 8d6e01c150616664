"""Refusals and loops: one rule for each, shared by verdicts, filters and diagnosis."""

import pytest

from orcinus.verifiers.answers.failures import has_refusal, loop_in, refuses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Unfortunately, I cannot help with that.", True),
        ("I apologize, but I do not feel comfortable doing this.", True),
        ("As an AI language model, I cannot choose.", True),
        ("I don't know.", True),
        ("I do not know the right answer, sorry.", True),
        ("I don't know wrong from right, but the answer is 4.", False),
        ("I'm sorry to hear that. Send it back within 30 days.", False),
        ("I cannot emphasize enough how much sleep matters.", False),
        ("The train cannot arrive before noon, so the answer is 4.", False),
        ("I'm sorry, but I can't draw. " + "Here is how to draw a horse. " * 30, False),
    ],
)
def test_only_a_short_text_that_begins_by_declining_is_a_refusal(text: str, expected: bool) -> None:
    assert refuses(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The question is unclear. I cannot answer it.", True),
        ("There are 5 apples. I am unable to tell how many remain.", True),
        ("Two trains leave. They cannot meet before noon.", False),
    ],
)
def test_a_sentence_near_the_start_may_refuse(text: str, expected: bool) -> None:
    assert has_refusal(text) == expected


STUCK = " ".join(f"word{i}" for i in range(60)) + " = " + "(8 + -6 + -1) = " * 9


@pytest.mark.parametrize(
    ("text", "cut_off", "expected"),
    [
        ("we go on " * 20, False, True),
        ("one line of text\n" * 8, False, True),
        (STUCK + "(8 +", True, True),
        (STUCK + "(8 +", False, False),
        (STUCK + "1. So the answer is 1.", True, False),
        ("ZB" * 60, True, True),
        ("Add the numbers: 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 2 + 4 = 14.", True, False),
        ("Element | Position\n------- | ------------------------\nOxygen | 8", True, False),
    ],
)
def test_a_text_that_repeats_itself_is_a_loop(text: str, cut_off: bool, expected: bool) -> None:
    assert (loop_in(text, cut_off=cut_off) is not None) == expected
