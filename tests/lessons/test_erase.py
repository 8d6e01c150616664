"""Lessons: what of a trace the student sees, and how."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from orcinus.core.types import Attempt, Example, Judged, Lesson, Message, Sampling, Verdict
from orcinus.lessons.erase import EraseConfig, Layout, laid_out, leaked_strategy, lesson_of
from orcinus.lessons.few_shot import FewShotConfig, _Solved
from orcinus.strategies.library import built_in

STRATEGY = built_in()["step_by_step"]


def trace(
    text: str, *, answer: str | None = "42", reasoning: str | None = None, number: int = 0
) -> Judged:
    attempt = Attempt(
        id=f"a{number}",
        example_id=str(number),
        task="sums",
        strategy="step_by_step",
        model="teacher",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
        reasoning=reasoning,
    )
    return Judged(
        attempt=attempt,
        verdict=Verdict(attempt_id=attempt.id, verifier="v", value=1.0, answer=answer, reason=""),
    )


def lesson(
    number: int, text: str = "1. 17 + 25 = 42. The answer is 42.", task: str = "sums"
) -> Lesson:
    example = Example(
        id=str(number),
        task=task,
        prompt=f"Question {number}?",
        answer_type="number",
        reference="42",
    )
    made = lesson_of(
        trace(text, number=number),
        example,
        STRATEGY,
        config=EraseConfig(),
        content="explanation",
        seed=0,
    )
    return replace(made, task=task)


@pytest.mark.parametrize(
    ("layout", "judged", "expected"),
    [
        ("as_written", trace("Add. The answer is 42."), (None, "Add. The answer is 42.")),
        ("think", trace("Add. The answer is 42."), ("Add.", "The answer is 42.")),
        ("think", trace("Add.\nIt is 42"), ("Add.\nIt is 42", "The answer is 42.")),
        (
            "think",
            trace("The answer is 42. Because\nof the sum."),
            ("The answer is 42. Because\nof the sum.", "The answer is 42."),
        ),
        ("think", trace("I do not know.", answer=None), (None, "I do not know.")),
        ("think", trace("So 42.", reasoning="Add."), ("Add.", "So 42.")),
        ("text_only", trace("So 42.", reasoning="Add."), (None, "So 42.")),
    ],
)
def test_the_explanation_stands_where_the_layout_says(
    layout: Layout, judged: Judged, expected: tuple[str | None, str]
) -> None:
    assert laid_out(judged, layout) == expected


def test_a_strategy_that_leaks_into_the_reasoning_is_found() -> None:
    assert leaked_strategy(
        replace(lesson(1), reasoning=f"I was told: {STRATEGY.system}"), STRATEGY.system
    )
    assert not leaked_strategy(lesson(1), STRATEGY.system)


@pytest.mark.parametrize("form", ["prompt", "turns"])
def test_a_few_shot_lesson_shows_other_questions_of_its_task_before_its_own(form: str) -> None:
    solved = _Solved(FewShotConfig(share=1.0, shots=(2, 3), form=form), seed=0)  # type: ignore[arg-type]
    for number in range(8):
        solved.few_shot(lesson(number, text=f"The answer is {number}.", task="other"))
        made = solved.few_shot(lesson(number))
        if number < 2:
            assert made is None
            continue
        assert made is not None
        shown = "\n".join(message.content for message in made.messages)
        assert made.messages[-1].content.endswith(f"Question {number}?")
        assert shown.count(f"Question {number}?") == 1
        assert shown.count("The answer is 42.") == made.meta["shots"] in (2, 3)
        assert shown.count("?") == made.meta["shots"] + 1
        assert len(made.messages) == (2 if form == "prompt" else 2 + 2 * made.meta["shots"])
        assert made.completion == lesson(number).completion
        assert made.id != lesson(number).id


def test_the_share_of_few_shot_lessons_is_kept() -> None:
    solved = _Solved(FewShotConfig(share=0.25), seed=0)
    made = [solved.few_shot(lesson(number)) for number in range(400)]
    assert 70 <= sum(item is not None for item in made) <= 130


def test_shots_are_a_range() -> None:
    with pytest.raises(ValidationError, match="fewest"):
        FewShotConfig(shots=(4, 3))


def test_few_shot_lessons_keep_the_erased_message() -> None:
    solved = _Solved(FewShotConfig(share=1.0, shots=(1, 1)), seed=0)
    solved.few_shot(lesson(0))
    made = solved.few_shot(lesson(1))
    assert made is not None
    assert (
        made.messages[0]
        == lesson(1).messages[0]
        == Message(role="system", content=lesson(0).messages[0].content)
    )
