"""The rules that explain a failed lesson: each finds its own case, and not a similar one."""

from dataclasses import replace
from typing import Any

import pytest

from orcinus.core.types import Attempt, Example, Finish, Judged, Lesson, Sampling, Verdict
from orcinus.evaluation.diagnosis.causes import (
    Accuracy,
    Cause,
    RunFacts,
    Style,
    TaughtLesson,
    explain,
)
from orcinus.evaluation.diagnosis.contradictions import Claim, Rival, contradicts
from orcinus.evaluation.diagnosis.difficulty import still_falling, trend_p_value
from orcinus.evaluation.diagnosis.outcomes import may_be_guessing, outcome_of

EXAMPLE = Example(id="e", task="sums", prompt="Add 1 2.", answer_type="number", reference="3")
STYLE, OTHER = Style("step_by_step", "marker"), Style("direct", "boxed")


def judged(
    answer: str | None, *, text: str = "The answer is 3.", finish: Finish = "stop", right: str = "3"
) -> Judged:
    attempt = Attempt(
        id="a",
        example_id="e",
        task="sums",
        strategy="erased",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish=finish,
    )
    value = None if answer is None else float(answer == right)
    return Judged(
        attempt=attempt,
        verdict=Verdict(attempt_id="a", verifier="v", value=value, answer=answer, reason="r"),
    )


RIGHT, WRONG = judged("3"), judged("4")
LESSON = Lesson(
    id="b2lesson",
    example_id="e",
    task="sums",
    strategy="step_by_step",
    messages=(),
    completion="The answer is 3.",
    reasoning=None,
    teacher="t",
    attempt_id="t",
    erased="generic",
)
TAUGHT = TaughtLesson(
    lesson=LESSON,
    example=EXAMPLE,
    value=1.0,
    answer="3",
    style=STYLE,
    group="sums",
    level=1,
    attempts={"before": judged("5"), "one": WRONG},
    response_tokens=20,
    loss_before=2.0,
    loss_after=0.1,
)
RUN = RunFacts(
    styles={"sums": {STYLE: 9}},
    right_by_style={("sums", STYLE): Accuracy(5, 9)},
    right_by_level={},
    trend={},
    guessed=frozenset(),
    loss_falling=False,
    max_tokens=100,
)
CASES: tuple[tuple[Cause, dict[str, Any], dict[str, Any]], ...] = (
    ("unexplained", {}, {}),
    ("untaught", {"used": False}, {}),
    ("untaught", {"fits": False, "tokens": 900}, {}),
    ("contradiction", {"value": 0.0, "answer": "4"}, {}),
    ("contradiction", {"value": None}, {}),
    ("contradiction", {"rivals": (Rival(lesson="other", answer="4"),)}, {}),
    (
        "conflict",
        {},
        {
            "styles": {"sums": {STYLE: 4, OTHER: 9}},
            "right_by_style": {("sums", STYLE): Accuracy(1, 4), ("sums", OTHER): Accuracy(8, 9)},
        },
    ),
    ("forgetting", {"attempts": {"before": RIGHT, "one": WRONG}}, {}),
    ("forgetting", {"attempts": {"before": judged("5"), "one": RIGHT, "two": WRONG}}, {}),
    (
        "truncation",
        {"attempts": {"one": judged(None, text="3 +", finish="length")}, "response_tokens": 90},
        {},
    ),
    ("optimisation", {"loss_after": 1.5}, {}),
    ("format", {"attempts": {"one": judged(None, text="three")}}, {}),
    (
        "prerequisite",
        {},
        {
            "right_by_level": {("sums", 0): Accuracy(9, 9), ("sums", 1): Accuracy(1, 9)},
            "trend": {"sums": 0.001},
        },
    ),
    (
        "prerequisite",
        {},
        {"right_by_level": {("sums", 0): Accuracy(1, 9), ("sums", 1): Accuracy(1, 9)}},
    ),
    ("belief", {"attempts": {"before": WRONG, "one": WRONG}}, {}),
    ("optimisation", {}, {"right_by_level": {("sums", 1): Accuracy(8, 9)}}),
    ("optimisation", {}, {"loss_falling": True}),
)


@pytest.mark.parametrize(("cause", "of_lesson", "of_all"), CASES)
def test_each_cause_is_recognised(
    cause: Cause, of_lesson: dict[str, Any], of_all: dict[str, Any]
) -> None:
    assert explain(replace(TAUGHT, **of_lesson), replace(RUN, **of_all)).causes == (cause,)


NEIGHBOURS: tuple[tuple[Cause, dict[str, Any], dict[str, Any]], ...] = (
    # Both styles are equally frequent, or the rarer one does no worse.
    (
        "conflict",
        {},
        {
            "styles": {"sums": {STYLE: 9, OTHER: 9}},
            "right_by_style": {("sums", STYLE): Accuracy(1, 9), ("sums", OTHER): Accuracy(9, 9)},
        },
    ),
    (
        "conflict",
        {},
        {
            "styles": {"sums": {STYLE: 4, OTHER: 9}},
            "right_by_style": {("sums", STYLE): Accuracy(2, 4), ("sums", OTHER): Accuracy(4, 9)},
        },
    ),
    # The right answer may have been a guess.
    (
        "forgetting",
        {"attempts": {"before": RIGHT, "one": WRONG}},
        {"guessed": frozenset({("before", "sums")})},
    ),
    # The lesson is short: only the student is too long.
    ("truncation", {"attempts": {"one": judged(None, text="3 +", finish="length")}}, {}),
    # Not learnt yet: nothing is known about the format or missing prerequisites.
    ("format", {"attempts": {"one": judged(None, text="three")}, "loss_after": 1.5}, {}),
    (
        "prerequisite",
        {"loss_after": 1.5},
        {"right_by_level": {("sums", 0): Accuracy(1, 9), ("sums", 1): Accuracy(1, 9)}},
    ),
    # Others of the same difficulty are right.
    (
        "prerequisite",
        {},
        {
            "right_by_level": {("sums", 0): Accuracy(9, 9), ("sums", 1): Accuracy(7, 9)},
            "trend": {"sums": 0.001},
        },
    ),
)


@pytest.mark.parametrize(("cause", "of_lesson", "of_all"), NEIGHBOURS)
def test_no_cause_is_found_in_a_similar_case(
    cause: Cause, of_lesson: dict[str, Any], of_all: dict[str, Any]
) -> None:
    assert cause not in explain(replace(TAUGHT, **of_lesson), replace(RUN, **of_all)).causes


@pytest.mark.parametrize(
    ("expected", "attempt"),
    [
        ("right", RIGHT),
        ("wrong", WRONG),
        ("no answer", judged(None, text="three")),
        ("cut off", judged(None, text="1 + 2", finish="length")),
        ("loop", judged(None, text="1 + 2 = 3, " * 30, finish="length")),
        ("refusal", judged(None, text="I'm sorry, but I can't help with that.")),
        ("failed call", judged(None, finish="error")),
    ],
)
def test_the_outcome_of_an_attempt(expected: str, attempt: Judged) -> None:
    assert outcome_of(EXAMPLE, attempt) == expected


def test_an_example_without_a_reference_is_not_failed() -> None:
    assert outcome_of(replace(EXAMPLE, reference=None), judged(None)) == "not judged"


def claim(
    lesson: str,
    question: str,
    answer: str,
    reference: str | None = None,
    value: float | None = None,
) -> Claim:
    return Claim(lesson=lesson, question=question, answer=answer, value=value, reference=reference)


@pytest.mark.parametrize(
    ("expected", "a", "b"),
    [
        (True, claim("1", "Who was first?", "Ann"), claim("2", "who was FIRST?", "Bob")),
        (
            True,
            claim("1", "Who was first of all?", "Ann"),
            claim("2", "Who was the first of all?", "Bob"),
        ),
        (False, claim("1", "Who was first?", "Ann"), claim("2", "Who was first?", "ann")),
        (False, claim("1", "Add 3 and 4 to 5.", "12"), claim("2", "Add 3 and 4 to 6.", "13")),
        (False, claim("1", "Is it so?", "a", "a"), claim("2", "Is it not so?", "b", "b")),
        (False, claim("1", "Add 1 1.", "2", "2", 1.0), claim("2", "Add 1 1.", "2.0", "2", 1.0)),
    ],
)
def test_lessons_contradict_each_other_only_on_the_same_question(
    expected: bool, a: Claim, b: Claim
) -> None:
    assert contradicts(a, b) is contradicts(b, a) is expected


def test_accuracy_falls_with_difficulty_only_downwards() -> None:
    levels = [0] * 10 + [1] * 10 + [2] * 10
    right = [True] * 10 + [True, False] * 5 + [False] * 10
    assert trend_p_value(levels, right) < 0.001
    assert trend_p_value(levels, right[::-1]) > 0.999
    assert trend_p_value(levels, [True] * 30) == 1.0


def test_right_answers_at_chance_level_may_be_guesses() -> None:
    true_or_false = replace(EXAMPLE, answer_type="bool")
    assert may_be_guessing([(true_or_false, RIGHT), (true_or_false, WRONG)] * 20)
    assert not may_be_guessing([(true_or_false, RIGHT)] * 20)
    assert not may_be_guessing([(EXAMPLE, RIGHT), (EXAMPLE, WRONG)])


def test_a_falling_loss_is_recognised() -> None:
    assert still_falling([1 / (i + 1) for i in range(20)])
    assert not still_falling([0.5] * 20)
    assert not still_falling([2.0, 1.0])
