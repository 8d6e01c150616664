"""Facts for the judge: it sees them, its verdict goes by them, and the student never does."""

import asyncio
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from benchmarks.facts import measure
from tests.conftest import write_recipe

import orcinus
from orcinus.core.errors import DataError
from orcinus.core.types import Attempt, Example, Judged, Messages, Sampling, Verdict
from orcinus.models.function import FunctionModel
from orcinus.runs import layout, tables
from orcinus.runs.ledger import Ledger
from orcinus.strategies.prompts import conversation
from orcinus.verifiers.judge import Judge, Pair, compare, rate, settle
from orcinus.verifiers.judge_prompts import FACTS, comparison, rating, verdict
from orcinus.verifiers.rewards import _blind


def by_facts(messages: Messages, sampling: Sampling) -> str:
    """A judge that goes by the fact alone: an answer that holds its last word is right."""
    text = messages[-1].content
    fact = re.search(r" fact: colour\n(.*?)\n", text)
    answers = re.findall(r"<<<\w+ (?:first |second )?answer\n(.*?)\n", text)
    line = re.findall(r"VERDICT (\w+): (.*)", text)[-1]
    word = fact[1].split()[-1] if fact else "nothing"
    fits = [word in answer for answer in answers]
    if "FIRST" in line[1]:
        said = "FIRST" if fits[0] else "SECOND"
    elif "number" in line[1]:
        said = "9" if fits[0] else "2"
    else:
        said = "RIGHT" if fits[0] else "WRONG"
    return f"By the fact.\nVERDICT {line[0]}: {said}"


def about(colour: str) -> Example:
    return Example(
        id="1",
        task="t",
        prompt="What colour is the door?",
        answer_type="free",
        meta={"verifier": "judge", FACTS: {"colour": f"The door is {colour}"}},
    )


def judge_at(folder: Path, ledger: Ledger) -> Judge:
    return Judge(
        completer=FunctionModel(by_facts, model="judge"), ledger=ledger, run="r", step="s (judge)"
    )


def answered(example: Example, text: str) -> tuple[Example, Judged]:
    attempt = Attempt(
        id=text,
        example_id=example.id,
        task="t",
        strategy="direct",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
    )
    verdict = Verdict(attempt_id=text, verifier="v", value=None, answer=None, reason="open")
    return example, Judged(attempt=attempt, verdict=verdict)


def test_the_verdict_flips_when_the_fact_changes(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        judge = judge_at(tmp_path, ledger)
        items = [answered(about(colour), "It is red.") for colour in ("red", "blue")]
        assert [j.verdict.value for j in asyncio.run(settle(items, judge))] == [1.0, 0.0]
        rated = asyncio.run(rate([(about("red"), "red"), (about("blue"), "red")], judge))
        assert [found.value for found in rated] == [9.0, 2.0]
        pair = Pair(example=about("blue"), first="red", second="blue")
        assert asyncio.run(compare([pair], judge))[0].value == 0.0


def test_the_student_sees_no_word_of_a_fact() -> None:
    messages = conversation("Be brief.", about("ultramarine"))
    assert "ultramarine" not in " ".join(message.content for message in messages)


def test_a_reward_at_test_time_sees_neither_reference_nor_facts() -> None:
    blind = _blind(about("red"))
    assert (blind.reference, blind.meta) == (None, {"verifier": "judge"})


def test_a_question_without_facts_is_asked_as_before() -> None:
    for inquiry in (verdict("Q", "A"), rating("Q", "A"), comparison("Q", "A", "B")):
        assert "fact" not in " ".join(message.content for message in inquiry.messages)


def recipe_of(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "rows.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    columns = {"prompt": "q", "reference": "a", "meta": "rubric"}
    return write_recipe(
        folder / "recipe.yaml",
        tasks=[{"path": "rows.jsonl", "columns": columns}],
        judge={"kind": "function", "function": "tests.verifiers.test_facts:by_facts"},
        judging={"facts": ["rubric"]},
        curate={"quality": {"labelled": 50}},
    )


def test_columns_become_facts_before_anything_is_asked(tmp_path: Path) -> None:
    rows = [{"q": f"What is {i} + 1?", "a": i + 1, "rubric": f"rule {i}"} for i in range(40)]
    run = orcinus.run(recipe_of(tmp_path, rows), runs=tmp_path / "runs", until="sample")
    examples = list(tables.read_examples(run.steps["sample"] / layout.EXAMPLES))
    assert all(example.meta[FACTS]["rubric"].startswith("rule") for example in examples)


def test_a_column_that_no_row_has_is_one_line(tmp_path: Path) -> None:
    rows = [{"q": f"What is {i} + 1?", "a": i + 1, "rubric": None} for i in range(40)]
    with pytest.raises(DataError, match=r"judging\.facts: no row has the column 'rubric'"):
        orcinus.run(recipe_of(tmp_path, rows), runs=tmp_path / "runs", until="sample")


def test_a_judge_with_facts_agrees_more_with_the_truth(tmp_path: Path) -> None:
    found = measure(1, tmp_path)
    agrees = {name: sum(a == b for a, b in pairs) for name, pairs in found.items()}
    assert agrees["without facts"] < 130 < 170 < agrees["with facts"]
