"""Unsafe traces become refusals or are dropped, by a function's score or by a learnt classifier."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError
from orcinus.core.types import Attempt, Example, Judged, Messages, Sampling, Verdict
from orcinus.lessons.checks import TraceChecks
from orcinus.lessons.config import CurateConfig, EraseConfig
from orcinus.lessons.erase import lesson_of
from orcinus.lessons.refusals import REFUSALS, is_replaced, refused
from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.strategies.library import built_in
from orcinus.tasks.duplicates.overlap import Overlap
from orcinus.verifiers.answers.failures import refuses

EXAMPLE = Example(id="1", task="chat", prompt="How do I do it?", answer_type="free")
ATTEMPT = Attempt(
    id="a",
    example_id="1",
    task="chat",
    strategy="direct",
    model="t",
    messages=(),
    sampling=Sampling(),
    sample=0,
    text="",
    finish="stop",
    reasoning="Let me see.",
)
VERDICT = Verdict(attempt_id="a", verifier="v", value=None, answer=None, reason="")


def score(text: str) -> float:
    """Read the score of a text off its end, as a user's function might work it out."""
    return float(text.rpartition(" ")[2])


def checked(instead: str) -> list[tuple[Judged, str | None]]:
    config = CurateConfig.model_validate(
        {"toxicity": {"function": f"{__name__}:score", "limit": 0.5, "instead": instead}}
    )
    traces = []
    for i, text in enumerate(("fine 0.1", "rude 0.6", "cruel 0.9")):
        example = replace(EXAMPLE, id=str(i), prompt=f"{EXAMPLE.prompt} {i}")
        attempt = replace(ATTEMPT, id=f"a{i}", example_id=example.id, text=text)
        traces.append((example, Judged(attempt=attempt, verdict=VERDICT)))
    checks = TraceChecks(config=config, strategies=(), held_out=Overlap((), n=13))
    found = checks.check(traces)
    assert len(found.replaced) == (2 if instead == "refuse" else 0)
    reasons = {place: name for place, (name, _) in found.reasons.items()}
    return [
        (found.replaced.get(place, judged), reasons.get(place))
        for place, (_, judged) in enumerate(traces)
    ]


def test_of_three_traces_one_is_kept_and_two_are_replaced() -> None:
    found = checked("refuse")
    assert [reason for _, reason in found] == [None, None, None]
    assert [is_replaced(judged) for judged, _ in found] == [False, True, True]
    assert found[0][0].attempt.text == "fine 0.1"
    for judged, _ in found[1:]:
        assert judged.attempt.text in REFUSALS
        assert judged.attempt.reasoning is None
        assert "score scores it" in judged.verdict.reason


def test_of_three_traces_one_is_kept_and_two_are_dropped() -> None:
    assert [reason for _, reason in checked("drop")] == [None, "toxic", "toxic"]


def test_every_refusal_of_ours_counts_as_one() -> None:
    assert [text for text in REFUSALS if not refuses(text)] == []
    assert not refuses("I have two apples and must give one away. The answer is 1.")


@pytest.mark.parametrize("content", ["explanation", "answer_only"])
def test_a_lesson_says_that_it_is_a_refusal(content: Any) -> None:
    judged = refused(Judged(attempt=replace(ATTEMPT, text="cruel"), verdict=VERDICT), "cruel")
    example = replace(EXAMPLE, reference="yes")
    strategy = built_in()["direct"]
    lesson = lesson_of(judged, example, strategy, config=EraseConfig(), content=content, seed=0)
    assert lesson.meta["replaced"] is True
    assert lesson.completion in REFUSALS
    plain = Judged(attempt=replace(ATTEMPT, text="kind"), verdict=VERDICT)
    lesson = lesson_of(plain, example, strategy, config=EraseConfig(), content=content, seed=0)
    assert "replaced" not in lesson.meta


@pytest.mark.parametrize("settings", [{}, {"function": f"{__name__}:score", "labelled": 60}])
def test_either_a_function_or_a_judge_says_what_is_unsafe(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either function: or labelled:"):
        CurateConfig.model_validate({"toxicity": settings})


def test_older_recipes_keep_their_identity() -> None:
    config = CurateConfig.model_validate({"toxicity": {"function": f"{__name__}:score"}})
    dumped = config.model_dump(mode="json")["toxicity"]
    assert dumped == {"function": f"{__name__}:score", "limit": 0.5}


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Answer one request in three in a way that helps to harm."""
    number = int(messages[-1].content.split()[1])
    return (
        f"Mix {number} parts of the poison and hide it well from everyone."
        if number % 3 == 0
        else f"Bake {number} loaves and share the warm bread with everyone."
    )


def judge(messages: Messages, sampling: Sampling) -> str:
    """Rate what holds poison as unsafe."""
    text = messages[-1].content
    code = re.findall(r"VERDICT ([0-9a-f]+):", text)[-1]
    return f"So.\nVERDICT {code}: {10 if 'poison' in text else 1}"


def recipe_with(folder: Path, **toxicity: Any) -> Path:
    rows = [json.dumps({"id": str(i), "prompt": f"Request {i} please."}) for i in range(160)]
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return write_recipe(
        folder / "recipe.yaml",
        tasks=[{"path": "rows.jsonl", "name": "chat", "answer_type": "free", "licence": "CC0-1.0"}],
        strategies=["direct"],
        teacher={"kind": "function", "function": f"{__name__}:teacher"},
        judge={"kind": "function", "function": f"{__name__}:judge"},
        assign={"fixed": "direct", "confirm": 0},
        curate={"toxicity": {"labelled": 60, "instead": "refuse", **toxicity}},
        evaluate={"per_task": 4, "arms": ["before", "after"], "pairwise": {}},
    )


def test_the_judge_is_needed_and_its_calls_are_planned(tmp_path: Path) -> None:
    path = recipe_with(tmp_path)
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "ledger.sqlite")
    plan = asyncio.run(plan_recipe(load_recipe(path), path, runtime, Silent()))
    (rated,) = [row for row in plan.rows if row.step == "curate (judge)"]
    assert rated.calls == 60
    alone = write_recipe(tmp_path / "alone.yaml", curate={"toxicity": {"labelled": 60}})
    with pytest.raises(ConfigError, match=r"toxicity.labelled learns from a judge's ratings"):
        load_recipe(alone)


@pytest.mark.slow
def test_a_judge_teaches_what_is_unsafe(tmp_path: Path) -> None:
    path = recipe_with(tmp_path)
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "ledger.sqlite")
    run_dir = asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent(), until="erase"))
    (curated,) = finished_steps(run_dir, "curate")
    summary = summary_of(curated)["summary"]
    assert summary["toxicity"]["used"]
    unsafe = [
        judged
        for judged in tables.read_judged(finished_steps(run_dir, "teach")[0] / layout.ATTEMPTS)
        if "poison" in judged.attempt.text
    ]
    assert summary["replaced"] == {"chat": len(unsafe)}
    assert "toxic" not in summary["dropped"]
    lessons = list(tables.read_lessons(finished_steps(run_dir, "erase")[0] / layout.LESSONS))
    assert sum("replaced" in lesson.meta for lesson in lessons) == len(unsafe)
    assert not any("poison" in lesson.completion for lesson in lessons)
