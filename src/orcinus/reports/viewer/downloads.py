"""Write what a reader takes along: a run's files, and attempts as a table for a spreadsheet.

attempts that match ──attempts_csv──► step,role,task,…,reply      no cell is taken for a formula
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

from orcinus.core.errors import ConfigError
from orcinus.core.printing import spreadsheet_cell
from orcinus.core.types import Judged
from orcinus.runs import layout, tables

CSV_ROWS = 100_000
"""Attempts in one table at most: spreadsheets hold about a million rows, in some hundred MB."""
ROWS_AT_ONCE = 1000
"""Attempts that are read together: a few megabytes, and each row group is rarely read twice."""
FILES: Mapping[str, str] = {
    layout.report("html"): "text/html",
    layout.report("json"): "application/json",
    layout.report("md"): "text/markdown",
    layout.RECIPE: "application/yaml",
}
"""The files of a run's folder that can be downloaded, with their media types."""
COLUMNS = (
    "step",
    "role",
    "task",
    "example",
    "strategy",
    "verdict",
    "answer",
    "reason",
    "finish",
    "tokens_in",
    "tokens_out",
    "dollars",
    "question",
    "reasoning",
    "reply",
)


def file_of(run_dir: Path, name: str) -> bytes:
    """Return the content of one of ``FILES``.

    Raises:
        ConfigError: The run has no such file.
    """
    path = run_dir / name
    if name not in FILES or not path.is_file():
        raise ConfigError(f"{run_dir.name}: there is no {name} to download")
    return path.read_bytes()


def attempts_csv(run_dir: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the attempts as CSV, each line as a text.

    Args:
        run_dir: The run's folder.
        rows: The attempts, as ``AttemptIndex.every`` returns them.
    """
    yield _as_line(COLUMNS)
    left = iter(rows)
    while batch := list(islice(left, ROWS_AT_ONCE)):
        wanted: dict[Path, set[int]] = {}
        for row in batch:
            wanted.setdefault(_table(run_dir, row), set()).add(row["row"])
        found = {
            (path, number): content
            for path, numbers in wanted.items()
            for number, content in zip(
                sorted(numbers), tables.rows_at(path, sorted(numbers)), strict=True
            )
        }
        for row in batch:
            judged = tables.judged_of(found[_table(run_dir, row), row["row"]])
            yield _as_line(_cells(row, judged))


def _table(run_dir: Path, row: Mapping[str, Any]) -> Path:
    return run_dir / str(row["folder"]) / f"{row['file']}.parquet"


def _cells(row: Mapping[str, Any], judged: Judged) -> tuple[object, ...]:
    attempt, verdict = judged.attempt, judged.verdict
    return (
        row["step"],
        row["role"],
        attempt.task,
        attempt.example_id,
        attempt.strategy,
        row["verdict"],
        verdict.answer or "",
        verdict.reason,
        attempt.finish,
        attempt.usage.tokens_in,
        attempt.usage.tokens_out,
        attempt.cost_usd,
        attempt.messages[-1].content if attempt.messages else "",
        attempt.reasoning or "",
        attempt.error or attempt.text,
    )


def _as_line(cells: Iterable[object]) -> str:
    line = StringIO()
    csv.writer(line).writerow(map(spreadsheet_cell, cells))
    return line.getvalue()
