"""What stands around an answer changes nothing; what takes it back, or is reasoning, counts never.

Each answer type is judged on a right answer, with every change of ``SAME``, ``CHANGED`` and
``REASONING``: the tables of what once cost 40 to 100 % of right answers, or let wrong ones pass.
"""

import pytest

from orcinus.core.types import AnswerType
from orcinus.verifiers.rules import Reference, judge

OPTIONS = ("2", "5", "9", "4")
CASES: list[tuple[AnswerType, tuple[str, ...] | None, Reference, str, str, str]] = [
    ("number", None, "36", "36", "27", "They need 30 + 6 = 36 days, since each day counts."),
    ("choice", OPTIONS, "A", "(A)", "(C)", "A"),
    ("bool", None, "no", "No", "Yes", "False"),
    ("exact", None, "Lima", "Lima", "Quito", "Lima"),
    ("exact", ("valid", "invalid"), "valid", "valid", "invalid", "The argument is valid."),
    ("exact", None, "] )", "] )", "} >", "] )"),
    ("list", None, ("ant", "bee", "cow"), "ant bee cow", "bee ant cow", "1. ant\n2. bee\n3. cow"),
]
"""Type, options, reference, the right words, wrong words, and a right answer without a marker."""
SAME = [
    "{}\n\nI hope this helps!",
    "{}\n\nLet me know if you have any questions.",
    "{}\n\nIs there anything else I can help with?",
    "{}\n\nConfidence: 95%",
    "{}\n\nI am 90% confident in this answer.",
    "{}\n\nNote: there are 2 other ways.",
    "{}\n\nThe answer is correct.",
    "{}</s>",
    "{}<|im_end|>",
    "{}<|eot_id|>",
    "{}<end_of_turn>\n",
    "{}<｜end▁of▁sentence｜>",
    "{}<|im_end|>\n<|im_start|>user\nWhat about 7?",
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}",
    "{}\u200b",
    "\ufeff{}",
    "\u200f{}\u200f",
    "{} 😊",
    "<p>{}</p>",
    "<div><b>{}</b></div>",
    "Sure! Here is the answer:\n\n{}",
    "Certainly! Here is my solution.\n\n{}",
    "```\n{}\n```",
    "{}\r\n",
    "<think>it might be 3, (B) or yes</think>\n{}",
    "so it might be 3, (B) or yes</think>\n{}",
    "[THINK]it might be 3, (B) or yes[/THINK]{}",
    "<|channel|>analysis<|message|>3? (B)?<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "analysisIt might be 3.assistantfinal{}",
]
CHANGED = [
    "Wait, that is wrong. The answer is {}.",
    "Actually, it is {}.",
    "Correction: {}",
    "Sorry, I made an error above. It should be {}.",
    "Let me redo this carefully. So it is {}.",
    "I apologize for the mistake. The right answer would be {}.",
    "Hmm, checking again, I get {} instead.",
    "Update: after another look, my final answer is {}.",
    "No, that can't be right. It must be {}.",
    "Oops, I misread the question. Answer: {}",
]
"""Each is said behind a right answer that is announced, boxed, tagged or behind hash marks."""
ANNOUNCED = ["The answer is {}.", "\\boxed{{{}}}", "#### {}", "<answer>{}</answer>", "{}"]
REASONING = [
    "<think>The answer is {}.</think> {}",
    "<reflection>The answer is {}.</reflection> {}",
    "<reasoning>The answer is {}.</reasoning>\n{}",
    "[THINK]The answer is {}.[/THINK]{}",
    "<|begin_of_thought|>The answer is {}.<|end_of_thought|>{}",
    "◁think▷The answer is {}.◁/think▷{}",
    "The answer is {}.</think>{}",
    "<|channel|>analysis<|message|>The answer is {}.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "<|channel|>commentary<|message|>The answer is {}.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>{}",
]
UNFINISHED = [
    "<think>The answer is {}.",
    "[THINK]The answer is {}.",
    "<|channel|>analysis<|message|>The answer is {}.",
]
Case = tuple[AnswerType, tuple[str, ...] | None, Reference, str, str, str]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
@pytest.mark.parametrize("around", SAME)
def test_what_stands_around_a_right_answer_costs_nothing(case: Case, around: str) -> None:
    kind, choices, reference, right, _, bare = case
    for answer in (right, bare, f"The answer is {right}."):
        outcome = judge(around.format(answer), kind, choices, reference)
        assert outcome.value == 1.0, (around.format(answer), outcome)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
@pytest.mark.parametrize("words", CHANGED)
def test_a_correction_counts_and_not_what_it_corrects(case: Case, words: str) -> None:
    kind, choices, reference, right, wrong, _ = case
    for place in ANNOUNCED:
        to_wrong = f"{place.format(right)}\n\n{words.format(wrong)}"
        assert judge(to_wrong, kind, choices, reference).value != 1.0, to_wrong
        to_right = f"{place.format(wrong)}\n\n{words.format(right)}"
        outcome = judge(to_right, kind, choices, reference)
        assert outcome.value == 1.0, (to_right, outcome)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
@pytest.mark.parametrize("text", REASONING)
def test_reasoning_is_never_judged(case: Case, text: str) -> None:
    kind, choices, reference, right, wrong, _ = case
    assert judge(text.format(right, wrong), kind, choices, reference).value != 1.0
    assert judge(text.format(wrong, right), kind, choices, reference).value == 1.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
@pytest.mark.parametrize("text", UNFINISHED)
def test_unfinished_reasoning_gives_no_answer(case: Case, text: str) -> None:
    kind, choices, reference, right, _, _ = case
    assert judge(text.format(right), kind, choices, reference).value is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_a_denied_answer_is_not_right(case: Case) -> None:
    kind, choices, reference, right, _, _ = case
    if kind != "bool" and choices != ("valid", "invalid"):
        assert judge(f"The answer is not {right}.", kind, choices, reference).value != 1.0
