"""The plan of a recipe, before any model is called."""

import asyncio
from pathlib import Path

from tests.conftest import write_recipe

import orcinus
from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent


def test_a_student_in_a_folder_is_named_by_its_role(tmp_path: Path, tiny_student: Path) -> None:
    student = {"kind": "local", "path": str(tiny_student)}
    recipe = write_recipe(tmp_path / "recipe.yaml", student=student)
    runs = tmp_path / "runs"
    runtime = Runtime(workspace=runs, ledger_path=runs / "ledger.sqlite", device="cpu")
    plan = asyncio.run(plan_recipe(load_recipe(recipe), recipe, runtime, Silent()))
    notes = " ".join(plan.notes)
    assert "The student has answered nothing yet" in notes
    assert "folder:" not in notes


def test_the_calls_that_are_planned_are_those_that_are_made(tmp_path: Path) -> None:
    """Steps list the requests that they send, so a change of a step changes its plan."""
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml"))
    runs = tmp_path / "runs"
    orcinus.run(recipe, runs=runs, until="assign")
    planned = {row.step: row for row in orcinus.plan(recipe, runs=runs).rows}
    run = orcinus.run(recipe, runs=runs, until="evaluate")
    for step in ("teach", "evaluate"):
        attempts = run.steps[step].glob("attempts*.parquet")
        asked = sum(tables.count_rows(path) for path in attempts)
        row = planned[step]
        assert (row.calls or 0) + (row.known_calls or 0) == asked > 0
