"""Task files, good and bad; every refusal names the file, the line and what to do."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orcinus.core.errors import ConfigError, DataError
from orcinus.core.types import Example
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.files.records import Skipped, read_task


def read(path: Path, **config: Any) -> list[Example]:
    return list(read_task(RecordsConfig(path=str(path), **config), Path()))


def rows(path: Path, *items: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def test_plain_rows(tmp_path: Path) -> None:
    path = rows(
        tmp_path / "sums.jsonl",
        {"question": "17 + 25?", "answer": "42"},
        {"question": "1 + 1?", "answer": 2},
    )
    found = read(path)
    assert [(e.task, e.prompt, e.answer_type, e.reference) for e in found] == [
        ("sums", "17 + 25?", "number", "42"),
        ("sums", "1 + 1?", "number", "2"),
    ]
    assert found[0].id != found[1].id


def test_options_get_letters_and_are_shown(tmp_path: Path) -> None:
    path = rows(tmp_path / "q.jsonl", {"prompt": "Even?", "choices": ["3", "4"], "answer": "4"})
    (example,) = read(path)
    assert example.reference == "B"
    assert example.prompt == "Even?\nOptions:\n(A) 3\n(B) 4"


def test_formats_and_compression(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,reference\n"2, 3?",5\n', encoding="utf-8")
    (tmp_path / "b.json").write_text('[{"prompt": "x?", "reference": "1"}]', encoding="utf-8")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "y?", "reference": "1"}\n'))
    assert [e.prompt for e in read(tmp_path)] == ["2, 3?", "x?", "y?"]


def test_bigbench_hard_and_agieval_layouts(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "canary": "x",
            "examples": [{"input": "Is it?\nOptions:\n(A) yes\n(B) no", "target": "(B)"}],
        }
    )
    (tmp_path / "bbh.json").write_text(text, encoding="utf-8")
    (example,) = read(tmp_path / "bbh.json")
    assert (example.answer_type, example.choices, example.reference) == (
        "choice",
        ("yes", "no"),
        "B",
    )
    row = {"passage": "P.", "question": "Q?", "options": ["(A)one", "(B)two"], "label": "A"}
    (example,) = read(rows(tmp_path / "agi.jsonl", row))
    assert (example.prompt.startswith("P.\n\nQ?"), example.choices, example.reference) == (
        True,
        ("one", "two"),
        "A",
    )


BAD: list[tuple[str, bytes, str]] = [
    (
        "broken line",
        b'{"prompt": "a", "reference": "1"}\n' * 36 + b'{"prompt": "a"\n',
        r"t\.jsonl:37: not valid JSON",
    ),
    ("empty file", b"", r"t\.jsonl: the file holds no rows"),
    (
        "no reference",
        b'{"prompt": "a", "answer_type": "number"}\n',
        r"t\.jsonl:1: no reference, but the answer type is number",
    ),
    (
        "duplicate id",
        b'{"id": "x", "prompt": "a", "reference": "1"}\n'
        b'{"id": "x", "prompt": "b", "reference": "1"}\n',
        r"t\.jsonl:2: the id 'x' was used before in task 't' \(.*t\.jsonl:1\)",
    ),
    (
        "reference not among the choices",
        b'{"prompt": "a", "choices": ["u", "v"], "reference": "w"}\n',
        r"t\.jsonl:1: the reference 'w' is not among the choices A–B \(u, v\)",
    ),
    (
        "letter beyond the choices",
        b'{"prompt": "a", "choices": ["u", "v"], "reference": "C"}\n',
        r"t\.jsonl:1: .*'C' is not among",
    ),
    ("not UTF-8", b'{"prompt": "caf\xe9", "reference": "1"}\n', r"t\.jsonl:1: not UTF-8 at byte"),
    (
        "no prompt",
        b'{"text1": "a", "reference": "1"}\n',
        r"t\.jsonl:1: no prompt among the columns",
    ),
    ("a list", b"[1, 2]\n", r"t\.jsonl:1: a row must be an object"),
    ("empty prompt", b'{"prompt": "  ", "reference": "1"}\n', r"t\.jsonl:1: the prompt is empty"),
    (
        "unknown type",
        b'{"prompt": "a", "answer_type": "nummer", "reference": "1"}\n',
        r"t\.jsonl:1: no answer type 'nummer'",
    ),
]


@pytest.mark.parametrize(
    ("content", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_rows_are_refused_with_file_and_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(path)


def test_bad_rows_can_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        b'{"prompt": "a", "reference": "1"}\nnonsense\n{"prompt": "b", "reference": "2"}\n'
    )
    assert [e.prompt for e in read(path, skip_bad=True)] == ["a", "b"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        read(tmp_path / "nothing.jsonl")


@pytest.mark.slow
@pytest.mark.shared
def test_every_shared_task_is_read_but_for_rows_that_are_broken_in_the_sources(
    shared_data: Path,
) -> None:
    refused, examples = set(), 0
    for path in sorted((shared_data / "tasks").glob("*.jsonl.gz")):
        skipped = Skipped()
        examples += sum(1 for _ in read_task(RecordsConfig(path=str(path)), Path(), skipped))
        if skipped.count:
            refused.add(path.name.removesuffix(".jsonl.gz"))
    assert refused <= {"t0_trec", "truthfulqa_mc1"}  # without answers, and with an empty option
    assert examples > 40_000


def test_files_behind_urls_are_read_one_by_glob_and_by_folder() -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the extra hub")
    store = fsspec.filesystem("memory")
    rows = [f'{{"question": "What is {n} + 1?", "answer": {n + 1}}}\n' for n in range(4)]
    store.pipe("/bucket/a.jsonl.gz", gzip.compress("".join(rows[:2]).encode()))
    store.pipe(
        "/bucket/b.jsonl.zst", pa.compress("".join(rows[2:]).encode(), codec="zstd", asbytes=True)
    )
    store.pipe("/bucket/notes.txt", b"nothing")
    for path, count in (
        ("memory://bucket/a.jsonl.gz", 2),
        ("memory://bucket/*.jsonl.*", 4),
        ("memory://bucket/", 4),
    ):
        assert [e.reference for e in read_task(RecordsConfig(path=path), Path())] == [
            "1",
            "2",
            "3",
            "4",
        ][:count]
