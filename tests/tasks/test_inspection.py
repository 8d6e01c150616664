"""``orcinus tasks inspect`` shows how files were read, what was unused and what looks wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.test_run import orcinus

from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.inspection import Inspection, inspect_task

QUIZ = "id,question,A,B,answer,hint\n1,Which is even?,3,4,B,none\n2,Which is odd?,5,6,A,none\n"


def inspected(path: Path, **config: Any) -> Inspection:
    return inspect_task(RecordsConfig(path=str(path), **config), Path())


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_layout_the_columns_and_what_is_unused_are_named(tmp_path: Path) -> None:
    (tmp_path / "quiz.csv").write_text(QUIZ, encoding="utf-8")
    (reading,) = inspected(tmp_path / "quiz.csv").readings
    assert (reading.layout, reading.rows) == ("plain", 2)
    assert {part: list(columns) for part, columns in reading.columns.items()} == {
        "id": ["id"],
        "prompt": ["question"],
        "reference": ["answer"],
    }
    assert reading.unused == ["A", "B", "hint"]


def test_unused_columns_that_look_like_options_are_a_problem_until_they_are_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "quiz.csv"
    path.write_text(QUIZ, encoding="utf-8")
    (problem,) = [text for text in inspected(path).problems if "looks like" in text]
    assert problem.endswith("write beside the task's path: columns: {choices: [A, B]}")
    named = inspected(path, columns={"choices": ("A", "B")})
    assert not [text for text in named.problems if "looks like" in text]
    assert [example.reference for example in named.examples] == ["B", "A"]
    assert named.readings[0].unused == ["hint"]


def test_a_column_that_only_some_rows_have_is_counted(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "t.jsonl",
        {"prompt": "1 + 1?", "reference": "2"},
        {"question": "1 + 2?", "answer": "3"},
    )
    (reading,) = inspected(path).readings
    assert reading.columns["prompt"] == {"prompt": 1, "question": 1}


def test_files_that_are_read_alike_are_shown_together(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines(tmp_path / f"{name}.jsonl", {"prompt": name, "reference": "2"})
    lines(tmp_path / "c.jsonl", {"instruction": "Say 2.", "input": "", "output": "2"})
    found = {
        reading.layout: [Path(file).name for file in reading.files]
        for reading in inspected(tmp_path).readings
    }
    assert found == {"native": ["a.jsonl", "b.jsonl"], "alpaca": ["c.jsonl"]}


def test_unrecognised_columns_are_one_line_with_a_mapping_that_works(tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text(
        "Frage Nr.,Frage,Antwort\n1,Wie viel ist 1 + 1?,2\n", encoding="utf-8"
    )
    done = orcinus("tasks", "inspect", "odd.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert (
        "no prompt among the columns Frage Nr., Frage, Antwort; write beside the task's path"
        in done.stderr
    )
    named = orcinus(
        "tasks",
        "inspect",
        "odd.csv",
        "--column",
        "prompt=Frage",
        "--column",
        "reference=Antwort",
        cwd=tmp_path,
    )
    assert (named.returncode, named.stderr) == (0, "")
    assert "layout: plain" in named.stdout
    assert "prompt      ← Frage\n" in named.stdout
    assert "not used    : Frage Nr.\n" in named.stdout


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("Frage", "write PART=COLUMN"),
        ("frage=Frage", "'frage' is no part of an example"),
        ("prompt=", "write PART="),
    ],
)
def test_a_malformed_column_option_is_one_line(column: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("Frage,Antwort\n1 + 1?,2\n", encoding="utf-8")
    done = orcinus("tasks", "inspect", "odd.csv", "--column", column, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr


def test_a_row_without_prompt_in_a_good_file_is_given_no_mapping(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "t.jsonl", {"prompt": "a", "reference": "1"}, {"text1": "b", "reference": "2"}
    )
    (row,) = inspected(path).unusable_rows
    assert row.endswith("no prompt among the columns text1, reference")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("path", "layouts"),
    [("BIG-Bench-Hard/bbh", {"bbh"}), ("AGIEval/data/v1", {"agieval"})],
)
def test_public_files_are_recognised_with_nothing_left_unused(
    path: str, layouts: set[str], shared_data: Path
) -> None:
    found = inspected(shared_data / "raw" / path)
    assert {reading.layout for reading in found.readings} == layouts
    assert {column for reading in found.readings for column in reading.unused} <= {
        "other",
        "explanation",
        "answer",
    }
