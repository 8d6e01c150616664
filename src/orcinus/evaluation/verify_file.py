r"""Verify a file of responses from elsewhere: ``orcinus verify FILE.jsonl``.

{"id": 1, "answer_type": "number", "reference": "42", "response": "The answer is 42."}
──►  {"id": 1, "value": 1.0, "answer": "42", "reason": "marker"}

References may have any form that a task file may have: an option's text or index, a solution that
ends in ``#### 42`` or ``\boxed{42}``. A row that cannot be used has an error and no value.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

import orjson

from orcinus.core.errors import DataError
from orcinus.core.types import AnswerType, Finish
from orcinus.models.remote.replies import read_finish
from orcinus.tasks.files.drafts import Unusable
from orcinus.tasks.files.examples import read_answer
from orcinus.tasks.files.rows import SKIP_ADVICE, kind_of, read_rows
from orcinus.verifiers.answers.cleaning import cleaned
from orcinus.verifiers.answers.final_answer import statement
from orcinus.verifiers.answers.solutions import reference_piece
from orcinus.verifiers.answers.text import Outcome
from orcinus.verifiers.rules import Reference, find_answer, judge

_TYPES = get_args(AnswerType)
_COLUMNS = ("answer_type", "response")
"""Columns without which a row cannot be judged; what is ``free`` needs no reference."""
_MOST_COLUMNS = 8
"""Columns that a message names."""
_NO_ANSWER: Mapping[Finish | None, str] = {"error": "no answer came", "refusal": "refused"}
"""Ends of a response that leave nothing to judge, and the reason that is given."""
_SHORT_REFERENCE = 6
"""Words. A longer reference is prose: its number is looked for behind an announcement."""
_LONGEST_PIECE = 300
"""Characters of the piece that ``explain`` shows."""


def verify_file(path: Path, *, explain: bool = False) -> Iterator[dict[str, Any]]:
    """Judge each row ``{id, answer_type, choices, reference, response}`` by rules, in order.

    Args:
        path: JSON Lines, plain or compressed.
        explain: Add the piece of the response that was read, and the reference as it was read.

    Yields:
        ``{id, value: 1.0 | 0.0 | None, answer, reason}``, with ``error`` (file, line and why) for a
        row that cannot be used.

    Raises:
        DataError: The file as a whole cannot be read.
    """
    if not path.is_file():
        what = "this is a folder; give a file" if path.is_dir() else "there is no such file"
        raise DataError(f"{path}: {what}")
    unreadable: list[str] = []
    for row in read_rows(str(path), unreadable.append):
        yield from [_error_row(message) for message in unreadable]
        unreadable.clear()
        identity = row.fields.get("id")
        try:
            yield {"id": identity, **_judge_row(row.fields, explain=explain)}
        except Unusable as error:
            yield _error_row(f"{row.where}: {error.problem}", identity)
    yield from [_error_row(message) for message in unreadable]


def _error_row(message: str, identity: object = None) -> dict[str, Any]:
    """Return the row of an error, without advice on a recipe: there is none here."""
    error = message.removesuffix(SKIP_ADVICE)
    return {"id": identity, "value": None, "answer": None, "reason": "error", "error": error}


def _judge_row(fields: Mapping[str, Any], *, explain: bool) -> dict[str, Any]:
    answer_type, response = fields.get("answer_type"), fields.get("response")
    missing = [name for name in _COLUMNS if fields.get(name) is None]
    if missing:
        columns = ", ".join(map(repr, islice(fields, _MOST_COLUMNS))) or "none"
        raise Unusable(
            f"there is no {' and no '.join(missing)}; a row needs answer_type, reference and"
            f" response, and this one has {columns}"
        )
    if answer_type not in _TYPES:
        raise Unusable(f"no answer type {answer_type!r:.60}; known: {', '.join(_TYPES)}")
    if not isinstance(response, str):
        raise Unusable(f"the response is {kind_of(response)}, not a text")
    kind = cast(AnswerType, answer_type)
    choices, reference = read_answer(kind, fields.get("choices"), fields.get("reference"))
    reference = _without_prose(kind, reference)
    finish = read_finish(str(fields.get("finish") or ""))
    if finish in _NO_ANSWER:
        outcome = Outcome(None, None, _NO_ANSWER[finish])
    else:
        outcome = judge(response, kind, choices, reference, cut_off=finish == "length")
    verdict: dict[str, Any] = {
        "value": outcome.value,
        "answer": outcome.answer,
        "reason": outcome.reason,
    }
    if explain:
        verdict |= {"reference": reference, "piece": _piece_of(response)}
    return verdict


def _without_prose(kind: AnswerType, reference: Reference) -> Reference:
    """Return the answer in a reference that is a whole solution, or check that it is one."""
    if isinstance(reference, tuple) or reference is None:
        return reference
    if kind == "json":
        try:
            orjson.loads(reference)
        except orjson.JSONDecodeError as error:
            raise Unusable(f"the reference {reference[:40]!r} is not JSON ({error.msg})") from error
    if kind not in ("number", "math", "exact", "spans"):
        return reference
    piece = reference_piece(reference)
    prose = len(piece.split()) > _SHORT_REFERENCE and len(_NUMBER.findall(piece)) > 1
    if kind == "number" and prose:
        found = find_answer(piece, kind, None)
        if found.answer is None or found.several or statement(cleaned(piece)[0]).rule == "text":
            raise Unusable(
                f"the reference {piece[:60]!r} holds several numbers; give the right one"
            )
        return found.answer
    return piece


_NUMBER = re.compile(r"\d+(?:[.,/]\d+)*")


def _piece_of(response: str) -> str:
    """Return the part of the response in which the answer was looked for."""
    text, _ = cleaned(response)
    piece = statement(text).text if text else ""
    return piece if len(piece) <= _LONGEST_PIECE else f"… {piece[-_LONGEST_PIECE:]}"
