"""A run whose teacher writes programs.

Programs that work become lessons. Where one fails, the step-by-step answer becomes the lesson.
"""

import asyncio
import re
from pathlib import Path

from tests.conftest import write_recipe

from orcinus.core.types import Messages, Sampling
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps
from orcinus.runs.lineage import trace_lesson
from orcinus.tasks.generators.procedural import explain
from orcinus.verifiers.programs import final_program


def programmer(messages: Messages, sampling: Sampling) -> str:
    """Add with a program; where the first number is odd, the program uses an undefined name."""
    question = messages[-1].content
    numbers = re.findall(r"\d+", question)
    if "Python" not in messages[0].content:
        return explain(question, "step_by_step")
    items = "items" if int(numbers[0]) % 2 == 0 else "item"
    return f"```python\nitems = [{', '.join(numbers)}]\nprint(sum({items}))\n```"


def test_programs_that_work_are_lessons_and_failed_ones_are_explained_step_by_step(
    tmp_path: Path,
) -> None:
    path = write_recipe(
        tmp_path / "recipe.yaml",
        tasks=[{"generator": "sums", "count": 80, "size": [2, 3]}],
        strategies=["direct", "program_of_thought"],
        assign={"fixed": "program_of_thought", "confirm": 2},
        teacher={"kind": "function", "function": f"{__name__}:programmer"},
    )
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "runs" / "ledger.sqlite")
    run_dir = asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent()))
    lessons = list(tables.read_lessons(finished_steps(run_dir, "erase")[0] / "lessons.parquet"))
    programs = [lesson for lesson in lessons if lesson.strategy == "program_of_thought"]
    explained = [lesson for lesson in lessons if lesson.strategy == "step_by_step"]
    assert len(programs) > 5
    assert len(explained) > 5
    assert len(programs) + len(explained) == len(lessons)
    assert all(final_program(lesson.completion) for lesson in programs)
    assert all("The answer is" in lesson.completion for lesson in explained)
    assert not any("Python" in message.content for lesson in lessons for message in lesson.messages)
    assert trace_lesson(run_dir, explained[0].id).trace.attempt.strategy == "step_by_step"
    taught = list(tables.read_judged(finished_steps(run_dir, "teach")[0] / "attempts.parquet"))
    assert {judged.verdict.value for judged in taught} == {1.0}
    evaluated = list(
        tables.read_judged(finished_steps(run_dir, "evaluate")[0] / "attempts-teacher.parquet")
    )
    assert {judged.verdict.value for judged in evaluated} == {1.0}
