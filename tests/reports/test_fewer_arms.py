"""The report of a run that compares fewer students than usual."""

from pathlib import Path

from tests.conftest import write_recipe

import orcinus


def test_the_report_of_one_arm_alone(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", evaluate={"arms": ["after"], "per_task": 4})
    run = orcinus.run(recipe, runs=tmp_path / "runs")
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "After training" in page
    assert "Before → after" not in page
