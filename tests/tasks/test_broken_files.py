"""Broken task files of many kinds: each gives one line with file and row, and exit code 2.

A fault of a row names the row (line, item) and leaves the others usable: with ``--skip-bad`` every
row becomes an example or is listed. A fault of the whole file names the file, and no flag skips it.
"""

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orcinus.cli import main
from orcinus.core.errors import ConfigError, DataError
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.files import rows
from orcinus.tasks.files.records import Records, Skipped, read_task
from orcinus.tasks.files.sources import FORMATS
from orcinus.tasks.open import content_of


@dataclass(frozen=True, slots=True)
class Broken:
    """A file, what is wrong with it, and how many rows it holds of each kind."""

    name: str
    file: str
    content: bytes
    says: str
    place: str = ""
    """The text after the file's name in the message, if the fault is that of a row."""
    good: int = 0
    bad: int = 0


def good(i: int) -> dict[str, Any]:
    return {"prompt": f"What is {i} + 1?", "reference": str(i + 1)}


def line(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"


A, B, C = (line(good(i)) for i in (1, 2, 3))


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


def second(name: str, bad: bytes, says: str) -> Broken:
    """Return a JSONL file whose second row of three is bad."""
    return Broken(
        name, "t.jsonl", A + bad.rstrip(b"\n") + b"\n" + C, says, place=":2", good=2, bad=1
    )


def changed(name: str, says: str, **changes: Any) -> Broken:
    """Return a file as ``second`` does; the bad row is a good one with some columns changed."""
    return second(name, line({**good(2), **changes}), says)


def unlike(name: str, first: dict[str, Any], bad: dict[str, Any], says: str) -> Broken:
    """Return a JSONL file in the layout of ``first`` whose second row does not fit."""
    return Broken(name, "t.jsonl", line(first) + line(bad), says, place=":2", good=1, bad=1)


def whole(name: str, file: str, content: bytes, says: str) -> Broken:
    """Return a file that is refused as a whole."""
    return Broken(name, file, content, says)


PARQUET = parquet(pa.table({"prompt": ["a?", "b?"], "reference": ["1", "2"]}))
CHOICE = {"prompt": "Which?", "choices": ["u", "v"], "reference": "A"}
NOT_UTF8 = pa.Array.from_buffers(  # three texts, of which the second is the byte ff
    pa.string(),
    3,
    [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc")],
)
DEEP: Any = {}
for _ in range(300):
    DEEP = {"in": DEEP}
TURN = {"from": "human", "value": "Hello?"}
CHAT = {"conversations": [TURN, {"from": "gpt", "value": "Hi."}]}
AGIEVAL = {"passage": "", "question": "Q?", "options": ["(A)u", "(B)v"], "label": "A"}
BBH = {"input": "Is it so?", "target": "yes"}
ALPACA = {"instruction": "Say 1.", "input": "", "output": "1"}

ROWS = [
    Broken(
        "last line cut off", "t.jsonl", A + B + C[:-9], "not valid JSON", place=":3", good=2, bad=1
    ),
    second("no JSON", b"{broken", "not valid JSON"),
    second(
        "latin-1 byte",
        b'{"prompt": "caf\xe9?", "reference": "1"}',
        "not UTF-8 at byte 16 of the line",
    ),
    second(
        "NUL bytes", b'{"prompt": "a\x00b?", "reference": "1"}', "binary data or UTF-16, not JSON"
    ),
    second(
        "NaN",
        b'{"prompt": "a?", "reference": NaN}',
        "NaN and Infinity are not JSON (column 31), write null",
    ),
    second(
        "Infinity", b'{"prompt": "a?", "reference": -Infinity}', "NaN and Infinity are not JSON"
    ),
    second("two objects in one line", A.strip() + B, "not valid JSON"),
    second("a list", b"[1, 2]", "a row must be an object with named fields, this is a list"),
    second("a text", b'"a"', "a row must be an object with named fields, this is a text"),
    second("null", b"null", "a row must be an object with named fields, this is null"),
    second(
        "a name twice",
        b'{"prompt": "a?", "reference": "1", "prompt": "b?"}',
        "gives 'prompt' twice",
    ),
    second(
        "a name twice, spaced",
        b'{"prompt" : "a?", "reference":"1", "prompt" :"b?"}',
        "gives 'prompt' twice",
    ),
    second(
        "a name twice inside",
        b'{"prompt": "a?", "reference": "1", "meta": {"a": 1, "a": 2}}',
        "gives 'a' twice",
    ),
    second(
        "a huge number",
        b'{"prompt": "a?", "reference": 123456789012345678901234567890}',
        "write it in quotes",
    ),
    second("nested too deeply for JSON", b'{"a":' * 2000 + b"1" + b"}" * 2000, "not valid JSON"),
    changed("meta nested deep", "meta is nested more than 32 deep", meta=DEEP),
    second(
        "no prompt column",
        b'{"text1": "a", "reference": "1"}',
        "no prompt among the columns text1, reference",
    ),
    changed("prompt a list", "the prompt is a list, not a text", prompt=["a"]),
    changed("prompt an object", "the prompt is an object, not a text", prompt={"a": 1}),
    changed("prompt a bool", "the prompt is true or false, not a text", prompt=True),
    changed("prompt null", "no prompt among the columns", prompt=None),
    changed("prompt empty", "the prompt is empty", prompt=""),
    changed("prompt blank", "the prompt is empty", prompt=" \t\n"),
    second("half a character", b'{"prompt": "a \\ud800 b", "reference": "1"}', "not valid JSON"),
    changed("no reference", "no reference, but the answer type is number", reference=None),
    changed(
        "reference of another type",
        "holds no number, but the answer type is number",
        reference="seven",
        answer_type="number",
    ),
    unlike(
        "reference outside the choices",
        CHOICE,
        {**CHOICE, "reference": "w"},
        "'w' is not among the choices A–B (u, v)",
    ),
    unlike(
        "letter outside the choices",
        CHOICE,
        {**CHOICE, "reference": "C"},
        "'C' is not among the choices A–B (u, v)",
    ),
    unlike(
        "index outside the choices",
        CHOICE,
        {**CHOICE, "reference": 2},
        "2 is not an index of the choices",
    ),
    unlike(
        "a digit that is none", CHOICE, {**CHOICE, "reference": "²"}, "'²' is not among the choices"
    ),
    unlike(
        "choices a number",
        CHOICE,
        {**CHOICE, "choices": 7},
        "they must be a list of two or more options",
    ),
    unlike(
        "one choice",
        CHOICE,
        {**CHOICE, "choices": ["u"]},
        "they must be a list of two or more options",
    ),
    unlike(
        "choices the same",
        CHOICE,
        {**CHOICE, "choices": ["u", "v", "v"], "reference": "v"},
        "is the text of 2 options; give its letter",
    ),
    unlike("an empty option", CHOICE, {**CHOICE, "choices": ["u", " "]}, "the option B is empty"),
    unlike("an option null", CHOICE, {**CHOICE, "choices": ["u", None]}, "the option B is missing"),
    unlike(
        "27 choices",
        CHOICE,
        {**CHOICE, "choices": [str(i) for i in range(27)]},
        "27 choices; at most 26 have letters",
    ),
    unlike(
        "fewer labels than choices",
        CHOICE,
        {**CHOICE, "choices": {"text": ["u", "v"], "label": ["1"]}},
        "give one for each",
    ),
    changed(
        "unknown answer type", "no answer type 'nummer'; known: choice, bool", answer_type="nummer"
    ),
    Broken(
        "an id twice",
        "t.jsonl",
        line({**good(1), "id": "x"}) + line({**good(2), "id": "x"}),
        "the id 'x' was used before in task 't'",
        place=":2",
        good=1,
        bad=1,
    ),
    changed("id a list", "the id is a list, not a text", id=["x"]),
    changed("name with a line break", "no answer type 'a\\nb'", answer_type="a\nb"),
    unlike("ShareGPT: no list", CHAT, {"conversations": "Hello?"}, "not a list of turns"),
    unlike(
        "ShareGPT: no question",
        CHAT,
        {"conversations": [{"from": "gpt", "value": "Hi."}]},
        "by assistant; user and assistant must take turns",
    ),
    unlike(
        "ShareGPT: unknown role",
        CHAT,
        {"conversations": [{"from": "bot", "value": "Hi."}]},
        "is by 'bot'; known: system",
    ),
    unlike(
        "ShareGPT: answer first",
        CHAT,
        {"conversations": [CHAT["conversations"][1], TURN]},
        "by assistant, user; user and assistant must take turns",
    ),
    unlike("ShareGPT: no turns", CHAT, {"conversations": []}, "not a list of turns"),
    unlike(
        "messages with parts",
        {"messages": [TURN]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "the prompt is empty",
    ),
    unlike(
        "Alpaca: no instruction",
        ALPACA,
        {"input": "a", "output": "1"},
        "no column 'instruction' as the layout 'alpaca' needs",
    ),
    unlike(
        "Alpaca: instruction null", ALPACA, {**ALPACA, "instruction": None}, "the prompt is empty"
    ),
    unlike(
        "BBH: no target",
        BBH,
        {"input": "Is it so?"},
        "no column 'target' as the layout 'bbh' needs",
    ),
    unlike("BBH: input null", BBH, {"input": None, "target": "yes"}, "the input is missing"),
    unlike(
        "AGIEval: label outside",
        AGIEVAL,
        {**AGIEVAL, "label": "E"},
        "'E' is not among the choices A–B",
    ),
    unlike(
        "AGIEval: options a text",
        AGIEVAL,
        {**AGIEVAL, "options": "uv"},
        "they must be a list of two or more options",
    ),
    Broken(
        "CSV: too many fields",
        "t.csv",
        b"prompt,reference\na?,1\nb, c?,2\nd?,3\n",
        "3 fields, but the header names 2",
        place=":3",
        good=2,
        bad=1,
    ),
    Broken(
        "CSV: too few fields",
        "t.csv",
        b"prompt,reference\na?,1\nb?\n",
        "1 fields, but the header names 2",
        place=":3",
        good=1,
        bad=1,
    ),
    Broken(
        "CSV: latin-1 byte",
        "t.csv",
        b"prompt,reference\na?,1\ncaf\xe9?,2\nd?,3\n",
        "not UTF-8 at byte 4 of the line",
        place=":3",
        good=2,
        bad=1,
    ),
    Broken(
        "CSV: NUL byte",
        "t.csv",
        b'prompt,reference\n"a\n\x00?",1\nb?,2\n',
        "holds a NUL byte",
        place=":2",
        good=1,
        bad=1,
    ),
    Broken(
        "TSV: a tab too many",
        "t.tsv",
        b"prompt\treference\na?\t1\nb\t?\t2\n",
        "quote fields that hold a '\\t'",
        place=":3",
        good=1,
        bad=1,
    ),
    Broken(
        "JSON list: a number",
        "t.json",
        b'[{"prompt": "a?", "reference": "1"}, 5]',
        "this is a number",
        place=": item 2",
        good=1,
        bad=1,
    ),
    Broken(
        "JSON list: NaN",
        "t.json",
        b'[{"prompt": "a?", "reference": 1}, {"prompt": "b?", "reference": NaN}]',
        "NaN is not JSON",
        place=": item 2",
        good=1,
        bad=1,
    ),
    Broken(
        "JSON list: a name twice",
        "t.json",
        b'[{"prompt": "a?", "reference": 1}, {"prompt": "b?", "prompt": "c?"}]',
        "gives 'prompt' twice",
        place=": item 2",
        good=1,
        bad=1,
    ),
    Broken(
        "JSON list: a huge number",
        "t.json",
        b'[{"prompt": "a?", "reference": 1}, {"prompt": ' + b"9" * 5000 + b"}]",
        "a number of 5,000 digits",
        place=": item 2",
        good=1,
        bad=1,
    ),
    Broken(
        "JSON list: half a character",
        "t.json",
        b'[{"prompt": "a?", "reference": 1}, {"prompt": "\\ud800", "reference": 1}]',
        "half a character",
        place=": item 2",
        good=1,
        bad=1,
    ),
    Broken(
        "BBH: an example without input",
        "t.json",
        b'{"canary": "x", "examples": [{"input": "a?", "target": "yes"}, {"target": "no"}]}',
        "no column 'input'",
        place=": item 2",
        good=1,
        bad=1,
    ),
    Broken(
        "lines named .json",
        "t.json",
        A + b"{broken\n" + C,
        "not valid JSON",
        place=":2",
        good=2,
        bad=1,
    ),
    Broken(
        "Parquet: not UTF-8",
        "t.parquet",
        parquet(pa.table({"prompt": NOT_UTF8, "reference": ["1", "2", "3"]})),
        "holds an unreadable value",
        place=": row 2",
        good=2,
        bad=1,
    ),
    Broken(
        "Parquet: a null",
        "t.parquet",
        parquet(pa.table({"prompt": ["a?", None], "reference": [1, 2]})),
        "no prompt among the columns",
        place=": row 2",
        good=1,
        bad=1,
    ),
    Broken(
        "Parquet: NaN",
        "t.parquet",
        parquet(pa.table({"prompt": ["a?", "b?"], "reference": [1.0, float("nan")]})),
        "the reference is nan",
        place=": row 2",
        good=1,
        bad=1,
    ),
    Broken(
        "gzip: a bad line inside",
        "t.jsonl.gz",
        gzip.compress(A + b"x\n" + B),
        "not valid JSON",
        place=":2",
        good=2,
        bad=1,
    ),
]

FILES = [
    whole("empty", "t.jsonl", b"", "the file holds no rows"),
    whole("only blank lines", "t.jsonl", b"\n \n\t\r\n", "the file holds no rows"),
    whole("empty JSON", "t.json", b" \n", "the file holds no rows"),
    whole("empty list", "t.json", b"[]", "the file holds no rows"),
    whole("a header alone", "t.csv", b"prompt,reference\n", "the file holds no rows"),
    whole(
        "no row of use", "t.jsonl", b"{}\n5\n", "none of its 2 rows can be used; the first one: "
    ),
    whole("UTF-16", "t.jsonl", A.decode().encode("utf-16"), "UTF-16; save the file as UTF-8"),
    whole(
        "UTF-16 in CSV",
        "t.csv",
        codecs.BOM_UTF16_BE + "prompt,reference\n".encode("utf-16-be"),
        "UTF-16",
    ),
    whole(
        "UTF-16 without a mark",
        "t.jsonl",
        A.decode().encode("utf-16-le"),
        "none of its 2 rows can be used",
    ),
    whole(
        "JSON: a number",
        "t.json",
        b"5\n",
        "a row must be an object with named fields, this is a number",
    ),
    whole(
        "JSON: null", "t.json", b"null", "a row must be an object with named fields, this is null"
    ),
    whole(
        "JSON: cut off object",
        "t.json",
        b'{"examples": [{"input": "a?",\n "targ',
        ":2: not valid JSON",
    ),
    whole(
        "JSON: a name twice",
        "t.json",
        b'{"examples": [{"input": "a?", "target": "1", "target": "2"}]}',
        "gives 'target' twice",
    ),
    whole(
        "JSON list: cut off",
        "t.json",
        b'[{"prompt": "a?", "reference": "1"},\n{"prompt": "b?", "ref',
        ":2: item 2: not valid JSON",
    ),
    whole(
        "JSON list: not closed",
        "t.json",
        b'[{"prompt": "a?", "reference": "1"}',
        "broken here, or cut off",
    ),
    whole(
        "JSON list: something behind",
        "t.json",
        b'[{"prompt": "a?", "reference": "1"}]\n\nx',
        "something follows the end of the list",
    ),
    whole("JSON list: deep", "t.json", b'[{"a":' + b"[" * 100_000, "item 1: nested too deep"),
    whole(
        "JSON list: latin-1 byte",
        "t.json",
        b'[{"prompt": "a?", "reference": "1"},\n{"prompt": "\xe9"}]',
        "not UTF-8",
    ),
    whole("BBH: no examples", "t.json", b'{"canary": "x"}', "no prompt among the columns canary"),
    whole(
        "BBH: examples empty",
        "t.json",
        b'{"canary": "x", "examples": []}',
        "the file holds no rows",
    ),
    whole(
        "CSV: quote not closed",
        "t.csv",
        b'prompt,reference\na?,1\n"b?,2\nc?,3\n',
        ":3: the row that starts here",
    ),
    whole(
        "CSV: text behind a quote",
        "t.csv",
        b'prompt,reference\n"a" b?,1\n',
        ":2: the row that starts here",
    ),
    whole(
        "CSV: carriage returns",
        "t.csv",
        b"prompt,reference\ra?,1\r",
        "check its quotes and line ends",
    ),
    whole("CSV: no header", "t.csv", b"a?,1\nb?,2\n", "no prompt among the columns a?, 1"),
    whole(
        "CSV: a column twice",
        "t.csv",
        b"prompt,prompt\na?,1\n",
        ":1: the header names the column 'prompt' twice",
    ),
    whole(
        "CSV: semicolons",
        "t.csv",
        b"prompt;reference\na?;1\n",
        ":1: one column named 'prompt;reference'; put ','",
    ),
    whole("CSV: tabs", "t.csv", b"prompt\treference\na?\t1\n", "name a file with tabs .tsv"),
    whole("Parquet: cut off", "t.parquet", PARQUET[:-20], "cannot be read"),
    whole("Parquet: other bytes", "t.parquet", A * 10, "cannot be read"),
    whole("Parquet: empty", "t.parquet", b"", "cannot be read"),
    whole(
        "Parquet: prompt a number list",
        "t.parquet",
        parquet(pa.table({"prompt": [[1], [2]]})),
        "the prompt is a list",
    ),
    whole(
        "Parquet: bytes", "t.parquet", parquet(pa.table({"prompt": [b"a"]})), "the prompt is bytes"
    ),
    whole("Parquet named .jsonl", "t.jsonl", PARQUET, "a Parquet or Arrow file under another name"),
    whole("Arrow: other bytes", "t.arrow", A * 10, "cannot be read"),
    whole("gzip: cut off", "t.jsonl.gz", gzip.compress(A * 1000)[:-30], "cannot be read"),
    whole(
        "gzip: damaged",
        "t.jsonl.gz",
        gzip.compress(A)[:15] + b"damage" + gzip.compress(A)[21:],
        "cannot be read",
    ),
    whole("zstd: cut off", "t.jsonl.zst", zstd(A * 1000)[:-9], "cannot be read"),
    whole("zstd: damaged", "t.jsonl.zst", zstd(A)[:6] + b"damage" + zstd(A)[12:], "cannot be read"),
    whole("bz2: cut off", "t.jsonl.bz2", bz2.compress(A * 1000)[:-9], "cannot be read"),
    whole("xz: cut off", "t.jsonl.xz", lzma.compress(A * 1000)[:-9], "cannot be read"),
    whole(
        "gzip: Parquet inside",
        "t.jsonl.gz",
        gzip.compress(PARQUET),
        "a Parquet or Arrow file under another name",
    ),
    whole("a zip archive", "t.jsonl", b"PK\x03\x04" + bytes(50), "a zip archive; unpack it"),
    whole(
        "a web page", "t.jsonl", b"<!DOCTYPE html><html>404</html>", "a web page in place of data"
    ),
    whole(
        "a Git LFS pointer",
        "t.parquet",
        b"version https://git-lfs.github.com/spec/v1\n",
        "fetch it with git lfs pull",
    ),
    whole("no known format", "t.doc", b"Some words.\n", "of no known format; name it .jsonl"),
]

SOUND: list[tuple[str, str, bytes]] = [
    ("byte order mark", "t.jsonl", codecs.BOM_UTF8 + A),
    ("byte order mark in CSV", "t.csv", codecs.BOM_UTF8 + b"prompt,reference\nWhat is 1 + 1?,2\n"),
    ("byte order mark in JSON", "t.json", codecs.BOM_UTF8 + b"\n[" + A + b"]"),
    ("no line end", "t.jsonl", A.rstrip()),
    ("Windows line ends and blank lines", "t.jsonl", b"\r\n" + A.rstrip() + b"\r\n\r\n"),
    ("plain under a name of gzip", "t.jsonl.gz", A),
    ("gzip under a plain name", "t.jsonl", gzip.compress(A)),
    ("JSON in zstd", "t.json.zst", zstd(b"[" + A + b"]")),
    ("JSON in zstd, nameless", "t", zstd(A)),
    ("one object over several lines", "t.json", json.dumps(good(1), indent=1).encode()),
    ("a trailing comma", "t.json", b"[" + A + b",]"),
    ("Arrow's file format", "t.arrow", b""),
]


def kinds(table: list[Broken]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("broken", table, ids=[broken.name for broken in table])


@pytest.fixture
def inspect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run ``orcinus tasks inspect``; return exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["orcinus", "tasks", "inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return call


def written(broken: Broken, folder: Path) -> Path:
    path = folder / broken.file
    path.write_bytes(broken.content)
    return path


@kinds(ROWS)
def test_a_bad_row_is_one_line_with_its_place(broken: Broken, tmp_path: Path, inspect: Any) -> None:
    path = written(broken, tmp_path)
    code, _, error = inspect(path)
    assert (code, error.count("\n")) == (2, 1), error
    assert error.startswith(f"orcinus: {path}{broken.place}: ")
    assert broken.says in error
    assert f"({broken.bad} of {broken.good + broken.bad} rows cannot be used" in error


@kinds(ROWS)
def test_bad_rows_that_are_skipped_are_counted_and_listed(
    broken: Broken, tmp_path: Path, inspect: Any
) -> None:
    path = written(broken, tmp_path)
    code, printed, error = inspect(path, "--skip-bad", "--json")
    found = json.loads(printed)
    assert (code, error) == (0, "")
    assert sum(task["count"] for task in found["tasks"]) == broken.good
    assert (found["unusable"], found["rows"]) == (broken.bad, broken.good + broken.bad)
    (listed,) = found["unusable_rows"]
    assert listed.startswith(f"{path}{broken.place}: ")
    assert broken.says in listed


@kinds(FILES)
@pytest.mark.parametrize("flags", [(), ("--skip-bad",)], ids=["strict", "skip-bad"])
def test_a_broken_file_is_one_line(
    broken: Broken, flags: tuple[str, ...], tmp_path: Path, inspect: Any
) -> None:
    path = written(broken, tmp_path)
    code, printed, error = inspect(path, *flags)
    assert (code, error.count("\n"), printed) == (2, 1, ""), error
    assert error.startswith(f"orcinus: {path}")
    assert broken.says in error


@pytest.mark.parametrize(
    ("file", "content"), [row[1:] for row in SOUND], ids=[row[0] for row in SOUND]
)
def test_what_only_looks_broken_is_read(file: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    if not content:
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, pa.Table.from_pylist([good(1)]).schema) as writer,
        ):
            writer.write_table(pa.Table.from_pylist([good(1)]))
    (example,) = read_task(RecordsConfig(path=str(path)), Path())
    assert (example.prompt, example.reference) == ("What is 1 + 1?", "2")


def test_a_folder_without_task_files(tmp_path: Path, inspect: Any) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    code, _, error = inspect(tmp_path)
    assert (code, error) == (
        2,
        f"orcinus: {tmp_path}: no file in it ends in {', '.join(FORMATS)}\n",
    )


@pytest.mark.parametrize(
    "name",
    ["nothing.jsonl", "*.jsonl", "no/such/folder/t.jsonl", "x" * 300, "~nobody-at-all/t.jsonl"],
)
def test_a_path_to_nothing(name: str, tmp_path: Path, inspect: Any) -> None:
    code, _, error = inspect(name if name.startswith("~") else tmp_path / name)
    assert (code, error.count("\n")) == (2, 1)
    assert "no such file" in error or "File name too long" in error or "home directory" in error


@pytest.mark.parametrize(
    "path", ["", "t.jsonl", "*.jsonl"], ids=["in a folder", "by name", "by glob"]
)
def test_a_broken_link_is_not_skipped(path: str, tmp_path: Path, inspect: Any) -> None:
    (tmp_path / "a.jsonl").write_bytes(A)
    (tmp_path / "t.jsonl").symlink_to("gone.jsonl")
    code, _, error = inspect(tmp_path / path)
    assert (code, error) == (
        2,
        f"orcinus: {tmp_path}/t.jsonl: a link to gone.jsonl, which does not exist; "
        "fix or remove it\n",
    )


def test_a_pipe_is_refused(tmp_path: Path, inspect: Any) -> None:
    os.mkfifo(tmp_path / "t.jsonl")
    code, _, error = inspect(tmp_path / "t.jsonl")
    assert (code, error.count("\n")) == (2, 1)
    assert "a pipe or a device, not a plain file" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_read_permission(tmp_path: Path, inspect: Any) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(A)
    path.chmod(0)
    code, _, error = inspect(path)
    assert (code, error.count("\n")) == (2, 1)
    assert f"{path}: cannot be read: Permission denied" in error


def test_what_a_file_says_cannot_write_to_the_terminal(tmp_path: Path, inspect: Any) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(line({"a\x1b[31m\nb": 1, "reference": "1"}) + A)
    code, _, error = inspect(path)
    assert (code, error.count("\n")) == (2, 1)
    assert "\x1b" not in error
    assert r"no prompt among the columns a\x1b[31m b, reference" in error


def test_only_the_first_of_the_bad_rows_are_shown_unless_all_are_asked_for(
    tmp_path: Path, inspect: Any
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(A + b"x\n" * 30)
    shown, listed = (inspect(path, *flags)[1] for flags in ((), ("--skip-bad",)))
    assert (shown.count("t.jsonl:"), listed.count("t.jsonl:")) == (20, 30)
    assert "30 of 31 rows cannot be used" in shown
    assert "… and 10 more" in shown


def test_a_recipe_that_skips_bad_rows_still_needs_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"x\n" * 3)
    with pytest.raises(
        DataError,
        match=r"none of its 3 rows can be used; the first one: .*t\.jsonl:1: not valid JSON",
    ):
        list(Records(RecordsConfig(path=str(path), skip_bad=True), Path())())


def test_a_broken_row_does_not_decide_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        line({"instruction": 5, "output": []}) + line({"conversations": "x"}) + line(CHAT)
    )
    skipped = Skipped()
    assert [e.prompt for e in read_task(RecordsConfig(path=str(path)), Path(), skipped)] == [
        "Hello?"
    ]
    assert skipped.count == 2


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    config = RecordsConfig(path="*/t.jsonl")
    for folder, content in (("a", A), ("b", B)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.jsonl").write_bytes(content)
    before = content_of(config, tmp_path)
    (tmp_path / "a" / "t.jsonl").write_bytes(C)
    assert content_of(config, tmp_path) != before


def test_a_file_that_cannot_be_hashed_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        content_of(RecordsConfig(path="nothing.jsonl"), tmp_path)


@pytest.mark.parametrize("size", [3, 40, 1000])
def test_a_json_list_is_the_same_whatever_is_read_at_a_time(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        {
            "prompt": f'é{"x" * 50} \\ " ]}} {i}',
            "reference": -1.5e-7 * i,
            "meta": {"a": [True, None]},
        }
        for i in range(20)
    ]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(items, ensure_ascii=False, indent=1), encoding="utf-8")
    monkeypatch.setattr(rows, "_CHUNK", size)
    assert [row.fields for row in rows.read_rows(str(path))] == items


def test_labels_of_the_row_decide_what_a_reference_means(tmp_path: Path) -> None:
    path = tmp_path / "arc.jsonl"
    choices = {"text": ["u", "v"], "label": ["1", "2"]}
    path.write_bytes(line({"question": "Which?", "choices": choices, "answerKey": "2"}))
    (example,) = read_task(RecordsConfig(path=str(path)), Path())
    assert (example.choices, example.reference) == (("u", "v"), "B")
