"""Questions without their texts: what counting the requests about them needs.

    next(read_questions(path, "teach"))  →  Question(id="3", task="sums", …, characters=412)

Arrow counts the characters of a column, and no text becomes a Python object: a tenth of the time
of reading examples.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from orcinus.core.types import AnswerType, Split
from orcinus.runs import tables

_COLUMNS = ("id", "task", "answer_type", "meta")


class Question(NamedTuple):
    """An Example without its texts."""

    id: str
    task: str
    answer_type: AnswerType
    meta: Mapping[str, Any]
    characters: int
    """Of the question and the turns before it."""


def read_questions(path: Path, split: Split) -> Iterator[Question]:
    """Yield the questions of a split, in the order of ``tables.read_examples``.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise tables.unreadable(path, error) from error
    names = ("split", *_COLUMNS, "characters")
    for table in _columns_of(path, stat.st_mtime_ns, stat.st_size):
        # Arrow's own filters would import pandas, which takes a second, to look at a string.
        for mine, name, task, answer_type, text, characters in zip(
            *(table[column].to_pylist() for column in names), strict=True
        ):
            if mine != split:
                continue
            meta = orjson.loads(text)
            if "history" in meta:
                characters += sum(len(turn["content"]) for turn in meta["history"])
            yield Question(name, task, answer_type, meta, characters)


@lru_cache(maxsize=1)
def _columns_of(path: Path, stamp: int, size: int) -> list[pa.Table]:
    """Return the columns of all rows; a plan counts the same table for each step."""
    parts = []
    for batch in tables.read_batches(path, ["split", "prompt", *_COLUMNS]):
        lengths = pc.utf8_length(batch["prompt"])
        kept = pa.Table.from_batches([batch.select(["split", *_COLUMNS])])
        parts.append(kept.append_column("characters", lengths))
    return parts
