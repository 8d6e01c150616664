"""Trial students learn from each strategy where the probe of the untrained student cannot tell."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Heard, write_recipe
from tests.strategies.test_assign import judged as answered
from tests.strategies.test_assign import run_assign

from orcinus.core.errors import ConfigError
from orcinus.core.types import Assignment, Example, Judged, Lesson, Messages, Sampling
from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.runs.ledger import Ledger
from orcinus.strategies.config import AssignConfig
from orcinus.strategies.groups import probe_tells
from orcinus.strategies.library import built_in
from orcinus.strategies.trial import balanced
from orcinus.strategies.trial_results import TrialResults

RAMBLING = "I look at it and I think about it for a long while. "


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Answer right; step by step takes more words than the student may write."""
    is_long = messages[0].content == built_in()["step_by_step"].system
    return f"{RAMBLING if is_long else ''}The answer is red."


def write(folder: Path, **changes: Any) -> Path:
    """Write a recipe of two tasks that a tiny student learns in a few steps."""
    for name in ("ball", "coin"):
        rows = [
            {"id": str(i), "prompt": f"What about {name} {i}?", "reference": "red"}
            for i in range(100)
        ]
        (folder / f"{name}s.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
    settings: dict[str, Any] = {
        "tasks": [{"path": f"{name}.jsonl", "answer_type": "exact"} for name in ("balls", "coins")],
        "sample": {"probe": 0.3, "held_out": 0.1},
        "teacher": {"kind": "function", "function": f"{__name__}:teacher"},
        "probe": {"per_task": 12, "sampling": {"max_tokens": 12}},
        "assign": {"confirm": 5},
        "train": {
            "context_length": 256,
            "stages": [{"name": "one", "epochs": 1, "learning_rate": 0.01}],
        },
    }
    return write_recipe(folder / "recipe.yaml", **{**settings, **changes})


def flags(recipe: Path) -> Runtime:
    return Runtime(
        workspace=recipe.parent / "runs", ledger_path=recipe.parent / "runs" / "ledger.sqlite"
    )


def run(recipe: Path, until: str, heard: Heard | None = None) -> Path:
    return asyncio.run(
        run_recipe(load_recipe(recipe), recipe, flags(recipe), heard or Heard(), until=until)
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that stopped after ``teach``, once it was interrupted."""
    recipe = write(tmp_path_factory.mktemp("run"))
    before = asyncio.run(plan_recipe(load_recipe(recipe), recipe, flags(recipe), Heard()))
    (line,) = [row for row in before.rows if row.step == "trial"]
    assert line.calls is not None
    assert line.calls > 4 * 24
    notes = " ".join(before.notes)
    assert "Each learns from at most 48 explanations in about 48 optimizer steps" in notes
    assert "teach then reuses about 48 explanations" in notes
    with pytest.raises(KeyboardInterrupt):
        run(recipe, "trial", Heard(fatal="ask the trial student of step_by_step"))
    heard = Heard()
    run_dir = run(recipe, "teach", heard)
    assert "ask the trial student of direct" not in heard.phases, "it had answered before"
    assert "ask the trial student of step_by_step" in heard.phases
    return run_dir


def assignments_of(run_dir: Path) -> dict[str, Assignment]:
    folder = finished_steps(run_dir, "assign")[0]
    return {item.group: item for item in tables.read_assignments(folder / "assignments.parquet")}


def test_a_student_at_the_floor_is_taught_what_it_learns_from(finished: Path) -> None:
    found = assignments_of(finished)
    balls = {item.strategy: item for item in found["balls"].evidence}
    assert (found["balls"].strategy, found["balls"].measure) == ("direct", "learned")
    assert found["balls"].told
    assert "a trial student taught with it has believed accuracy" in found["balls"].reason
    assert balls["direct"].score.mean == balls["step_by_step"].score.mean == 0.0
    assert balls["direct"].learned is not None
    assert (balls["direct"].learned.mean or 0.0) > 0.8
    assert balls["step_by_step"].learned is not None
    assert balls["step_by_step"].learned.mean == 0.0


def test_the_chosen_strategy_is_measured_again_on_fresh_examples(finished: Path) -> None:
    score = assignments_of(finished)["balls"].evidence[0].held_out
    results = TrialResults.read(finished_steps(finished, "trial")[0])
    assert score is not None
    assert score.n == len([key for key in results.fresh if key[0] == "balls"]) == 5


@pytest.mark.parametrize(
    ("direct", "chosen", "told"), [(14, "step_by_step", False), (20, "direct", True)]
)
def test_a_group_leaves_step_by_step_only_for_what_is_clearly_better(
    tmp_path: Path, direct: int, chosen: str, told: bool
) -> None:
    """Of 20 answers, 12 of the student that was taught step by step are right."""
    results = TrialResults(
        groups=("t",),
        final=("direct", "step_by_step"),
        students=(),
        fresh=(),
        dropped={},
        answers=(*attempts("direct", direct, 20), *attempts("step_by_step", 12, 20)),
    )
    results.write(tmp_path)
    found, _ = run_assign(
        AssignConfig(measure="both", confirm=0),
        [example(number) for number in range(20)],
        lambda example, strategy: ("1", 0.0),
        tmp_path,
        trial=tmp_path,
    )
    assert (found["t"].strategy, found["t"].told, found["t"].measure) == (chosen, told, "learned")
    assert ("the trial students cannot tell" in found["t"].reason) is not told


def test_all_trial_students_have_as_many_lessons_and_optimizer_steps(finished: Path) -> None:
    students = TrialResults.read(finished_steps(finished, "trial")[0]).students
    assert {student.strategy for student in students} == {"direct", "step_by_step"}
    assert len({student.lessons for student in students}) == 1
    assert students[0].lessons == 2 * 24
    assert len({student.optimizer_steps for student in students}) == 1
    assert students[0].optimizer_steps == 48, "no step takes less than a lesson"


def test_a_trace_that_a_trial_paid_for_is_not_asked_again(finished: Path) -> None:
    with Ledger(finished.parent / "ledger.sqlite", read_only=True) as ledger:
        calls: dict[str, int] = {}
        for row in ledger.spend(finished.name):
            if "teacher" in row.model:
                calls[row.step] = calls.get(row.step, 0) + row.calls
    taught = summary_of(finished_steps(finished, "teach")[0])["summary"]["attempts"]
    assert calls["trial"] == 2 * 2 * 24
    assert calls["teach"] == taught - 2 * 24


def test_trial_students_are_gone_once_they_have_answered(finished: Path) -> None:
    assert not list(finished_steps(finished, "trial")[0].glob("trials/*/student"))


def test_learned_alone_asks_the_untrained_student_nothing(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, assign={"measure": "learned"}))
    assert recipe.assign.tries
    assert not recipe.assign.asks_probe
    plan = asyncio.run(
        plan_recipe(recipe, tmp_path / "recipe.yaml", flags(tmp_path / "x"), Heard())
    )
    assert [row.calls for row in plan.rows if row.step == "probe"] == [None]


def test_a_recipe_whose_trials_decide_nothing_has_no_such_step(tmp_path: Path) -> None:
    recipe = write(tmp_path, assign={"fixed": "direct"})
    with pytest.raises(ConfigError, match="no step trial; set `assign"):
        run(recipe, "trial")
    with pytest.raises(ConfigError, match="measure: learned and fixed exclude each other"):
        load_recipe(write(tmp_path, assign={"fixed": "direct", "measure": "learned"}))


def attempts(strategy: str, right: int, total: int) -> list[Judged]:
    return [
        answered(example(number), strategy, "1", float(number < right)) for number in range(total)
    ]


def example(number: int, **changes: Any) -> Example:
    settings: dict[str, Any] = {"prompt": "?", "answer_type": "number", **changes}
    return Example(id=str(number), task="t", **settings)


@pytest.mark.parametrize(
    ("direct", "step_by_step", "answer_type", "tells"),
    [
        (0, 0, "number", False),
        (4, 36, "number", True),
        (34, 36, "number", False),
        (4, 22, "number", True),
        (4, 22, "bool", False),  # half is what guessing gets
    ],
)
def test_the_probe_tells_where_one_interval_lies_above_the_others_and_guessing(
    direct: int, step_by_step: int, answer_type: str, tells: bool
) -> None:
    examples = {("t", str(n)): example(n, answer_type=answer_type) for n in range(40)}
    items = attempts("direct", direct, 40) + attempts("step_by_step", step_by_step, 40)
    assert probe_tells(items, examples) is tells


def lessons(strategy: str, ids: range) -> list[Lesson]:
    return [
        Lesson(
            id=f"{strategy}{number}",
            example_id=str(number),
            task="t",
            strategy=strategy,
            messages=(),
            completion="",
            reasoning=None,
            teacher="m",
            attempt_id="",
            erased="generic",
        )
        for number in ids
    ]


def test_lessons_are_cut_to_as_many_of_the_same_examples() -> None:
    found = balanced(
        {
            "a": lessons("a", range(20)),
            "b": lessons("b", range(8, 20)),
            "rare": lessons("rare", range(3)),
        }
    )
    assert {name: len(items) for name, items in found.items()} == {"a": 12, "b": 12, "rare": 3}
    same = {item.example_id for item in found["a"]} & {item.example_id for item in found["b"]}
    assert len(same) >= 9
