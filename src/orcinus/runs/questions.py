"""Questions without their texts: what counting the requests about them needs.

    next(read_questions(path, "teach"))  →  Question(id="3", task="sums", …, characters=412)

Arrow counts the characters of a column, and no text becomes a Python object: a tenth of the time
of reading examples. The count is kept, so that the texts are read once.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from orcinus.core.tool_calls import as_json, definitions_of
from orcinus.core.types import AnswerType, Split
from orcinus.runs import tables

_COLUMNS = ("id", "task", "answer_type", "meta")
_COUNTED_TABLES = 4
"""Tables whose texts' lengths are kept, with four bytes a row."""


class Question(NamedTuple):
    """An Example without its texts."""

    id: str
    task: str
    answer_type: AnswerType
    meta: Mapping[str, Any]
    characters: int
    """Of the question, the turns before it, and what may be called."""


def read_questions(path: Path, split: Split) -> Iterator[Question]:
    """Yield the questions of a split, in the order of ``tables.read_examples``.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise tables.unreadable(path, error) from error
    characters_of_all = _count_characters(path, facts.st_mtime_ns, facts.st_size)
    start = 0
    for batch in tables.read_batches(path, ["split", *_COLUMNS]):
        counted = characters_of_all.slice(start, len(batch))
        start += len(batch)
        # ``pc.equal`` would import pandas, which takes a second, to look at a string.
        is_asked = pc.match_substring_regex(batch["split"], f"^{split}$")
        asked = batch.append_column("characters", counted).filter(is_asked)
        columns = [asked[name].to_pylist() for name in (*_COLUMNS, "characters")]
        for name, task, answer_type, text, characters in zip(*columns, strict=True):
            if text == "{}":
                yield Question(name, task, answer_type, {}, characters)
                continue
            meta = orjson.loads(text)
            characters += sum(len(turn["content"]) for turn in meta.get("history", ()))
            if tools := definitions_of(meta):
                characters += len(as_json(tools))
            yield Question(name, task, answer_type, meta, characters)


@lru_cache(_COUNTED_TABLES)
def _count_characters(path: Path, changed_ns: int, size: int) -> pa.Int32Array:
    """Return the characters of each question of a table, which is known by its last change."""
    lengths = [pc.utf8_length(batch["prompt"]) for batch in tables.read_batches(path, ["prompt"])]
    return pa.concat_arrays([pa.nulls(0, pa.int32()), *lengths])
