"""The columns that were read, and the mapping that is proposed where they were not recognised."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from orcinus.tasks.config import Layout, RecordsConfig
from orcinus.tasks.files.columns import advice, as_yaml, guess
from orcinus.tasks.files.drafts import RowDraft
from orcinus.tasks.files.layouts import LAYOUTS, columns_read, draft_of
from orcinus.tasks.files.records import read_task

OPTIONS = "Which?\nOptions:\n(A) u\n(B) v"
ROWS: dict[Layout, dict[str, Any]] = {
    "native": {
        "prompt": "Which?",
        "choices": ["u", "v"],
        "reference": "A",
        "id": "1",
        "system": "S",
        "difficulty": 3,
    },
    "plain": {
        "question": "Q?",
        "answer": "5",
        "qid": "7",
        "subject": "maths",
        "answer_type": "number",
        "note": "x",
    },
    "bbh": {"input": OPTIONS, "target": "(A)", "note": "x"},
    "agieval": {
        "passage": "P",
        "question": "Q?",
        "options": ["(A)u", "(B)v"],
        "label": "A",
        "answer": None,
        "other": 1,
    },
    "openorca": {
        "id": "cot.1",
        "system_prompt": "S",
        "question": "Q?",
        "response": "R",
        "note": "x",
    },
    "chat": {
        "conversations": [
            {"from": "system", "value": "S"},
            {"from": "human", "value": "Q?"},
            {"from": "gpt", "value": "R"},
        ],
        "id": "1",
        "note": "x",
    },
    "alpaca": {"instruction": "I", "input": "J", "output": "O", "system": "S", "note": "x"},
    "flan": {
        "inputs": OPTIONS,
        "targets": "(A)",
        "task_name": "t",
        "task_source": "CoT",
        "template_type": "zs_opt",
        "note": "x",
    },
    "superni": {"Definition": ["D"], "input": "I", "output": ["O"], "id": "1", "Categories": ["c"]},
    "history": {
        "problem": "P",
        "history": [{"code": "C", "feedback": "F"}],
        "tests": ["T"],
        "id": "1",
        "system": "S",
        "note": "x",
    },
}


def parts_of(draft: RowDraft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in RowDraft.__dataclass_fields__}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_change_of_a_column_changes_the_parts_it_is_said_to_give(layout: Layout) -> None:
    row = ROWS[layout]
    read = columns_read(row, layout, draft_of(row, layout), {})
    before = parts_of(draft_of(row, layout))
    for column, value in row.items():
        changed = {**row, column: other(value)}
        after = parts_of(draft_of(changed, layout))
        # The layout of BIG-Bench Hard infers the answer type from the target and keeps a copy of
        # it in meta, so a change of the target also moves those two.
        moved = {part for part in before if before[part] != after[part]} - {"answer_type", "meta"}
        said = {part for part, columns in read.items() if column in columns} - {
            "answer_type",
            "meta",
        }
        assert moved == said, column
        assert bool(before["meta"] != after["meta"]) or column not in read.get("meta", ())


def other(value: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, str):
        return (
            value.replace("(A) u", "(A) w").replace("Which", "What")
            if "Options" in value
            else value + "2"
        )
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            name = "value" if "value" in value[0] else "code"
            return [{**turn, name: turn[name] + "2"} for turn in value]
        return [*value, "more"]
    return value if value is None else value + 1


FOREIGN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"Question": "Q?", "Answer": "5"}, {"prompt": "Question", "reference": "Answer"}),
    (
        {
            "Question Text": "Q?",
            "Option A": "u",
            "Option B": "v",
            "Correct Answer": "A",
            "Topic": "t",
        },
        {
            "prompt": "Question Text",
            "choices": ["Option A", "Option B"],
            "reference": "Correct Answer",
        },
    ),
    (
        {"goal": "G", "sol1": "u", "sol2": "v", "label": 0},
        {"prompt": "goal", "choices": ["sol1", "sol2"], "reference": "label"},
    ),
    (
        {"ctx": "C", "ending0": "u", "ending1": "v", "gold_index": 1},
        {"prompt": "ctx", "choices": ["ending0", "ending1"], "reference": "gold_index"},
    ),
    (
        {"sentence1": "u", "sentence2": "v", "gold_label": "yes"},
        {"prompt": ["sentence1", "sentence2"], "reference": "gold_label"},
    ),
    (
        {"data": {"problemText": "Q?", "finalAnswer": "5"}},
        {"prompt": "data.problemText", "reference": "data.finalAnswer"},
    ),
    ({"Frage": "Wie viel ist 2 + 2?", "Antwort": "4"}, {"prompt": "Frage", "reference": "Antwort"}),
    ({"q": "Q?", "a": "5"}, {"prompt": "q", "reference": "a"}),
    (
        {"Prompt: the text": "Q?", "{answer}": "5", "UID": "1"},
        {"prompt": "Prompt: the text", "reference": "{answer}", "id": "UID"},
    ),
]


@pytest.mark.parametrize(("row", "expected"), FOREIGN, ids=[", ".join(row) for row, _ in FOREIGN])
def test_the_mapping_to_paste_makes_the_row_an_example(
    row: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    line = as_yaml(guess(row))
    columns = yaml.safe_load(line)["columns"]
    assert columns == expected
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (example,) = read_task(RecordsConfig(path=str(path), columns=columns), Path())
    assert example.reference


@pytest.mark.parametrize("row", [{"a?": "b?", "1": "2"}, {"x" * 80: "y"}, {"3.5": "1"}])
def test_a_file_without_a_header_is_not_given_a_mapping(row: dict[str, Any]) -> None:
    assert "put a line with the columns' names on top" in advice(row)


def test_a_row_without_texts_is_not_given_a_mapping() -> None:
    assert advice({"x": 1, "y": 2}).startswith("none of them holds a text to ask")
