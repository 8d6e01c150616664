"""The plan of a recipe, before anything is asked."""

import asyncio
from pathlib import Path

from tests.conftest import write_recipe

from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs.context import Runtime, Silent


def test_a_student_in_a_folder_is_named_by_its_role(tmp_path: Path, tiny_student: Path) -> None:
    student = {"kind": "local", "path": str(tiny_student)}
    recipe = write_recipe(tmp_path / "recipe.yaml", student=student)
    runs = tmp_path / "runs"
    runtime = Runtime(workspace=runs, ledger_path=runs / "ledger.sqlite", device="cpu")
    plan = asyncio.run(plan_recipe(load_recipe(recipe), recipe, runtime, Silent()))
    notes = " ".join(plan.notes)
    assert "the student has answered nothing yet" in notes
    assert "folder:" not in notes
