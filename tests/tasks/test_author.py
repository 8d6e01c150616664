"""Tasks that a model writes: what is asked, what is checked, what is kept, what is paid for."""

import asyncio
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.conftest import write_recipe
from tests.tasks.authors import (
    Model,
    answers,
    control,
    is_misstated,
    rates,
    says,
    solver,
    write_sum,
)

import orcinus
from orcinus.cli.tables import print_found
from orcinus.core.errors import BudgetError, ConfigError, StepError
from orcinus.core.types import Example, Messages, Request, Sampling, WorstCase
from orcinus.models.function import FunctionModel
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout, tables
from orcinus.runs.budget import Budget
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.runs.lookup import look_up
from orcinus.tasks.author import author, requests
from orcinus.tasks.authored.config import AuthoredConfig, AuthoringConfig, cells_of
from orcinus.tasks.authored.units import Unit

ONE = "<question>What is 2 + 2?</question><answer>4</answer>"


def task(**settings: Any) -> AuthoredConfig:
    written = {"by": "writer", "topics": ["levers", "gases", "heat"], "count": 1, **settings}
    return AuthoredConfig(name="science", authored=AuthoringConfig.model_validate(written))


class Desk:
    """Runs the step with functions as models, and counts their calls."""

    def __init__(self, folder: Path, models: Mapping[str, Model]) -> None:
        self.folder, self.calls = folder, 0
        self.models = {
            name: FunctionModel(self._counted(model), model=name, worst_case=self._worst)
            for name, model in models.items()
        }

    def _counted(self, model: Model) -> Model:
        def reply(messages: Messages, sampling: Sampling) -> str:
            self.calls += 1
            return model(messages, sampling)

        return reply

    def _worst(self, request: Request) -> WorstCase:
        return WorstCase(usd=0.0, tokens=1000)

    def run(self, *tasks: AuthoredConfig, tokens: int | None = None) -> dict[str, Any]:
        with Ledger(self.folder / "ledger.sqlite") as ledger:
            budget = Budget(ledger=ledger, run="r", usd=None, tokens=tokens)
            return asyncio.run(author(tasks, self.folder, self.context(ledger, budget)))

    def context(self, ledger: Ledger, budget: Budget | None = None) -> StepContext:
        return StepContext(
            out=self.folder / "out",
            run="r",
            seed=0,
            ledger=ledger,
            runtime=Runtime(
                workspace=self.folder, ledger_path=self.folder / "ledger.sqlite", concurrency=1
            ),
            progress=Silent(),
            completer=lambda role, folder=None: self.models[role],
            budget=budget,
        )

    def kept(self) -> list[Example]:
        return list(tables.read_examples(self.folder / "out" / layout.authored(0)))

    def reasons(self) -> list[str]:
        rows = tables.read_rows(self.folder / "out" / layout.DROPPED)
        return [f"{row['filter']}: {row['reason']}" for row in rows]


def test_cells_are_drawn_without_repetition() -> None:
    config = AuthoringConfig(
        by="w", topics=("a", "b", "c"), audiences=("x", "y"), constraints=("u", "v"), count=30
    )
    cells = list(cells_of(config, [Unit(name, None) for name in config.topics]))
    counts = {(c.unit.name, c.audience, c.constraint): 0 for c in cells}
    for c in cells:
        counts[c.unit.name, c.audience, c.constraint] += 1
    assert len(counts) == 12
    assert set(counts.values()) == {2, 3}
    assert [c.number for c in cells] == [1] * 12 + [2] * 12 + [3] * 6


def test_a_control_that_doubts_drops_a_question(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {"writer": says(ONE), "a": rates(0.9), "b": rates(0.7)})
    with pytest.raises(StepError, match=r"science: none of the 1 questions.*control b 0\.70"):
        desk.run(task(controls=["a", "b"]))
    assert desk.reasons() == ["control: control b 0.70 < 0.80"]


@pytest.mark.parametrize(
    ("stated", "tries"), [("4", 2), ("3", 1), ("5.0", 3)], ids=["second", "first", "third"]
)
def test_the_number_of_tries_is_the_difficulty(tmp_path: Path, stated: str, tries: int) -> None:
    written = f"<question>How many?</question><answer>{stated}</answer>"
    desk = Desk(tmp_path, {"writer": says(written), "c": says(*answers(3, 4, 5))})
    assert desk.run(task(solver="c"))["tasks"] == {"science": {"asked": 1, "kept": 1}}
    [example] = desk.kept()
    assert (example.prompt, example.reference) == ("How many?", stated)
    assert example.meta["difficulty"] == tries
    assert example.meta["source_unit"] == example.meta["topic"]
    assert desk.calls == 1 + tries


def test_a_question_that_the_solver_never_answers_as_stated_is_dropped(tmp_path: Path) -> None:
    written = "<question>How many?</question><answer>6</answer>"
    desk = Desk(tmp_path, {"writer": says(written), "c": says(*answers(3, 4, 5))})
    with pytest.raises(StepError, match="solver never agrees"):
        desk.run(task(solver="c"))
    assert desk.reasons() == ["solver: solver never agrees"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I would rather not.", "no <question>…</question> in the reply"),
        ("<question>How many?</question>", "no <answer>…</answer> in the reply"),
        ("<question> </question><answer>4</answer>", "no <question>…</question> in the reply"),
        ("<question>How many?</question><answer>many</answer>", "number"),
    ],
)
def test_a_reply_that_is_no_question_is_dropped(tmp_path: Path, reply: str, reason: str) -> None:
    desk = Desk(tmp_path, {"writer": says(reply)})
    with pytest.raises(StepError, match=r"What was paid for is kept"):
        desk.run(task())
    [found] = desk.reasons()
    assert found.startswith("unreadable: ")
    assert reason in found


def test_a_question_is_not_checked_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {"writer": says(ONE), "a": rates(1.0)})
    summary = desk.run(task(count=3, controls=["a"]))
    assert summary["dropped"] == {"duplicate": 2}
    assert desk.calls == 3 + 1


def test_a_program_states_the_answer(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_monty", reason="needs the extra sandbox")
    written = "<question>Sum?</question><program>```python\nprint(sum(range(5)))\n```</program>"
    desk = Desk(tmp_path, {"writer": says(written)})
    desk.run(task())
    assert desk.kept()[0].reference == "10"


def test_a_function_is_asked_for_with_its_tests(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_monty", reason="needs the extra sandbox")
    written = "<question>Write add(a, b).</question><tests>assert add(2, 3) == 5</tests>"
    wrong, right = "```python\ndef add(a, b):\n    return a - b\n```", "def add(a, b): return a + b"
    desk = Desk(tmp_path, {"writer": says(written), "c": says(wrong, right)})
    desk.run(task(kinds=["program"], solver="c"))
    [example] = desk.kept()
    assert (example.answer_type, example.meta["difficulty"]) == ("program", 2)


def test_what_is_paid_is_paid_once_and_the_cap_holds(tmp_path: Path) -> None:
    models = {"writer": write_sum, "a": control(0.0, "a"), "c": solver(0.3)}
    config = task(count=12, controls=["a"], solver="c")
    capped = Desk(tmp_path, models)
    with pytest.raises(BudgetError):
        capped.run(config, tokens=1200)
    assert 0 < capped.calls < 12
    rest = Desk(tmp_path, models)
    rest.run(config)
    whole = Desk(tmp_path / "whole", models)
    whole.folder.mkdir()
    whole.run(config)
    assert capped.calls + rest.calls == whole.calls
    assert rest.kept() == whole.kept()
    again = Desk(tmp_path, models)
    again.run(config)
    assert again.calls == 0


def test_one_model_in_two_capacities_is_warned_of(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {"writer": says(f"{ONE} The answer is 4."), "a": rates(1.0)})
    summary = desk.run(task(controls=["a"], solver="writer"))
    assert summary["warnings"] == [
        "science: author and solver are one model, writer: it agrees with its own mistakes; "
        "name different models"
    ]


def test_the_plan_lists_the_calls_that_are_made(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {"writer": write_sum, "a": control(0.0, "a"), "c": solver(0.0)})
    config = task(count=12, controls=["a"], solver="c")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        asked = requests((config,), tmp_path, desk.context(ledger))
        counts = [(asking.role, len(list(asking.requests)), asking.exact) for asking in asked]
    assert counts == [("writer", 12, True), ("a", 12, False), ("c", 36, False)]


def test_wrong_statements_go_and_right_ones_stay(tmp_path: Path) -> None:
    """The offline experiment: an author wrong in a known tenth, controls and solver that slip."""
    models = {
        "writer": write_sum,
        "a": control(0.02, "a"),
        "b": control(0.02, "b"),
        "c": solver(0.15),
    }
    desk = Desk(tmp_path, models)
    desk.run(task(count=240, controls=["a", "b"], solver="c"))
    written = tables.read_judged(tmp_path / "out" / layout.attempts("0-author"))
    questions = {j.attempt.text.split("</question>")[0].removeprefix("<question>") for j in written}
    wrong = {question for question in questions if is_misstated(question)}
    kept = {example.prompt for example in desk.kept()}
    assert len(wrong) >= 15
    assert len(kept & wrong) / len(wrong) <= 0.05
    assert len(kept - wrong) / len(questions - wrong) >= 0.9


# --- in a recipe


SCIENCE = {
    "authored": {
        "by": "writer",
        "topics": ["levers", "gases", "heat", "light", "sound"],
        "count": 60,
        "controls": ["control"],
        "solver": "solver",
    },
    "name": "science",
}
MODELS = {
    name: {"kind": "function", "function": f"authored_models:{name}"}
    for name in ("writer", "control", "solver")
}
MODULE = """
from tests.tasks import authors

writer, control, solver = authors.write_sum, authors.control(0.0, "a"), authors.solver(0.1)


def teacher(messages, sampling):
    return f"I add them up. The answer is {authors.total(messages[-1].content)}."
"""


def test_a_recipe_writes_plans_and_splits_by_source_unit(tmp_path: Path) -> None:
    (tmp_path / "authored_models.py").write_text(MODULE, encoding="utf-8")
    teacher = {"kind": "function", "function": "authored_models:teacher"}
    path = write_recipe(tmp_path / "recipe.yaml", tasks=[SCIENCE], models=MODELS, teacher=teacher)
    runs = tmp_path / "runs"
    before = orcinus.plan(path, runs=runs)
    assert (before.rows[0].step, before.rows[0].calls) == ("author", 60 + 60 + 180)
    assert not list(runs.glob("*/sample-*"))
    run = orcinus.run(path, runs=runs, until="sample")
    examples = list(tables.read_examples(run.steps["sample"] / layout.EXAMPLES))
    units: dict[str, set[str]] = {}
    for row in tables.read_rows(run.steps["sample"] / layout.EXAMPLES, ["id", "split"]):
        unit = next(e.meta["source_unit"] for e in examples if e.id == row["id"])
        units.setdefault(row["split"], set()).add(unit)
    assert set(units) == {"probe", "teach", "held_out"}
    assert sum(map(len, units.values())) == 5
    after = orcinus.plan(path, runs=runs)
    assert after.rows[0].state == "done"
    assert after.calls > 0
    check_that_the_calls_are_shown(run.folder, examples[0], run.steps["author"])


def check_that_the_calls_are_shown(run_dir: Path, kept: Example, author_step: Path) -> None:
    found = look_up(run_dir, kept.id)
    assert found.example == kept
    assert [j.attempt.strategy for j in found.written][:3] == ["author", "control", "solver"]
    assert found.written[-1].attempt.id == kept.meta["authored"]["solver"]
    assert not found.attempts
    dropped = next(tables.read_rows(author_step / layout.DROPPED))
    found = look_up(run_dir, dropped["example_id"])
    assert [j.attempt.strategy for j in found.written] == ["author", "control"]
    assert [(e.step, e.what) for e in found.events] == [
        ("author", "left out by control: control control 0.10 < 0.80")
    ]
    alone = look_up(run_dir, found.written[0].attempt.id)
    assert (alone.kind, alone.written) == ("attempt", found.written[:1])
    with pytest.raises(ConfigError, match="neither an example nor a trace"):
        look_up(run_dir, "nothing-has-this-id")
    console = Console(width=200, record=True, file=StringIO())
    print_found(console, found)
    shown = console.export_text()
    for said in ("Asked of the author", "Topic: ", "replied ($0.000000", "left out by"):
        assert said in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": {}}, "science asks the model 'writer', which the recipe does not have"),
        ({"models": {**MODELS, "idle": MODELS["writer"]}}, "no authored task asks 'idle'"),
        ({"tasks": [SCIENCE, SCIENCE]}, "two authored tasks are named 'science'"),
        ({"tasks": [{**SCIENCE, "authored": {"by": "writer"}}]}, "give topics: or corpus:"),
    ],
)
def test_a_recipe_without_its_authors_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    (tmp_path / "authored_models.py").write_text(MODULE, encoding="utf-8")
    settings = {"tasks": [SCIENCE], "models": MODELS, **changes}
    with pytest.raises(ConfigError, match=said):
        load_recipe(write_recipe(tmp_path / "recipe.yaml", **settings))


def test_topics_that_are_missing_are_one_line(tmp_path: Path) -> None:
    config = task(topics="topics.txt")
    with pytest.raises(ConfigError, match=r"topics\.txt: there is no such file of topics"):
        config.authored.units(tmp_path)
    (tmp_path / "topics.txt").write_text("# none yet\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no topic"):
        config.authored.units(tmp_path)
