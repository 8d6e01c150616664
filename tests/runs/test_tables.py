"""Tables between steps: rows are read as they were written, and only whole tables are read."""

import gc
import resource
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from orcinus.core.errors import StoreError
from orcinus.core.types import (
    Assignment,
    Attempt,
    Evidence,
    Example,
    Judged,
    Lesson,
    Message,
    Sampling,
    Score,
    Split,
    Usage,
    Verdict,
)
from orcinus.runs import tables
from orcinus.runs.questions import read_alike, read_questions

MESSAGES = (Message(role="system", content="Think."), Message(role="user", content="17 + 25?"))
EXAMPLE = Example(
    id="1",
    task="sums",
    prompt="17 + 25?",
    answer_type="choice",
    choices=("41", "42"),
    reference=("B", "b"),
    meta={"licence": "MIT", "n": [1, None]},
)
JUDGED = Judged(
    attempt=Attempt(
        id="b2aa",
        example_id="1",
        task="sums",
        strategy="direct",
        model="m",
        messages=MESSAGES,
        sampling=Sampling(temperature=0.7, stop=("\n",), extra={"min_p": 0.1}),
        sample=3,
        text="The answer is (B).",
        finish="stop",
        reasoning="17 + 25 = 42",
        usage=Usage(tokens_in=9, tokens_out=5, tokens_cached=2, tokens_reasoning=1),
        logprobs=(-0.5, -0.25),
        token_bytes=(3, 1),
        cost_usd=0.001,
    ),
    verdict=Verdict(
        attempt_id="b2aa", verifier="choice@1", value=None, answer=None, reason="no option named"
    ),
)
SCORE = Score(
    mean=0.5, n=2, n_none=1, n_error=0, low=0.1, high=0.9, format_ok=0.5, mean_given_ok=1.0
)
ASSIGNMENT = Assignment(
    group="sums",
    strategy="direct",
    evidence=(Evidence(strategy="direct", score=SCORE, tokens_out=4.0, held_out=SCORE),),
    runner_up=None,
    p_value=None,
    reason="only one",
)
LESSON = Lesson(
    id="b2bb",
    example_id="1",
    task="sums",
    strategy="direct",
    messages=MESSAGES,
    completion="42",
    reasoning=None,
    teacher="m",
    attempt_id="b2aa",
    erased="generic",
    meta={"licence": None},
)


def test_examples_come_back_as_they_were(tmp_path: Path) -> None:
    with tables.TableWriter(tmp_path / "t.parquet", tables.EXAMPLES) as writer:
        writer.write(tables.example_row(EXAMPLE, "probe"))
    assert list(tables.read_examples(tmp_path / "t.parquet")) == [EXAMPLE]
    assert list(tables.read_examples(tmp_path / "t.parquet", "teach")) == []


def test_attempts_and_verdicts_come_back_as_they_were(tmp_path: Path) -> None:
    with tables.TableWriter(tmp_path / "t.parquet", tables.JUDGED) as writer:
        writer.write(tables.judged_row(JUDGED))
    assert list(tables.read_judged(tmp_path / "t.parquet")) == [JUDGED]


def test_rows_that_lack_something_stay_apart_from_those_that_have_it(tmp_path: Path) -> None:
    """The columns of a batch are read one by one, and each value belongs to its row."""
    attempt = JUDGED.attempt
    bare = replace(
        JUDGED,
        attempt=replace(
            attempt, id="2", messages=attempt.messages[-1:], reasoning=None, logprobs=None, text=""
        ),
        verdict=replace(JUDGED.verdict, attempt_id="2", value=None, answer=None),
    )
    silent = replace(
        bare,
        attempt=replace(bare.attempt, id="3", messages=()),
        verdict=replace(JUDGED.verdict, attempt_id="3", confidence=None),
    )
    rows = [bare, JUDGED, silent, JUDGED, bare]
    with tables.TableWriter(tmp_path / "t.parquet", tables.JUDGED) as writer:
        for row in map(tables.judged_row, rows):
            writer.write(row)
    assert list(tables.read_judged(tmp_path / "t.parquet")) == rows
    assert [tables.judged_of(tables.judged_row(item)) for item in rows] == rows


def test_traces_are_read_with_some_columns_and_the_first_turn(tmp_path: Path) -> None:
    others = (MESSAGES[1:], (), MESSAGES)
    rows = [replace(JUDGED, attempt=replace(JUDGED.attempt, messages=turns)) for turns in others]
    with tables.TableWriter(tmp_path / "t.parquet", tables.JUDGED) as writer:
        for row in rows:
            writer.write(tables.judged_row(row))
    table = tables.read_group(tmp_path / "t.parquet", 0, ["id", "messages", "text", "value"])
    found = list(tables.judged_in(table, first_turns=True))
    assert [judged.attempt.messages for judged in found] == [turns[:1] for turns in others]
    assert {judged.attempt.text for judged in found} == {"The answer is (B)."}
    assert all(judged.attempt.sampling == Sampling() for judged in found)
    assert list(tables.judged_in(table.slice(1), first_turns=True)) == found[1:]


def test_one_row_is_read_without_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array for each row took twenty times as long, and imports pandas."""
    row = tables.judged_row(replace(JUDGED, verdict=replace(JUDGED.verdict, confidence=None)))
    del row["confidence"]  # as in the tables of older runs
    monkeypatch.setattr(tables, "pa", None)
    assert tables.judged_of(row).attempt == JUDGED.attempt


def test_assignments_come_back_as_they_were(tmp_path: Path) -> None:
    with tables.TableWriter(tmp_path / "t.parquet", tables.ASSIGNMENTS) as writer:
        writer.write(tables.assignment_row(ASSIGNMENT))
    assert list(tables.read_assignments(tmp_path / "t.parquet")) == [ASSIGNMENT]


def test_lessons_come_back_as_they_were(tmp_path: Path) -> None:
    with tables.TableWriter(tmp_path / "t.parquet", tables.LESSONS) as writer:
        writer.write(tables.lesson_row(LESSON))
    assert list(tables.read_lessons(tmp_path / "t.parquet")) == [LESSON]


def test_a_table_larger_than_a_batch_keeps_its_order(tmp_path: Path) -> None:
    n = 2 * tables.ROWS_PER_BATCH + 7
    drops = (
        tables.Drop(attempt_id=str(i), example_id="1", task="t", filter="wrong", reason="r")
        for i in range(n)
    )
    with tables.TableWriter(tmp_path / "t.parquet", tables.DROPS) as writer:
        for drop in drops:
            writer.write(tables.drop_row(drop))
    assert [row["attempt_id"] for row in tables.read_rows(tmp_path / "t.parquet")] == [
        str(i) for i in range(n)
    ]
    assert tables.count_rows(tmp_path / "t.parquet") == n


def test_scratch_rows_come_back_in_whole_batches_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 4)
    schema = pa.schema([("n", pa.int64())])
    path = tmp_path / "step" / "rows.arrow"
    with tables.ScratchRows(path, schema) as scratch:
        for numbers in ([0], [], [*range(1, 10)], [10, 11, 12]):
            scratch.write_rows(pa.table({"n": numbers}, schema=schema))
        found = [batch["n"].to_pylist() for batch in scratch.read_batches()]
        assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12]]
    assert not path.exists()
    with tables.ScratchRows(path, schema) as none:
        assert [*none.read_batches()] == []
    with pytest.raises(RuntimeError), tables.ScratchRows(path, schema):
        raise RuntimeError
    assert not path.exists()


def test_an_interrupted_table_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="power"),
        tables.TableWriter(tmp_path / "t.parquet", tables.DROPS),
    ):
        raise RuntimeError("power")
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_a_broken_table_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"no table")
    with pytest.raises(StoreError, match=r"t\.parquet: cannot be read .* delete the step's folder"):
        list(tables.read_rows(tmp_path / "t.parquet"))


def _write_long_rows(path: Path, rows: int) -> None:
    with tables.TableWriter(path, tables.EXAMPLES) as writer:
        for number in range(rows):
            example = replace(EXAMPLE, id=str(number), prompt=secrets.token_hex(400))
            writer.write(tables.example_row(example, "teach"))


@pytest.mark.parametrize("rows", [10, 3000])
def test_a_full_disk_names_the_table_and_leaves_no_part_of_it(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "examples.parquet"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            _write_long_rows(path, rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.filename == str(tmp_path / "examples.part")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_damaged_table_is_one_line_wherever_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    with tables.TableWriter(path, tables.EXAMPLES) as writer:
        for number in range(2000):
            example = replace(EXAMPLE, id=str(number), prompt=secrets.token_hex(20))
            writer.write(tables.example_row(example, "teach"))
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(4096) + content[middle + 4096 :])
    for read in (
        lambda: list(tables.read_rows(path)),
        lambda: list(tables.rows_at(path, [1500])),
        lambda: list(tables.read_examples(path)),
    ):
        with pytest.raises(StoreError, match=r"cannot be read as a table .* delete the step's"):
            read()
    path.unlink()
    with pytest.raises(StoreError, match=r"cannot be read as a table .* delete the step's"):
        tables.count_rows(path)
    with pytest.raises(StoreError, match=r"cannot be read as a table .* delete the step's"):
        list(read_questions(path, "teach"))


def test_questions_that_are_alike_are_added_up(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    history = {"history": [{"role": "user", "content": "Hello."}]}
    with tables.TableWriter(path, tables.EXAMPLES) as writer:
        for number in range(12):
            split: Split = "probe" if number == 11 else "teach"
            example = replace(
                EXAMPLE,
                id=str(number),
                task=f"t{number % 2}",
                prompt="é" * number,
                meta=history if number == 10 else {},
            )
            writer.write(tables.example_row(example, split))
    added = list(read_alike(path, "teach"))
    assert sorted((q.task, q.number, q.characters) for q in added) == [
        ("t0", 1, 16),  # with the turn before it
        ("t0", 5, 20),
        ("t1", 5, 25),
    ]
    apart = list(read_questions(path, "teach"))
    assert [(q.id, q.number) for q in apart] == [(str(number), 1) for number in range(11)]
    assert sum(q.characters for q in apart) == sum(q.characters for q in added)
    assert list(read_alike(path, "retention")) == []


def test_a_table_is_read_in_less_memory_than_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with tables.TableWriter(path, tables.DROPS) as writer:
        for i in range(16 * tables.ROWS_PER_BATCH):
            row = tables.Drop(
                attempt_id=str(i),
                example_id="1",
                task="t",
                filter="wrong",
                reason=secrets.token_hex(250),
            )
            writer.write(tables.drop_row(row))
    before = pa.total_allocated_bytes()
    assert (
        max(pa.total_allocated_bytes() - before for _ in tables.read_rows(path))
        < path.stat().st_size / 2
    )


def write_examples(path: Path, count: int) -> None:
    with tables.TableWriter(path, tables.EXAMPLES) as writer:
        for i in range(count):
            writer.write(
                tables.example_row(replace(EXAMPLE, id=str(i)), "teach" if i % 2 else "probe")
            )


def traces(numbers: Sequence[int]) -> Iterator[Judged]:
    return (
        replace(JUDGED, attempt=replace(JUDGED.attempt, example_id=str(number)))
        for number in numbers
    )


def test_traces_find_their_examples_and_few_examples_are_held(tmp_path: Path) -> None:
    write_examples(tmp_path / "e.parquet", tables.ROWS_PER_BATCH + 100)
    numbers = [1, 1, 3, 701, 701, tables.ROWS_PER_BATCH + 7]
    gc.collect()
    before = sum(type(item) is Example for item in gc.get_objects())
    found, most = [], 0
    for example, judged in tables.with_examples(traces(numbers), tmp_path / "e.parquet"):
        found.append((int(example.id), int(judged.attempt.example_id)))
        most = max(most, sum(type(item) is Example for item in gc.get_objects()) - before)
    assert found == [(number, number) for number in numbers]
    assert most <= 2


@pytest.mark.parametrize("numbers", [[3, 1], [2], [9999]])
def test_a_trace_out_of_the_order_of_the_examples_is_an_error(
    tmp_path: Path, numbers: list[int]
) -> None:
    write_examples(tmp_path / "e.parquet", 10)
    with pytest.raises(
        StoreError, match=rf"e\.parquet: the example sums/{numbers[-1]} of a trace is missing"
    ):
        list(tables.with_examples(traces(numbers), tmp_path / "e.parquet"))
