"""A recipe with functions in a module beside it: they are called, and a wrong one costs nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

from orcinus.core import registry
from orcinus.core.errors import ConfigError, OrcinusError
from orcinus.lessons.config import CurateConfig
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.executors.open import open_executor
from orcinus.runs.folders import finished_steps

MINE = """
from orcinus.core.types import Assignment, Example, Verdict

def doubles(count=40):
    for i in range(count):
        yield Example(id=str(i), task="doubles", prompt=f"Double {i}.", answer_type="number",
                      reference=str(2 * i), meta={"verifier": "my_functions:ends_right"})

async def ends_right(example, attempt):
    return Verdict(attempt_id=attempt.id, verifier="ends_right@1", answer=attempt.text[-9:],
                   value=float(attempt.text.endswith(example.reference)), reason="its end")

def teacher(messages, sampling):
    return f"Twice. {2 * int(messages[-1].content.split()[1][:-1])}"

def no_fours(example, attempt, verdict):
    return "a four" if "4" in attempt.text else None

def below(examples, *, limit):
    return (example for example in examples if int(example.id) < limit)

def last(judged):
    return Assignment(group="", strategy="step_by_step", runner_up=None, p_value=None,
                      reason="the last one", evidence=())
"""


def own_functions(folder: Path, name: str = "my_functions", text: str = MINE) -> dict[str, Any]:
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return {
        "tasks": [{"function": f"{name}:doubles", "settings": {"count": 30}}],
        "teacher": {"kind": "function", "function": f"{name}:teacher"},
        "assign": {"confirm": 2, "chooser": f"{name}:last"},
        "select": {"by": [{"name": f"{name}:below", "limit": 25}]},
        "curate": {"filters": [f"{name}:no_fours"]},
    }


def test_a_run_uses_the_functions_beside_its_recipe(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", **own_functions(tmp_path))
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "runs" / "ledger.sqlite")
    run = asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent(), until="erase"))
    sampled = tables.read_examples(finished_steps(run, "sample")[0] / layout.EXAMPLES)
    assert {example.task for example in sampled} == {"doubles"}
    lessons = list(tables.read_lessons(finished_steps(run, "erase")[0] / layout.LESSONS))
    assert lessons
    assert all(int(lesson.example_id) < 25 for lesson in lessons)
    assert not any("4" in lesson.completion for lesson in lessons)
    assert all(lesson.completion.startswith("Twice.") for lesson in lessons)
    taught = tables.read_judged(finished_steps(run, "teach")[0] / layout.ATTEMPTS)
    assert {judged.verdict.verifier for judged in taught} == {"ends_right@1"}
    assert load_recipe(run / layout.RECIPE) == load_recipe(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"tasks": [{"function": "wrong_ones:verifier"}]},
            "task 'wrong_ones:verifier': missing a required argument",
        ),
        (
            {"tasks": [{"path": "x.jsonl", "verifier": "wrong_ones:teacher"}]},
            r"verifier 'wrong_ones:teacher' takes \(\); it must be async \(example, attempt\)",
        ),
        (
            {"teacher": {"kind": "function", "function": "wrong_ones:teacher"}},
            r"model 'wrong_ones:teacher' takes \(\); it must be \(request\)",
        ),
        (
            {"assign": {"chooser": "wrong_ones:chooser"}},
            r"chooser 'wrong_ones:chooser' is a coroutine function \(async def\)",
        ),
        (
            {"select": {"by": [{"name": "wrong_ones:selector", "share": 1}]}},
            "selector 'wrong_ones:selector': got an unexpected keyword argument 'share'",
        ),
        ({"curate": {"filters": ["wrong_ones:Filter"]}}, "filter 'wrong_ones:Filter' is a class"),
        (
            {"evaluate": {"decide": {"by": "weighted", "reward": "wrong_ones:LIMIT"}}},
            "reward 'wrong_ones:LIMIT' is a int, not a function",
        ),
    ],
)
def test_a_wrong_shape_is_one_line_when_the_recipe_is_read(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    (tmp_path / "wrong_ones.py").write_text(
        "LIMIT = 3\n"
        "def teacher(): return ''\n"
        "def verifier(example, attempt): return 1.0\n"
        "async def chooser(judged): return None\n"
        "def selector(examples): return examples\n"
        "class Filter:\n    def __call__(self, example, attempt, verdict): return None\n",
        encoding="utf-8",
    )
    path = write_recipe(tmp_path / "recipe.yaml", **changes)
    with pytest.raises(ConfigError, match=says) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


def test_an_objective_beside_the_recipe_keeps_the_needs_it_declared(tmp_path: Path) -> None:
    (tmp_path / "my_objective.py").write_text(
        "from orcinus.core.registry import declare\n"
        "from orcinus.training.objectives.interface import Needs\n"
        "@declare('objective', needs=Needs(lesson_numbers=('pass_rate',)))\n"
        "def loss(inputs, *, floor=0.0): ...\n",
        encoding="utf-8",
    )
    train = {"objective": {"name": "my_objective:loss", "settings": {"floor": 0.5}}}
    path = write_recipe(tmp_path / "recipe.yaml", train=train, rehearse={})
    config = load_recipe(path).train
    objective = config.objective_of(config.stages[0])
    assert objective.needs.evidence == ("pass_rate",)
    assert objective.settings == {"floor": 0.5}


@pytest.mark.parametrize(
    ("wrong", "gives", "says"),
    [
        (
            "async def ends_right(example, attempt)",
            "1.0",
            "verifier '.*' gives 1.0; a verifier giv",
        ),
        ("def teacher(messages, sampling)", "3", "returned int; return a str or a Completion"),
        ("def no_fours(example, attempt, verdict)", "True", "filter '.*' gives True; a filter giv"),
        ("def below(examples, *, limit)", "[1]", "selector '.*' gives 1; a selector gives Example"),
        ("def last(judged)", "'direct'", "'direct' for 'doubles'; it must give an Assignment"),
        ("def doubles(count=40)", "None", "gives None; a task gives Examples"),
    ],
)
def test_what_a_function_returns_is_checked_where_it_is_called(
    wrong: str, gives: str, says: str, tmp_path: Path
) -> None:
    text = f"{MINE}\n{wrong}: return {gives}\n"
    path = write_recipe(tmp_path / "recipe.yaml", **own_functions(tmp_path, text=text))
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "runs" / "ledger.sqlite")
    with pytest.raises(OrcinusError, match=says) as caught:
        asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent(), until="curate"))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("own_extensions")
def test_a_registered_filter_has_the_documented_shape_and_works() -> None:
    @registry.register("filter", "short")
    def short(example: Any, attempt: Any, verdict: Any) -> str | None:
        return None if len(attempt.text) < 100 else "long"

    assert CurateConfig(filters=("short",)).filters == ("short",)


@pytest.mark.usefixtures("own_extensions")
def test_a_registered_executor_is_named_by_its_flag() -> None:
    registry.register("executor", "backwards")(lambda fn, shards: reversed([*map(fn, shards)]))
    assert list(open_executor("backwards").map(str, [1, 2])) == ["2", "1"]
    with pytest.raises(ConfigError, match=r"--executor is 'sideways'; it is 'local', "):
        open_executor("sideways")


def test_a_changed_function_makes_its_steps_anew_and_no_others(tmp_path: Path) -> None:
    rules = (
        "def short(example, attempt, verdict):\n    return None\n",
        "def short(example, attempt, verdict):\n    return 'too long'\n",
        "def short(example, attempt, verdict):\n    return None\n\n\nUNUSED = 1\n",
    )
    made = []
    for number, text in enumerate(rules):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "my_rules.py").write_text(text, encoding="utf-8")
        path = write_recipe(folder / "recipe.yaml", curate={"filters": ["my_rules:short"]})
        with registry.recipe_folder(folder):
            steps = steps_of(load_recipe(path), folder)
            made.append({step.name: step.fingerprint for step in steps})
    first, changed, same = made
    assert first == same
    assert [name for name in first if first[name] != changed[name]][:1] == ["curate"]
    assert first["teach"] == changed["teach"]
    assert first["train"] != changed["train"]


def test_a_changed_objective_trains_anew(tmp_path: Path) -> None:
    made = []
    for number, factor in enumerate((1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = f"def mine(inputs):\n    return {factor}\n"
        (folder / "my_loss.py").write_text(text, encoding="utf-8")
        train = {"objective": {"name": "my_loss:mine"}}
        path = write_recipe(folder / "recipe.yaml", train=train, rehearse={})
        with registry.recipe_folder(folder):
            steps = steps_of(load_recipe(path), folder)
            made.append({step.name: step.fingerprint for step in steps})
    first, changed = made
    different = [name for name in first if first[name] != changed[name]]
    assert different[0] == "train"
    names = list(first)
    assert names.index("curate") < names.index("rehearse") < names.index("erase")
