"""Steps of a trace: where they are, what the student makes of each, and how much each weighs."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

from orcinus.cli.tables import _boundary
from orcinus.core.errors import ConfigError, StepError
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.text_steps import steps_in, texts_of
from orcinus.core.types import Completion, Example, Lesson, Message, Messages, Sampling, Usage
from orcinus.models.function import FunctionModel
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.training.config import WeighConfig
from orcinus.training.weigh import (
    Boundary,
    boundaries_of,
    check_worths,
    own_step,
    requests,
    step_weight,
    weigh,
    weighed,
)

TRACE = "1 + 2 = 3, 3 + 4 = 7. The answer is 7."


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("One.\n\nTwo.\nStill.\n\nThree.", ["One.\n\n", "Two.\nStill.\n\n", "Three."]),
        ("One\nTwo\n\n  Three", ["One\n", "Two\n\n  ", "Three"]),
        ("One. Two! 3.5 is three?", ["One. ", "Two! ", "3.5 is three?"]),
        (TRACE, ["1 + 2 = 3, ", "3 + 4 = 7. ", "The answer is 7."]),
        ("Only 1,000 steps.", ["Only 1,000 steps."]),
        ("\n\nOne\n\nTwo\n\nThree\n\n", ["\n\nOne\n\n", "Two\n\n", "Three\n\n"]),
        ("", []),
    ],
)
def test_a_text_is_cut_at_the_coarsest_unit_with_several_steps(text: str, steps: list[str]) -> None:
    found = steps_in(text)
    assert texts_of(text, found) == steps
    assert "".join(texts_of(text, found)) == text


def test_a_separator_of_ones_own_cuts_a_text() -> None:
    assert texts_of("a; b; c", steps_in("a; b; c", "; ")) == ["a; ", "b; ", "c"]


@pytest.mark.parametrize(
    ("worths", "weight"),
    [((1, 0), 0.9820), ((1, 1), 0.5), ((0.5, 0.75), 0.2689), ((0.75, 0.25), 0.8808), ((0, 1), 0.1)],
)
def test_a_step_weighs_as_much_as_it_is_worth_more_than_the_students(
    worths: tuple[float, float], weight: float
) -> None:
    assert step_weight(*worths, beta=4, least=0.1) == pytest.approx(weight, abs=5e-5)


def test_boundaries_that_nobody_gets_beyond_are_refused() -> None:
    config = WeighConfig()
    check_worths([(0.0, 0.0)] * 8 + [(0.5, 0.0)] * 2, config)
    with pytest.raises(StepError, match=r"at 82% of 11 boundaries no continuation is right"):
        check_worths([(0.0, 0.0)] * 9 + [(0.5, 0.0), (0.0, 0.25)], config)
    with pytest.raises(StepError, match="no lesson has two steps"):
        check_worths([], config)


def lesson_of(number: int, text: str) -> Lesson:
    return Lesson(
        id=f"l{number}",
        example_id=str(number),
        task="sums",
        strategy="step_by_step",
        messages=(Message(role="user", content="Add 1 2 4."),),
        completion=text,
        reasoning=None,
        teacher="t",
        attempt_id="a",
        erased="generic",
    )


def test_the_last_step_is_no_boundary_and_a_draw_is_part_of_a_larger_one() -> None:
    lesson = lesson_of(0, "a\n\nb\n\nc\n\nd\n\ne")
    all_of_them = boundaries_of(lesson, WeighConfig(boundaries=9), 0)
    assert [(b.before, b.teacher) for b in all_of_them][:2] == [("", "a\n\n"), ("a\n\n", "b\n\n")]
    assert [b.step for b in all_of_them] == [0, 1, 2, 3]
    some = boundaries_of(lesson, WeighConfig(boundaries=2), 0)
    assert [b.step for b in some] == sorted(b.step for b in some)
    assert {b.step for b in some} <= {0, 1, 2, 3}
    assert boundaries_of(lesson_of(1, "The answer is 7."), WeighConfig(), 0) == []


@pytest.mark.parametrize(
    ("before", "teacher", "written", "own"),
    [
        ("1 + 2 = 3, ", "3 + 4 = 7. ", "1 + 2 = 3, 3 + 4 = 8. The answer is 8.", "3 + 4 = 8. "),
        ("", "1 + 2 = 3, ", "1 + 2 = 4, 4 + 4 = 8. The answer is 8.", "1 + 2 = 4, "),
        ("One.\n\n", "Two.\n\n", "One.\n\nDos.\nMore.\n\nTres.", "Dos.\nMore.\n\n"),
        ("One.\n", "Two.\n", "One.\nThe answer is 7.", "The answer is 7."),
        ("One.\n", "Two.\n", "", ""),
    ],
)
def test_the_students_step_is_cut_like_the_teachers(
    before: str, teacher: str, written: str, own: str
) -> None:
    boundary = Boundary(step=1, before=before, teacher=teacher)
    assert own_step(written, boundary, WeighConfig()) == own


def careless(messages: Messages, sampling: Sampling) -> Completion:
    """A student that begins wrong, and carries on whatever was begun."""
    begun = messages[-1].content if messages[-1].role == "assistant" else ""
    text = begun or "1 + 2 = 4, "
    if "7" not in text and "8" not in text:
        text += "3 + 4 = 7. " if "= 3" in text else "4 + 4 = 8. "
    text += f"The answer is {7 if '= 7' in text else 8}."
    return Completion(
        text=text[len(begun) :], finish="stop", usage=Usage(tokens_in=5, tokens_out=9)
    )


def run_weigh(folder: Path, lessons: list[Lesson], model: Any, **config: Any) -> dict[str, Any]:
    (folder / "out").mkdir(parents=True)
    with tables.TableWriter(folder / layout.EXAMPLES, tables.EXAMPLES) as writer:
        for lesson in lessons:
            example = Example(
                id=lesson.example_id, task="sums", prompt="Add 1 2 4.", answer_type="number",
                reference="7",
            )  # fmt: skip
            writer.write(tables.example_row(example, "teach"))
    with tables.TableWriter(folder / layout.LESSONS, tables.LESSONS) as writer:
        for lesson in lessons:
            writer.write(tables.lesson_row(lesson))

    def completer(role: str, folder: Path | None = None) -> Completer:
        return FunctionModel(model, model="m")

    with Ledger(folder / "ledger.sqlite") as ledger:
        context = StepContext(
            out=folder / "out",
            inputs={"erase": folder, "sample": folder},
            run="r",
            seed=0,
            ledger=ledger,
            runtime=Runtime(workspace=folder, ledger_path=folder / "ledger.sqlite"),
            progress=Silent(),
            completer=completer,
        )
        settings = WeighConfig(sampling=SamplingConfig(samples=2, temperature=0.7), **config)
        (asking,) = requests(settings, "", context)
        assert len(list(asking.requests)) == len(lessons) * settings.boundaries * 5
        return asyncio.run(weigh(settings, context))


def test_lessons_come_out_with_weights_and_the_evidence_for_them(tmp_path: Path) -> None:
    lessons = [lesson_of(0, TRACE), lesson_of(1, "The answer is 7.")]
    summary = run_weigh(tmp_path, lessons, careless)
    assert summary == {"lessons": 2, "boundaries": 2, "weight": 0.741, "hopeless": 0.0}
    several, alone = tables.read_lessons(tmp_path / "out" / layout.LESSONS)
    parts = several.meta["validity"]
    assert parts["bytes"] == [11, 11, 16]
    # Its own first step ends wrong; its own second step is the teacher's.
    assert parts["values"] == pytest.approx([0.98201, 0.5, 0.74101], abs=1e-5)
    assert alone.meta["validity"] == {"bytes": [16], "values": [0.5], "rest": 0.5}
    first, second = several.meta["boundaries"]
    assert (first["teacher"], first["student"]) == ("1 + 2 = 3, ", "1 + 2 = 4, ")
    assert (first["teacher_right"], first["student_right"]) == ([1.0, 1.0], [0.0, 0.0])
    assert second["teacher"] == second["student"] == "3 + 4 = 7. "
    assert _boundary(first) == (
        "step 1: the teacher's '1 + 2 = 3,' ends right in 2 of 2, "
        "the student's '1 + 2 = 4,' ends right in 0 of 2; weight 0.98"
    )
    attempts = list(tables.read_judged(tmp_path / "out" / layout.ATTEMPTS))
    assert len(attempts) == 8
    wrong = "1 + 2 = 4, 4 + 4 = 8. The answer is 8."
    assert {item.attempt.text for item in attempts} == {TRACE, wrong}


def test_a_hopeless_student_is_refused_in_one_line(tmp_path: Path) -> None:
    def never(messages: Messages, sampling: Sampling) -> Completion:
        return Completion(text="no.", finish="stop", usage=Usage(tokens_in=5, tokens_out=2))

    with pytest.raises(StepError, match="at 100% of 2 boundaries no continuation is right"):
        run_weigh(tmp_path, [lesson_of(0, "One step, two steps. That is it.")], never)


def test_weights_cover_the_reasoning_too() -> None:
    lesson = replace(lesson_of(0, TRACE), reasoning="Hm.")
    parts = weighed(lesson, [], WeighConfig()).meta["validity"]
    assert parts == {"bytes": [3, 11, 11, 16], "values": [0.5] * 4, "rest": 0.5}


def test_a_recipe_weighs_steps_if_and_only_if_the_objective_uses_it(tmp_path: Path) -> None:
    train = {"objective": {"name": "token_weight"}}
    with pytest.raises(ConfigError, match=r"which the step weigh measures; add a section weigh:"):
        load_recipe(write_recipe(tmp_path / "a.yaml", train=train))
    with pytest.raises(ConfigError, match="'lesson_weight' uses no weights of steps"):
        load_recipe(write_recipe(tmp_path / "b.yaml", weigh={"boundaries": 2}))
    recipe = load_recipe(write_recipe(tmp_path / "c.yaml", train=train, weigh={"boundaries": 1}))
    assert recipe.weigh == WeighConfig(boundaries=1)
