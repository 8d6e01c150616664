"""A small compressed file that holds something huge is refused before memory is used up."""

import bz2
import gzip
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orcinus.core.errors import DataError
from orcinus.tasks.files import rows
from orcinus.tasks.files.rows import read_rows

HUGE = 40 * 2**20
SMALL = 2**20
MESSAGE = "longer than|more than|blank lines"


@pytest.mark.parametrize(
    ("name", "compress", "content"),
    [
        ("a.jsonl.gz", gzip.compress, b'{"a": 1}\n{"a": "' + b"x" * HUGE),
        ("a.jsonl.bz2", bz2.compress, b'{"a": "' + b"x" * HUGE),
        ("a.jsonl.xz", lzma.compress, b'{"a": "' + b"x" * HUGE),
        ("a.csv.gz", gzip.compress, b"a,b\n1," + b"x" * HUGE),
        ("a.csv.gz", gzip.compress, b'a,b\n1,"' + (b"x" * 1000 + b"\n") * (HUGE // 1000)),
        ("a.json.gz", gzip.compress, b'{"a": [' + b" " * HUGE),
        ("a.json.gz", gzip.compress, b'[{"a": "' + b"x" * HUGE),
        ("a.json.gz", gzip.compress, b"\n" * HUGE),
        ("a.json.gz", gzip.compress, b"{}\n" + b"\n" * 20_000 + b'{"a": "' + b"x" * HUGE),
    ],
)
def test_a_huge_row_is_refused(
    name: str,
    compress: Callable[[bytes], bytes],
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "LONGEST_ROW", SMALL)
    monkeypatch.setattr(rows, "LARGEST_OBJECT", SMALL)
    path = tmp_path / name
    path.write_bytes(compress(content))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"{MESSAGE}|no clear end"):
            list(read_rows(str(path)))
        assert tracemalloc.get_traced_memory()[1] < HUGE
    finally:
        tracemalloc.stop()


def test_a_parquet_file_that_grows_when_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Any = tmp_path / "a.parquet"
    value = "x" * (SMALL // 16)
    pq.write_table(pa.table({"a": pa.array([value] * 200)}), path, compression="zstd")
    assert path.stat().st_size < 2 * SMALL
    assert len(list(read_rows(str(path)))) == 200
    monkeypatch.setattr(rows, "LONGEST_ROW", SMALL // 1024)
    with pytest.raises(DataError, match="longer than"):
        list(read_rows(str(path)))
    monkeypatch.setattr(rows, "LARGEST_COLUMN", 1000)
    with pytest.raises(DataError, match="column 'a' has more than"):
        list(read_rows(str(path)))
