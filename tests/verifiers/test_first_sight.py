"""Answers as many models word them; each row's verdict was decided before the rules saw it.

A row says only whether the answer is right: a text without an answer may be 0.0 or None.
"""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from orcinus.core.types import AnswerType
from orcinus.verifiers.rules import judge

TEXT = Path(__file__).with_name("first_sight.jsonl").read_text(encoding="utf-8")
ROWS = [json.loads(line) for line in TEXT.splitlines()]


def says_right(row: dict[str, Any]) -> bool:
    reference = row["reference"]
    reference = tuple(reference) if isinstance(reference, list) else reference
    return judge(row["response"], row["type"], row.get("choices"), reference).value == 1.0


@pytest.mark.parametrize("kind", sorted({row["type"] for row in ROWS}))
def test_every_row_gets_its_verdict(kind: AnswerType) -> None:
    rows = [row for row in ROWS if row["type"] == kind]
    assert kind in get_args(AnswerType)
    assert [row for row in rows if says_right(row) != row["right"]] == []
