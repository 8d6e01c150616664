"""Work on the row groups of a table of traces, in worker processes where there are many.

    found = map_trace_groups(count_words, trace_groups(traces, examples), context)
    next(found)  →  (TraceGroup(number=0, rows=4096, …), count_words of it)

A worker gets the place of a row group and reads it by itself. What it returns comes in the order
of the groups, so that nothing depends on the number of workers.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from orcinus.core.types import TAUGHT, Example, Judged
from orcinus.runs import tables
from orcinus.runs.columns import array_of
from orcinus.runs.context import StepContext
from orcinus.runs.executors.local import LOCAL, warm_up
from orcinus.runs.sharing import Share

B = TypeVar("B")
ROWS_FOR_WORKERS = 20_000
"""Rows. Fewer are done in this process: starting what workers are forked from takes as long as
curating 2,400 rows or erasing 7,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceGroup:
    """The place of a row group of traces, and of their examples."""

    traces: tables.Place
    number: int
    """The number of the row group in ``traces``."""
    rows: int
    """Its traces."""
    examples: tables.Place
    first: int
    """The row of the first trace's example in ``examples``."""

    def __str__(self) -> str:
        return f"row group {self.number} of {self.traces}"

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the traces as a table, of all columns or those that are needed."""
        return tables.read_group(self.traces, self.number, columns)

    def examples_of(self, table: pa.Table) -> pa.Table:
        """Read the example of each row of ``table``, which holds the traces, as a table."""
        tasks, names = (table[name].to_pylist() for name in ("task", "example_id"))
        return tables.examples_of(self.examples, tasks, names, self.first)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Example, Judged]]:
        """Read the traces, each with its example.

        Args:
            columns: Those that are needed, and of the messages the first alone; None reads all.
        """
        table = self.table(columns)
        traces = tables.judged_in(table, first_turns=columns is not None)
        return zip(tables.examples_in(self.examples_of(table)), traces, strict=True)


def trace_groups(traces: Path, examples: Path) -> list[TraceGroup]:
    """Find the row groups of a table of traces, and where in ``examples`` each one begins.

    Raises:
        StoreError: A table cannot be read, or the traces are not in the order of the examples.
    """
    firsts = deque(_first_keys(traces))
    groups: list[TraceGroup] = []
    start = 0
    for batch in tables.read_batches(examples, ["task", "id", "split"]):
        is_taught = pc.is_in(batch["split"], array_of(sorted(TAUGHT), pa.string()))
        place = 0
        while firsts:
            number, rows, task, name = firsts[0]
            is_first = pc.and_(pc.equal(batch["id"], name), pc.equal(batch["task"], task))
            found = pc.indices_nonzero(pc.and_(is_first, is_taught).slice(place))
            if not found:
                break
            firsts.popleft()
            place += found[0].as_py()
            groups.append(
                TraceGroup(
                    traces=traces.absolute(),
                    number=number,
                    rows=rows,
                    examples=examples.absolute(),
                    first=start + place,
                )
            )
        start += len(batch)
    if firsts:
        _, _, task, name = firsts[0]
        raise tables.out_of_order(examples, task.as_py(), name.as_py())
    return groups


def _first_keys(traces: Path) -> Iterator[tuple[int, int, pa.StringScalar, pa.StringScalar]]:
    """Yield of each row group its number, its rows, and the task and example of its first trace."""
    for number, rows in enumerate(tables.rows_of_groups(traces)):
        if rows:
            first = tables.read_group(traces, number, ["task", "example_id"])
            yield number, rows, first["task"][0], first["example_id"][0]


def warm_up_workers(traces: Path, context: StepContext, module: str) -> None:
    """Start what the workers for a table are forked from, beside what this process does meanwhile.

    Args:
        traces: The table.
        context: Its executor will map the table's groups.
        module: Where the function of the groups is, which takes most of a second to import.
    """
    if sum(tables.rows_of_groups(traces)) >= ROWS_FOR_WORKERS:
        warm_up(context.runtime.executor, module)


def map_trace_groups(
    fn: Callable[[TraceGroup], B],
    groups: Sequence[TraceGroup],
    context: StepContext,
    *,
    here: bool = False,
) -> Iterator[tuple[TraceGroup, B]]:
    """Yield each group and ``fn`` of it, in order.

    Args:
        fn: Pure and picklable, see ``Executor.map``. It reads the group.
        groups: The groups of one table.
        context: Its executor runs ``fn``.
        here: Stay in this process, because ``fn`` calls a user's functions.
    """
    is_worth_it = not here and sum(group.rows for group in groups) >= ROWS_FOR_WORKERS
    executor = LOCAL if here else context.runtime.executor
    is_told = False
    results = executor.map(_IfThere(fn, context.runtime.share), groups, processes=is_worth_it)
    for group, result in zip(groups, results, strict=True):
        if result is None and not is_told:
            is_told = True
            context.progress.note(
                f"a node of the cluster does not see {group.traces}, so its rows are read in this "
                "process; put the runs on a disk that all nodes share, or name a store with --share"
            )
        yield group, fn(group) if result is None else result[0]


@dataclass(frozen=True, slots=True)
class _IfThere(Generic[B]):
    """A function of groups that returns None on a machine that cannot read the tables."""

    fn: Callable[[TraceGroup], B]
    share: Share | None

    def __call__(self, group: TraceGroup) -> tuple[B] | None:
        paths = Path(group.traces), Path(group.examples)
        if not all(path.exists() for path in paths):
            if self.share is None:
                return None
            traces, examples = map(self.share.place_of, paths)
            group = replace(group, traces=traces, examples=examples)
        return (self.fn(group),)
