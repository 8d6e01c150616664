"""Questions without their texts: what counting the requests about them needs.

    next(read_questions(path, "teach"))  →  Question(id="3", task="sums", …, characters=412)
    next(read_alike(path, "teach"))      →  Question(id="", …, characters=9100, number=24)

Arrow counts the characters of a column, and no text becomes a Python object: a tenth of the time
of reading examples. The count is kept, so that the texts are read once. Where ids decide nothing,
Arrow also adds up the questions that are alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orcinus.core.tool_calls import as_json, definitions_of
from orcinus.core.types import AnswerType, Split
from orcinus.runs import tables

_COLUMNS = ("id", "task", "answer_type", "meta")
_COUNTED_TABLES = 4
"""Tables whose texts' lengths are kept, with four bytes a row."""


class Question(NamedTuple):
    """An Example without its texts, or several that are alike."""

    id: str
    """Empty for several."""
    task: str
    answer_type: AnswerType
    meta: Mapping[str, Any]
    characters: int
    """Of the question, the turns before it, and what may be called."""
    number: int = 1
    """Questions that it stands for; ``characters`` counts all of them."""


def read_questions(path: Path, split: Split) -> Iterator[Question]:
    """Yield the questions of a split, in the order of ``tables.read_examples``.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    for batch in _read(path, split, _COLUMNS):
        yield from _questions_in(batch)


def read_alike(path: Path, split: Split) -> Iterator[Question]:
    """Yield the questions of a split without ids, those without ``meta`` added up.

    In each batch one Question stands for those of one task and answer type.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    for batch in _read(path, split, _COLUMNS[1:]):
        is_plain = pc.match_substring_regex(batch["meta"], r"^\{\}$")
        yield from _questions_in(batch.filter(pc.invert(is_plain)))
        yield from _added_up(batch.filter(is_plain))


def _added_up(batch: pa.RecordBatch) -> Iterator[Question]:
    """Yield a Question for each task and answer type of a batch."""
    tasks, types = (batch[name].dictionary_encode() for name in ("task", "answer_type"))
    names = list(product(tasks.dictionary.to_pylist(), types.dictionary.to_pylist()))
    places = _integers(tasks.indices) * len(types.dictionary) + _integers(types.indices)
    numbers = np.bincount(places, minlength=len(names))
    # Sums of floats are exact up to 2^53 characters.
    characters = np.bincount(places, _integers(batch["characters"]), minlength=len(names))
    for place in np.flatnonzero(numbers):
        task, answer_type = names[place]
        yield Question("", task, answer_type, {}, int(characters[place]), int(numbers[place]))


def _integers(array: pa.Array) -> NDArray[np.int64]:
    """Return an array of Arrow as one of NumPy; ``to_numpy`` would import pandas."""
    return np.asarray(np.from_dlpack(array), dtype=np.int64)


def last_change(path: Path) -> tuple[int, int]:
    """Return the time of a table's last change, in nanoseconds, and its size.

    Raises:
        StoreError: The table is missing.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise tables.unreadable(path, error) from error
    return facts.st_mtime_ns, facts.st_size


def _read(path: Path, split: Split, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of the questions of a split, and their ``characters``."""
    characters_of_all = _count_characters(path, *last_change(path))
    start = 0
    for batch in tables.read_batches(path, ["split", *columns]):
        counted = characters_of_all.slice(start, len(batch))
        start += len(batch)
        # ``pc.equal`` would import pandas, which takes a second, to look at a string.
        is_asked = pc.match_substring_regex(batch["split"], f"^{split}$")
        yield batch.append_column("characters", counted).filter(is_asked)


def _questions_in(batch: pa.RecordBatch) -> Iterator[Question]:
    known = set(batch.schema.names)
    columns = [
        batch[name].to_pylist() if name in known else repeat("", len(batch))
        for name in (*_COLUMNS, "characters")
    ]
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
