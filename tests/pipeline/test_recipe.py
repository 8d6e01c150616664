"""Recipes: what is wrong is one line with file, line, key, and the nearest key there is."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import dump_recipe, load_recipe, parse_recipe

GOOD = """\
name: r
tasks:
  - {path: a.jsonl}
student: {kind: local, path: x/y}
teacher: {kind: function, function: "orcinus.pipeline.demo:teacher"}
"""
BAD = [
    (
        "a misspelt key",
        GOOD + "probes: {per_task: 3}\n",
        r":6: unknown key 'probes'; did you mean 'probe'\?",
    ),
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
    (
        "an unknown strategy",
        GOOD + "strategies: [direkt]\n",
        r"no strategy named 'direkt'; known: ",
    ),
    ("a strategy twice", GOOD + "strategies: [direct, direct]\n", r"'direct' is named twice"),
    ("a key twice", GOOD + "name: again\n", r":6: the key 'name' is given twice"),
    ("no YAML", "name: [r\n", r":2: not valid YAML"),
    ("an empty file", "", r"the file is empty"),
    ("a list", "- a\n", r"a recipe is a mapping"),
    ("a bad name", GOOD.replace("name: r", "name: ../r"), r":1: name: "),
    (
        "an untrainable student",
        GOOD.replace(
            "{kind: local, path: x/y}",
            '{kind: function, function: "orcinus.pipeline.demo:teacher"}',
        ),
        r"cannot be trained",
    ),
    ("an unknown kind", GOOD.replace("kind: local", "kind: lokal"), r":4: student"),
    (
        "an unknown generator",
        GOOD.replace("path: a.jsonl", "generator: summs"),
        r"no generator named 'summs'; known: ",
    ),
]


def test_a_good_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml"))
    assert recipe.name == "small"
    assert [strategy.name for strategy in recipe.resolved_strategies()] == [
        "direct",
        "step_by_step",
    ]


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


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("recipes/*.yaml")), ids=lambda p: p.name
)
def test_shipped_recipes_are_well_formed(path: Path) -> None:
    assert load_recipe(path).name


def test_a_budget_in_dollars_needs_a_price(tmp_path: Path) -> None:
    endpoint = {
        "kind": "endpoint",
        "model": "my-own-model",
        "base_urls": ["http://localhost:8000/v1"],
    }
    budget = {"usd": 5}
    with pytest.raises(ConfigError, match="no price is known for my-own-model"):
        load_recipe(write_recipe(tmp_path / "r.yaml", teacher=endpoint, budget=budget))
    load_recipe(
        write_recipe(
            tmp_path / "r.yaml",
            teacher={**endpoint, "price": {"input": 0, "output": 0}},
            budget=budget,
        )
    )
    load_recipe(
        write_recipe(
            tmp_path / "r.yaml", teacher={**endpoint, "model": "gpt-4o-mini"}, budget=budget
        )
    )


MODELS = (
    "student: {kind: scratch}\n"
    "teacher: {kind: function, function: 'orcinus.pipeline.demo:teacher'}\n"
)
TASKS = "tasks:\n  - path: ok.jsonl\n"
MISTAKES: list[tuple[str, str, str]] = [
    (
        "wrong indentation",
        "name: a\ntasks:\n  - path: ok.jsonl\n   name: x\n",
        ":4: not valid YAML: .* indented wrongly",
    ),
    (
        "a tab",
        "name: a\ntasks:\n\t- path: ok.jsonl\n",
        ":3: not valid YAML: .*; indent with spaces, not with tabs",
    ),
    (
        "a colon in a text",
        "name: a\ndescription: Is it: good?\n",
        ":2: .*; put a text that holds ': ' in quotes",
    ),
    (
        "a path of Windows",
        'name: a\ntasks:\n  - path: "C:\\Users\\t"\n',
        ":3: .*; .* use single quotes",
    ),
    ("two documents", "name: a\n---\nname: b\n", ":2: .*; only one recipe a file"),
    ("a NUL byte", "name: a\n# \0\n", ":2: not valid YAML: it holds '.x00'; remove it"),
    (
        "a tag of Python",
        "name: !!python/object:os.system a\n",
        ":1: could not .*; a recipe contains plain values",
    ),
    ("merged keys", "name: a\ntasks:\n  - <<: {path: x}\n", ":3: merging with << is not supported"),
    ("a list as a key", "name: a\n? [x]\n: 3\n", ":2: a key must be a text"),
    (
        "an anchor in itself",
        "name: a\ntasks: &t\n  - *t\n",
        ":2: nested too deep, or an anchor that contains itself",
    ),
    (
        "a date",
        f"name: 2024-01-05\n{TASKS}{MODELS}",
        ":1: name: .* reads this as a date; put it in quotes",
    ),
    ("no date", f"name: 2024-13-45\n{TASKS}{MODELS}", ":1: '2024-13-45': .*; put it in quotes"),
    (
        "yes",
        f"name: yes\n{TASKS}{MODELS}",
        ":1: name: .* true or false .as yes, no, on and off.; put it in quotes",
    ),
    ("a number", f"name: 12\n{TASKS}{MODELS}", ":1: name: .* the number 12; put it in quotes"),
    (
        "columns by number",
        f"name: a\n{TASKS}    columns: {{prompt: 0}}\n{MODELS}",
        r":4: tasks\.0\.columns\.prompt: must be a text",
    ),
    (
        "maybe",
        f"name: a\n{TASKS}    skip_bad: maybe\n{MODELS}",
        r":4: tasks\.0\.skip_bad: must be true or false, this is the text",
    ),
    (
        "ten",
        f"name: a\n{TASKS}    limit: ten\n{MODELS}",
        r":4: tasks\.0\.limit: must be a whole number, this is the text 'ten'",
    ),
    (
        "a text for a list",
        f"name: a\ntasks: ok.jsonl\n{MODELS}",
        ":2: tasks: must be a list, this is the text 'ok.jsonl'; put - before",
    ),
    (
        "one task without a dash",
        f"name: a\ntasks: {{path: ok.jsonl}}\n{MODELS}",
        ":2: tasks: must be a list, this is keys with values",
    ),
    (
        "a list of texts",
        f"name: a\ntasks: [ok.jsonl]\n{MODELS}",
        r":2: tasks\.0: must be keys with values.*; write {path: ok\.jsonl}$",
    ),
    ("no tasks", f"name: a\ntasks:\n{MODELS}", ":2: tasks: must be a list, this is nothing"),
    (
        "a model's name",
        f"name: a\n{TASKS}student: gpt2\nteacher: {{kind: self}}\n",
        ":4: student: must be keys with values.*; write {kind: local, path: gpt2}$",
    ),
    (
        "a misspelt kind",
        f"name: a\n{TASKS}student: {{kind: locla}}\nteacher: {{kind: self}}\n",
        ":4: student: no kind 'locla'; did you mean 'local'",
    ),
    (
        "a misspelt section that is needed",
        f"name: a\n{TASKS}student: {{kind: scratch}}\ntecher: {{kind: self}}\n",
        ":5: unknown key 'techer'; did you mean 'teacher'",
    ),
    (
        "no kind",
        f"name: a\n{TASKS}student: {{path: x}}\nteacher: {{kind: self}}\n",
        ":4: student: the key 'kind' is missing, such as kind: local",
    ),
    (
        "a teacher's address",
        f"name: a\n{TASKS}student: {{kind: scratch}}\nteacher: https://h/v1\n",
        r":5: teacher: .*; write {kind: endpoint, model: NAME, base_urls: \[https://h/v1\]}$",
    ),
    (
        "an amount",
        f"name: a\n{TASKS}{MODELS}budget: $5\n",
        ":6: budget: must be keys with values.*; write {usd: 5}$",
    ),
    (
        "a key of a section at the top",
        f"name: a\n{TASKS}{MODELS}held_out: 0.2\n",
        ":6: unknown key 'held_out'; it stands under sample:$",
    ),
    (
        "a key of a stage in its section",
        f"name: a\n{TASKS}{MODELS}train: {{learning_rate: 2e-5}}\n",
        r":6: unknown key 'train\.learning_rate'; it stands under train\.stages:$",
    ),
    (
        "endless training",
        f"name: a\n{TASKS}{MODELS}train: {{stages: [{{epochs: .inf}}]}}\n",
        r":6: train\.stages\.0\.epochs: must be a finite number$",
    ),
    (
        "yes for a number",
        f"name: a\n{TASKS}{MODELS}budget: {{usd: yes}}\n",
        ":6: budget: usd must be a number, and YAML reads this as true or false",
    ),
    (
        "two stages of one name",
        f"name: a\n{TASKS}{MODELS}train: {{stages: [{{epochs: 1}}, {{epochs: 2}}]}}\n",
        r":6: train\.stages: two stages are named 'lessons'; give each its own name:$",
    ),
    (
        "a function without its module",
        f"name: a\n{TASKS}student: {{kind: scratch}}\nteacher: {{kind: function, function: f}}\n",
        r":5: teacher\.function: no model named 'f'; write it as module:function$",
    ),
]


@pytest.mark.parametrize(
    ("text", "says"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_a_mistake_is_answered_with_its_line_and_what_to_do(
    text: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}{says}") as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert "<unicode string>" not in str(caught.value)


def test_data_or_a_folder_in_place_of_a_recipe_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows of data, and no recipe; .*\[{path: r\.jsonl}\]$"):
        load_recipe(tmp_path / "r.jsonl")
    with pytest.raises(ConfigError, match="a folder, and no recipe; name a file in it"):
        load_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"that is a run; its recipe is .*recipe\.yaml$"):
        load_recipe(tmp_path)


def test_a_recipe_in_utf_16_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes("name: a\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="UTF-16; save it as UTF-8"):
        load_recipe(path)


def test_a_recipe_with_a_byte_order_mark_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + f"name: a\n{TASKS}{MODELS}".replace("\n", "\r\n").encode())
    assert load_recipe(path).name == "a"


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("recipes/*.yaml")), ids=lambda p: p.name
)
def test_a_recipe_comes_back_from_its_yaml(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_a_recipe_of_plain_values_is_checked_like_a_file() -> None:
    data = {
        "name": "a",
        "tasks": [{"path": "ok.jsonl"}],
        "student": {"kind": "local", "path": "x"},
        "teacher": {"kind": "self"},
    }
    assert parse_recipe(data) == Recipe.model_validate(data)
    with pytest.raises(ConfigError) as caught:
        parse_recipe({**data, "train": {"stages": [{"epoch": 3}]}})
    says = "recipe: unknown key 'train.stages.0.epoch'; did you mean 'epochs'?"
    assert str(caught.value) == says


def test_what_the_teacher_decides_is_set_before_the_recipe_is_made() -> None:
    """A validated recipe never differs from the values that it was validated from."""
    data = {
        "name": "a",
        "tasks": [{"path": "ok.jsonl"}],
        "student": {"kind": "local", "path": "x"},
    }
    taught = Recipe.model_validate({**data, "teacher": {"kind": "self"}})
    assert taught.evaluate.arms == ("before", "prompted", "answer_only", "after")
    answered = Recipe.model_validate({**data, "teacher": {"kind": "answered"}})
    assert answered.strategies == ("recorded",)
    assert [task.answered for task in answered.file_tasks] == [True]
    # The same from configurations in place of plain values, as self-improvement makes them.
    assert Recipe.model_validate({**dict(taught)}) == taught
    assert Recipe.model_validate({**dict(answered)}) == answered


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "my run"}, "name: 'my run' is not a name: use letters, digits"),
        ({"train": {"stages": []}}, "train.stages: needs at least 1 item"),
        ({"tasks": [{"path": "t.csv", "instruction": ""}]}, "instruction: must not be empty"),
    ],
)
def test_mistakes_are_told_in_the_words_of_a_recipe(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_recipe(write_recipe(tmp_path / "recipe.yaml", **changes))
