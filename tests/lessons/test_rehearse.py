"""Rehearsal: what the student is asked, what its lessons then know, and what is not paid twice."""

import asyncio
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lessons.test_requests import GENERIC, STRATEGIES, context, ids, in_step, sent

from orcinus.core.errors import StepError
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Assignment, Lesson, Messages, Sampling
from orcinus.lessons import curate, erase, rehearse, select, teach
from orcinus.lessons.config import (
    CurateConfig,
    EraseConfig,
    RehearseConfig,
    SelectConfig,
    SelectorConfig,
    TeachConfig,
)
from orcinus.models.function import FunctionModel
from orcinus.runs import layout, tables
from orcinus.runs.context import StepContext

__all__ = ["context"]
UNTAUGHT = "7"
"""A digit of the questions that the teacher cannot explain."""
FOUR = SamplingConfig(samples=4, temperature=0.9, top_p=0.95)


def student(messages: Messages, sampling: Sampling) -> str:
    """Answer right with the first two seeds, in two ways, wrong with the third, else not at all."""
    total = sum(map(int, re.findall(r"\d+", messages[-1].content)))
    seed = sampling.seed or 0
    asked.append(messages)
    ways = (f"I add them all up. The answer is {total}.", f"Simply count. The answer is {total}.")
    return (*ways, "The answer is 0.", "I do not know")[seed % 4]


asked: list[Messages] = []


@pytest.fixture
def taught(context: StepContext, tmp_path: Path) -> StepContext:
    """A run whose teacher has explained, with a student that is right twice in four answers."""
    examples = tmp_path / "sample" / "examples.parquet"
    kept = [e for e in tables.read_examples(examples, "teach") if e.task == "sums"]
    with tables.TableWriter(examples, tables.EXAMPLES) as writer:
        for example in kept:
            writer.write(tables.example_row(example, "teach"))
    assignment = Assignment(
        group="sums", strategy="direct", evidence=(), runner_up=None, p_value=None, reason=""
    )
    with tables.TableWriter(tmp_path / "assign" / layout.ASSIGNMENTS, tables.ASSIGNMENTS) as writer:
        writer.write(tables.assignment_row(assignment))
    asked.clear()

    def teacher(messages: Messages, sampling: Sampling) -> str:
        text = messages[-1].content
        return "no idea" if UNTAUGHT in text else f"So {student(messages, Sampling(seed=0))}"

    models = {
        "student": FunctionModel(student, model="student"),
        "teacher": FunctionModel(teacher, model="teacher"),
    }
    return replace(context, completer=lambda role, folder=None: models[role])


def run_until_erase(context: StepContext, config: RehearseConfig) -> list[Lesson]:
    teaching = in_step(context, "teach", assign="assign")
    asyncio.run(teach.teach(TeachConfig(), STRATEGIES, teaching))
    curating = in_step(context, "curate", teach="teach")
    asyncio.run(curate.curate(CurateConfig(), STRATEGIES, curating))
    rehearsing = in_step(context, "rehearse", curate="curate")
    asyncio.run(rehearse.rehearse(config, GENERIC, rehearsing))
    erasing = in_step(context, "erase", curate="curate", rehearse="rehearse")
    own = config.lessons == "right"
    asyncio.run(erase.erase(EraseConfig(message=GENERIC), STRATEGIES, erasing, own=own))
    return list(tables.read_lessons(erasing.out / "lessons.parquet"))


def test_a_lesson_knows_what_the_student_could_do_and_right_answers_are_lessons(
    taught: StepContext,
) -> None:
    lessons = run_until_erase(taught, RehearseConfig(sampling=FOUR, lessons="right"))
    by_role = Counter(lesson.meta["role"] for lesson in lessons)
    assert by_role["self"] == 2 * by_role["teacher"] > 0  # two different right answers to each
    for lesson in lessons:
        assert (lesson.meta["right"], lesson.meta["came"]) == (2, 4)
        assert lesson.meta["own"] == (lesson.meta["role"] == "self")
        assert lesson.meta["pass_rate"] == 0.5
        assert [message.role for message in lesson.messages] == ["system", "user"]
        assert lesson.messages[0].content == GENERIC
    assert {lesson.teacher for lesson in lessons if lesson.meta["own"]} == {"student"}


def test_only_taught_questions_are_asked_under_the_erased_message(taught: StepContext) -> None:
    config = RehearseConfig(sampling=FOUR)
    bound = rehearse.requests(config, GENERIC, in_step(taught, "rehearse"))
    assert [asking.exact for asking in bound] == [False]
    assert len(ids(bound)) == 4 * 10
    lessons = run_until_erase(taught, config)
    assert {lesson.meta["role"] for lesson in lessons} == {"teacher"}
    rehearsing = in_step(taught, "rehearse", curate="curate")
    listed = rehearse.requests(config, GENERIC, rehearsing)
    assert [asking.exact for asking in listed] == [True]
    attempts = list(tables.read_judged(rehearsing.out / "attempts.parquet"))
    assert ids(listed) == sent(rehearsing.out / "attempts.parquet")
    assert {item.attempt.messages[0].content for item in attempts} == {GENERIC}
    assert not any(UNTAUGHT in item.attempt.messages[-1].content for item in attempts)
    assert len(attempts) == 4 * len(lessons) < 40


def test_a_selection_by_the_erased_message_pays_for_the_rehearsal_too(taught: StepContext) -> None:
    selector = SelectorConfig.model_validate({"name": "teachable", "low": 0.5, "high": 0.5})
    config = SelectConfig(by=(selector,), sampling=FOUR, under="erased")
    selecting = in_step(taught, "select", assign="assign")
    (listed,) = select.requests(config, STRATEGIES, GENERIC, selecting)
    assert listed.exact
    found = asyncio.run(select.select(config, STRATEGIES, GENERIC, selecting))
    assert (found["kept"], found["pass_rate"]) == (10, 0.5)
    paid = len(asked)
    assert paid == 40
    run_until_erase(taught, RehearseConfig(sampling=FOUR))
    taught_calls = [messages for messages in asked[paid:] if messages[0].content == GENERIC]
    assert taught_calls == []


def test_a_number_that_no_question_has_is_named(taught: StepContext) -> None:
    run_until_erase(taught, RehearseConfig(sampling=FOUR))
    erasing = in_step(taught, "erase", curate="curate")
    with pytest.raises(StepError, match="needs the number 'hardness' of each lesson"):
        asyncio.run(erase.erase(EraseConfig(), STRATEGIES, erasing, numbers=["hardness"]))
