"""Ablation: every arm is the recipe with its own keys changed, on the same items."""

import json
from pathlib import Path

import pytest
import yaml
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus

from orcinus.core.errors import ConfigError
from orcinus.pipeline.ablation import BASE, arms_of, variant
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.reports.charts import differences
from orcinus.runs.folders import finished_steps, summary_of


def test_the_arms_of_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml"))
    arms = arms_of(recipe)
    assert list(arms) == [
        BASE,
        "answers only",
        "all direct",
        "all step_by_step",
        "teacher's best strategy",
        "longest strategy",
        "random strategy",
        "prompt kept",
        "no system message",
        "unverified",
    ]
    made = variant(recipe, "prompt kept", arms["prompt kept"], 7)
    assert (made.name, made.seed, made.erase.mode) == ("small-prompt-kept-7", 7, "kept")
    assert made.assign == recipe.assign


def test_a_recipe_names_arms_of_its_own(tmp_path: Path) -> None:
    own = {"weighted": {"train": {"objective": {"name": "dft"}}, "rehearse": {"lessons": "right"}}}
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml", arms=own))
    made = variant(recipe, "weighted", arms_of(recipe)["weighted"], 1)
    assert (made.name, made.seed, made.arms) == ("small-weighted-1", 1, {})
    assert made.train.objective.name == "dft"
    assert made.train.stages == recipe.train.stages
    assert made.rehearse is not None
    assert made.evaluate.arms == ("after",)
    assert variant(recipe, BASE, {}, 1).evaluate.arms == ("before", "after")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tran": {}}, "arms.wrong: no section 'tran' can be changed"),
        ({"train": {"objective": {"name": "rollout_adaptive"}}}, "the step rehearse makes"),
        ({"train": {"stages": [{"epochs": 0}]}}, "arms.wrong.train.stages.0.epochs"),
    ],
)
def test_a_wrong_arm_is_one_line_when_the_recipe_is_read(
    tmp_path: Path, changes: object, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write_recipe(tmp_path / "r.yaml", arms={"wrong": changes}))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_two_arms_on_the_same_items(tmp_path: Path) -> None:
    write_recipe(tmp_path / "r.yaml")
    arms = ("all direct", "teacher's best strategy")
    options = [part for arm in arms for part in ("--arm", arm)]
    done = orcinus("ablate", "r.yaml", "--seeds", "1", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "runs" / "small-ablation.json").read_bytes())
    assert [row["arm"] for row in found["rows"]] == [BASE, *arms]
    assert found["items"] == 12
    assert found["rows"][1]["difference"] == pytest.approx(
        found["rows"][1]["mean"] - found["rows"][0]["mean"]
    )
    assert "| all direct |" in done.stdout
    wrong = orcinus("ablate", "r.yaml", "--arm", "nothing", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "no arm named 'nothing'" in wrong.stderr


@pytest.mark.slow
def test_arms_can_have_the_same_number_of_response_tokens(tmp_path: Path) -> None:
    assistant = {"kind": "function", "function": "orcinus.pipeline.demo:teacher"}
    path = write_recipe(tmp_path / "r.yaml", assistant=assistant)
    recipe = yaml.safe_load(path.read_text())
    recipe["train"]["stages"] = [
        {"name": "assistant", "teachers": ["assistant"], "epochs": 1, "learning_rate": 0.003},
        {"name": "teacher", "teachers": ["teacher"], "epochs": 1, "learning_rate": 0.003},
    ]
    path.write_text(yaml.safe_dump(recipe))
    arms = ("answers only", "mixed, one stage")
    options = [part for arm in arms for part in ("--arm", arm)]
    done = orcinus("ablate", "r.yaml", "--seeds", "1", "--equal", "tokens", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "runs" / "small-ablation-equal-tokens.json").read_bytes())
    assert [row["arm"] for row in found["rows"]] == [BASE, *arms]
    learnt = {}
    for folder in (tmp_path / "runs").glob("small-*/"):
        name = "train-answer_only" if "answers" in folder.name else "train"
        facts = summary_of(finished_steps(folder, name)[0])["summary"]["stages"]
        learnt[folder.name] = sum(stage["learnt_tokens"] for stage in facts.values())
    assert len(learnt) == 3
    assert max(learnt.values()) < 1.25 * min(learnt.values())


def test_the_plot_shows_every_arm_and_escapes_its_name() -> None:
    rows = [("all <b>$x$</b>", 0.1, 0.05, 0.15), ("unverified", -0.02, -0.08, 0.04)]
    drawn = differences(rows, title="Accuracy")
    assert "unverified" in drawn
    assert "all &lt;b&gt;$x$&lt;/b&gt;" in drawn
    assert drawn == differences(rows, title="Accuracy")
