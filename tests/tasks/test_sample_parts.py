"""The pool's files are read in parts, to the same effect as in order."""

import asyncio
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.runs.shard_work import KillsAWorker

from orcinus.core.errors import DataError
from orcinus.core.types import Example
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.tasks import sample as sampling
from orcinus.tasks.config import RecordsConfig, SampleConfig
from orcinus.tasks.files import records
from orcinus.tasks.files.records import Records, Skipped
from orcinus.tasks.files.rows import ROWS_PER_BATCH
from orcinus.tasks.sample import Opened, sample
from orcinus.tasks.splits import Splits

ROWS = 3 * ROWS_PER_BATCH + 40


class ByPickle:
    """An executor that sends each shard as to a worker, where one process has them all."""

    def __init__(self) -> None:
        self.answered = 0

    def map(self, fn: Callable[[Any], Any], shards: Iterable[Any], **_: bool) -> Iterator[Any]:
        there = pickle.loads(pickle.dumps(fn))
        for shard in shards:
            found = pickle.loads(pickle.dumps(there(pickle.loads(pickle.dumps(shard)))))
            self.answered += found is not None
            yield found


class InOrder:
    """A source that has no parts."""

    def __init__(self, found: Records) -> None:
        self._found = found

    def __call__(self) -> Iterator[Example]:
        return self._found()

    @property
    def skipped(self) -> Skipped:
        return self._found.skipped


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "ROWS_FOR_WORKERS", 1)
    monkeypatch.setattr(records, "ROWS_PER_PART", ROWS_PER_BATCH)


def write(path: Path, name: str, *, bad: Iterable[int] = (), repeated: Iterable[int] = ()) -> None:
    """Write questions, of which some have no text and some the id of an earlier one."""
    numbers = range(ROWS)
    table = pa.table(
        {
            "id": [f"{name}{0 if n in set(repeated) else n}" for n in numbers],
            "question": ["" if n in set(bad) else f"What is {n % 400} + {name}?" for n in numbers],
            "answer": [str(n) for n in numbers],
            "source_unit": [f"{name}{n // 20}" for n in numbers],
            "hint": [f"It is {n}." for n in numbers],
        }
    )
    pq.write_table(table, path / f"{name}.parquet", row_group_size=2 * ROWS_PER_BATCH)


def run(
    out: Path, data: Path, executor: object, *, in_order: bool = False
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what ``sample`` returns, and the files that it writes."""
    opened: list[Opened] = []
    for name in ("a", "b", "c"):
        found = Records(
            RecordsConfig(
                path=f"{name}.parquet",
                name=name,
                skip_bad=True,
                columns={"meta": ("hint", "source_unit")},
            ),
            data,
        )
        opened.append((name, InOrder(found) if in_order else found, "pool"))
    runtime = Runtime(workspace=out, ledger_path=out / "l", executor=cast(Any, executor))
    context = StepContext(
        out=out,
        run="t",
        seed=0,
        ledger=cast(Any, None),
        runtime=runtime,
        progress=Silent(),
        completer=cast(Any, None),
    )
    result = asyncio.run(sample(SampleConfig(per_task=200), opened, context, facts=("hint",)))
    return result, {path.name: path.read_bytes() for path in sorted(out.glob("*.parquet"))}


def test_parts_give_the_tables_of_reading_in_order(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b", bad=(ROWS_PER_BATCH + 3, ROWS - 1), repeated=(ROWS - 2,))
    write(tmp_path, "c", bad=(2,))  # among the first rows, so it is read in order
    workers = ByPickle()
    result, files = run(tmp_path / "parts", tmp_path, workers)
    in_order, expected = run(tmp_path / "order", tmp_path, ByPickle(), in_order=True)
    assert workers.answered == 8  # the parts of a and b
    assert files == expected
    assert result == in_order
    assert result["skipped"] == {"b": 3, "c": 1}


def test_a_killed_worker_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b", bad=(ROWS - 1,))
    write(tmp_path, "c")
    kills = KillsAWorker(tmp_path)
    assert run(tmp_path / "killed", tmp_path, kills) == run(tmp_path / "1", tmp_path, ByPickle())
    assert kills.killed == 1


def test_a_bad_row_of_a_part_is_refused_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, "a", bad=(ROWS - 1,))
    opened: list[Opened] = [("a", Records(RecordsConfig(path="a.parquet"), tmp_path), "pool")]
    pool = sampling.Pool(SampleConfig(), opened, cast(Any, ByPickle()))
    list(pool.unseen())
    draws = Splits(probe=0.1, held_out=0.1, mixtures={}, seed=0).draws
    with pytest.raises(DataError, match=rf"a\.parquet: row {ROWS}: the prompt is empty"):
        list(pool.pool(draws))
