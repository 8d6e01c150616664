"""Raw rows of the files that people have: JSONL, JSON, CSV, TSV, Parquet and Arrow, plain or compressed, local or remote.

    read_rows("sums.jsonl.gz")  →  Row(where="sums.jsonl.gz:1", stem="sums", fields={"question": "17 + 25?", …}), …

The format comes from the name, and from the first bytes where the name says nothing. Everything streams, except a JSON file
that is one object (BIG-Bench Hard, Super-NaturalInstructions): that is read whole.

A row that cannot be read is reported and the next one follows. Where nobody can say where the next row starts (a JSON list or a
quoted CSV field that breaks off, damaged compression), the file as a whole is refused.
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
from functools import partial
from itertools import chain
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from orcinus.core.errors import DataError, one_line
from orcinus.tasks.files.sources import FORMATS, format_of, open_source, reason, shown, stem_of

Report = Callable[[str], None]
"""Told of each row that cannot be used, in one line. It raises, or it takes note and reading goes on."""

_ROWS_PER_BATCH = 1024
_CHUNK = 1 << 20
"""Bytes of a JSON list that are read at a time."""
_LONGEST_TOKEN = 16
"""A JSON text that is cut off in a name, number or escape is found wrong at most so many characters before its end."""
_MOST_DIGITS = 300
"""Of a whole number in JSON; a float ends near there too, and Python refuses 4,300."""
_LARGEST_FIELD = 2**31 - 1
_BOM = codecs.BOM_UTF8
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
_UNCONVERTIBLE = (ValueError, OverflowError, pa.ArrowException)
_CONTAINERS = (dict, list)
_KEY = re.compile(rb'"\s*:')


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as the file has it."""

    where: str
    """File and line, or file and item, for messages."""
    stem: str
    """The file's name without folders and extensions: the task's name when nothing else gives one."""
    fields: Mapping[str, Any]


def strict(message: str) -> None:
    """The Report that goes on with nothing.

    Raises:
        DataError: Always.
    """
    raise DataError(one_line(message))


def read_rows(source: str, report: Report = strict) -> Iterator[Row]:
    """The rows of one file in order.

    Args:
        source: A path or URL that ``find_sources`` gave.
        report: Told of rows that cannot be read; the next row follows if it returns.

    Raises:
        DataError: The file as a whole cannot be read, or ``report`` raised.
    """
    count = bad = 0
    stem = stem_of(source)

    def report_and_count(message: str) -> None:
        nonlocal bad
        bad += 1
        report(message)

    for where, fields in _located(source, report_and_count):
        count += 1
        if isinstance(fields, dict):
            yield Row(where=where, stem=stem, fields=fields)
        else:
            report(f"{where}: a row must be an object with named fields, this is {kind_of(fields)}")
    if count + bad == 0:
        raise DataError(
            f"{shown(source)}: the file holds no rows; take it out of the recipe, or fill it"
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
    """What is often found under the name of something else, said at once in place of an error on each line."""
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
            f"{source}: a Parquet or Arrow file under another name; let it end in .parquet or .arrow"
        )
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise DataError(f"{source}: a web page in place of data; was the download refused?")


def _jsonl(lines: Iterable[bytes], source: str, report: Report) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{source}:{number}"
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            report(
                f"{where}: {_json_problem(line, error)}; mend the line, or set skip_bad: true to leave it out"
            )
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
        return "no JSON but binary data, or UTF-16"
    found = text.decode()[error.pos :]
    if found.startswith(("NaN", "Infinity", "-Infinity")):
        return f"NaN and Infinity are no JSON (column {error.colno}), write null"
    return f"not valid JSON ({error.msg} at column {error.colno})"


def _repeated_name(text: bytes, value: dict[str, Any]) -> str | None:
    """What to say if an object in ``text``, which was read as ``value``, gives a name twice: readers keep the last one only.

    As many colons as names mean that all is well, and so do as many places that look like the end of a name; only where there
    are more is the text read again with care, for a quoted text can hold them too.
    """
    try:
        names = _names_in(value)
        if text.count(b":") == names or len(_KEY.findall(text)) == names:
            return None
        decoder = _CarefulDecoder()
        decoder.decode(text.decode())
    except RecursionError:
        return "nested too deep; make it flat"
    return decoder.fault


def _names_in(value: dict[str, Any] | list[Any]) -> int:
    """How many names all objects in ``value`` give."""
    count, items = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    for item in items:
        if isinstance(item, _CONTAINERS):
            count += _names_in(item)
    return count


class _CarefulDecoder(json.JSONDecoder):
    """Takes note of what Python's reader lets pass: names given twice, NaN."""

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
        self.fault = self.fault or f"{name} is no JSON, write null"

    def _integer(self, digits: str) -> int:
        if len(digits) <= _MOST_DIGITS:
            return int(digits)
        self.fault = self.fault or f"a number of {len(digits):,} digits; write it in quotes"
        return 0


def _json(file: io.BufferedReader, source: str, report: Report) -> Iterator[tuple[str, Any]]:
    """A list of rows, one object that holds a list of rows, or JSON Lines under the name of JSON."""
    head = [file.readline(_CHUNK)]
    while head[-1] and not head[-1].strip():
        head.append(file.readline(_CHUNK))
    if head[-1].lstrip().startswith(b"["):
        return _json_list(b"".join(head), file, source, report)
    if not head[-1].endswith(b"\n"):
        head[-1] += file.readline()
    if _is_whole(head[-1]):
        for line in file:
            head.append(line)
            if line.strip():
                return _jsonl(chain(head, file), source, report)
    return _json_object(b"".join(head) + file.read(), source)


def _is_whole(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _json_list(
    head: bytes, file: io.BufferedReader, source: str, report: Report
) -> Iterator[tuple[str, Any]]:
    """The items of a JSON list, one at a time, so that a file larger than memory can be read.

    An item that is not whole yet is read again with more of the file, twice as much each time, so that a long one takes time in
    proportion to its length.
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
                size = _CHUNK if at else 2 * size
                lines += text.count("\n", 0, at)
                more = file.read(size)
                ended = not more
                text, at = text[at:] + to_text.decode(more, final=ended), 0
    except UnicodeDecodeError as error:
        raise refuse("not UTF-8 in it or after it; save the file as UTF-8") from error
    except RecursionError as error:
        raise refuse("nested too deep", at) from error
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
    """The rows inside one object: under a known key if it has one, else the object itself."""
    if not content.strip():
        return
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"{source}:{error.lineno}: {_json_problem(content, error)}; mend the file"
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
    shared = {name: value for name, value in data.items() if name != key and name != "canary"}
    for number, item in enumerate(data[key], 1):
        yield f"{source}: item {number}", {**shared, **item} if isinstance(item, dict) else item


def _csv(
    file: io.BufferedReader, source: str, report: Report, *, delimiter: str
) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(
        _LARGEST_FIELD
    )  # the default cuts at 131,072 characters, which a passage can pass
    damaged: list[str] = []
    reader = csv.reader(_text_lines(file, damaged), delimiter=delimiter, strict=True)
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
                    f"{where}: {len(cells)} fields, but the header names {len(header)}; quote fields that hold a {delimiter!r}"
                )
            else:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        problem = str(error).replace("\t", "\\t")
        raise DataError(
            f"{source}:{line + 1}: the row that starts here cannot be told from the next ({problem}); check its quotes and line ends"
        ) from error


def _text_lines(file: Iterable[bytes], damaged: list[str]) -> Iterator[str]:
    """The lines as text; what is wrong with one goes into ``damaged``, for whoever knows which row it belongs to."""
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
            f"{where}: one column named {names[0][:60]!r}; put {delimiter!r} between fields in place of {other!r}, or name a file with tabs .tsv"
        )
    return names


def _parquet(file: io.BufferedReader, source: str, report: Report) -> Iterator[tuple[str, Any]]:
    with pq.ParquetFile(
        file, pre_buffer=False
    ) as table:  # else the whole file is read ahead and kept
        yield from _batch_rows(table.iter_batches(_ROWS_PER_BATCH), source, report)


def _arrow(file: io.BufferedReader, source: str, report: Report) -> Iterator[tuple[str, Any]]:
    """Arrow's stream format, which ``datasets.Dataset.save_to_disk`` writes, or its file format."""
    if file.peek(6).startswith(b"ARROW1"):
        table = pa.ipc.open_file(file)
        batches = (table.get_batch(i) for i in range(table.num_record_batches))
    else:
        batches = iter(pa.ipc.open_stream(file))
    yield from _batch_rows(batches, source, report)


def _batch_rows(batches: Iterable[Any], source: str, report: Report) -> Iterator[tuple[str, Any]]:
    number = 0
    for batch in batches:
        _refuse_twin_columns(batch.schema.names, source)
        try:
            batch.validate(full=True)  # without it a damaged Arrow file ends the process
            rows = batch.to_pylist()
        except _UNCONVERTIBLE:
            rows = [_one_row(batch, i) for i in range(batch.num_rows)]
        for fields in rows:
            number += 1
            if isinstance(fields, Exception):
                report(f"{source}: row {number}: holds what cannot be read: {reason(fields)}")
            else:
                yield f"{source}: row {number}", fields


def _one_row(batch: Any, number: int) -> Any:
    """A row, or the exception that stands in its way: text that is no UTF-8, a date beyond the year 9999."""
    try:
        row = batch.slice(number, 1)
        row.validate(full=True)
        return row.to_pylist()[0]
    except _UNCONVERTIBLE as error:
        return error


def _refuse_twin_columns(names: list[str], source: str) -> None:
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
    """What a value of a file is, in the words of JSON."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")
