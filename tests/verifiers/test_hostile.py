"""Loops and broken texts: a verdict is given without an exception, from a bounded part of the text.

How long a verdict takes is measured in ``benchmarks/verify.py``.
"""

import pytest

from orcinus.core.types import AnswerType
from orcinus.verifiers.answers.channels import FIRST, LAST, plain_text
from orcinus.verifiers.rules import Reference, judge

CASES: list[tuple[AnswerType, tuple[str, ...] | None, Reference]] = [
    ("number", None, "5"),
    ("choice", ("apple", "pear", "fig", "lime"), "A"),
    ("bool", None, "yes"),
    ("exact", None, "Paris"),
    ("exact", None, "] )"),
    ("list", None, ("a", "b")),
    ("spans", None, "Ann Lee"),
    ("json", None, '{"a": 1}'),
]
LOOPS = [
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
    "é",
]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("around", ["{}", "The answer is {}", "{}\nThe answer is 5."])
def test_a_loop_raises_nothing(loop: str, around: str) -> None:
    text = around.replace("{}", loop * (20_000 // len(loop)))
    for kind, choices, reference in CASES:
        assert judge(text, kind, choices, reference).value in (1.0, 0.0, None)


def test_a_long_text_is_searched_at_its_beginning_and_its_end() -> None:
    text = "word " * 100_000
    assert len(plain_text(text)) <= FIRST + LAST + 2
    assert judge(f"{text}\nThe answer is 5.", "number", None, "5").value == 1.0
    assert judge(f"The answer is 5.\n{text}", "number", None, "5").value == 1.0


def test_deep_json_is_compared() -> None:
    deep = "[" * 500 + "]" * 500
    assert judge(deep, "json", None, deep).value == 1.0
    assert judge("[" * 5_000 + "]" * 5_000, "json", None, deep).value is None
