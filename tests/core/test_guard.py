"""A user's function that raises is one line: which, where, on what row, and what it raised."""

import asyncio
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

import orcinus
from orcinus.core import registry
from orcinus.core.errors import CompleterError, ConfigError, StepError
from orcinus.core.guard import describe, guarded
from orcinus.core.types import Attempt, Example, Judged, Message, Request, Sampling, Verdict
from orcinus.lessons.filters import find_filter, toxic
from orcinus.models.function import FunctionConfig, as_completer
from orcinus.runs.executors.open import open_executor
from orcinus.tasks.generators.function import FunctionTaskConfig, draw_function
from orcinus.training.objectives import find_objective
from orcinus.verifiers.rewards import find_reward
from orcinus.verifiers.verify import find_verifier

RULES = """
import json, sys
from orcinus.core.types import Example

def drop(example, attempt, verdict):
    return {}["colour"]

async def judge(example, attempt):
    raise ValueError("no such\\nunit")

def reward(example, text):
    return json.loads(text)

def answer(messages, sampling):
    sys.exit("bye")

async def look_up(request):
    return {}["colour"]

def choose(judged):
    return judged[1]

def shards(fn, items):
    yield from map(fn, items)
    open("/nowhere/at/all")

def pick(examples):
    yield next(iter(examples))
    raise IndexError("too few")

def source(count=2):
    for i in range(count):
        yield Example(id=str(i), task="t", prompt="?", answer_type="free")
    raise RuntimeError("the file has ended")

def score(text):
    return None

def lose(inputs):
    raise MemoryError("of a GPU")
"""
EXAMPLE = Example(id="a-7", task="sums", prompt="Add 1 2.", answer_type="number", reference="3")
ATTEMPT = Attempt(
    id="x",
    example_id="a-7",
    task="sums",
    strategy="direct",
    model="m",
    messages=(Message(role="user", content="Add 1 2."),),
    sampling=Sampling(),
    sample=0,
    text="not a number",
    finish="stop",
)
VERDICT = Verdict(attempt_id="x", verifier="v", value=1.0, answer="3", reason="")
JUDGED = Judged(attempt=ATTEMPT, verdict=VERDICT)
REQUEST = Request(
    example=EXAMPLE, strategy="direct", messages=ATTEMPT.messages, sampling=Sampling()
)


@pytest.fixture
def rules(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "own_rules.py"
    path.write_text(RULES, encoding="utf-8")
    with registry.recipe_folder(tmp_path):
        yield path


def ask(name: str) -> object:
    model = FunctionConfig(function=f"own_rules:{name}").open()
    return asyncio.run(model.complete(REQUEST))


def run_shards() -> list[int]:
    return list(open_executor("own_rules:shards").map(abs, [-1]))


def draw(config: dict[str, Any]) -> list[Example]:
    return list(draw_function(FunctionTaskConfig(**config)))


CALLS: dict[str, tuple[Callable[[], object], str, str]] = {
    "filter": (
        lambda: find_filter("own_rules:drop")(EXAMPLE, ATTEMPT, VERDICT),
        "filter own_rules:drop raises KeyError: 'colour' in {}:6",
        ", on example a-7 of task sums",
    ),
    "verifier": (
        lambda: asyncio.run(find_verifier("own_rules:judge")(EXAMPLE, ATTEMPT)),  # type: ignore[arg-type]
        "verifier own_rules:judge raises ValueError: no such\nunit in {}:9",
        ", on example a-7 of task sums",
    ),
    "reward, in a library": (
        lambda: find_reward("own_rules:reward")(EXAMPLE, "{"),
        "reward own_rules:reward raises JSONDecodeError: ",
        ".py:12, on example a-7 of task sums",
    ),
    "model that exits": (
        lambda: ask("answer"),
        "model function:own_rules:answer@1 raises SystemExit: bye in {}:15",
        ", on example a-7 of task sums",
    ),
    "chooser": (
        lambda: registry.find("chooser", "own_rules:choose", {})(
            [Judged(attempt=ATTEMPT, verdict=VERDICT)]
        ),
        "chooser own_rules:choose raises IndexError: list index out of range in {}:21",
        ", on 1 attempts, the first at example a-7",
    ),
    "executor": (
        run_shards,
        "executor own_rules:shards raises FileNotFoundError: ",
        ", after 1 results",
    ),
    "selector": (
        lambda: list(registry.find("selector", "own_rules:pick", {})([EXAMPLE])),
        "selector own_rules:pick raises IndexError: too few in {}:29",
        ", after 1 results",
    ),
    "task": (
        lambda: draw({"function": "own_rules:source", "settings": {"count": 3}}),
        "task own_rules:source raises RuntimeError: the file has ended in {}:34",
        ", after 3 results",
    ),
    "score": (
        lambda: toxic(registry.find_function("own_rules:score"), "own_rules:score", 0.5)(
            EXAMPLE, ATTEMPT, VERDICT
        ),
        "curate.toxicity own_rules:score raises TypeError: ",
        ", on example a-7 of task sums",
    ),
}


@pytest.mark.parametrize("kind", CALLS)
def test_what_a_users_function_raises_is_told_with_its_place_and_row(
    rules: Path, kind: str
) -> None:
    call, begins, on = CALLS[kind]
    with pytest.raises(StepError) as caught:
        call()
    said = str(caught.value)
    assert said.startswith(begins.format(rules))
    assert f"{on}; fix it and run the same command again: finished work is kept" in said
    assert caught.value.__cause__ is not None  # for a program that wants the traceback


def test_a_model_without_an_answer_is_an_error_of_the_row(rules: Path) -> None:
    with pytest.raises(CompleterError) as caught:
        ask("look_up")
    assert f"has no answer: 'colour' (KeyError in {rules}:18)" in str(caught.value)


def test_errors_of_ours_and_a_lack_of_memory_pass(rules: Path) -> None:
    def refuse(example: Example, attempt: Attempt, verdict: Verdict) -> None:
        raise ConfigError("the rule needs a threshold")

    with pytest.raises(ConfigError, match=r"\Athe rule needs a threshold\Z"):
        guarded("filter", "own", refuse)(EXAMPLE, ATTEMPT, VERDICT)
    with pytest.raises(MemoryError, match="of a GPU"):
        find_objective("own_rules:lose").function(None)


def test_a_defect_of_ours_within_an_executor_is_not_blamed_on_it(rules: Path) -> None:
    broken: Callable[[Any], str] = describe  # of an Example, and not of a text
    with pytest.raises(AttributeError, match="has no attribute 'id'"):
        list(open_executor("own_rules:shards").map(broken, ["a"]))


def test_a_guarded_function_is_like_the_function(rules: Path) -> None:
    found = registry.find("selector", "own_rules:pick", {})
    assert registry.code_of(found) == registry.code_of(registry.find_function("own_rules:pick"))
    assert found is registry.find("selector", "own_rules:pick", {})
    assert pickle.loads(pickle.dumps(guarded("filter", "abs", abs)))(-1) == 1
    assert str(as_completer(lambda request: "3", name="m").model) == "m"


def test_a_run_stops_in_one_line_and_resumes_with_the_mended_function(
    tmp_path: Path,
    tiny_student: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orcinus.cli import main

    rules = tmp_path / "own_rules.py"
    rules.write_text(RULES, encoding="utf-8")
    path = write_recipe(
        tmp_path / "r.yaml",
        tasks=[{"generator": "sums", "count": 12, "size": [2, 3]}],
        student={"kind": "local", "path": str(tiny_student), "chat_template": "chatml"},
        assign={"fixed": "step_by_step"},
        curate={"filters": ["own_rules:drop"]},
    )
    command = ["orcinus", "run", str(path), "--runs", str(tmp_path / "runs"), "--until", "curate"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as exited:
        main()
    said = capsys.readouterr().err
    assert (exited.value.code, "Traceback" in said) == (2, False)
    assert said.count("orcinus: filter own_rules:drop raises KeyError: 'colour' in") == 1
    taught = sorted((tmp_path / "runs").glob("*/*teach*/attempts.parquet"))
    assert len(taught) == 1
    rules.write_text(RULES.replace('{}["colour"]', "None", 1), encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_rules")  # as in a new process
    run = orcinus.run(path, runs=tmp_path / "runs", until="curate")
    assert run.steps["teach"] / "attempts.parquet" == taught[0]
