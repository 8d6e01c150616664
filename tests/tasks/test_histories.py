"""Histories of submissions: a lesson for each, feedback never learned, one split for a history."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from orcinus.core.errors import DataError
from orcinus.core.types import Attempt, Example, Judged, Sampling, Verdict
from orcinus.lessons.config import EraseConfig
from orcinus.lessons.erase import lesson_of
from orcinus.lessons.export import LAYOUTS
from orcinus.strategies.library import resolve
from orcinus.tasks.config import Mixture, RecordsConfig
from orcinus.tasks.files.records import read_task
from orcinus.tasks.splits import Splits
from orcinus.verifiers.submissions import edit_similarity, functional_agreement
from orcinus.verifiers.verify import verify

ROW: dict[str, Any] = {
    "id": "ada",
    "problem": "Write add(a, b).",
    "tests": ["assert add(2, 3) == 5", "assert add(0, 0) == 0", "assert add(-1, 1) == 0"],
    "history": [
        {"code": "def add(a, b): return a", "feedback": "add(2, 3) gives 2", "score": 0.33},
        {"code": "def add(a, b): return a * b", "feedback": "add(2, 3) gives 6"},
        {"code": "def add(a, b): return a + b", "feedback": "", "score": 1.0},
    ],
}


def examples_of(folder: Path, *rows: dict[str, Any]) -> list[Example]:
    path = folder / "histories.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return list(read_task(RecordsConfig(path=str(path), answered=True), folder))


def attempt_at(example: Example, text: str) -> Attempt:
    return Attempt(
        id="a",
        example_id=example.id,
        task=example.task,
        strategy="recorded",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
    )


def test_a_history_of_three_gives_three_lessons(tmp_path: Path) -> None:
    examples = examples_of(tmp_path, ROW)
    assert [example.id for example in examples] == ["ada-1", "ada-2", "ada-3"]
    [recorded] = resolve(["recorded"], {})
    lessons = []
    for example in examples:
        verdict = Verdict(attempt_id="a", verifier="v", value=1.0, answer=None, reason="")
        judged = Judged(attempt=attempt_at(example, example.meta["response"]), verdict=verdict)
        config = EraseConfig(mode="empty")
        made = lesson_of(judged, example, recorded, config=config, content="explanation", seed=0)
        lessons.append(made)
    assert [len(lesson.messages) for lesson in lessons] == [1, 3, 5]
    assert [lesson.completion for lesson in lessons] == [item["code"] for item in ROW["history"]]
    assert [m.role for m in lessons[2].messages] == ["user", "assistant"] * 2 + ["user"]
    assert lessons[2].messages[-1].content == "add(2, 3) gives 6"
    exported = LAYOUTS["messages"](lessons[2])["messages"]
    assert [turn["role"] for turn in exported] == ["user", "assistant"] * 3
    learned = " ".join(lesson.completion for lesson in lessons)
    assert not any(item["feedback"] and item["feedback"] in learned for item in ROW["history"])


def test_a_history_stays_on_one_side_of_a_split(tmp_path: Path) -> None:
    rows = [{**ROW, "id": f"learner-{i}"} for i in range(12)]
    examples = examples_of(tmp_path, *rows)
    splits = Splits(probe=0.2, held_out=0.2, mixtures={"": Mixture()}, seed=0)
    for example in examples:
        splits.add(example)
    sides: dict[str, set[int]] = {}
    for example, code in zip(examples, splits.settle(), strict=True):
        sides.setdefault(example.meta["source_unit"], set()).add(int(code))
    assert len(sides) == 12
    assert all(len(codes) == 1 for codes in sides.values())
    assert {code for codes in sides.values() for code in codes} == {0, 1, 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"history": []}, "the history is not a list of submissions"),
        ({"history": [{"code": "x"}, {"code": "y"}]}, "submission 1 has no feedback"),
        ({"history": [{"feedback": "no"}]}, "code of submission 1 is missing"),
    ],
)
def test_a_broken_history_is_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        examples_of(tmp_path, {**ROW, **change})


def test_agreement_is_to_pass_and_fail_the_same_tests(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_monty", reason="needs the extra sandbox")
    second = examples_of(tmp_path, ROW)[1]
    second = replace(second, meta={**second.meta, "verifier": "next_submission"})
    tests = ROW["tests"]
    plus, first = "def add(a, b): return a + b", "def add(a, b): return a"
    assert functional_agreement(first, second.meta["next_submission"], tests) == (3, 3)
    assert functional_agreement(plus, first, tests) == (1, 3)
    same = asyncio.run(verify(second, attempt_at(second, "def add(a, b): return 2 * a * b")))
    assert (same.value, same.reason[:22]) == (1.0, "agrees on 3 of 3 tests")
    right = asyncio.run(verify(second, attempt_at(second, "def add(a, b): return a + b")))
    assert (right.value, right.reason[:22]) == (0.0, "agrees on 1 of 3 tests")


def test_edit_similarity() -> None:
    assert edit_similarity("abcd", "abcd") == 1.0
    assert edit_similarity("abcd", "abxy") == 0.5
    assert edit_similarity("ab", "xy") == 0.0
