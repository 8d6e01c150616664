"""Arbitrary bytes, damaged files, arbitrary rows: Examples or an OrcinusError, and no lost row."""

import bz2
import contextlib
import gzip
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.tasks.test_broken_files import AGIEVAL, ALPACA, BBH, CHAT, CHOICE, good, parquet, zstd

from orcinus.core.errors import OrcinusError
from orcinus.core.types import Example
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.files.drafts import CARRIED, CHOICES, ID, PROMPT, REFERENCE, TASK
from orcinus.tasks.files.records import Skipped, read_task

ROWS: list[dict[str, Any]] = [
    good(1),
    {**CHOICE, "id": "x", "meta": {"a": [1.5, None]}},
    good(2),
    {"question": "é?", "answer": 7},
]
LINES = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)
VALID: dict[str, bytes] = {
    "jsonl": LINES,
    "json": json.dumps(ROWS, indent=1).encode(),
    "csv": b'prompt,reference,choices\n"a, ""b""\nc?",A,u|v\nd?,B,"[""u"", ""v""]"\n',
    "tsv": b"prompt\treference\na?\t1\nb?\t2\n",
    "parquet": parquet(pa.Table.from_pylist([good(i) for i in range(20)])),
    "jsonl.gz": gzip.compress(LINES, mtime=0),
    "jsonl.zst": zstd(LINES),
    "jsonl.bz2": bz2.compress(LINES),
    "jsonl.xz": lzma.compress(LINES),
}  # fmt: skip
FUZZ = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=200,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.large_base_example,
        HealthCheck.data_too_large,
    ],
)


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


VALID["arrow"] = arrow(pa.Table.from_pylist([good(i) for i in range(20)]))


def read(name: str, content: bytes) -> tuple[list[Example], Skipped]:
    """Read a file and skip bad rows; check that a strict reading agrees or names the first fault.

    Raises:
        OrcinusError: The file as a whole cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{name}"
        path.write_bytes(content)
        config, skipped = RecordsConfig(path=str(path)), Skipped()
        try:
            strictly: list[Example] | str = list(read_task(config, Path()))
        except OrcinusError as error:
            strictly = str(error)
            assert strictly.isprintable()
            assert strictly.startswith(str(path))
        examples = list(read_task(config, Path(), skipped))
        if skipped.count:
            assert strictly == skipped.lines[0]
        else:
            assert strictly == examples
    for example in examples:
        assert example.prompt.strip()
        orjson.dumps(example)  # as the tables will
    return examples, skipped


def survives(name: str, content: bytes) -> None:
    with contextlib.suppress(OrcinusError):
        read(name, content)


def json_rows() -> st.SearchStrategy[dict[str, Any]]:
    """Return objects with our columns' names, or any names, and any values."""
    texts = st.text(max_size=12) | st.sampled_from(
        ["A", "yes", "12", "#### 4", "Options:\n(A) x\n(B) y", "u|v", '["u","v"]', "²"]
    )
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    )
    sources = [
        good(1),
        CHOICE,
        AGIEVAL,
        ALPACA,
        BBH,
        CHAT,
        {"Definition": ["a"], "input": "b", "output": ["c"]},
    ]
    sources += [
        {"inputs": "a", "targets": "b"},
        {"id": "cot.1", "system_prompt": "s", "question": "q", "response": "r"},
    ]
    names = sorted(
        {
            *PROMPT,
            *REFERENCE,
            *CHOICES,
            *ID,
            *TASK,
            *CARRIED,
            "answer_type",
            "meta",
            "messages",
            "passage",
        }
    )
    changes = st.dictionaries(st.sampled_from(names) | st.text(max_size=3), values, max_size=4)
    return st.builds(
        lambda source, change: {**source, **change}, st.sampled_from(sources) | st.just({}), changes
    )


@FUZZ
@given(name=st.sampled_from(sorted(VALID)), content=st.binary(max_size=200))
def test_arbitrary_bytes(name: str, content: bytes) -> None:
    survives(name, content)


@FUZZ
@given(
    name=st.sampled_from(["jsonl", "json", "csv", "tsv"]),
    content=st.lists(
        st.sampled_from(
            [*'{}[],:"\\\n\r\t 1eE-.', "prompt", '"prompt":', "NaN", "\\ud800", "null", "é", "\x00"]
        )
    ),
)
def test_arbitrary_marks_of_the_formats(name: str, content: list[str]) -> None:
    survives(name, "".join(content).encode())


@FUZZ
@given(
    name=st.sampled_from(sorted(VALID)),
    at=st.floats(0, 1, exclude_max=True),
    cut=st.integers(0, 40),
    insert=st.binary(max_size=8),
    flip=st.integers(0, 255),
)
def test_damaged_files(name: str, at: float, cut: int, insert: bytes, flip: int) -> None:
    content = bytearray(VALID[name])
    place = int(at * len(content))
    content[place] ^= flip
    content[place : place + cut] = insert
    survives(name, bytes(content))


@FUZZ
@given(name=st.sampled_from(sorted(VALID)), at=st.floats(0, 1))
def test_files_that_are_cut_off(name: str, at: float) -> None:
    survives(name, VALID[name][: int(at * len(VALID[name]))])


@FUZZ
@given(st.lists(json_rows(), min_size=1, max_size=4), st.sampled_from(["jsonl", "json"]))
def test_arbitrary_rows_are_examples_or_listed(rows: list[dict[str, Any]], name: str) -> None:
    texts = [json.dumps(row) for row in rows]
    content = "\n".join(texts) + "\n" if name == "jsonl" else f"[{','.join(texts)}]"
    examples, skipped = read(name, content.encode())
    assert len(examples) + skipped.count == len(rows)


@FUZZ
@given(st.lists(json_rows(), min_size=1, max_size=4))
def test_arbitrary_tables_are_examples_or_listed(rows: list[dict[str, Any]]) -> None:
    try:
        table = pa.Table.from_pylist(rows, schema=None)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return  # no such table
    if table.num_columns:
        examples, skipped = read("parquet", sink.getvalue().to_pybytes())
        assert len(examples) + skipped.count == len(rows)
