"""Recipes: what is wrong is one line with file, line, key, and the nearest key there is."""

import re
from pathlib import Path

import pytest
from tests.conftest import write_recipe

from orcinus.errors import ConfigError
from orcinus.recipe import load_recipe

GOOD = """\
name: r
tasks:
  - {path: a.jsonl}
student: {kind: local, path: x/y}
teacher: {kind: function, function: "m:f"}
"""
BAD = [
    ("a misspelt key", GOOD + "probes: {per_task: 3}\n", r":6: unknown key 'probes'; did you mean 'probe'\?"),
    (
        "a misspelt key inside",
        GOOD + "train:\n  stages:\n    - {epoch: 3}\n",
        r":8: unknown key 'train.stages.0.epoch'; did you mean 'epochs'\?",
    ),
    (
        "a missing key",
        "name: r\ntasks: [{path: a}]\nstudent: {kind: local, path: x}\n",
        r"the key 'teacher' is missing",
    ),
    ("a wrong type", GOOD + "seed: many\n", r":6: seed: "),
    ("out of range", GOOD + "sample: {probe: 0.7, held_out: 0.5}\n", r"leave nothing to teach"),
    ("an unknown strategy", GOOD + "strategies: [direkt]\n", r"no strategy named 'direkt'; known: "),
    ("a strategy twice", GOOD + "strategies: [direct, direct]\n", r"'direct' is named twice"),
    ("a key twice", GOOD + "name: again\n", r":6: the key 'name' is given twice"),
    ("no YAML", "name: [r\n", r":2: not valid YAML"),
    ("an empty file", "", r"the file is empty"),
    ("a list", "- a\n", r"a recipe is a mapping"),
    ("a bad name", GOOD.replace("name: r", "name: ../r"), r":1: name: "),
    (
        "an untrainable student",
        GOOD.replace("{kind: local, path: x/y}", '{kind: function, function: "m:f"}'),
        r"cannot be trained",
    ),
    ("an unknown kind", GOOD.replace("kind: local", "kind: lokal"), r":4: student"),
    ("an unknown generator", GOOD.replace("path: a.jsonl", "generator: summs"), r"no generator named 'summs'; known: "),
]


def test_a_good_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml"))
    assert recipe.name == "small"
    assert [strategy.name for strategy in recipe.resolved_strategies()] == ["direct", "step_by_step"]


@pytest.mark.parametrize(("text", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_recipes(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="orcinus init"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[1].glob("recipes/*.yaml")), ids=lambda p: p.name)
def test_shipped_recipes_are_well_formed(path: Path) -> None:
    assert load_recipe(path).name


def test_a_budget_in_dollars_needs_a_price(tmp_path: Path) -> None:
    endpoint = {"kind": "endpoint", "model": "my-own-model", "base_urls": ["http://localhost:8000/v1"]}
    budget = {"usd": 5}
    with pytest.raises(ConfigError, match="no price is known for my-own-model"):
        load_recipe(write_recipe(tmp_path / "r.yaml", teacher=endpoint, budget=budget))
    load_recipe(
        write_recipe(tmp_path / "r.yaml", teacher={**endpoint, "price": {"input": 0, "output": 0}}, budget=budget)
    )
    load_recipe(write_recipe(tmp_path / "r.yaml", teacher={**endpoint, "model": "gpt-4o-mini"}, budget=budget))
