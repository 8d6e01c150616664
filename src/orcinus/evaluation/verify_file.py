"""Verify a file of responses from elsewhere: ``orcinus verify FILE.jsonl``.

{"id": 1, "answer_type": "number", "reference": "42", "response": "The answer is 42."}
──►  {"id": 1, "value": 1.0, "answer": "42", "reason": "marker"}
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

from orcinus.core.errors import DataError
from orcinus.core.types import AnswerType
from orcinus.tasks.files.rows import read_rows
from orcinus.verifiers.rules import judge

_TYPES = get_args(AnswerType)


def verify_file(path: Path) -> Iterator[dict[str, Any]]:
    """Judge each row ``{id, answer_type, choices, reference, response}`` by rules, in order.

    Args:
        path: JSON Lines, plain or compressed.

    Yields:
        ``{id, value: 1.0 | 0.0 | None, answer, reason}``.

    Raises:
        DataError: The file or a row cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    for row in read_rows(str(path)):
        fields = row.fields
        answer_type, response = fields.get("answer_type"), fields.get("response")
        if answer_type not in _TYPES:
            raise DataError(
                f"{row.where}: no answer type {answer_type!r}; known: {', '.join(_TYPES)}"
            )
        if not isinstance(response, str):
            raise DataError(f"{row.where}: response is {type(response).__name__}, not a text")
        reference, choices = fields.get("reference"), fields.get("choices")
        if isinstance(reference, list):
            reference = tuple(map(str, reference))
        elif reference is not None:
            reference = str(reference)
        outcome = judge(
            response,
            cast(AnswerType, answer_type),
            choices,
            reference,
            cut_off=fields.get("finish") == "length",
        )
        yield {
            "id": fields.get("id"),
            "value": outcome.value,
            "answer": outcome.answer,
            "reason": outcome.reason,
        }
