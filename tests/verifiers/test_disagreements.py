"""The list of rows on which an official verdict and ours differ, and the kinds of difference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from benchmarks.verify import disagreements, write_disagreements

RULE = "rule of the source on this text"


def row(**fields: Any) -> dict[str, Any]:
    plain = {
        "id": "r",
        "answer_type": "number",
        "choices": None,
        "label_kind": RULE,
        "contested": False,
    }
    return {**plain, **fields}


KINDS: list[tuple[Mapping[str, Any], str]] = [
    (
        {"response": "The answer is forty.", "reference": "40", "correct": False},
        "official reads no number words",
    ),
    (
        {
            "response": "The answer is 3 * 40 = 120.",
            "reference": "120",
            "correct": False,
            "extracted": "3",
        },
        "official takes the first number of a calculation",
    ),
    (
        {
            "response": "The answer is $40,000.",
            "reference": "40,000",
            "correct": False,
            "extracted": "40000",
        },
        "official compares numbers as texts or floats",
    ),
    (
        {
            "response": "The answer is A or B.",
            "reference": "A",
            "correct": True,
            "answer_type": "choice",
            "choices": ["x", "y"],
        },
        "official takes the first of two answers",
    ),
    (
        {
            "response": "Let us see.",
            "reference": "4",
            "correct": True,
            "label_kind": "label, made with a hidden second call",
        },
        "official verdict from a second call, no answer in the text",
    ),
]


@pytest.mark.parametrize(("fields", "kind"), KINDS)
def test_why_two_verdicts_differ(fields: Mapping[str, Any], kind: str) -> None:
    [found] = disagreements({"source": [row(**fields)]})
    assert found["kind"] == kind


def test_the_file_holds_each_row_once_and_none_on_which_both_agree(tmp_path: Path) -> None:
    rows = [row(**dict(fields, id=str(i))) for i, (fields, _) in enumerate(KINDS)]
    agreed = row(id="same", response="The answer is 4.", reference="4", correct=True)
    counts = write_disagreements({"source": [*rows, agreed]}, tmp_path / "found.jsonl")
    found = [orjson.loads(line) for line in (tmp_path / "found.jsonl").read_bytes().splitlines()]
    assert [item["id"] for item in found] == ["0", "1", "2", "3", "4"]
    assert counts.total() == 5
    assert set(found[0]) >= {"source", "id", "official", "ours", "answer", "reason", "kind"}
