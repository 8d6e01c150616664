"""Raw rows of the files that people have: JSONL, JSON, CSV, TSV, Parquet and Arrow, plain or compressed, local or remote.

    read_rows("sums.jsonl.gz")  →  Row(where="sums.jsonl.gz:1", stem="sums", fields={"question": "17 + 25?", …}), …

The format comes from the name, and from the first bytes where the name says nothing. Everything streams, except a JSON file
that is one object (BIG-Bench Hard, Super-NaturalInstructions): that is read whole.
"""

import codecs
import csv
import gzip
import io
import json
import lzma
import zlib
from bz2 import BZ2File
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import IO, Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from orcinus.errors import ConfigError, DataError, MissingExtraError

Report = Callable[[str], None]
"""Told of each row that cannot be used, in one line. It raises, or it takes note and reading goes on."""

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "xz"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_ROWS_PER_BATCH = 1024
_LARGEST_FIELD = 2**31 - 1
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)


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
    raise DataError(message)


def find_sources(path: str, base: Path) -> list[str]:
    """The files that ``path`` names: a file, a folder (all files in it), a glob, or a URL such as ``s3://…``, a folder's ending in ``/``.

    Args:
        path: As the recipe has it.
        base: Where a relative path starts.

    Raises:
        ConfigError: There is no such file.
    """
    if "://" in path:
        return _remote_sources(path)
    full = base / Path(path).expanduser()
    if full.is_dir():
        found = sorted(str(item) for item in full.iterdir() if item.is_file() and _format_of(item.name) is not None)
    elif full.exists():
        return [str(full)]
    else:
        found = (
            sorted(item for item in glob(str(full), recursive=True) if Path(item).is_file()) if has_magic(path) else []
        )
    if not found:
        known = ", ".join(_FORMATS)
        what = f"no file in it ends in {known}" if full.is_dir() else "there is no such file"
        raise ConfigError(f"{full}: {what}")
    return found


def _remote_sources(path: str) -> list[str]:
    fsspec = _fsspec()
    if not has_magic(path) and not path.endswith("/"):
        return [path]
    try:
        found = sorted(file.full_name for file in fsspec.open_files(path + "*" * path.endswith("/"), "rb"))
    except (OSError, ImportError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be listed: {_one_line(error)}") from error
    if path.endswith("/"):
        found = [name for name in found if _format_of(name) is not None]
    if not found:
        raise ConfigError(f"{path}: matches no file")
    return found


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("reading tasks from a URL", "hub") from error
    return fsspec


def read_rows(source: str, report: Report = strict) -> Iterator[Row]:
    """The rows of one file in order.

    Args:
        source: A path or URL that ``find_sources`` gave.
        report: Told of rows that cannot be read; the next row follows if it returns.

    Raises:
        DataError: The file as a whole cannot be read, or ``report`` raised.
    """
    count = 0
    for where, fields in _located(source, report):
        count += 1
        if isinstance(fields, dict):
            yield Row(where=where, stem=stem_of(source), fields=fields)
        else:
            report(f"{where}: a row must be an object with named fields, this is {_kind(fields)}")
    if count == 0:
        raise DataError(f"{source}: the file holds no rows; take it out of the recipe, or fill it")


def stem_of(source: str) -> str:
    """The name of ``source`` without folders, extensions and the marks of compression."""
    name = source.rstrip("/").rsplit("/", 1)[-1]
    while (dot := name.rfind(".")) > 0 and name[dot:].lower() in {*_COMPRESSIONS, *_FORMATS}:
        name = name[:dot]
    return name


def _located(source: str, report: Report) -> Iterator[tuple[str, Any]]:
    try:
        with _open(source) as file:
            kind = _format_of(source) or _guess(file, source)
            yield from _READERS[kind](file, source, report)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except _UNREADABLE as error:
        raise DataError(f"{source}: cannot be read: {_one_line(error)}") from error


@contextmanager
def _open(source: str) -> Iterator[IO[bytes]]:
    """The decompressed bytes of ``source``; what it is compressed with is seen from its first bytes."""
    with _fsspec().open(source, "rb") if "://" in source else Path(source).open("rb") as raw:
        head = raw.read(8)
        raw.seek(0)
        if head.startswith(b"PK\x03\x04"):
            raise DataError(f"{source}: a zip archive; unpack it, or compress with gzip or zstd")
        with _decompressed(raw, next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)) as file:
            yield file


def _decompressed(raw: IO[bytes], compression: str | None) -> IO[bytes]:
    match compression:
        case "gzip":
            return cast(IO[bytes], gzip.open(raw))
        case "zstd":
            return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
        case "bz2":
            return BZ2File(raw)
        case "xz":
            return lzma.open(raw)
        case _:
            return raw


def _format_of(source: str) -> str | None:
    name = source.lower()
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    return next((kind for ending, kind in _FORMATS.items() if name.endswith(ending)), None)


def _guess(file: IO[bytes], source: str) -> str:
    head = file.read(4096)
    file.seek(0)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "json"
    raise DataError(f"{source}: of no known format; name it {', '.join(_FORMATS)}")


def _jsonl(file: IO[bytes], source: str, report: Report) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(file, 1):
        if number == 1:
            _refuse_other_encodings(line, source)
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        where = f"{source}:{number}"
        try:
            yield where, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            report(f"{where}: {_json_problem(line, error)}")


def _json_problem(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as encoding:
        return f"not UTF-8 at byte {encoding.start + 1} of the line; save the file as UTF-8"
    if text.startswith(b"PAR1") or b"\x00" in text:
        return "no JSON but binary data; is the file's name right?"
    return f"not valid JSON ({error.msg} at column {error.colno}); mend the line, or set skip_bad: true to leave it out"


def _refuse_other_encodings(head: bytes, source: str) -> None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{source}:1: UTF-16; save the file as UTF-8")


def _json(file: IO[bytes], source: str, report: Report) -> Iterator[tuple[str, Any]]:
    """A list of rows, one object that holds a list of rows, or JSON Lines under the name of JSON."""
    head = file.read(1 << 16)
    file.seek(0)
    _refuse_other_encodings(head, source)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] == b"[":
        return _json_list(file, source)
    if _is_lines(start):
        return _jsonl(file, source, report)
    return _json_object(file.read(), source)


def _is_lines(start: bytes) -> bool:
    first, newline, rest = start.partition(b"\n")
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return bool(newline) and bool(rest.strip())


def _json_list(file: IO[bytes], source: str) -> Iterator[tuple[str, Any]]:
    """The items of a JSON list, one at a time, so that a file larger than memory can be read."""
    decode, text, number = json.JSONDecoder().raw_decode, "", 0
    decoded = codecs.getreader("utf-8-sig")(file)
    opened = False
    while True:
        more = decoded.read(1 << 20)
        text += more
        at = 0
        while True:
            at = _skip(text, at, " \t\r\n" + (",[" if not opened else ","))
            opened = True
            if at >= len(text) or (text[at] == "]" and not text[at + 1 :].strip()):
                break
            try:
                value, end = decode(text, at)
            except json.JSONDecodeError as error:
                if more:
                    break
                raise DataError(
                    f"{source}: item {number + 1}: not valid JSON ({error.msg}); the file is cut off or broken"
                ) from error
            if end >= len(text) and more:
                break
            number, at = number + 1, end
            yield f"{source}: item {number}", value
        if not more:
            if text[at:].strip() != "]":
                raise DataError(f"{source}: after item {number}: the list does not end in ]; the file is cut off")
            return
        text = text[at:]


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _json_object(content: bytes, source: str) -> Iterator[tuple[str, Any]]:
    """The rows inside one object: under a known key if it has one, else the object itself."""
    if not content.strip():
        return
    try:
        data = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DataError(f"{source}:{error.lineno}: {_json_problem(content, error)}") from error
    key = next(
        (key for key in ("examples", "Instances", "data", "rows", "train") if isinstance(data.get(key), list)), None
    )
    if key is None:
        yield f"{source}: item 1", data
        return
    shared = {name: value for name, value in data.items() if name != key and name != "canary"}
    for number, item in enumerate(data[key], 1):
        yield f"{source}: item {number}", {**shared, **item} if isinstance(item, dict) else item


def _csv(file: IO[bytes], source: str, report: Report, *, delimiter: str) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(_LARGEST_FIELD)  # the default cuts at 131,072 characters, which a passage can pass
    reader = csv.reader(_text_lines(file, source), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            where = f"{source}:{reader.line_num}"
            if not cells:
                continue
            if header is None:
                header = _header(cells, where)
            elif len(cells) != len(header):
                report(
                    f"{where}: {len(cells)} fields, but the header names {len(header)}; quote fields that hold a {delimiter!r}"
                )
            else:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{source}:{reader.line_num}: {error}; check the quotes") from error


def _text_lines(file: IO[bytes], source: str) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if number == 1:
            _refuse_other_encodings(line, source)
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{source}:{number}: not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8"
            ) from error


def _header(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: the header names the column {twice!r} twice")
    return names


def _parquet(file: IO[bytes], source: str, _: Report) -> Iterator[tuple[str, Any]]:
    number = 0
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(_ROWS_PER_BATCH):
            for fields in batch.to_pylist():
                number += 1
                yield f"{source}: row {number}", fields


def _arrow(file: IO[bytes], source: str, _: Report) -> Iterator[tuple[str, Any]]:
    """Arrow's stream format: what ``datasets.Dataset.save_to_disk`` writes."""
    number = 0
    for batch in pa.ipc.open_stream(file):
        for fields in batch.to_pylist():
            number += 1
            yield f"{source}: row {number}", fields


_READERS: Mapping[str, Callable[[IO[bytes], str, Report], Iterator[tuple[str, Any]]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": partial(_csv, delimiter=","),
    "tsv": partial(_csv, delimiter="\t"),
    "parquet": _parquet,
    "arrow": _arrow,
}


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", type(None): "null"}.get(type(value), f"a {type(value).__name__}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
