"""``orcinus verify``: references in every form, and a result for every row."""

import json
from pathlib import Path
from typing import Any

import pytest

from orcinus.evaluation.verify_file import verify_file

PLACES = ["London", "Paris"]
Rows = list[dict[str, Any]]


def verdicts(folder: Path, *rows: dict[str, Any] | str, explain: bool = False) -> Rows:
    path = folder / "rows.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(verify_file(path, explain=explain))


@pytest.mark.parametrize(
    ("answer_type", "choices", "reference", "response"),
    [
        ("choice", PLACES, "Paris", "The answer is (B)."),
        ("choice", PLACES, "(B) Paris", "The answer is (B)."),
        ("choice", PLACES, "B. Paris", "The answer is (B)."),
        ("choice", PLACES, 1, "The answer is (B)."),
        ("choice", [10, 12], 1, "The answer is (B)."),
        ("choice", {"text": PLACES, "label": ["1", "2"]}, "2", "The answer is (B)."),
        ("bool", None, True, "Yes."),
        ("bool", None, "correct", "Yes."),
        ("bool", None, 1, "Yes."),
        ("bool", None, "0", "No."),
        ("number", None, 7.0, "7"),
        ("number", None, "3+4=<<3+4=7>>7 apples.\n#### 7", "7"),
        ("number", None, r"Both are 3 + 4, which makes $\boxed{7}$ in all.", "7"),
        ("number", None, "There are 3 and 4 of them here. The answer is 7.", "7"),
        ("math", None, r"Half of it, so $x = \boxed{\frac12}$.", "0.5"),
        ("math", None, ["1/2", "2/4"], "0.5"),
        ("math", None, r"$\boxed{3}$ and $\boxed{-3}$", r"$\boxed{3}$ and $\boxed{-3}$"),
        ("json", None, {"a": 1}, '{"a": 1}'),
        ("json", None, [1, 2], "[1, 2]"),
        ("list", None, ["a", "b"], "a, b"),
        ("exact", None, "Some words.\n#### Paris", "Paris"),
    ],
)
def test_a_reference_in_this_form_is_read(
    tmp_path: Path, answer_type: str, choices: Any, reference: Any, response: str
) -> None:
    row = {"answer_type": answer_type, "choices": choices, "reference": reference}
    assert [r["value"] for r in verdicts(tmp_path, row | {"response": response})] == [1.0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"answer_type": "nummer", "reference": "1", "response": "1"}, "no answer type 'nummer'"),
        ({"answer_type": "number", "reference": "", "response": "1"}, "no reference"),
        ({"answer_type": "number", "reference": "many", "response": "1"}, "holds no number"),
        ({"answer_type": "number", "reference": 1, "response": 5}, "the response is a number, not"),
        ({"answer_type": "number", "reference": 1, "response": None}, "there is no response;"),
        (
            {"question": "1 + 1?", "gold": 2},
            "no answer_type and no response; a row needs answer_type, reference and response,"
            " and this one has 'question', 'gold'",
        ),
        ({"answer_type": "json", "reference": "{a", "response": "1"}, "is not JSON"),
        (
            {"answer_type": "choice", "choices": PLACES, "reference": "Rome", "response": "B"},
            "not among the choices",
        ),
        (
            {
                "answer_type": "number",
                "reference": "It has 3 apples and 4 pears, so 7",
                "response": "7",
            },
            "holds several numbers",
        ),
        ("{broken", "not valid JSON"),
    ],
)
def test_a_bad_row_has_an_error_and_the_next_a_verdict(
    tmp_path: Path, row: dict[str, Any] | str, says: str
) -> None:
    good = {"id": "g", "answer_type": "number", "reference": "4", "response": "4"}
    bad, other = verdicts(tmp_path, row, good)
    assert bad["value"] is None
    assert "rows.jsonl:1: " in bad["error"]
    assert says in bad["error"]
    assert "skip_bad" not in bad["error"]
    assert other["value"] == 1.0


def test_explain_shows_the_piece_and_the_reference_as_read(tmp_path: Path) -> None:
    row = {"answer_type": "number", "reference": "#### 4", "response": "2 + 2. The answer is 4."}
    (found,) = verdicts(tmp_path, row, explain=True)
    assert (found["piece"], found["reference"]) == ("4.", "4")
    assert found["reason"].startswith("marker")


@pytest.mark.parametrize(
    ("finish", "value", "reason"),
    [
        ("length", None, "cut off before an answer was announced"),
        ("max_output_tokens", None, "cut off before an answer was announced"),
        ("MAX_TOKENS", None, "cut off before an answer was announced"),
        ("incomplete", None, "cut off before an answer was announced"),
        ("safety", None, "refused"),
        ("error", None, "no answer came"),
        ("end_turn", 1.0, "result of the equation"),
        ("some other word", 1.0, "result of the equation"),
        (None, 1.0, "result of the equation"),
    ],
)
def test_the_end_of_a_response_is_read_as_servers_name_it(
    tmp_path: Path, finish: str | None, value: float | None, reason: str
) -> None:
    row = {"answer_type": "number", "reference": "4", "response": "2 + 2 = 4", "finish": finish}
    (found,) = verdicts(tmp_path, row)
    assert (found["value"], found["reason"]) == (value, reason)


@pytest.mark.parametrize("text", ["recipe for pie", "columns: two; skip_bad"])
def test_an_error_keeps_the_words_of_the_data(tmp_path: Path, text: str) -> None:
    row = {"answer_type": "number", "reference": text, "response": "4"}
    (found,) = verdicts(tmp_path, row)
    assert f"the reference {text!r} holds no number" in found["error"]
    assert "answer_type:" not in found["error"]
