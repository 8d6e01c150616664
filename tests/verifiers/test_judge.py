"""A run with a judge: asked where rules fail, paid once, counted in the report, and planned for."""

import asyncio
import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError
from orcinus.core.types import Messages, Sampling
from orcinus.evaluation.scores import latest_scores
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.plan import Plan, plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.runs.ledger import Ledger
from orcinus.verifiers.rules import VERSION

JUDGE = {"kind": "function", "function": "tests.verifiers.test_judge:judge"}


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Answer an odd question with its number, and evade an even one."""
    number = int(messages[-1].content.split()[1])
    return f"The answer is {number}." if number % 2 else "As many as the question says."


def judge(messages: Messages, sampling: Sampling) -> str:
    """Accept multiples of four, and give no verdict on the others."""
    request = messages[-1].content
    number = int(re.findall(r"Give (\d+) back", request)[0])
    line = request.splitlines()[-1].partition(":")[0]
    return f"It does say so.\n{line}: RIGHT" if number % 4 == 0 else "Hard to say."


def write(folder: Path, **changes: object) -> Path:
    rows = [
        {"id": str(i), "prompt": f"Give {i} back in any form, in a sentence.", "reference": str(i)}
        for i in range(80)
    ]
    (folder / "give.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    task = {"path": "give.jsonl", "answer_type": "number", "verifier": "judge_fallback"}
    settings = {
        "tasks": [task],
        "teacher": {"kind": "function", "function": "tests.verifiers.test_judge:teacher"},
        "judge": JUDGE,
        "assign": {"confirm": 0, "fixed": "direct"},
        "evaluate": {"arms": ["before", "after", "teacher"], "sampling": {"max_tokens": 32}},
    }
    return write_recipe(folder / "recipe.yaml", **{**settings, **changes})


def run(recipe: Path, until: str | None = None) -> Path:
    flags = Runtime(
        workspace=recipe.parent / "runs", ledger_path=recipe.parent / "runs" / "ledger.sqlite"
    )
    return asyncio.run(run_recipe(load_recipe(recipe), recipe, flags, Silent(), until=until))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    return run(write(tmp_path_factory.mktemp("run")))


def test_the_judge_decides_where_rules_find_nothing(finished: Path) -> None:
    (folder,) = finished_steps(finished, "teach")
    judged = list(tables.read_judged(folder / "attempts.parquet"))
    for item in judged:
        number = int(item.attempt.example_id)
        expected = (
            (1.0, f"number@{VERSION}")
            if number % 2
            else (1.0 if number % 4 == 0 else None, "judge@1")
        )
        assert (item.verdict.value, item.verdict.verifier) == expected, number
    summary = summary_of(folder)["summary"]
    assert summary["unjudged"] == sum(int(item.attempt.example_id) % 4 == 2 for item in judged) > 0
    (curated,) = finished_steps(finished, "curate")
    kept = {
        int(row["example_id"]) for row in tables.read_rows(curated / "kept.parquet", ["example_id"])
    }
    assert kept
    assert not any(number % 4 == 2 for number in kept)


def test_its_replies_are_in_the_ledger_and_booked_as_its_own(finished: Path) -> None:
    with Ledger(finished.parent / "ledger.sqlite", read_only=True) as ledger:
        spent = {(row.step, row.model): row.calls for row in ledger.spend("small")}
        replies = {identity for identity, _, _ in ledger.attempts()}
    assert spent["teach (judge)", "function:tests.verifiers.test_judge:judge@1"] > 0
    (folder,) = finished_steps(finished, "teach")
    named = [
        i.verdict.reason
        for i in tables.read_judged(folder / "attempts.parquet")
        if i.verdict.verifier == "judge@1"
    ]
    assert all(reason.rpartition(", ")[2].rstrip(")") in replies for reason in named)


def test_the_report_says_how_many_verdicts_are_a_judges(finished: Path) -> None:
    scores = latest_scores(finished)
    assert scores is not None
    teacher = scores.arms["teacher"]
    counts, micro = teacher.judge, teacher.accuracy.micro
    assert counts is not None
    assert counts.given > 0
    assert counts.no_verdict == micro.n_none > 0
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert (
        "A proxy: these verdicts were given by a judge, the model tests.verifiers.test_judge:judge"
        in page
    )
    assert f"{counts.given} of {micro.n} (teacher)" in page


def calls(finished: Path, model: str) -> int:
    """Return how often a model was asked so far."""
    with Ledger(finished.parent / "ledger.sqlite", read_only=True) as ledger:
        return sum(
            row.calls
            for row in ledger.spend("small")
            if row.model == f"function:tests.verifiers.test_judge:{model}"
        )


def test_another_judge_judges_anew_and_the_teacher_is_not_asked_again(finished: Path) -> None:
    recipe = finished.parents[1] / "recipe.yaml"
    judged, taught = calls(finished, "judge@1"), calls(finished, "teacher@1")
    run(recipe)
    assert calls(finished, "judge@1") == judged
    run(write(recipe.parent, judge={**JUDGE, "version": "2"}), until="teach")
    assert calls(finished, "judge@2") > 0
    assert calls(finished, "teacher@1") == taught


def test_a_recipe_without_a_judge_has_the_steps_it_had(tmp_path: Path) -> None:
    plain = load_recipe(write_recipe(tmp_path / "recipe.yaml"))
    assert not any({"judge", "judging"} & set(step.config) for step in steps_of(plain, tmp_path))
    told = [
        load_recipe(write(tmp_path, judging=judging))
        for judging in ({}, {"instructions": {"verdict": "Be kind."}})
    ]
    teach = [
        next(step for step in steps_of(recipe, tmp_path) if step.name == "teach") for recipe in told
    ]
    assert teach[0].fingerprint != teach[1].fingerprint


ENDPOINT = {"kind": "endpoint", "model": "mine", "base_urls": ["http://127.0.0.1:1/v1"]}


def planned(recipe: Path) -> Plan:
    flags = Runtime(
        workspace=recipe.parent / "runs", ledger_path=recipe.parent / "runs" / "ledger.sqlite"
    )
    return asyncio.run(plan_recipe(load_recipe(recipe), recipe, flags, Silent()))


@pytest.mark.parametrize("verifier", ["judge_fallback", "judge"])
def test_the_plan_counts_the_calls_of_the_judge(tmp_path: Path, verifier: str) -> None:
    """Each answer costs one call if only a judge judges, and at most one if rules come first."""
    task = {"path": "give.jsonl", "answer_type": "number", "verifier": verifier}
    judging = {"sampling": {"max_tokens": 100}}
    priced = {**ENDPOINT, "price": {"input": 1.0, "output": 5.0}}
    probed = {"confirm": 0, "measure": "prompted"}
    recipe = write(tmp_path, tasks=[task], judge=priced, judging=judging, assign=probed)
    plan = planned(recipe)
    rows = {row.step: row for row in plan.rows}
    for step in ("probe", "teach", "evaluate"):
        asked, judged = rows[step], rows[f"{step} (judge)"]
        assert judged.calls == asked.calls
        assert judged.tokens_out_high == 100 * (judged.calls or 0)
        assert (judged.tokens_in or 0) > (asked.tokens_out_high or 0), "what is judged is read"
        assert judged.usd_high == pytest.approx(
            ((judged.tokens_in or 0) + 5 * (judged.tokens_out_high or 0)) / 1e6, abs=1e-6
        ), "tokens are shown rounded"
        assert (judged.usd_low == 0) == (verifier == "judge_fallback")
    assert any(note.startswith("A judge's calls are at most") for note in plan.notes)


def test_the_plan_says_where_a_judge_has_no_price(tmp_path: Path) -> None:
    assert any("judge.price" in note for note in planned(write(tmp_path, judge=ENDPOINT)).notes)


def test_a_plan_without_a_judge_has_no_line_of_one(tmp_path: Path) -> None:
    plan = planned(write(tmp_path, judge=None, tasks=[{"path": "give.jsonl"}]))
    assert not [row.step for row in plan.rows if "judge" in row.step]


def test_the_plan_counts_the_known_answers_that_rules_left_open(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    (taught,) = finished_steps(run(recipe, until="teach"), "teach")
    left = [
        i
        for i in tables.read_judged(taught / "attempts.parquet")
        if int(i.attempt.example_id) % 2 == 0
    ]
    shutil.rmtree(taught)
    rows = {row.step: row for row in planned(recipe).rows}
    assert rows["teach"].calls == 0
    assert (rows["teach (judge)"].calls, rows["teach (judge)"].known_calls) == (0, len(left))
    with sqlite3.connect(tmp_path / "runs" / "ledger.sqlite") as ledger:
        ledger.execute("DELETE FROM attempts WHERE strategy = 'judge: verdict'")
    (again,) = [row for row in planned(recipe).rows if row.step == "teach (judge)"]
    assert (again.calls, again.known_calls) == (len(left), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judge": None}, "give.jsonl says verifier: judge_fallback, and the recipe has no judge"),
        ({"tasks": [{"path": "give.jsonl"}]}, "no task asks it; set verifier: judge_fallback"),
        ({"judging": {"sampling": {"samples": 2}}}, "asked once about each answer, not 2 times"),
        ({"judging": {"instructions": {"style": "x"}}}, "judging.instructions.style"),
        (
            {
                "judge": {"kind": "endpoint", "model": "mine", "base_urls": ["http://h/v1"]},
                "budget": {"usd": 1},
            },
            "no price is known for mine; set judge.price",
        ),
        (
            {
                "student": {"kind": "local", "path": "x/y"},
                "judge": {"kind": "local", "path": "x/y"},
                "teacher": {"kind": "self"},
            },
            "cannot be its own judge",
        ),
    ],
)  # fmt: skip
def test_a_judge_that_cannot_work_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_recipe(write(tmp_path, **changes))
    assert "\n" not in str(caught.value)
