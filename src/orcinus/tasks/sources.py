"""The files that a task's ``path`` names, and their bytes: plain or compressed, local or remote.

    find_sources("data/*.jsonl", base)  →  ["…/data/sums.jsonl", "…/data/logic.jsonl"]
    with open_source("…/sums.jsonl.gz") as file: …

What a file is compressed with is seen from its first bytes, so that a wrong name does no harm.
"""

import gzip
import io
import lzma
import os
from bz2 import BZ2File
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from orcinus.errors import ConfigError, DataError, MissingExtraError, one_line

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "xz"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ": "xz"}


def find_sources(path: str, base: Path) -> list[str]:
    """The files that ``path`` names: a file, a folder (all files in it), a glob, or a URL such as ``s3://…``, a folder's ending in ``/``.

    Args:
        path: As the recipe has it.
        base: Where a relative path starts.

    Raises:
        ConfigError: There is no such file, or it is none that can be read.
    """
    if "://" in path:
        return _remote_sources(path)
    try:
        full = base / Path(path).expanduser()
        found = _local_sources(full)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        what = f"no file in it ends in {', '.join(FORMATS)}" if full.is_dir() else "there is no such file"
        raise ConfigError(f"{full}: {what}")
    for source in found:
        _refuse_special(Path(source))
    return found


def _local_sources(full: Path) -> list[str]:
    if full.is_dir():
        return sorted(str(item) for item in full.iterdir() if format_of(item.name) is not None and not item.is_dir())
    if full.exists() or full.is_symlink():
        return [str(full)]
    if has_magic(str(full)):
        return sorted(item for item in glob(str(full), recursive=True) if not Path(item).is_dir())
    return []


def _refuse_special(path: Path) -> None:
    """A pipe would be waited for without end, and a link to nothing passed over."""
    if path.is_symlink() and not path.exists():
        raise ConfigError(f"{path}: a link to {os.readlink(path)}, where there is nothing; mend or remove it")
    if not path.is_file():
        raise ConfigError(f"{path}: no plain file but a pipe or a device; write the rows into a file")


def _remote_sources(path: str) -> list[str]:
    fsspec = _fsspec()
    folder = path.endswith("/")
    if not has_magic(path) and not folder:
        return [path]
    try:
        found = sorted(file.full_name for file in fsspec.open_files(path + "*" * folder, "rb"))
    except (OSError, ImportError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be listed: {reason(error)}") from error
    if folder:
        found = [name for name in found if format_of(name) is not None]
    if not found:
        raise ConfigError(f"{path}: matches no file")
    return found


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("reading tasks from a URL", "hub") from error
    return fsspec


def stem_of(source: str) -> str:
    """The name of ``source`` without folders, extensions and the marks of compression; bytes that are no UTF-8 become �."""
    name = source.rstrip("/").rsplit("/", 1)[-1].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    while (dot := name.rfind(".")) > 0 and name[dot:].lower() in {*_COMPRESSIONS, *FORMATS}:
        name = name[:dot]
    return name


def format_of(source: str) -> str | None:
    """The format that the name of ``source`` says, if it says one."""
    name = source.lower()
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    return next((kind for ending, kind in FORMATS.items() if name.endswith(ending)), None)


@contextmanager
def open_source(source: str) -> Iterator[io.BufferedReader]:
    """The decompressed bytes of ``source``.

    Raises:
        DataError: It is an archive, or cannot be opened at its URL.
        OSError: It cannot be opened.
    """
    with _raw(source) as raw:
        head = raw.peek(8)
        if head.startswith(b"PK\x03\x04"):
            raise DataError(f"{source}: a zip archive; unpack it, or compress with gzip or zstd")
        with _decompressed(raw, next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)) as file:
            yield file


@contextmanager
def _raw(source: str) -> Iterator[io.BufferedReader]:
    if "://" not in source:
        with Path(source).open("rb") as file:
            yield file
        return
    try:
        remote = _fsspec().open(source, "rb").open()
    except (ImportError, ValueError) as error:
        raise DataError(f"{source}: cannot be opened: {reason(error)}") from error
    with io.BufferedReader(remote) as file:
        yield file


def _decompressed(raw: io.BufferedReader, compression: str | None) -> io.BufferedReader:
    """All of these can ``peek``, which is what the readers need."""
    match compression:
        case "gzip":
            return cast(io.BufferedReader, gzip.open(raw))
        case "zstd":
            return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
        case "bz2":
            return cast(io.BufferedReader, BZ2File(raw))
        case "xz":
            return cast(io.BufferedReader, lzma.open(raw))
        case _:
            return raw


def reason(error: BaseException) -> str:
    """What a library says went wrong, in one line."""
    return one_line(str(error), 300) or type(error).__name__
