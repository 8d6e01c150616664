"""Find the files that a task's ``path`` names, and open them: plain or compressed, local or remote.

    find_sources("data/*.jsonl", base)  →  ["…/data/sums.jsonl", "…/data/logic.jsonl"]
    with open_source("…/sums.jsonl.gz") as file: …

The first bytes of a file show how it is compressed, so that a wrong name does no harm.
"""

import gzip
import io
import lzma
import os
import re
from bz2 import BZ2File
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, cast

from orcinus.core.errors import ConfigError, DataError
from orcinus.core.imports import import_later
from orcinus.core.urls import fsspec_module, open_url, remote_errors, shown
from orcinus.tasks.config import RecordsConfig

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = import_later("pyarrow")


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
_BESIDE_A_DATA_SET = ("dataset_info.json", "state.json")
"""Files that ``Dataset.save_to_disk`` and LLaMA-Factory write beside the rows."""
_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}")


def find_sources(path: str, base: Path) -> list[str]:
    """Return the files that ``path`` names.

    Args:
        path: A file, a folder (all files in it), a glob, or a URL such as ``s3://…``. The URL of a
            folder ends in ``/``.
        base: Where a relative path starts.

    Raises:
        ConfigError: There is no such file, or it cannot be read.
    """
    if "://" in path:
        return _remote_sources(path)
    try:
        full = base / Path(path).expanduser()
        found = _local_sources(full)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        what = (
            f"no file in it ends in {', '.join(FORMATS)}"
            if full.is_dir()
            else "there is no such file"
        )
        raise ConfigError(f"{full}: {what}")
    for source in found:
        _refuse_special(Path(source))
    return found


def _local_sources(full: Path) -> list[str]:
    if full.is_dir():
        names = sorted(item.name for item in full.iterdir() if not item.is_dir())
        if "dataset_dict.json" in names:
            splits = sorted(item.name for item in full.iterdir() if item.is_dir())
            raise ConfigError(
                f"{full}: a data set of several splits ({', '.join(splits)}); "
                f"name one: {full / splits[0]}"
            )
        beside = _BESIDE_A_DATA_SET if "dataset_info.json" in names else ()
        return [
            str(full / name) for name in names if format_of(name) is not None and name not in beside
        ]
    if full.exists() or full.is_symlink():
        return [str(full)]
    if has_magic(str(full)):
        return sorted(item for item in glob(str(full), recursive=True) if not Path(item).is_dir())
    return []


def _refuse_special(path: Path) -> None:
    """Refuse a pipe, which would block forever, and a broken link, which would be skipped."""
    if path.is_symlink() and not path.exists():
        raise ConfigError(
            f"{path}: a link to {os.readlink(path)}, which does not exist; fix or remove it"
        )
    if not path.is_file():
        raise ConfigError(
            f"{path}: a pipe or a device, not a plain file; write the rows into a file"
        )


def _remote_sources(path: str) -> list[str]:
    folder = path.endswith("/")
    if not folder and not has_magic(
        path if not path.startswith("http") else path.partition("?")[0]
    ):
        return [path]
    with remote_errors(path, "cannot be listed"):
        found = sorted(
            file.full_name for file in fsspec_module().open_files(path + "*" * folder, "rb")
        )
    if folder:
        found = [name for name in found if format_of(name) is not None]
    if not found:
        raise ConfigError(f"{shown(path)}: matches no file")
    return found


def stem_of(source: str) -> str:
    """Return the name of ``source`` without folders and extensions.

    Bytes that are not UTF-8 become �. Shards of one data set, ``train-00000-of-00002``, share one
    name: the part before the numbers, or the folder's name if that part is only ``data``.
    """
    folder, _, name = shown(source).rstrip("/").rpartition("/")
    while (dot := name.rfind(".")) > 0 and name[dot:].lower() in {*_COMPRESSIONS, *FORMATS}:
        name = name[:dot]
    if match := _SHARD.fullmatch(name):
        name = folder.rpartition("/")[2] if match[1] == "data" and folder else match[1]
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def format_of(source: str) -> str | None:
    """Return the format that the name of ``source`` indicates; None if it indicates none."""
    name = shown(source).lower()
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    return next((kind for ending, kind in FORMATS.items() if name.endswith(ending)), None)


@contextmanager
def open_source(source: str) -> Iterator[io.BufferedReader]:
    """Open ``source``, decompressed.

    Raises:
        DataError: It is an archive.
        ConfigError: Its URL cannot be opened or read.
        OSError: The local file cannot be opened.
    """
    with _raw(source) as raw:
        head = raw.peek(8)
        if head.startswith(b"PK\x03\x04"):
            if shown(source).lower().endswith((".xlsx", ".xlsm", ".ods")):
                raise DataError(f"{source}: a spreadsheet; save its sheet as CSV (UTF-8)")
            raise DataError(f"{source}: a zip archive; unpack it, or compress with gzip or zstd")
        with _decompressed(
            raw, next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
        ) as file:
            yield file


@contextmanager
def _raw(source: str) -> Iterator[io.BufferedReader]:
    with open_url(source) if "://" in source else Path(source).open("rb") as file:
        yield file


def _decompressed(raw: io.BufferedReader, compression: str | None) -> io.BufferedReader:
    """Return a decompressing reader with ``peek``, which the readers of rows need."""
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


def is_hub(path: str) -> bool:
    """Return True if ``path`` names a data set on the hub, and not a file."""
    return path.startswith("hf:") and not path.startswith("hf://")


def sources_of(config: RecordsConfig, base: Path) -> list[str]:
    """Return the files and URLs of ``config``; none for a Hugging Face data set.

    Raises:
        ConfigError: There is no such file.
    """
    return [] if is_hub(config.path) else find_sources(config.path, base)
