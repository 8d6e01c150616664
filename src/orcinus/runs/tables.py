"""Parquet tables between steps: one schema for each record, read and written in bounded memory.

    with TableWriter(path, LESSONS) as writer:
        writer.write(lesson_row(lesson))
    next(read_lessons(path))  →  Lesson(…)

A table is written beside its place and renamed when complete, so that a reader never finds half of
one.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import accumulate, islice, repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orcinus.core.errors import StoreError
from orcinus.core.types import (
    TAUGHT,
    Assignment,
    Attempt,
    Evidence,
    Example,
    Judged,
    Lesson,
    Message,
    Messages,
    Role,
    Sampling,
    Score,
    Split,
    Usage,
    Verdict,
    whole_prompt_of,
)
from orcinus.core.urls import open_url
from orcinus.runs.columns import array_of, numbers_of, table_of

Place = Path | str
"""Where a table is: a path, or the URL of one in a store, which must not change."""

ROWS_PER_BATCH = 4096
"""Rows held in memory by a reader or writer: about 16 MiB of attempts."""

CACHED_COLUMNS = 16
"""Columns cached for look-ups. Columns of ids take about 30 MB each for a million rows."""

CACHED_FOOTERS = 4
"""Footers cached. One takes about 10 kB for each row group."""

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

EXAMPLES = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("prompt", pa.string()),
        ("answer_type", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("reference", pa.string()),  # JSON: a string, a list of strings or null
        ("meta", pa.string()),  # JSON
    ]
)
JUDGED = pa.schema(
    [
        ("id", pa.string()),
        ("example_id", pa.string()),
        ("task", pa.string()),
        ("strategy", pa.string()),
        ("model", pa.string()),
        ("messages", _MESSAGES),
        ("sampling", pa.string()),  # JSON
        ("sample", pa.int32()),
        ("text", pa.string()),
        ("finish", pa.string()),
        ("reasoning", pa.string()),
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
        ("tokens_cached", pa.int64()),
        ("tokens_reasoning", pa.int64()),
        ("logprobs", pa.list_(pa.float32())),
        ("token_bytes", pa.list_(pa.int32())),
        ("cost_usd", pa.float64()),
        ("error", pa.string()),
        ("permanent", pa.bool_()),
        ("verifier", pa.string()),
        ("value", pa.float64()),
        ("answer", pa.string()),
        ("reason", pa.string()),
        ("confidence", pa.string()),
    ]
)
ASSIGNMENTS = pa.schema(
    [
        ("group", pa.string()),
        ("strategy", pa.string()),
        ("evidence", pa.string()),  # JSON
        ("runner_up", pa.string()),
        ("p_value", pa.float64()),
        ("reason", pa.string()),
        ("learnable", pa.bool_()),
        ("proxy", pa.string()),
        ("measure", pa.string()),
        ("told", pa.bool_()),
    ]
)
LESSONS = pa.schema(
    [
        ("id", pa.string()),
        ("example_id", pa.string()),
        ("task", pa.string()),
        ("strategy", pa.string()),
        ("messages", _MESSAGES),
        ("completion", pa.string()),
        ("reasoning", pa.string()),
        ("teacher", pa.string()),
        ("attempt_id", pa.string()),
        ("erased", pa.string()),
        ("weight", pa.float64()),
        ("meta", pa.string()),  # JSON
    ]
)
EXPORTED = pa.schema(
    [
        ("id", pa.string()),
        ("messages", _MESSAGES),
        ("task", pa.string()),
        ("example_id", pa.string()),
        ("strategy", pa.string()),
        ("teacher", pa.string()),
        ("licence", pa.string()),
        ("weight", pa.float64()),
    ]
)
DROPS = pa.schema(
    [
        ("attempt_id", pa.string()),
        ("example_id", pa.string()),
        ("task", pa.string()),
        ("filter", pa.string()),
        ("reason", pa.string()),
    ]
)

CALLS = pa.schema(
    [
        ("id", pa.string()),
        ("run", pa.string()),
        ("step", pa.string()),
        ("task", pa.string()),
        ("example_id", pa.string()),
        ("strategy", pa.string()),
        ("model", pa.string()),
        ("sample", pa.int32()),
        ("messages", _MESSAGES),
        ("sampling", pa.string()),  # JSON
        ("text", pa.string()),
        ("finish", pa.string()),
        ("reasoning", pa.string()),
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
        ("cost_usd", pa.float64()),
        ("latency_s", pa.float64()),
        ("error", pa.string()),
        ("created", pa.float64()),
    ]
)
"""Schema of an exported ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """An example or trace that a step left out, and the reason."""

    attempt_id: str
    """Empty for an example."""
    example_id: str
    task: str
    filter: str
    """Name of the filter that dropped it."""
    reason: str


class TableWriter:
    """Writer of a table in batches. The file appears when the ``with`` block ends without error.

    Each row group is encoded in a thread, beside what the caller does until the next one.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._schema = schema
        self._part = path.with_suffix(".part")
        self._buffer: list[dict[str, Any]] = []
        self._waiting = pa.Table.from_batches([], schema)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self._part, schema, compression="zstd")
        self._thread = ThreadPoolExecutor(1)
        self._encoded: Future[None] | None = None

    def write(self, row: dict[str, Any]) -> None:
        """Add one row, keyed by column."""
        self._buffer.append(row)
        self.rows += 1
        if len(self._waiting) + len(self._buffer) >= ROWS_PER_BATCH:
            self._flush(ROWS_PER_BATCH)

    def write_rows(self, rows: pa.Table) -> None:
        """Add rows that have the table's columns. The file is that of ``write`` for each row."""
        self._flush(ROWS_PER_BATCH)
        self._waiting = pa.concat_tables([self._waiting, rows])
        self.rows += len(rows)
        self._flush(ROWS_PER_BATCH)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Add a batch of rows that has the table's columns, as row groups of its own."""
        self._flush()
        if len(batch):
            self._encode(batch)
            self.rows += len(batch)

    def _flush(self, least: int = 1) -> None:
        """Write what waits, in row groups of ``ROWS_PER_BATCH``; fewer than ``least`` stay."""
        if self._buffer:
            rows = table_of(self._buffer, self._schema)
            self._waiting = pa.concat_tables([self._waiting, rows])
            self._buffer.clear()
        while len(self._waiting) >= least:
            # The bytes of a file depend on how its columns are cut into chunks.
            group = self._waiting.slice(0, ROWS_PER_BATCH).combine_chunks()
            self._waiting = self._waiting.slice(ROWS_PER_BATCH)
            self._encode(group)

    def _encode(self, group: pa.Table | pa.RecordBatch) -> None:
        """Begin to write a row group, once the one before is written."""
        self._wait()
        self._encoded = self._thread.submit(self._writer.write, group)

    def _wait(self) -> None:
        """Wait for the last row group, and raise its error."""
        if self._encoded is not None:
            with _naming(self._part):
                self._encoded.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._flush()
            self._wait()
            self._thread.shutdown()
            with _naming(self._part):
                self._writer.close()
            with self._part.open("rb") as part:
                os.fsync(part.fileno())
            self._part.replace(self.path)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        self._thread.shutdown()
        with suppress(OSError):  # a full disk has been reported
            self._writer.close()
        self._part.unlink(missing_ok=True)


class ScratchRows:
    """Rows that a step reads again before it ends; their file is deleted with the ``with`` block.

    They are written as Arrow has them in memory. For 100,000 examples that and reading them takes
    0.1 CPU seconds in place of 0.9 for a Parquet table, and 76 MiB in place of 28.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._writer = pa.ipc.new_stream(self._file, schema)

    def write_rows(self, rows: pa.Table) -> None:
        """Add rows that have the columns of the schema."""
        with _naming(self._path):
            self._writer.write_table(rows)

    def read_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order, in batches of ``ROWS_PER_BATCH``. No rows can follow."""
        self._close()
        waiting = pa.Table.from_batches([], self._schema)
        with self._path.open("rb") as file:
            for batch in pa.ipc.open_stream(file):
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
                while len(waiting) >= ROWS_PER_BATCH:
                    yield from waiting.slice(0, ROWS_PER_BATCH).combine_chunks().to_batches()
                    waiting = waiting.slice(ROWS_PER_BATCH)
        yield from waiting.combine_chunks().to_batches()

    def _close(self) -> None:
        if not self._file.closed:
            with _naming(self._path), self._file:
                self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk has been reported
            self._close()
        self._path.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in an error of a disk, which Arrow does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table in order, with one batch in memory at a time.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    for batch in read_batches(path, columns):
        yield from batch.to_pylist()


def read_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield a table in batches, in order.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    with _open_table(path) as file:
        yield from file.iter_batches(ROWS_PER_BATCH, columns=columns)


def rows_where(
    path: Path,
    column: str,
    test: Callable[[pa.ChunkedArray], pa.ChunkedArray],
    columns: Sequence[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the rows whose value in ``column`` passes ``test``, in order.

    Reads only this column, and caches it; full rows are read only for matches.

    Args:
        path: The table.
        column: A column of texts.
        test: Maps the column to one boolean per row.
        columns: The columns to return; None returns all.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    try:
        stat = path.stat()
        column_read = _column(path, column, stat.st_mtime_ns, stat.st_size)
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(path, error) from error
    yield from rows_at(path, pc.indices_nonzero(test(column_read)).to_pylist(), columns)


@lru_cache(maxsize=CACHED_COLUMNS)
def _column(path: Path, column: str, stamp: int, size: int) -> pa.ChunkedArray:
    # Not `pyarrow.dataset`: it imports pandas where that is installed, half a second.
    with pq.ParquetFile(path) as file:
        return file.read(columns=[column])[column]


def rows_at(
    path: Path, numbers: Sequence[int], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows with these numbers, reading only the row groups that contain them.

    Args:
        path: The table.
        numbers: Row numbers from 0, in ascending order.
        columns: The columns to return; None returns all.

    Raises:
        StoreError: The table is missing, is not a Parquet file, or has fewer rows.
    """
    if not numbers:
        return
    with _open_table(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        if numbers[-1] >= starts[-1]:
            raise StoreError(
                f"{path}: has {starts[-1]:,} rows, and none with the number {numbers[-1]:,}"
            )
        groups = np.searchsorted(starts, numbers, "right") - 1
        for group in np.unique(groups):
            wanted = np.asarray(numbers)[groups == group] - starts[group]
            yield from file.read_row_group(int(group), columns).take(numbers_of(wanted)).to_pylist()


def read_group(path: Place, number: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one row group of a table.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    with _open_table(path) as file:
        return file.read_row_group(number, columns).combine_chunks()


def rows_of_groups(path: Path) -> list[int]:
    """Return the number of rows in each row group, from the table's footer alone.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    with _open_table(path) as file:
        return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]


def with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of ``schema``; one that an older version lacks is empty."""
    for place, field in enumerate(schema):
        if field.name not in table.column_names:
            table = table.add_column(place, field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


def count_rows(path: Path) -> int:
    """Return the number of rows of a table, from its footer alone.

    Raises:
        StoreError: The table is missing or is not a Parquet file.
    """
    with _open_table(path) as file:
        return int(file.metadata.num_rows)


@contextmanager
def _open_table(path: Place) -> Iterator[pq.ParquetFile]:
    """Open a table for the block; a missing or damaged one is one line, also while it is read."""
    try:
        if isinstance(path, str):
            with (
                open_url(path) as remote,
                pq.ParquetFile(remote, metadata=_remote_footer(path), pre_buffer=False) as file,
            ):
                yield file
            return
        stat = path.stat()
        footer = _footer(path, stat.st_mtime_ns, stat.st_size)
        # With pre_buffer the whole file would be read ahead and kept in memory.
        with pq.ParquetFile(path, metadata=footer, pre_buffer=False) as file:
            yield file
    except StoreError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(path, error) from error


@lru_cache(maxsize=CACHED_FOOTERS)
def _footer(path: Path, stamp: int, size: int) -> pq.FileMetaData:
    """Return the footer of a table; reading it for each row group would take quadratic time."""
    return pq.read_metadata(path)


@lru_cache(maxsize=CACHED_FOOTERS)
def _remote_footer(url: str) -> pq.FileMetaData:
    with open_url(url) as file:
        return pq.read_metadata(file)


def unreadable(path: Place, error: Exception) -> StoreError:
    """Return the error of a table that is missing or damaged."""
    return StoreError(
        f"{path}: cannot be read as a table ({error}); delete the step's folder to run it again"
    )


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()


def _messages_row(messages: Messages) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _messages(row: Iterable[Mapping[str, Any]]) -> Messages:
    return tuple(Message(role=item["role"], content=item["content"]) for item in row)


def _tuple_or_text(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def example_row(example: Example, split: Split) -> dict[str, Any]:
    """Return an ``EXAMPLES`` row."""
    return {
        "id": example.id,
        "task": example.task,
        "split": split,
        "prompt": example.prompt,
        "answer_type": example.answer_type,
        "choices": None if example.choices is None else list(example.choices),
        "reference": _dumps(example.reference),
        "meta": _dumps(dict(example.meta)),
    }


def examples_table(examples: Sequence[Example], split: Split) -> pa.Table:
    """Return the ``EXAMPLES`` rows of examples that are all of one split."""
    columns: Mapping[str, list[Any]] = {
        "id": [example.id for example in examples],
        "task": [example.task for example in examples],
        "split": [split] * len(examples),
        "prompt": [example.prompt for example in examples],
        "answer_type": [example.answer_type for example in examples],
        "choices": [example.choices for example in examples],
        "reference": [_dumps(example.reference) for example in examples],
        "meta": [_dumps(dict(example.meta)) for example in examples],
    }
    arrays = [array_of(columns[field.name], field.type) for field in EXAMPLES]
    return pa.Table.from_arrays(arrays, schema=EXAMPLES)


def example_of(row: Mapping[str, Any]) -> Example:
    """Return the Example of an ``EXAMPLES`` row."""
    return Example(
        id=row["id"],
        task=row["task"],
        prompt=row["prompt"],
        answer_type=row["answer_type"],
        choices=_tuple_or_text(row["choices"]),
        reference=_tuple_or_text(orjson.loads(row["reference"])),
        meta=orjson.loads(row["meta"]),
    )


def read_examples(
    path: Place, split: Split | Sequence[Split] | None = None, first: int = 0
) -> Iterator[Example]:
    """Read the examples of a table, or those of a split or several, from the row ``first`` on."""
    for table in _tables_of(path, split, first):
        yield from examples_in(table)


def read_prompts(path: Path, split: Split) -> Iterator[tuple[str, str]]:
    """Yield each example of a split as ``TASK/ID`` and its prompt."""
    for table in _tables_of(path, split, columns=("task", "id", "prompt")):
        columns = (table[name].to_pylist() for name in table.column_names)
        for task, name, prompt in zip(*columns, strict=True):
            yield f"{task}/{name}", prompt


def _tables_of(
    path: Place,
    split: Split | Sequence[Split] | None = None,
    first: int = 0,
    columns: Sequence[str] | None = None,
) -> Iterator[pa.Table]:
    """Read the rows of examples, of a split or several, from the row ``first`` on.

    Row groups without an example of the splits are skipped.
    """
    with _open_table(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            skipped, first = min(first, rows), max(0, first - rows)
            if skipped == rows:
                continue
            chosen = None
            if split is not None:
                # ``pc.equal`` would import pandas to look at a string.
                splits = file.read_row_group(group, ["split"])["split"].slice(skipped)
                names = split if isinstance(split, str) else "|".join(split)
                chosen = pc.match_substring_regex(splits, f"^({names})$")
                if not pc.any(chosen).as_py():
                    continue
            table = file.read_row_group(group, columns).slice(skipped)
            if columns is not None:
                table = table.select(columns)
            yield table if chosen is None else table.filter(chosen)


def examples_in(table: pa.Table) -> Iterator[Example]:
    """Yield the examples of ``EXAMPLES`` rows; by column, which takes half the time of by row."""
    ids, tasks, prompts, answer_types, references, metas = (
        table[name].to_pylist()
        for name in ("id", "task", "prompt", "answer_type", "reference", "meta")
    )
    options = table["choices"]
    lists = repeat(None, len(table))
    if options.null_count < len(table):
        lists = iter(options.to_pylist())
    columns = (ids, tasks, prompts, answer_types, lists, references, metas)
    for name, task, prompt, answer_type, choices, reference, meta in zip(*columns, strict=True):
        yield Example(
            id=name,
            task=task,
            prompt=prompt,
            answer_type=answer_type,
            choices=_tuple_or_text(choices),
            reference=_tuple_or_text(orjson.loads(reference)),
            meta=orjson.loads(meta),
        )


def whole_prompts_in(table: pa.Table) -> Iterator[str]:
    """Yield ``Example.whole_prompt`` of ``EXAMPLES`` rows."""
    for prompt, meta in zip(table["prompt"].to_pylist(), table["meta"].to_pylist(), strict=True):
        if '"history"' in meta:
            yield whole_prompt_of(prompt, orjson.loads(meta))
        else:
            yield prompt


def judged_row(judged: Judged) -> dict[str, Any]:
    """Return a ``JUDGED`` row.

    Latency and time stay in the ledger, so that a table depends on the replies alone.
    """
    attempt, verdict = judged.attempt, judged.verdict
    return {
        "id": attempt.id,
        "example_id": attempt.example_id,
        "task": attempt.task,
        "strategy": attempt.strategy,
        "model": attempt.model,
        "messages": _messages_row(attempt.messages),
        "sampling": _dumps(attempt.sampling),
        "sample": attempt.sample,
        "text": attempt.text,
        "finish": attempt.finish,
        "reasoning": attempt.reasoning,
        "tokens_in": attempt.usage.tokens_in,
        "tokens_out": attempt.usage.tokens_out,
        "tokens_cached": attempt.usage.tokens_cached,
        "tokens_reasoning": attempt.usage.tokens_reasoning,
        "logprobs": None if attempt.logprobs is None else list(attempt.logprobs),
        "token_bytes": None if attempt.token_bytes is None else list(attempt.token_bytes),
        "cost_usd": attempt.cost_usd,
        "error": attempt.error,
        "permanent": attempt.permanent,
        "verifier": verdict.verifier,
        "value": verdict.value,
        "answer": verdict.answer,
        "reason": verdict.reason,
        "confidence": verdict.confidence,
    }


def sampling_of(text: str) -> Sampling:
    """Return the Sampling of its JSON text."""
    fields = orjson.loads(text)
    return Sampling(**{**fields, "stop": tuple(fields["stop"])})


def judged_of(row: Mapping[str, Any]) -> Judged:
    """Return the attempt and verdict of a ``JUDGED`` row."""
    read: dict[str, Callable[[Any], Any]] = {"messages": _messages, "sampling": sampling_of}
    return _judged(
        *(
            read[name](row[name]) if name in read else row.get(name)  # None in older tables
            for name in JUDGED.names
        )
    )


def read_judged(path: Path) -> Iterator[Judged]:
    """Read the attempts and verdicts of a table."""
    for batch in read_batches(path):
        yield from _judged_in(batch)


def judged_in(table: pa.Table, *, first_turns: bool = False) -> Iterator[Judged]:
    """Yield the attempts and verdicts of ``JUDGED`` rows.

    Args:
        table: A column that it does not have is None or, of ``sampling``, the default.
        first_turns: Take the first message of each alone.
    """
    for batch in table.to_batches():
        yield from _judged_in(batch, first_turns=first_turns)


def _judged_in(batch: pa.RecordBatch, *, first_turns: bool = False) -> Iterator[Judged]:
    """Yield the attempts and verdicts of ``JUDGED`` rows; by column, as ``examples_in``."""
    columns: dict[str, Iterable[Any]] = {
        name: _values(batch[name])
        if name in batch.schema.names
        else repeat(None, len(batch))  # in the tables of older runs
        for name in JUDGED.names
    }
    texts = list(columns["sampling"])
    samplings = {text: sampling_of(text) if text else Sampling() for text in set(texts)}
    columns["sampling"] = map(samplings.__getitem__, texts)
    conversations = _first_turns if first_turns else _conversations
    columns["messages"] = conversations(batch["messages"])
    for values in zip(*columns.values(), strict=True):
        yield _judged(*values)


def _judged(*values: Any) -> Judged:
    """Return the attempt and verdict of the values of ``JUDGED``'s columns, in their order."""
    (
        name,
        example_id,
        task,
        strategy,
        model,
        messages,
        sampling,
        sample,
        text,
        finish,
        reasoning,
        tokens_in,
        tokens_out,
        tokens_cached,
        tokens_reasoning,
        logprobs,
        token_bytes,
        cost_usd,
        error,
        permanent,
        verifier,
        value,
        answer,
        reason,
        confidence,
    ) = values
    attempt = Attempt(
        id=name,
        example_id=example_id,
        task=task,
        strategy=strategy,
        model=model,
        messages=messages,
        sampling=sampling,
        sample=sample,
        text=text,
        finish=finish,
        reasoning=reasoning,
        usage=Usage(
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            tokens_cached=tokens_cached,
            tokens_reasoning=tokens_reasoning,
        ),
        logprobs=_tuple_or_text(logprobs),
        token_bytes=_tuple_or_text(token_bytes),
        cost_usd=cost_usd,
        error=error,
        permanent=permanent,
    )
    verdict = Verdict(
        attempt_id=name,
        verifier=verifier,
        value=value,
        answer=answer,
        reason=reason,
        confidence=confidence,
    )
    return Judged(attempt=attempt, verdict=verdict)


def _values(column: pa.Array) -> Iterable[Any]:
    """Return the values of a column."""
    if column.null_count == len(column):
        return repeat(None, len(column))
    values: list[Any] = column.to_pylist()  # ``to_numpy`` is no faster, and imports pandas
    return values


def _conversations(column: pa.ListArray) -> Iterator[Messages]:
    """Yield the messages of each row."""
    turns = column.flatten()
    messages = (
        Message(role=role, content=content)
        for role, content in zip(*map(_values, turns.flatten()), strict=True)
    )
    for count in _values(pc.list_value_length(column)):
        yield tuple(islice(messages, count))


def first_turns_in(table: pa.Table) -> Iterator[Messages]:
    """Yield the first message of each of ``JUDGED`` rows; those that are equal are one object."""
    for batch in table.to_batches():
        yield from _first_turns(batch["messages"])


def same_turns(turns: Sequence[str | None], prompts: Sequence[str]) -> pa.Array:
    """Return a column of messages: the same for each row but for the prompt.

    Args:
        turns: A system message or none, then None in place of the user's message.
        prompts: The user's message of each row.
    """
    contents = [prompt if turn is None else turn for prompt in prompts for turn in turns]
    roles = ["user" if turn is None else "system" for turn in turns] * len(prompts)
    kind = _MESSAGES.value_type
    fields = [array_of(roles, kind[0].type), array_of(contents, kind[1].type)]
    items = pa.StructArray.from_arrays(fields, fields=list(kind))
    starts = numbers_of(np.arange(len(prompts) + 1, dtype=np.int32) * np.int32(len(turns)))
    return pa.ListArray.from_buffers(
        _MESSAGES, len(prompts), [None, starts.buffers()[1]], children=[items]
    )


def _first_turns(column: pa.ListArray) -> Iterator[Messages]:
    """Yield the first message of each row; those that are equal are one object."""
    lengths = _values(pc.list_value_length(column))
    starts = array_of(list(accumulate(lengths, initial=0))[:-1], pa.int64())
    is_there = numbers_of(np.fromiter(lengths, np.int64, len(column)) > 0)
    roles, contents = column.flatten().take(starts.filter(is_there)).flatten()
    known: dict[tuple[str, str], Messages] = {}
    first = zip(_values(roles), _values(contents), strict=True)
    for length in lengths:
        if not length:
            yield ()
            continue
        turn = next(first)
        if turn not in known:
            known[turn] = (Message(role=cast(Role, turn[0]), content=turn[1]),)
        yield known[turn]


def with_examples(
    traces: Iterable[Judged], examples: Place, first: int = 0
) -> Iterator[tuple[Example, Judged]]:
    """Yield each trace with its example of the splits ``TAUGHT``.

    The two tables are read side by side, so that only one example is in memory.

    Args:
        traces: In the order of the examples, as ``teach`` and ``curate`` write them. Traces of one
            example are adjacent.
        examples: The table of the examples.
        first: A row of that table, at or before the first trace's example.

    Raises:
        StoreError: The traces are not in the order of the examples.
    """
    coming = read_examples(examples, TAUGHT, first)
    example = None
    for judged in traces:
        key = judged.attempt.task, judged.attempt.example_id
        while example is None or (example.task, example.id) != key:
            example = next(coming, None)
            if example is None:
                raise out_of_order(examples, *key)
        yield example, judged


def examples_of(
    path: Place, tasks: Sequence[str], names: Sequence[str], first: int = 0
) -> pa.Table:
    """Read the example of each trace, as the rows of a table.

    Args:
        path: The table of the examples.
        tasks: The traces' tasks, in the order of the examples.
        names: The ids of their examples.
        first: A row of the table, at or before the first trace's example.

    Raises:
        StoreError: The traces are not in the order of the examples.
    """
    read: list[pa.Table] = []

    def keys() -> Iterator[tuple[str, str]]:
        left = first
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            skipped, left = min(left, rows), max(0, left - rows)
            if skipped < rows:
                read.append(file.read_row_group(group).slice(skipped))
                columns = (read[-1][name].to_pylist() for name in ("task", "id"))
                yield from zip(*columns, strict=True)

    rows: list[int] = []
    with _open_table(path) as file:
        coming = enumerate(keys())
        row, key = next(coming, (0, None))
        for wanted in zip(tasks, names, strict=True):
            while key != wanted:
                row, key = next(coming, (0, None))
                if key is None:
                    raise out_of_order(path, *wanted)
            rows.append(row)
    whole = pa.concat_tables([pa.Table.from_batches([], EXAMPLES), *read])
    return whole.take(array_of(rows, pa.int64())).combine_chunks()


def out_of_order(examples: Place, task: str, example_id: str) -> StoreError:
    """Return the error of a trace whose example does not come at its place."""
    return StoreError(
        f"{examples}: the example {task}/{example_id} of a trace is missing, or not in "
        "the order of the traces; delete the folders of the steps teach and curate to "
        "run them again"
    )


def assignment_row(assignment: Assignment) -> dict[str, Any]:
    """Return an ``ASSIGNMENTS`` row."""
    return {
        **asdict(assignment),
        "evidence": _dumps([asdict(item) for item in assignment.evidence]),
    }


def assignment_of(row: Mapping[str, Any]) -> Assignment:
    """Return the Assignment of an ``ASSIGNMENTS`` row."""
    evidence = tuple(
        Evidence(
            strategy=item["strategy"],
            score=Score(**item["score"]),
            tokens_out=item["tokens_out"],
            held_out=_score_of(item["held_out"]),
            learned=_score_of(item.get("learned")),
        )
        for item in orjson.loads(row["evidence"])
    )
    return Assignment(**{**row, "evidence": evidence})


def _score_of(item: Mapping[str, Any] | None) -> Score | None:
    return None if item is None else Score(**item)


def read_assignments(path: Path) -> Iterator[Assignment]:
    """Read the assignments of a table."""
    return map(assignment_of, read_rows(path))


def lesson_row(lesson: Lesson) -> dict[str, Any]:
    """Return a ``LESSONS`` row."""
    return {
        "id": lesson.id,
        "example_id": lesson.example_id,
        "task": lesson.task,
        "strategy": lesson.strategy,
        "messages": _messages_row(lesson.messages),
        "completion": lesson.completion,
        "reasoning": lesson.reasoning,
        "teacher": lesson.teacher,
        "attempt_id": lesson.attempt_id,
        "erased": lesson.erased,
        "weight": lesson.weight,
        "meta": _dumps(dict(lesson.meta)),
    }


def lesson_of(row: Mapping[str, Any]) -> Lesson:
    """Return the Lesson of a ``LESSONS`` row."""
    return Lesson(
        **{**row, "messages": _messages(row["messages"]), "meta": orjson.loads(row["meta"])}
    )


def read_lessons(path: Path) -> Iterator[Lesson]:
    """Read the lessons of a table."""
    return map(lesson_of, read_rows(path))


def lessons_in(table: pa.Table) -> Iterator[Lesson]:
    """Yield the lessons of ``LESSONS`` rows."""
    return map(lesson_of, table.to_pylist())


def drop_row(drop: Drop) -> dict[str, Any]:
    """Return a ``DROPS`` row."""
    return {name: getattr(drop, name) for name in DROPS.names}
