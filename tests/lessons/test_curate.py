"""A judge's ratings, extended to all traces in a whole run."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import table_rows, write_recipe

from orcinus.core.errors import ConfigError
from orcinus.core.types import Messages, Sampling
from orcinus.pipeline import demo
from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.runs.lineage import find_events


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Explain like ``demo.teacher``, every other time in a sloppy tone."""
    tone = (
        "This was easy stuff, whatever."
        if sum(map(ord, messages[-1].content)) % 2
        else "Each step follows from the one before."
    )
    return f"{tone}\n{demo.teacher(messages, sampling)}"


def judge(messages: Messages, sampling: Sampling) -> str:
    """Prefer one of the two tones."""
    request = messages[-1].content
    return f"So.\n{request.splitlines()[-1].partition(':')[0]}: {3 if 'whatever' in request else 9}"


def indifferent(messages: Messages, sampling: Sampling) -> str:
    """Rate by the code of the verdict, which no text predicts."""
    code = re.findall(r"VERDICT ([0-9a-f]+):", messages[-1].content)[-1]
    return f"So.\nVERDICT {code}: {3 if int(code[-1], 16) % 2 else 9}"


def run(folder: Path, judged_by: str, until: str | None) -> Path:
    recipe = write_recipe(
        folder / "recipe.yaml",
        tasks=[{"generator": "sums", "count": 400, "size": [2, 3]}],
        strategies=["step_by_step"],
        teacher={"kind": "function", "function": "tests.lessons.test_curate:teacher"},
        judge={"kind": "function", "function": f"tests.lessons.test_curate:{judged_by}"},
        assign={"confirm": 0, "fixed": "step_by_step"},
        curate={"quality": {"labelled": 100, "keep": 0.5}},
        evaluate={"per_task": 4, "arms": ["before", "after"], "sampling": {"max_tokens": 8}},
    )
    flags = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    return asyncio.run(run_recipe(load_recipe(recipe), recipe, flags, Silent(), until=until))


def summary(run_dir: Path) -> tuple[Path, dict[str, Any]]:
    (folder,) = finished_steps(run_dir, "curate")
    return folder, summary_of(folder)["summary"]


def test_traces_that_the_judge_prefers_are_kept_and_the_report_says_how_well(
    tmp_path: Path,
) -> None:
    run_dir = run(tmp_path, "judge", None)
    folder, found = summary(run_dir)
    assert found["quality"]["used"]
    assert found["quality"]["auc"] > 0.9
    assert found["quality"]["rated"] == 100
    dropped = [
        row for row in tables.read_rows(folder / "drops.parquet") if row["filter"] == "quality"
    ]
    kept = list(tables.read_judged(folder / "kept.parquet"))
    assert len(dropped) == found["dropped"]["quality"]
    assert 0.4 < len(kept) / (len(kept) + len(dropped)) < 0.6
    texts = {
        j.attempt.id: j.attempt.text
        for j in tables.read_judged(finished_steps(run_dir, "teach")[0] / "attempts.parquet")
    }
    assert sum("whatever" in texts[row["attempt_id"]] for row in dropped) > 0.9 * len(dropped)
    assert not (folder / "passed.parquet").exists()
    assert any(
        "left out by quality" in event.what
        for event in find_events(run_dir, dropped[0]["attempt_id"])
    )
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "Quality: the judge rated 100 traces" in page
    (shown,) = [row for row in table_rows(page) if row[:2] == ["curate", "quality"]]
    assert shown[2] == str(len(dropped))
    assert shown[3].startswith("scores ")


def test_ratings_that_texts_do_not_predict_drop_nothing(tmp_path: Path) -> None:
    folder, found = summary(run(tmp_path, "indifferent", "curate"))
    assert not found["quality"]["used"]
    assert found["quality"]["p_value"] > 0.025
    assert "quality" not in found["dropped"]
    assert tables.count_rows(folder / "kept.parquet") == found["kept"]


def test_quality_needs_a_judge_and_the_plan_counts_its_calls(tmp_path: Path) -> None:
    alone = write_recipe(tmp_path / "alone.yaml", curate={"quality": {}})
    with pytest.raises(
        ConfigError, match=r"quality learns from a judge's ratings, and the recipe has no judge"
    ):
        load_recipe(alone)
    path = write_recipe(
        tmp_path / "recipe.yaml",
        curate={"quality": {"labelled": 60}},
        judge={"kind": "function", "function": "tests.lessons.test_curate:judge"},
    )
    flags = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "runs" / "ledger.sqlite")
    plan = asyncio.run(plan_recipe(load_recipe(path), path, flags, Silent()))
    (rated,) = [row for row in plan.rows if row.step == "curate (judge)"]
    assert (rated.calls, rated.tokens_out_low) == (60, 0)
