"""Read raw rows from JSONL, JSON, CSV, TSV, Parquet and Arrow files, compressed or not.

    read_rows("sums.jsonl.gz")
    Row(where="sums.jsonl.gz:1", stem="sums", fields={"question": "17 + 25?", …}), …

The name of a file gives its format, or its first bytes if the name says nothing. Files are
streamed, except a JSON file that is one object (BIG-Bench Hard, Super-NaturalInstructions), which
is read whole.

A row that cannot be read is reported, and reading continues with the next one. A file is refused as
a whole where the start of the next row is unknown: a JSON list or a quoted CSV field that breaks
off, or damaged compression.
"""

import codecs
import csv
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from orcinus.core.errors import DataError, one_line
from orcinus.core.records import quick_init
from orcinus.core.urls import reason, shown
from orcinus.tasks.files.sources import FORMATS, format_of, open_source, stem_of

Report = Callable[[str], None]
"""Called with one line for each unusable row. If it returns instead of raising, reading
continues."""

LONGEST_ROW = 64 * 2**20
"""Bytes of a row. A compressed file of 13 MB can hold one of 3 GB, which took 4.7 GB of memory."""
LARGEST_OBJECT = 256 * 2**20
"""Bytes of a JSON file that is one object: it is read whole. Published ones have 60 MB at most."""
LARGEST_COLUMN = 2 * 2**30
"""Bytes of a column in one row group of a Parquet file, decompressed. Writers make 1 to 500 MB."""
MOST_BLANK_LINES = 10_000
"""Blank lines before the rows of a JSON file, which are kept to number the others."""
SKIP_ADVICE = "; fix the line, or set skip_bad: true to skip it"
"""The end of the message about a line that is no JSON: what to do where a recipe names the file."""
ROWS_PER_BATCH = 128
"""Rows of a Parquet file that are converted at a time. A dictionary repeats a value of megabytes in
a few bytes, so that memory is bounded by this many copies."""
_CHUNK = 1 << 20
"""Bytes of a JSON list that are read at a time."""
_LONGEST_TOKEN = 16
"""Characters. The error of JSON cut off in a name, number or escape is at most this far from its
end."""
_MAX_DIGITS = 300
"""Digits of a whole number in JSON. The largest float has 309 digits, and Python refuses 4,300."""
_BOM = codecs.BOM_UTF8
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
_UNCONVERTIBLE = (ValueError, OverflowError, pa.ArrowException)
_CONTAINERS = (dict, list)
_KEY = re.compile(rb'"\s*:')


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as the file has it."""

    where: str
    """File and line, or file and item, for messages."""
    stem: str
    """The file's name without folders and extensions: the task's name when nothing else gives
    one."""
    fields: Mapping[str, Any]


def strict(message: str) -> None:
    """Stop at the first unusable row: a ``Report``.

    Raises:
        DataError: Always.
    """
    raise DataError(one_line(message))


def read_rows(source: str, report: Report = strict) -> Iterator[Row]:
    """Yield the rows of one file in order.

    Args:
        source: A path or URL from ``find_sources``.
        report: Called for each row that cannot be read.

    Raises:
        DataError: The file as a whole cannot be read, or ``report`` raised.
    """
    count = unreadable = 0
    stem = stem_of(source)

    def report_and_count(message: str) -> None:
        nonlocal unreadable
        unreadable += 1
        report(message)

    for where, fields in _located(source, report_and_count):
        count += 1
        if isinstance(fields, dict):
            yield Row(where=where, stem=stem, fields=fields)
        else:
            report(f"{where}: a row must be an object with named fields, this is {kind_of(fields)}")
    if count + unreadable == 0:
        raise DataError(
            f"{shown(source)}: the file holds no rows; remove it from the recipe, or fill it"
        )


def _located(url: str, report: Report) -> Iterator[tuple[str, Any]]:
    where, source = "", shown(url)
    try:
        with open_source(url) as file:
            head = file.peek(512)
            kind = format_of(source) or _guess(head, source)
            _refuse_other_content(head, kind, source)
            if head.startswith(_BOM):
                file.read(len(_BOM))
            for where, fields in _READERS[kind](file, source, report):
                yield where, fields
    except _UNREADABLE as error:
        what = getattr(error, "strerror", None) or reason(error)
        if where:
            what += f" (the last row that could be read is {where})"
        raise DataError(
            f"{source}: cannot be read: {what}; is the file whole, and may you read it?"
        ) from error


def _guess(head: bytes, source: str) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.removeprefix(_BOM).lstrip()[:1] in (b"{", b"["):
        return "json"
    raise DataError(f"{source}: of no known format; name it {', '.join(FORMATS)}")


def _refuse_other_content(head: bytes, kind: str, source: str) -> None:
    """Refuse content that often hides under a wrong name, instead of an error on each line."""
    if head.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{source}: a Git LFS pointer in place of the file; fetch it with git lfs pull"
        )
    if kind in ("parquet", "arrow"):
        return
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{source}:1: UTF-16; save the file as UTF-8")
    if head.startswith((b"PAR1", b"ARROW1")):
        raise DataError(
            f"{source}: a Parquet or Arrow file under another name; "
            "let the name end in .parquet or .arrow"
        )
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise DataError(f"{source}: a web page in place of data; was the download refused?")


def _lines(file: io.BufferedReader, source: str, first: int = 1) -> Iterator[bytes]:
    """Yield the lines of a file.

    Raises:
        DataError: One is longer than ``LONGEST_ROW``.
    """
    number = first
    while line := file.readline(LONGEST_ROW + 1):
        if len(line) > LONGEST_ROW:
            raise DataError(f"{source}:{number}: {_TOO_LONG}")
        yield line
        number += 1


_TOO_LONG = f"longer than {LONGEST_ROW // 2**20} MiB, which no row of text is; split it"


def _jsonl(file: io.BufferedReader, source: str, report: Report) -> Iterator[tuple[str, Any]]:
    return _jsonl_rows(_lines(file, source), source, report)


def _jsonl_rows(lines: Iterable[bytes], source: str, report: Report) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{source}:{number}"
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            report(f"{where}: {_json_problem(line, error)}{SKIP_ADVICE}")
            continue
        if isinstance(fields, dict) and (fault := _repeated_name(line, fields)):
            report(f"{where}: {fault}")
        else:
            yield where, fields


def _json_problem(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as encoding:
        start = text.rfind(b"\n", 0, encoding.start)
        return f"not UTF-8 at byte {encoding.start - start} of the line"
    if b"\x00" in text:
        return "binary data or UTF-16, not JSON"
    found = text.decode()[error.pos :]
    if found.startswith(("NaN", "Infinity", "-Infinity")):
        return f"NaN and Infinity are not JSON (column {error.colno}), write null"
    return f"not valid JSON ({error.msg} at column {error.colno})"


def _repeated_name(text: bytes, value: dict[str, Any]) -> str | None:
    """Return a message if an object in ``text`` gives a name twice; readers keep only the last one.

    If there are as many colons as names in ``value``, which was read from ``text``, no name is
    repeated. The same holds for places that look like the end of a name. If there are more of them,
    they may stand in quoted texts, and the text is read again with a slower reader.
    """
    try:
        names = _names_in(value)
        if text.count(b":") == names or len(_KEY.findall(text)) == names:
            return None
        decoder = _CarefulDecoder()
        decoder.decode(text.decode())
    except RecursionError:
        return "nested too deeply; make it flat"
    return decoder.fault


def _names_in(value: dict[str, Any] | list[Any]) -> int:
    """Count the names in all objects of ``value``."""
    count, items = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    for item in items:
        if isinstance(item, _CONTAINERS):
            count += _names_in(item)
    return count


class _CarefulDecoder(json.JSONDecoder):
    """A JSON decoder that notes what Python's lets pass: repeated names, NaN, very long numbers."""

    def __init__(self) -> None:
        self.fault: str | None = None
        """The first fault since it was set to None."""
        super().__init__(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_int=self._integer
        )

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs) and self.fault is None:
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            self.fault = f"an object gives {twice[:60]!r} twice; keep the one that is right"
        return found

    def _constant(self, name: str) -> None:
        self.fault = self.fault or f"{name} is not JSON, write null"

    def _integer(self, digits: str) -> int:
        if len(digits) <= _MAX_DIGITS:
            return int(digits)
        self.fault = self.fault or f"a number of {len(digits):,} digits; write it in quotes"
        return 0


def _json(file: io.BufferedReader, source: str, report: Report) -> Iterator[tuple[str, Any]]:
    """Read a list of rows, an object that holds such a list, or JSON Lines named .json."""
    head = [file.readline(_CHUNK)]
    while head[-1] and not head[-1].strip():
        if len(head) > MOST_BLANK_LINES:
            raise DataError(f"{source}: begins with {len(head):,} blank lines; remove them")
        head.append(file.readline(_CHUNK))
    if head[-1].lstrip().startswith(b"["):
        return _json_list(b"".join(head), file, source, report)
    if not head[-1].endswith(b"\n"):
        head[-1] += file.readline(LARGEST_OBJECT)
    if _is_whole(head[-1]):
        for line in _lines(file, source, len(head) + 1):
            head.append(line)
            if line.strip() or len(head) > MOST_BLANK_LINES:
                rest = _lines(file, source, len(head) + 1)
                return _jsonl_rows(chain(head, rest), source, report)
    content = b"".join(head) + file.read(LARGEST_OBJECT + 1)
    if len(content) > LARGEST_OBJECT:
        raise DataError(
            f"{source}: one JSON object of more than {LARGEST_OBJECT // 2**20} MiB; save its rows "
            "as JSON Lines"
        )
    return _json_object(content, source)


def _is_whole(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _json_list(
    head: bytes, file: io.BufferedReader, source: str, report: Report
) -> Iterator[tuple[str, Any]]:
    """Yield the items of a JSON list one at a time, so that a file may be larger than memory.

    An incomplete item is read again with more of the file, twice as much each time. A long item
    therefore takes time in proportion to its length.
    """
    decoder, to_text = _CarefulDecoder(), codecs.getincrementaldecoder("utf-8")()
    number, lines, size, ended = 0, 1, _CHUNK, False

    def refuse(problem: str, at: int = 0) -> DataError:
        return DataError(
            f"{source}:{lines + text.count(chr(10), 0, at)}: item {number + 1}: {problem}"
        )

    text, at = "", 0
    try:
        text = to_text.decode(head)
        at = text.index("[") + 1
        while True:
            at = _skip(text, at, " \t\r\n,")
            if text.startswith("]", at):
                break
            decoder.fault = None
            try:
                value, end = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                may_go_on = error.msg.startswith(
                    "Unterminated string"
                ) or error.pos + _LONGEST_TOKEN >= len(text)
                if ended or not may_go_on:
                    problem = f"not valid JSON ({error.msg}); the file is broken here, or cut off"
                    raise refuse(problem, error.pos) from error
                value, end = None, len(text)
            if end < len(text) or ended:
                at, number = end, number + 1
                if decoder.fault:
                    report(f"{source}: item {number}: {decoder.fault}")
                else:
                    yield f"{source}: item {number}", value
            else:
                if len(text) - at > LONGEST_ROW:
                    raise refuse(_TOO_LONG, at)
                size = _CHUNK if at else 2 * size
                lines += text.count("\n", 0, at)
                more = file.read(size)
                ended = not more
                text, at = text[at:] + to_text.decode(more, final=ended), 0
    except UnicodeDecodeError as error:
        raise refuse("not UTF-8 in it or after it; save the file as UTF-8") from error
    except RecursionError as error:
        raise refuse("nested too deeply", at) from error
    if text[at + 1 :].strip() or any(
        more.strip() for more in iter(partial(file.read, _CHUNK), b"")
    ):
        raise DataError(
            f"{source}: after item {number}: something follows the end of the list; remove it"
        )


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _json_object(content: bytes, source: str) -> Iterator[tuple[str, Any]]:
    """Yield the rows under a known key of one object; without such a key, the object itself."""
    if not content.strip():
        return
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"{source}:{error.lineno}: {_json_problem(content, error)}; fix the file"
        ) from error
    if not isinstance(data, dict):
        yield f"{source}: item 1", data
        return
    if fault := _repeated_name(content, data):
        raise DataError(f"{source}: {fault}")
    key = next(
        (
            key
            for key in ("examples", "Instances", "data", "rows", "train")
            if isinstance(data.get(key), list)
        ),
        None,
    )
    if key is None:
        yield f"{source}: item 1", data
        return
    others = [name for name, value in data.items() if name != key and _is_rows(value)]
    if others:
        raise DataError(
            f"{source}: holds several lists of rows ({', '.join([key, *others])}); save the one "
            "you want as a file of its own"
        )
    shared = {name: value for name, value in data.items() if name != key and name != "canary"}
    for number, item in enumerate(data[key], 1):
        yield f"{source}: item {number}", {**shared, **item} if isinstance(item, dict) else item


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _csv(
    file: io.BufferedReader, source: str, report: Report, *, delimiter: str
) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(LONGEST_ROW)
    damaged: list[str] = []
    lines = _text_lines(_lines(file, source), damaged)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 0
    try:
        for cells in reader:
            where, line = f"{source}:{line + 1}", reader.line_num
            if not cells:
                continue
            if header is None:
                header = _header(cells, where, delimiter, damaged)
            elif damaged:
                report(f"{where}: {damaged[0]}")
                damaged.clear()
            elif len(cells) != len(header):
                report(
                    f"{where}: {len(cells)} fields, but the header names {len(header)}; "
                    f"quote fields that hold a {delimiter!r}"
                )
            else:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        problem = str(error).replace("\t", "\\t")
        raise DataError(
            f"{source}:{line + 1}: the row that starts here has no clear end ({problem}); "
            "check its quotes and line ends"
        ) from error


def _text_lines(file: Iterable[bytes], damaged: list[str]) -> Iterator[str]:
    """Yield the lines as text, and add faults to ``damaged``: the caller knows the row."""
    for line in file:
        if b"\x00" in line:
            damaged.append("holds a NUL byte: binary data, or UTF-16; save the file as UTF-8")
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            damaged.append(
                f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8"
            )
            yield line.decode(errors="replace")


def _header(cells: list[str], where: str, delimiter: str, damaged: list[str]) -> list[str]:
    if damaged:
        raise DataError(f"{where}: {damaged[0]}")
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"{where}: the header names the column {twice[:60]!r} twice; give each its own name"
        )
    other = next((mark for mark in ";\t|," if mark in names[0]), None) if len(names) == 1 else None
    if other is not None:
        raise DataError(
            f"{where}: one column named {names[0][:60]!r}; put {delimiter!r} between fields in "
            f"place of {other!r}, or name a file with tabs .tsv"
        )
    return names


def _parquet(file: io.BufferedReader, source: str, report: Report) -> Iterator[tuple[str, Any]]:
    # With pre_buffer the whole file would be read ahead and kept in memory.
    with pq.ParquetFile(file, pre_buffer=False) as table:
        _refuse_huge_columns(table.metadata, source)
        yield from _batch_rows(table.iter_batches(ROWS_PER_BATCH), source, report)


def _refuse_huge_columns(metadata: Any, source: str) -> None:
    """Refuse a file whose pages become larger than memory when they are decompressed."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.total_uncompressed_size > LARGEST_COLUMN:
                raise DataError(
                    f"{source}: the column {column.path_in_schema[:60]!r} has more than "
                    f"{LARGEST_COLUMN // 2**30} GiB in one row group; write smaller row groups"
                )


def _arrow(file: io.BufferedReader, source: str, report: Report) -> Iterator[tuple[str, Any]]:
    """Read Arrow's stream format, which ``Dataset.save_to_disk`` writes, or its file format."""
    if file.peek(6).startswith(b"ARROW1"):
        table = pa.ipc.open_file(file)
        batches = (table.get_batch(i) for i in range(table.num_record_batches))
    else:
        batches = iter(pa.ipc.open_stream(file))
    yield from _batch_rows(batches, source, report)


def read_parquet_rows(
    path: str, group: int, *, first: int, rows: int, before: int, report: Report
) -> Iterator[Row]:
    """Yield some rows of a row group of a local Parquet file, as ``read_rows`` does.

    Args:
        path: The file.
        group: Number of the row group.
        first: First row in the group, a multiple of ``ROWS_PER_BATCH``.
        rows: Number of rows.
        before: Rows of the file before the group.
        report: Called for each row that cannot be read.

    Raises:
        DataError: The file cannot be read, or ``report`` raised.
    """
    stem = stem_of(path)
    try:
        batches = _open_group(path, group).read(first, -(-rows // ROWS_PER_BATCH))
        for where, fields in _batch_rows(batches, path, report, number=before + first):
            yield Row(where=where, stem=stem, fields=fields)
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}; is the file whole?") from error


class _RowGroup:
    """A row group of a Parquet file. Parts that are read in their order decode it once."""

    def __init__(self, path: str, group: int) -> None:
        self._path, self._group = path, group
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next: int | None = None
        """Number of the batch that comes next."""

    def read(self, first: int, count: int) -> Iterator[pa.RecordBatch]:
        """Yield ``count`` batches from the row ``first`` on; fewer at the end."""
        start = first // ROWS_PER_BATCH
        if self._next is None or self._next > start:
            file = pq.ParquetFile(self._path, pre_buffer=False)
            self._batches = file.iter_batches(ROWS_PER_BATCH, row_groups=[self._group])
            self._next = 0
        for batch in self._batches:
            self._next += 1
            if self._next > start:
                yield batch
            if self._next >= start + count:
                return


_open_group = lru_cache(maxsize=1)(_RowGroup)
"""The row group that was read last."""


def _batch_rows(
    batches: Iterable[Any], source: str, report: Report, *, number: int = 0
) -> Iterator[tuple[str, Any]]:
    """Yield the rows of batches, the first one after row ``number`` of the file."""
    for batch in batches:
        _refuse_repeated_columns(batch.schema.names, source)
        if batch.nbytes > LONGEST_ROW * max(1, min(batch.num_rows, 64)):
            raise DataError(f"{source}: row {number + 1} or one after it is {_TOO_LONG}")
        try:
            batch.validate(full=True)  # without it a damaged Arrow file crashes the process
            rows = batch.to_pylist()
        except _UNCONVERTIBLE:
            rows = [_row_or_error(batch, i) for i in range(batch.num_rows)]
        for fields in rows:
            number += 1
            if isinstance(fields, Exception):
                report(f"{source}: row {number}: holds an unreadable value: {reason(fields)}")
            else:
                yield f"{source}: row {number}", fields


def _row_or_error(batch: Any, number: int) -> Any:
    """Return a row, or the exception that it raises: invalid UTF-8, a date after the year 9999."""
    try:
        row = batch.slice(number, 1)
        row.validate(full=True)
        return row.to_pylist()[0]
    except _UNCONVERTIBLE as error:
        return error


def _refuse_repeated_columns(names: list[str], source: str) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{source}: two columns are named {twice[:60]!r}; give each its own name")


_READERS: Mapping[str, Callable[[io.BufferedReader, str, Report], Iterator[tuple[str, Any]]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": partial(_csv, delimiter=","),
    "tsv": partial(_csv, delimiter="\t"),
    "parquet": _parquet,
    "arrow": _arrow,
}
_KINDS = {
    list: "a list",
    dict: "an object",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    bytes: "bytes",
    type(None): "null",
}


def kind_of(value: object) -> str:
    """Return the kind of a value in the words of JSON, for messages."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")
