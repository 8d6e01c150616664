"""Ablation: every arm is the recipe with its own keys changed, on the same items."""

import json
from pathlib import Path

import pytest
from tests.conftest import write_recipe
from tests.test_run import orcinus

from orcinus.ablation import BASE, arms_of, variant
from orcinus.recipe import load_recipe


def test_the_arms_of_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml"))
    arms = arms_of(recipe)
    assert list(arms) == [
        BASE,
        "all direct",
        "all step_by_step",
        "random strategy",
        "prompt kept",
        "no system message",
        "unverified",
    ]
    made = variant(recipe, "prompt kept", arms["prompt kept"], 7)
    assert (made.name, made.seed, made.erase.mode) == ("small-prompt-kept-7", 7, "kept")
    assert made.assign == recipe.assign


@pytest.mark.slow
def test_two_arms_on_the_same_items(tmp_path: Path) -> None:
    write_recipe(tmp_path / "r.yaml")
    done = orcinus("ablate", "r.yaml", "--seeds", "1", "--arm", "all direct", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "runs" / "small-ablation.json").read_bytes())
    assert [row["arm"] for row in found["rows"]] == [BASE, "all direct"]
    assert found["items"] == 12
    assert found["rows"][1]["difference"] == pytest.approx(found["rows"][1]["mean"] - found["rows"][0]["mean"])
    assert "| all direct |" in done.stdout
    wrong = orcinus("ablate", "r.yaml", "--arm", "nothing", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "no arm named 'nothing'" in wrong.stderr
