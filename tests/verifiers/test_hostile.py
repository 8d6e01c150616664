"""Loops and broken texts: a verdict is given without an exception, from a bounded part of the text.

How long a verdict takes is measured more closely in ``benchmarks/verify.py``.
"""

import time

import pytest

from orcinus.core.types import AnswerType
from orcinus.verifiers.answers.channels import _MOST_TAGS, FIRST, LAST, lower_case, plain_text
from orcinus.verifiers.rules import Reference, judge

CASES: list[tuple[AnswerType, tuple[str, ...] | None, Reference]] = [
    ("number", None, "5"),
    ("math", None, "5"),
    ("choice", ("apple", "pear", "fig", "lime"), "A"),
    ("bool", None, "yes"),
    ("exact", None, "Paris"),
    ("exact", None, "] )"),
    ("list", None, ("a", "b")),
    ("spans", None, "Ann Lee"),
    ("json", None, '{"a": 1}'),
]
LOOPS = [
    "<!-- ",
    "none fits ",
    "more likely no than ",
    "A. ",
    "choice option ",
    "answer ",
    "<answer>",
    "it is not true that ",
    "<think>",
    "{",
    '{"a":',
    "[1,",
    "<p>",
    "<|x|>",
    "\n",
    "```\n",
    "Wait, ",
    "\\boxed{",
    "#### ",
    "1,",
    "9",
    "one ",
    "option A is ",
    "A, B, ",
    "not ",
    "\ud800",
    "\u200b",
    "四",
    "some yes no ",
    "\\begin{align}",
    "(b) ",
    "; Ann Lee",
    "1 out of ",
    "é",
]


LENGTH = 10_000
"""Characters of the shorter text; the longer one has twice as many, more than are searched."""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("around", ["{}", "The answer is {}", "{}\nThe answer is 5."])
def test_a_loop_raises_nothing_and_costs_no_more_than_its_length(loop: str, around: str) -> None:
    once = judge_all(around.replace("{}", loop * (LENGTH // len(loop))))
    longer = around.replace("{}", loop * (2 * LENGTH // len(loop)))
    limit = 5 * once + 0.5  # seconds; 0.15 at most when this was written
    # A first time may compile patterns or import a library, so a slow one is measured again.
    assert judge_all(longer) < limit or judge_all(longer) < limit


def judge_all(text: str) -> float:
    """Judge a text by each answer type; return the CPU seconds that it took."""
    began = time.process_time()
    for kind, choices, reference in CASES:
        judge(text, kind, choices, reference)
    return time.process_time() - began


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_before_the_answer_never_makes_it_wrong(loop: str) -> None:
    text = loop * (2 * LENGTH // len(loop)) + "\nThe answer is 5."
    for kind in ("number", "math"):
        assert judge(text, kind, None, "5").value != 0.0


def test_a_long_text_is_searched_at_its_beginning_and_its_end() -> None:
    text = "word " * 100_000
    assert len(plain_text(text)) <= FIRST + LAST + 2
    assert judge(f"{text}\nThe answer is 5.", "number", None, "5").value == 1.0
    assert judge(f"The answer is 5.\n{text}", "number", None, "5").value == 1.0


def test_deep_json_is_compared() -> None:
    deep = "[" * 500 + "]" * 500
    assert judge(deep, "json", None, deep).value == 1.0
    assert judge("[" * 5_000 + "]" * 5_000, "json", None, deep).value is None


@pytest.mark.parametrize(
    "reasoning", ["[THINK]The answer is 4.[/THINK]", "<think>It is 4.</think>"]
)
def test_beyond_the_most_tags_reasoning_is_still_removed(reasoning: str) -> None:
    loop = "[ " * (_MOST_TAGS + 1)
    for text in (f"{reasoning}\n{loop}\n", f"{loop}\n{reasoning}\n"):
        assert judge(f"{text}The answer is 5.", "number", None, "5").value == 1.0
        assert judge(f"{text}I cannot say.", "number", None, "4").value is None


def test_lower_case_keeps_the_length_of_every_character() -> None:
    assert len("\u0130".lower()) == 2  # the Turkish dotted I, which moves all that follows
    assert all(len(lower_case(chr(code))) == 1 for code in range(0x20000))


def test_an_answer_behind_dotted_capitals_is_read_where_it_stands() -> None:
    text = "İstanbul, İzmir, İznik ve Iğdır. " * 5
    assert judge(f"{text}The answer is (C).", "choice", tuple("wxyz"), "C").value == 1.0
    assert judge(f"{text}The answer is Bursa.", "exact", None, "Bursa").value == 1.0
    assert judge(f"{text}The answer is 12. Wait, it is 13.", "number", None, "13").value == 1.0
