"""Questions without their texts: what counting the requests about them needs.

    next(read_questions(path, "teach"))  →  Question(id="3", task="sums", …, characters=412)
    next(read_alike(path, "teach"))      →  Question(id="", …, characters=9100, number=24)

Arrow counts the characters of a column, and no text becomes a Python object: a tenth of the time
of reading examples. The count is kept, so that the texts are read once. Where ids decide nothing,
Arrow also adds up the questions that are alike.
"""

from collections import Counter
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
"""Tables whose texts' lengths are kept, with four bytes a row, and the sums of which are."""


_Kind = tuple[str, str, AnswerType]
"""Split, task and answer type."""


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

    Of these, one Question stands for all of one task and answer type.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    added_up, with_meta = _add_up(path, *last_change(path))
    yield from added_up.get(split, ())
    if split in with_meta:
        for batch in _read(path, split, _COLUMNS[1:]):
            yield from _questions_in(batch.filter(pc.invert(_is_plain(batch))))


@lru_cache(_COUNTED_TABLES)
def _add_up(
    path: Path, changed_ns: int, size: int
) -> tuple[Mapping[str, Sequence[Question]], frozenset[str]]:
    """Return the questions without ``meta`` by split, and the splits that have others."""
    numbers, characters, with_meta = Counter[_Kind](), Counter[_Kind](), set[str]()
    for batch in _counted(path, _COLUMNS[1:]):
        is_plain = _is_plain(batch)
        with_meta.update(batch["split"].filter(pc.invert(is_plain)).unique().to_pylist())
        for kind, number, counted in _sums(batch.filter(is_plain)):
            numbers[kind] += number
            characters[kind] += counted
    added_up: dict[str, list[Question]] = {}
    for (split, task, answer_type), number in numbers.items():
        counted = characters[split, task, answer_type]
        question = Question("", task, answer_type, {}, counted, number)
        added_up.setdefault(split, []).append(question)
    return added_up, frozenset(with_meta)


def _is_plain(batch: pa.RecordBatch) -> pa.BooleanArray:
    return pc.match_substring_regex(batch["meta"], r"^\{\}$")


def _sums(batch: pa.RecordBatch) -> Iterator[tuple[_Kind, int, int]]:
    """Yield the number of a batch's questions of each kind, and their characters."""
    encoded = [batch[name].dictionary_encode() for name in ("split", "task", "answer_type")]
    kinds = list(product(*(column.dictionary.to_pylist() for column in encoded)))
    places = np.zeros(len(batch), dtype=np.int64)
    for column in encoded:
        places = places * len(column.dictionary) + _integers(column.indices)
    numbers = np.bincount(places, minlength=len(kinds))
    # Sums of floats are exact up to 2^53 characters.
    characters = np.bincount(places, _integers(batch["characters"]), minlength=len(kinds))
    for place in np.flatnonzero(numbers):
        yield kinds[place], int(numbers[place]), int(characters[place])


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
    for batch in _counted(path, columns):
        # ``pc.equal`` would import pandas, which takes a second, to look at a string.
        yield batch.filter(pc.match_substring_regex(batch["split"], f"^{split}$"))


def _counted(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of all questions, with ``split`` and their ``characters``."""
    characters_of_all = _count_characters(path, *last_change(path))
    start = 0
    for batch in tables.read_batches(path, ["split", *columns]):
        yield batch.append_column("characters", characters_of_all.slice(start, len(batch)))
        start += len(batch)


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
