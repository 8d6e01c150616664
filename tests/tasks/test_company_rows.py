"""Rows as companies and public data sets have them: labels, contexts, conversations, aliases."""

import json
from pathlib import Path
from typing import Any

import pytest

from orcinus.core.errors import DataError
from orcinus.core.types import Example, Message
from orcinus.strategies.prompts import conversation
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.files.records import Records, read_task
from orcinus.tasks.inspection import inspect_task

TICKETS = """ticket_id,text,label
T1,No invoice came,billing
T2,It crashes,bug
T3,Charged twice,billing
"""


def read(path: Path, **settings: Any) -> list[Example]:
    return list(read_task(RecordsConfig(path=str(path), **settings), path.parent))


def rows(path: Path, *items: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    return path


@pytest.mark.parametrize("choices", ["auto", ("billing", "bug")])
def test_a_text_and_its_label_are_a_question_with_options(choices: Any, tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(TICKETS, encoding="utf-8")
    first, second, _ = read(
        tmp_path / "tickets.csv", choices=choices, instruction="Which team gets this ticket?"
    )
    assert first.prompt == (
        "Which team gets this ticket?\n\nNo invoice came\nOptions:\n(A) billing\n(B) bug"
    )
    assert (first.answer_type, first.choices) == ("choice", ("billing", "bug"))
    assert [first.reference, second.reference] == ["A", "B"]


@pytest.mark.parametrize(
    ("labels", "references"),
    [([0, 1, 2, 1], "ABCB"), ([1, 2, 3, 1], "ABCA"), (["1", "2", "3", "3"], "ABCC")],
)
def test_labels_may_be_numbers_from_zero_or_from_one(
    labels: list[Any], references: str, tmp_path: Path
) -> None:
    path = rows(
        tmp_path / "t.jsonl", *({"text": f"t{i}", "label": x} for i, x in enumerate(labels))
    )
    found = read(path, choices=("low", "middle", "high"))
    assert "".join(str(example.reference) for example in found) == references


def test_options_of_the_rows_counted_from_one_as_in_medmcqa(tmp_path: Path) -> None:
    made = [
        {"question": f"q{i}", "opa": "u", "opb": "v", "opc": "w", "cop": 1 + i % 3}
        for i in range(9)
    ]
    columns = {"choices": ("opa", "opb", "opc"), "reference": "cop"}
    found = read(rows(tmp_path / "t.jsonl", *made), columns=columns)
    assert "".join(str(example.reference) for example in found) == "ABC" * 3


def test_options_that_are_numbers_are_no_indices(tmp_path: Path) -> None:
    made = [
        {"question": f"q{i}", "choices": ["1", "2", "3"], "answer": str(1 + i % 3)}
        for i in range(6)
    ]
    found = read(rows(tmp_path / "t.jsonl", *made))
    assert "".join(str(example.reference) for example in found) == "ABCABC"


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([f"answer {i}" for i in range(30)], r"auto found more than 26 labels, such as 'answer 0'"),
        (["same", "same"], "needs two labels or more and found 'same'"),
    ],
)
def test_labels_that_are_none_are_one_line(labels: list[str], says: str, tmp_path: Path) -> None:
    path = rows(
        tmp_path / "t.jsonl", *({"text": f"t{i}", "label": x} for i, x in enumerate(labels))
    )
    with pytest.raises(DataError, match=says):
        read(path, choices="auto")


def test_inspect_points_out_a_classification(tmp_path: Path) -> None:
    made = [{"text": f"t{i}", "label": ("bug", "billing")[i % 2]} for i in range(40)]
    path = rows(tmp_path / "t.jsonl", *made)
    problems = "\n".join(inspect_task(RecordsConfig(path=str(path)), tmp_path).problems)
    assert "40 references, only 2 different (billing, bug): a classification?" in problems
    assert "choices: auto" in problems


@pytest.mark.parametrize("name", ["context", "passage", "article"])
def test_the_text_that_a_question_is_about_comes_before_it(name: str, tmp_path: Path) -> None:
    row = {"question": "Who won?", name: "Ann beat Bob.", "answer": "Ann"}
    (example,) = read(rows(tmp_path / "t.jsonl", row))
    assert example.prompt == "Ann beat Bob.\n\nWho won?"


def test_a_question_that_holds_its_text_is_left_as_it_is(tmp_path: Path) -> None:
    row = {"question": "Ann beat Bob. Who won?", "context": "Ann beat Bob.", "answer": "Ann"}
    (example,) = read(rows(tmp_path / "t.jsonl", row))
    assert example.prompt == "Ann beat Bob. Who won?"


def test_columns_that_are_not_used_are_named_by_the_source(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(TICKETS, encoding="utf-8")
    records = Records(RecordsConfig(path="tickets.csv"), tmp_path)
    list(records())
    assert records.unused == ["ticket_id"]


def test_a_conversation_beside_its_answer_keeps_the_reference(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "It is 2."}]
    (example,) = read(
        rows(tmp_path / "t.jsonl", {"messages": turns, "problem": "1+1?", "answer": "2"})
    )
    assert (example.prompt, example.answer_type, example.reference) == ("1+1?", "number", "2")


@pytest.mark.parametrize(
    "row",
    [
        {
            "system": "Be kind.",
            "messages": [
                {"role": "user", "content": "Hi?"},
                {"role": "assistant", "content": "Yes."},
            ],
        },
        {
            "messages": [
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": "Hi?"},
                {"role": "model", "content": "Yes."},
            ]
        },
        {
            "prompt": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi?"},
            ],
            "completion": [{"role": "assistant", "content": "Yes."}],
        },
        {
            "prompt": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi?"},
            ],
            "chosen": [{"role": "assistant", "content": "Yes."}],
            "rejected": [{"role": "assistant", "content": "No."}],
        },
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "Hi?"}]},
                {"role": "assistant", "content": "Yes."},
            ]
        },
    ],
)
def test_roles_parts_and_layouts_of_conversations(row: dict[str, Any], tmp_path: Path) -> None:
    (example,) = read(rows(tmp_path / "t.jsonl", row), answered=True)
    assert (example.prompt, example.meta["response"]) == ("Hi?", "Yes.")
    assert example.meta["system"] == "Be kind."


def test_prompt_and_completion_as_texts(tmp_path: Path) -> None:
    (example,) = read(
        rows(tmp_path / "t.jsonl", {"prompt": "Hi?", "completion": "Yes, hello to you there."}),
        answered=True,
    )
    assert (example.prompt, example.meta["response"]) == ("Hi?", "Yes, hello to you there.")


def test_the_last_turn_of_a_long_conversation_is_asked_and_the_others_come_before(
    tmp_path: Path,
) -> None:
    turns = [
        {"from": "human", "value": "My router is dead."},
        {"from": "gpt", "value": "Is its light on?"},
        {"from": "human", "value": "No."},
        {"from": "gpt", "value": "Then change its plug."},
    ]
    path = rows(tmp_path / "t.jsonl", {"conversations": turns}, {"conversations": turns[2:]})
    first, second = read(path, answered=True)
    assert (first.prompt, first.meta["response"]) == ("No.", "Then change its plug.")
    assert first.id != second.id
    assert conversation("Help.", first) == (
        Message(role="system", content="Help."),
        Message(role="user", content="My router is dead."),
        Message(role="assistant", content="Is its light on?"),
        Message(role="user", content="No."),
    )
    assert first.whole_prompt == "My router is dead.\n\nIs its light on?\n\nNo."


def test_history_of_alpaca_rows_comes_before_the_question(tmp_path: Path) -> None:
    row = {"instruction": "And twice?", "input": "", "output": "4", "history": [["1+1?", "2"]]}
    (example,) = read(rows(tmp_path / "t.jsonl", row))
    assert [turn.content for turn in example.history] == ["1+1?", "2"]


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ([("assistant", "Hi."), ("user", "Hi?")], "beginning with user"),
        (
            [("user", "Hi?"), ("user", "Hello?")],
            "by user, user; user and assistant must take turns",
        ),
        ([("tool", "{}")], "no column `tools` says which there are"),
        ([("system", "Hi.")], "by nobody"),
    ],
)
def test_a_conversation_without_a_question_is_one_line(
    turns: list[tuple[str, str]], says: str, tmp_path: Path
) -> None:
    made = [{"role": role, "content": text} for role, text in turns]
    with pytest.raises(DataError, match=says):
        read(rows(tmp_path / "t.jsonl", {"messages": made, "id": "x"}))


def test_an_image_in_a_turn_is_refused(tmp_path: Path) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "What?"}]
    with pytest.raises(DataError, match="a part of type 'image_url'; only text is read"):
        read(rows(tmp_path / "t.jsonl", {"messages": [{"role": "user", "content": parts}]}))


@pytest.mark.parametrize(
    "answer",
    [
        {"value": "Paris", "aliases": ["City of Light", "Paris"]},
        {"text": ["Paris", "City of Light"], "answer_start": [3, 9]},
    ],
)
def test_aliases_of_an_answer_are_all_right(answer: dict[str, Any], tmp_path: Path) -> None:
    (example,) = read(rows(tmp_path / "t.jsonl", {"question": "Capital?", "answers": answer}))
    assert (example.answer_type, example.reference) == ("exact", ("Paris", "City of Light"))


def test_an_object_without_a_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the reference is an object with x, y; name the part"):
        read(rows(tmp_path / "t.jsonl", {"question": "Where?", "answer": {"x": 1, "y": 2}}))


def test_a_worked_solution_has_its_answer_in_the_last_box(tmp_path: Path) -> None:
    row = {"problem": "Half?", "solution": r"We get $\boxed{1}$, no: $\boxed{\frac{1}{2}}$."}
    (example,) = read(rows(tmp_path / "t.jsonl", row))
    assert (example.answer_type, example.reference) == ("math", r"\frac{1}{2}")


def test_a_worked_solution_keeps_all_values_of_its_boxes(tmp_path: Path) -> None:
    row = {"problem": "Roots?", "solution": r"They are $\boxed{3}$ and $\boxed{-3}$."}
    (example,) = read(rows(tmp_path / "t.jsonl", row))
    assert (example.answer_type, example.reference) == ("math", "3, -3")


def test_a_spreadsheet_and_a_file_of_splits_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(DataError, match="a spreadsheet; save its sheet as CSV"):
        read(tmp_path / "t.xlsx")
    both = {
        "train": [{"prompt": "a", "reference": "1"}],
        "test": [{"prompt": "b", "reference": "2"}],
    }
    (tmp_path / "t.json").write_text(json.dumps(both), encoding="utf-8")
    with pytest.raises(DataError, match=r"several lists of rows \(train, test\)"):
        read(tmp_path / "t.json")
