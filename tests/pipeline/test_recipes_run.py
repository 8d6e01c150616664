"""The recipes that run offline do, on fewer questions; the large ones say what they would cost."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.pipeline.test_run import orcinus

from orcinus.runs import tables
from orcinus.runs.folders import finished_steps

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["orca-1-small", "orca-2-small"])
def test_a_small_recipe_learns_from_its_assistant_and_then_from_its_teacher(
    name: str, tmp_path: Path
) -> None:
    recipe: dict[str, Any] = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    for task in recipe["tasks"]:
        task["count"] = 40
    for stage in recipe["train"]["stages"]:
        stage["epochs"] = 1
    recipe["student"]["path"] = str((RECIPES / recipe["student"]["path"]).resolve())
    recipe["evaluate"] = {"per_task": 4, "sampling": {"max_tokens": 16}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    done = orcinus("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run_dir = tmp_path / "runs" / name
    lessons = list(tables.read_lessons(finished_steps(run_dir, "erase")[0] / "lessons.parquet"))
    by_role = {
        role: [item for item in lessons if item.meta["role"] == role]
        for role in ("assistant", "teacher")
    }
    assert 0 < len(by_role["teacher"]) < len(by_role["assistant"])
    kept = {item.erased for item in lessons}
    assert kept == ({"kept"} if name == "orca-1-small" else {"generic"})
    traced = orcinus("show", by_role["assistant"][0].id, cwd=tmp_path)
    assert traced.returncode == 0, traced.stderr
    assert "demo:assistant" in traced.stdout
    train = finished_steps(run_dir, "train")[0]
    assert (train / "stage-1" / "model.safetensors").exists()
    assert (train / "stage-2" / "model.safetensors").exists()
