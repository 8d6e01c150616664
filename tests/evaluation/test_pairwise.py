"""Pairwise judging in a run: both orders, flips, win rates, calls paid once, and refusals."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import table_rows, text_of, write_recipe

from orcinus.core.errors import ConfigError
from orcinus.core.results import WinRate
from orcinus.core.types import Messages, Sampling
from orcinus.evaluation.scores import latest_scores
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps
from orcinus.runs.ledger import Ledger

ARMS = ["before", "after", "teacher"]


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Answer with more words than the student is given tokens."""
    return (
        f"Here is an answer that is longer than eight tokens of a student: {messages[-1].content}"
    )


def prefer_longer(messages: Messages, sampling: Sampling) -> str:
    line, first, second = blocks(messages)
    if len(first) == len(second):
        return f"{line}: TIE"
    return f"{line}: {'FIRST' if len(first) > len(second) else 'SECOND'}"


def prefer_first(messages: Messages, sampling: Sampling) -> str:
    """Follow the order of the answers to two questions of three, and their length otherwise."""
    request = messages[-1].content
    number = int(re.findall(r"story (\d+)", request)[0])
    return f"{blocks(messages)[0]}: FIRST" if number % 3 else prefer_longer(messages, sampling)


def mumble(messages: Messages, sampling: Sampling) -> str:
    return "Hard to say."


def blocks(messages: Messages) -> tuple[str, str, str]:
    """The beginning of the verdict's line, and the two answers."""
    request = messages[-1].content
    line = request.splitlines()[-1].partition(":")[0]
    code = line.split()[1]
    first, second = (
        request.split(f"<<<{code} {name}\n")[1].split(f"\n{code} {name}>>>")[0]
        for name in ("first answer", "second answer")
    )
    return line, first, second


def write(folder: Path, rule: str = "prefer_longer", **changes: Any) -> Path:
    for name in ("story", "tale"):
        rows = [{"id": str(i), "prompt": f"Tell {name} {i}. Also story {i}."} for i in range(60)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    settings: dict[str, Any] = {
        "tasks": [
            {"path": "story.jsonl", "answer_type": "free"},
            {"path": "tale.jsonl", "answer_type": "free"},
            {"generator": "sums", "count": 60, "size": [2, 3]},
        ],
        "teacher": {"kind": "function", "function": "tests.evaluation.test_pairwise:teacher"},
        "judge": {"kind": "function", "function": f"tests.evaluation.test_pairwise:{rule}"},
        "assign": {"confirm": 0, "fixed": "direct"},
        "curate": {"keep": "all", "filters": []},
        "train": {
            "context_length": 256,  # a lesson has 130 tokens
            "batch_tokens": 512,
            "stages": [{"name": "one", "epochs": 1, "learning_rate": 0.003}],
        },
        "evaluate": {
            "arms": ARMS,
            "sampling": {"max_tokens": 8},
            "pairwise": {"per_task": 5},
        },
    }
    return write_recipe(folder / "recipe.yaml", **{**settings, **changes})


def runtime(recipe: Path) -> Runtime:
    runs = recipe.parent / "runs"
    return Runtime(workspace=runs, ledger_path=runs / "ledger.sqlite")


def run(recipe: Path) -> Path:
    return asyncio.run(run_recipe(load_recipe(recipe), recipe, runtime(recipe), Silent()))


def win_rates(run_dir: Path) -> dict[tuple[str, str | None], WinRate]:
    scores = latest_scores(run_dir)
    assert scores is not None
    return {(row.b, row.task): row for row in scores.pairwise}


def texts(run_dir: Path, arm: str) -> dict[tuple[str, str], str]:
    (folder,) = finished_steps(run_dir, "evaluate")
    attempts = [item.attempt for item in tables.read_judged(folder / f"attempts-{arm}.parquet")]
    return {(attempt.task, attempt.example_id): attempt.text for attempt in attempts}


def judge_calls(run_dir: Path) -> dict[str, int]:
    """Calls of the judge by step."""
    with Ledger(run_dir.parent / "ledger.sqlite", read_only=True) as ledger:
        rows = [row for row in ledger.spend("small") if "(judge)" in row.step]
    return {row.step: sum(r.calls for r in rows if r.step == row.step) for row in rows}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(write(tmp_path_factory.mktemp("pairs")))


def test_the_longer_answer_wins_and_only_open_tasks_are_compared(finished: Path) -> None:
    found = win_rates(finished)
    assert set(found) == {
        (b, task) for b in ("before", "teacher") for task in (None, "story", "tale")
    }
    against = found["teacher", None]
    assert (against.n, against.losses, against.flips, against.unreadable) == (10, 10, 0, 0)
    assert (against.win_rate, against.low) == (0.0, 0.0)
    assert against.high is not None
    assert 0.2 < against.high < 0.4, "ten losses leave room for some wins"
    assert against.p_value == pytest.approx(2 * 0.5**10)
    assert found["teacher", "story"].n == found["teacher", "tale"].n == 5
    before = found["before", None]
    assert before.wins + before.ties + before.losses == before.n == 10
    assert before.win_rate == (before.wins + before.ties / 2) / 10


def test_every_question_is_compared_in_both_orders_once_and_paid_once(finished: Path) -> None:
    identical = sum(row.identical for (_, task), row in win_rates(finished).items() if task is None)
    calls = judge_calls(finished)
    assert calls == {"evaluate (judge)": 2 * (20 - identical)}
    (folder,) = finished_steps(finished, "evaluate")
    (folder / "_done").unlink()
    run(finished.parents[1] / "recipe.yaml")
    assert judge_calls(finished) == calls


def test_the_reports_show_the_win_rates(finished: Path) -> None:
    row = win_rates(finished)["teacher", None]
    page = (finished / "report.html").read_text(encoding="utf-8")
    shown = [cells for cells in table_rows(page) if cells[:2] == ["teacher", "all"]]
    assert [cells[2:3] + cells[4:8] for cells in shown] == [["0.0 %", "10", "0", "0", "10"]]
    assert "A judge prefers its answers to those of the teacher in 0.0 % of 10 pairs" in text_of(
        page
    )
    summary = (finished / "summary.md").read_text(encoding="utf-8")
    assert "prefers its answers to those of the teacher in 0.0 % of 10 pairs" in summary
    facts = json.loads((finished / "report.json").read_bytes())
    assert facts["pairwise"][3]["b"] == "teacher"
    assert facts["pairwise"][3]["losses"] == row.losses


def test_a_judge_that_follows_the_order_shows_as_flips(tmp_path: Path) -> None:
    done = run(write(tmp_path, rule="prefer_first"))
    found = win_rates(done)
    for (_, task), row in found.items():
        if task is not None:
            assert row.flips == row.first_preferred
            assert row.flips <= row.ties
    against = found["teacher", None]
    assert 0 < against.flips == against.first_preferred == against.ties < against.n
    assert against.flip_rate == against.flips / against.n
    assert against.losses == against.n - against.flips
    assert "changed its verdict with the order of the answers" in (done / "report.html").read_text(
        encoding="utf-8"
    )


def test_replies_without_a_verdict_are_in_no_win_rate(tmp_path: Path) -> None:
    evaluated: dict[str, Any] = {"arms": ARMS, "sampling": {"max_tokens": 8}}
    evaluated["pairwise"] = {"against": ["teacher"], "per_task": 2, "tasks": "all"}
    done = run(write(tmp_path, rule="mumble", evaluate=evaluated))
    found = win_rates(done)
    assert {task for _, task in found} == {None, "story", "tale", "sums"}
    row = found["teacher", None]
    assert (row.n, row.unreadable, row.win_rate, row.low) == (0, 6, None, None)
    page = (done / "report.html").read_text(encoding="utf-8")
    assert "6 pairs of answers have no verdict" in page


def test_the_plan_counts_the_comparisons(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    plan = asyncio.run(plan_recipe(load_recipe(recipe), recipe, runtime(recipe), Silent()))
    (row,) = [row for row in plan.rows if row.step == "evaluate (judge)"]
    assert row.calls == 2 * 2 * 10
    assert (row.tokens_in or 0) > 40 * 2 * 8, "both answers are read"


def test_a_recipe_without_pairwise_has_the_step_it_had(tmp_path: Path) -> None:
    plain = load_recipe(write_recipe(tmp_path / "recipe.yaml"))
    (step,) = [step for step in steps_of(plain, tmp_path) if step.name == "evaluate"]
    assert "pairwise" not in step.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judge": None}, "evaluate.pairwise asks a judge, and the recipe has no judge"),
        (
            {"evaluate": {"arms": ["before"], "pairwise": {}}},
            "pairwise compares the arm after, which is not in evaluate.arms",
        ),
        (
            {"evaluate": {"arms": ["before", "after"], "pairwise": {"against": ["teacher"]}}},
            "pairwise compares the arm teacher, which is not in evaluate.arms",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_recipe(write(tmp_path, **changes))
    assert "\n" not in str(caught.value)
