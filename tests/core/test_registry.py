"""Extensions by name, by place and by entry point, and the error for a wrong shape."""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from inspect import unwrap
from pathlib import Path
from typing import Any

import pytest

from orcinus.core import registry
from orcinus.core.errors import ConfigError
from orcinus.core.registry import Kind, find, recipe_folder, register, with_settings

FUNCTIONS: dict[Kind, str] = {
    "model": "def {name}(request): return 'yes'",
    "task": "def {name}(count=3): return iter(())",
    "verifier": "async def {name}(example, attempt): return None",
    "filter": "def {name}(example, attempt, verdict): return None",
    "selector": "def {name}(examples, *, share=0.5): return examples",
    "chooser": "def {name}(judged): return None",
    "reward": "def {name}(example, text): return 0.5",
    "executor": "def {name}(fn, shards): return map(fn, shards)",
    "objective": "def {name}(inputs, factor=2.0): return None",
}
"""A function of each kind."""

WRONG: dict[Kind, str] = {
    "model": "def {name}(): return 'yes'",
    "task": "{name} = [1, 2]",
    "verifier": "def {name}(example, attempt): return None",
    "filter": "def {name}(): return lambda example, attempt, verdict: None",
    "selector": "class {name}:\n    def __call__(self, examples): return examples",
    "chooser": "async def {name}(judged): return None",
    "reward": "def {name}(text): return 0.5",
    "executor": "def {name}(shards): return shards",
    "objective": "def {name}(): return None",
}
"""For each kind a wrong shape: too few parameters, a class, a factory, a coroutine …"""

KINDS = list(registry.SHAPES)


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Write a module beside a recipe; return its name."""

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    with recipe_folder(tmp_path):
        yield write


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("own_extensions")
def test_a_registered_function_is_found_by_its_name(kind: Kind) -> None:
    space: dict[str, Any] = {}
    exec(FUNCTIONS[kind].format(name="mine"), space)
    assert register(kind, "mine")(space["mine"]) is space["mine"]
    assert unwrap(find(kind, "mine", {})) is space["mine"]
    assert registry.names(kind, {"ours": "a:b"}) == ["mine", "ours"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_beside_the_recipe_is_found_by_its_place(
    kind: Kind, module: Callable[[str, str], str]
) -> None:
    name = module(f"beside_{kind}", FUNCTIONS[kind].format(name="mine"))
    before = list(sys.path)
    assert find(kind, f"{name}:mine", {}).__name__ == "mine"
    assert sys.path == before


@pytest.mark.parametrize("plural", ["", "s"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("own_extensions")
def test_a_function_of_an_installed_package_is_found_by_its_entry_point(
    kind: Kind, plural: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"their_{kind}{plural}"
    (tmp_path / f"{package}.py").write_text(FUNCTIONS[kind].format(name="theirs"), encoding="utf-8")
    info = tmp_path / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[orcinus]\n{kind}{plural}.{package} = {package}:theirs\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package in registry.names(kind, {})
    found = find(kind, package, {})
    assert (found.__module__, found.__name__) == (package, "theirs")
    assert find(kind, package, {}) is found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("own_extensions")
def test_a_wrong_shape_is_one_line_with_kind_name_and_shape(
    kind: Kind, module: Callable[[str, str], str]
) -> None:
    name = module(f"wrong_{kind}", WRONG[kind].format(name="mine"))
    shape = re.escape(registry.SHAPES[kind].text)
    with pytest.raises(ConfigError, match=f"^{kind} '{name}:mine' .*; it must be {shape}$"):
        find(kind, f"{name}:mine", {})
    space: dict[str, Any] = {}
    exec(WRONG[kind].format(name="mine"), space)
    with pytest.raises(ConfigError, match=f"^{kind} 'mine' .*; it must be {shape}$"):
        register(kind, "mine")(space["mine"])


def test_an_unknown_name_gets_an_error_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no reward named 'thrid'; known: first, second"):
        find("reward", "thrid", {"first": "a:b", "second": "a:b"})


@pytest.mark.usefixtures("own_extensions")
def test_a_name_cannot_be_taken_twice() -> None:
    register("reward", "mine")(lambda example, text: 1.0)
    with pytest.raises(ConfigError, match="two rewards are named 'mine'"):
        register("reward", "mine")(lambda example, text: 0.0)
    with pytest.raises(ConfigError, match="reward 'mine' is built in"):
        find("reward", "mine", {"mine": len})


@pytest.mark.usefixtures("own_extensions")
def test_a_cell_of_a_notebook_may_run_twice() -> None:
    cell = FUNCTIONS["filter"].format(name="mine")
    spaces: list[dict[str, Any]] = [{"__name__": "__main__"}, {"__name__": "__main__"}]
    for space in spaces:
        exec(cell, space)
        register("filter", "mine")(space["mine"])
    assert unwrap(find("filter", "mine", {})) is spaces[1]["mine"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def theirs(): pass", "wrong.py has no 'mine'; write it as package.module:name"),
        ("import nothing_of_that_name", "importing wrong fails in .*wrong.py:1: ModuleNotFound"),
        ("x = 1\nx[0]", "importing wrong fails in .*wrong.py:2: TypeError"),
        ("def mine(:", "importing wrong fails .*SyntaxError: .*wrong.py, line 1"),
    ],
)
def test_a_module_that_does_not_import_is_one_line(
    text: str, says: str, module: Callable[[str, str], str]
) -> None:
    name = module("wrong", text)
    with pytest.raises(ConfigError, match=says) as caught:
        find("filter", f"{name}:mine", {})
    assert "\n" not in str(caught.value)


def test_the_old_place_of_a_function_gets_an_error_with_the_new_one() -> None:
    with pytest.raises(ConfigError, match=r"tasks.short:teacher is now orcinus.pipeline.demo:teac"):
        find("model", "orcinus.tasks.short:teacher", {})
    for place in registry.MOVED.values():
        assert callable(find("model", place, {}))


def test_two_recipes_can_have_modules_of_equal_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "twin_helper.py").write_text(f"WHO = {name!r}", encoding="utf-8")
        (folder / "twins.py").write_text(
            "from twin_helper import WHO\ndef mine(example, text): return WHO", encoding="utf-8"
        )
    for name in ("a", "b", "a"):
        with recipe_folder(tmp_path / name):
            assert find("reward", "twins:mine", {})(None, "") == name
    with recipe_folder(tmp_path), pytest.raises(ConfigError, match="No module named 'twins'"):
        find("reward", "twins:mine", {})


def test_an_installed_module_wins_over_one_beside_the_recipe(
    module: Callable[[str, str], str],
) -> None:
    module("operator", "def neg(value): return 'beside the recipe'")
    assert find("chooser", "operator:neg", {})(2) == -2


def test_a_function_found_by_its_place_keeps_what_it_declared(
    module: Callable[[str, str], str],
) -> None:
    text = (
        "from orcinus.core.registry import declare\n"
        "@declare('selector', needs_pass_rate=True)\n"
        "def mine(examples): return examples\n"
    )
    found = find("selector", f"{module('declared', text)}:mine", {})
    assert registry.declared_by(found) == {"needs_pass_rate": True}
    with pytest.raises(ConfigError, match="a filter cannot declare 'needs_pass_rate'"):
        register("filter", "x", needs_pass_rate=True)


def test_settings_are_keyword_arguments_of_the_annotated_types() -> None:
    def edge(examples: object, *, low: float = 0.2, sizes: tuple[int, ...] = ()) -> object:
        return low, sizes

    given = with_settings("selector", "edge", edge, {"low": 1, "sizes": [1, 2]})
    assert isinstance(given, partial)
    assert given([]) == (1.0, (1, 2))
    for settings, says in (
        ({"lo": 1}, "selector 'edge': got an unexpected keyword argument 'lo'; it takes low, siz"),
        ({"low": "high"}, "edge.low: Input should be a valid number"),
    ):
        with pytest.raises(ConfigError, match=says):
            with_settings("selector", "edge", edge, settings)
