"""Questions without their texts: what counting the requests about them needs.

    next(read_questions(path, "teach"))  →  Question(id="3", task="sums", …, characters=412)

Arrow counts the characters of a column, and no text becomes a Python object: a tenth of the time
of reading examples.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow.compute as pc

from orcinus.core.tool_calls import as_json, definitions_of
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
    """Of the question, the turns before it, and what may be called."""


def read_questions(path: Path, split: Split) -> Iterator[Question]:
    """Yield the questions of a split, in the order of ``tables.read_examples``.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    for batch in tables.read_batches(path, ["split", "prompt", *_COLUMNS]):
        # ``pc.equal`` would import pandas, which takes a second, to look at a string.
        asked = batch.filter(pc.match_substring_regex(batch["split"], f"^{split}$"))
        columns = [asked[name].to_pylist() for name in _COLUMNS]
        lengths = pc.utf8_length(asked["prompt"]).to_pylist()
        for name, task, answer_type, text, characters in zip(*columns, lengths, strict=True):
            meta = orjson.loads(text)
            characters += sum(len(turn["content"]) for turn in meta.get("history", ()))
            if tools := definitions_of(meta):
                characters += len(as_json(tools))
            yield Question(name, task, answer_type, meta, characters)
