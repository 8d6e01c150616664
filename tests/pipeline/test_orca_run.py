"""Orca 1 from recipes: system messages drawn by collection and kept; answered rows as traces."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus

from orcinus.core.errors import ConfigError
from orcinus.core.types import Example, Lesson
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import tables
from orcinus.runs.folders import finished_steps
from orcinus.runs.ledger import Ledger
from orcinus.strategies.library import generic_messages, orca_messages
from orcinus.tasks.generators.procedural import ProceduralConfig, draw, explain


def questions() -> Iterator[Example]:
    for family in ("sums", "logic"):
        yield from draw(ProceduralConfig(generator=family, count=60, size=(2, 3)))


def write(path: Path, rows: Iterator[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def lessons_of(folder: Path) -> list[Lesson]:
    (erased,) = finished_steps(folder / "runs" / "small", "erase")
    return list(tables.read_lessons(erased / "lessons.parquet"))


def said_to(lesson: Lesson) -> str:
    return lesson.messages[0].content if lesson.messages[0].role == "system" else ""


def test_orcas_messages_are_drawn_by_collection_and_stay_with_the_lesson(tmp_path: Path) -> None:
    collections = {"sums": "cot", "logic": "t0"}
    rows = [
        {
            "question": e.prompt,
            "answer": e.reference,
            "task": e.task,
            "collection": collections[e.task],
        }
        for e in questions()
    ]
    write(tmp_path / "rows.jsonl", iter(rows))
    recipe = write_recipe(
        tmp_path / "recipe.yaml",
        tasks=[{"path": "rows.jsonl"}],
        strategies=["orca"],
        erase={"mode": "kept"},
    )
    done = orcinus("run", recipe, "--until", "erase", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lessons = lessons_of(tmp_path)
    for task, collection in collections.items():
        like = Example(
            id="1", task=task, prompt="?", answer_type="exact", meta={"collection": collection}
        )
        drawn = {said_to(lesson) for lesson in lessons if lesson.task == task}
        assert len(drawn) > 1
        assert drawn <= set(orca_messages(like))
    (taught,) = finished_steps(tmp_path / "runs" / "small", "teach")
    told = {
        judged.attempt.id: judged.attempt.messages
        for judged in tables.read_judged(taught / "attempts.parquet")
    }
    assert all(lesson.messages == told[lesson.attempt_id] for lesson in lessons)


def answered_rows() -> Iterator[dict[str, str]]:
    for number, example in enumerate(questions()):
        yield {
            "id": f"cot.{number}",
            "system_prompt": f"You explain in manner {number % 3}.",
            "question": example.prompt,
            "response": explain(example.prompt, "step_by_step"),
        }


@pytest.mark.parametrize("mode", ["kept", "generic"])
def test_answered_rows_are_learnt_from_and_no_teacher_is_asked(tmp_path: Path, mode: str) -> None:
    write(tmp_path / "orca.jsonl", answered_rows())
    write_recipe(
        tmp_path / "recipe.yaml",
        tasks=[{"path": "orca.jsonl"}],
        teacher={"kind": "answered", "model": "gpt-4"},
        erase={"mode": mode},
        strategies=["recorded"],
    )
    until = ("--until", "erase") if mode == "generic" else ()
    done = orcinus("run", "recipe.yaml", *until, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["question"]: row for row in answered_rows()}
    lessons = lessons_of(tmp_path)
    assert len(lessons) > 40
    for lesson in lessons:
        row = rows[lesson.messages[-1].content]
        assert lesson.completion == row["response"]
        assert said_to(lesson) == (
            row["system_prompt"] if mode == "kept" else generic_messages()["cautious"]
        )
        assert lesson.teacher.startswith("gpt-4@")
    with Ledger(tmp_path / "runs" / "ledger.sqlite") as ledger:
        assert ledger.spent("small")[0] == 0


@pytest.mark.slow
def test_a_changed_answer_is_not_recalled_from_the_ledger(tmp_path: Path) -> None:
    write_recipe(
        tmp_path / "recipe.yaml",
        tasks=[{"path": "orca.jsonl"}],
        teacher={"kind": "answered"},
        strategies=["recorded"],
    )
    for suffix in ("", " Indeed."):
        write(
            tmp_path / "orca.jsonl",
            ({**row, "response": row["response"] + suffix} for row in answered_rows()),
        )
        done = orcinus("run", "recipe.yaml", "--until", "erase", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    latest = finished_steps(tmp_path / "runs" / "small", "erase")[0]
    assert all(
        lesson.completion.endswith("Indeed.")
        for lesson in tables.read_lessons(latest / "lessons.parquet")
    )


@pytest.mark.parametrize(
    "row",
    [
        {
            "conversations": [
                {"from": "system", "value": "S"},
                {"from": "human", "value": "Q"},
                {"from": "gpt", "value": "A"},
            ]
        },
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"instruction": "Q", "input": "", "output": "A"},
        {"system_prompt": "S", "question": "Q", "response": "A"},
        {"question": "Q", "answer": "a", "response": "A"},
    ],
)
def test_every_answered_layout_gives_its_answer(tmp_path: Path, row: dict[str, Any]) -> None:
    from orcinus.tasks.config import RecordsConfig
    from orcinus.tasks.files.records import read_task

    write(tmp_path / "rows.jsonl", iter([row]))
    [example] = read_task(RecordsConfig(path="rows.jsonl", answered=True), tmp_path)
    assert (example.prompt, example.meta["response"]) == ("Q", "A")
    assert example.meta["system"] == ("S" if "S" in str(row) else "")


def test_what_is_not_answered_cannot_teach(tmp_path: Path) -> None:
    drawn = write_recipe(
        tmp_path / "drawn.yaml", teacher={"kind": "answered"}, strategies=["recorded"]
    )
    with pytest.raises(ConfigError, match="a task drawn by a program has none"):
        load_recipe(drawn)
    other = write_recipe(
        tmp_path / "other.yaml", teacher={"kind": "answered"}, tasks=[{"path": "x.jsonl"}]
    )
    with pytest.raises(ConfigError, match=r"leave strategies out, or say \[recorded\]"):
        load_recipe(other)
    write(
        tmp_path / "bare.jsonl",
        ({"question": e.prompt, "answer": e.reference} for e in questions()),
    )
    write_recipe(
        tmp_path / "bare.yaml",
        teacher={"kind": "answered"},
        strategies=["recorded"],
        tasks=[{"path": "bare.jsonl"}],
    )
    done = orcinus("run", "bare.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "bare.jsonl:1: no answer to take as a trace" in done.stderr
