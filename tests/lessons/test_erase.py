"""Lessons: which parts of a trace the student sees, and how."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from orcinus.core.types import Attempt, Example, Judged, Lesson, Message, Sampling, Verdict
from orcinus.lessons.config import EraseConfig, FewShotConfig, Layout
from orcinus.lessons.erase import leaks_strategy, lesson_of, split_reasoning, teacher_logprobs
from orcinus.lessons.few_shot import FewShotPool
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


def direct(judged: Judged) -> Judged:
    """Return a trace as if it had been asked for under the strategy ``direct``."""
    return replace(judged, attempt=replace(judged.attempt, strategy="direct"))


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
        ("adaptive", trace("Add. The answer is 42."), ("Add.", "The answer is 42.")),
        ("adaptive", direct(trace("So 42.", reasoning="Add.")), ("", "So 42.")),
    ],
)
def test_the_layout_decides_where_the_explanation_goes(
    layout: Layout, judged: Judged, expected: tuple[str | None, str]
) -> None:
    assert split_reasoning(judged, layout) == expected


def test_a_strategy_that_leaks_with_other_blanks_is_found() -> None:
    told = "Reason step by step"
    leaking = replace(lesson(1), completion="I was told: Reason\n step by  step. So 4.")
    assert leaks_strategy(leaking, told)
    assert not leaks_strategy(replace(leaking, erased="kept"), told)
    assert not leaks_strategy(replace(leaking, completion="Reason by step."), told)
    assert not leaks_strategy(leaking, " ")


def test_a_strategy_that_leaks_into_the_reasoning_is_found() -> None:
    assert leaks_strategy(
        replace(lesson(1), reasoning=f"I was told: {STRATEGY.system}"), STRATEGY.system
    )
    assert not leaks_strategy(lesson(1), STRATEGY.system)


@pytest.mark.parametrize("form", ["prompt", "turns"])
def test_a_few_shot_lesson_first_shows_other_questions_of_its_task(form: str) -> None:
    solved = FewShotPool(FewShotConfig(share=1.0, shots=(2, 3), form=form), seed=0)  # type: ignore[arg-type]
    for number in range(8):
        solved.make_lesson(lesson(number, text=f"The answer is {number}.", task="other"))
        made = solved.make_lesson(lesson(number))
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


def test_few_shot_lessons_have_the_configured_share() -> None:
    solved = FewShotPool(FewShotConfig(share=0.25), seed=0)
    made = [solved.make_lesson(lesson(number)) for number in range(400)]
    assert 70 <= sum(item is not None for item in made) <= 130


def test_the_numbers_of_shots_must_be_a_range() -> None:
    with pytest.raises(ValidationError, match="fewest"):
        FewShotConfig(shots=(4, 3))


def test_few_shot_lessons_keep_the_erased_message() -> None:
    solved = FewShotPool(FewShotConfig(share=1.0, shots=(1, 1)), seed=0)
    solved.make_lesson(lesson(0))
    made = solved.make_lesson(lesson(1))
    assert made is not None
    assert (
        made.messages[0]
        == lesson(1).messages[0]
        == Message(role="system", content=lesson(0).messages[0].content)
    )


def test_a_lesson_keeps_the_teachers_logprobs_of_the_text_that_it_keeps() -> None:
    reply = trace("Add. The answer is 42.")
    scored = replace(
        reply,
        attempt=replace(
            reply.attempt, logprobs=(-1.0, -2.0, -3.0, -0.5), token_bytes=(4, 15, 3, 0)
        ),
    )
    assert teacher_logprobs(scored, None, "Add. The answer is 42.") == {
        "teacher_logprob": {"bytes": [4, 15, 3], "values": [-1.0, -2.0, -3.0]}
    }
    as_thought = teacher_logprobs(scored, "Add.", "The answer is 42.")["teacher_logprob"]
    assert as_thought == {"bytes": [4, 14, 3], "values": [-1.0, -2.0, -3.0]}
    edited = teacher_logprobs(scored, "Added.", "The answer is 42.")["teacher_logprob"]
    assert edited == {"bytes": [6, 14, 3], "values": [None, -2.0, -3.0]}
    assert teacher_logprobs(reply, None, "Add. The answer is 42.") == {}
