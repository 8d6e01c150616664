"""Find what in a ledger is not as it was written.

    b2f3…: the reply, its usage or its cost is not what was written

Each check goes on where another one fails, and an error of SQLite is a line like any other.
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from orcinus.core.errors import one_line
from orcinus.core.fingerprint import hashed
from orcinus.runs.ledger_schema import (
    CALL_COLUMNS,
    DAMAGE,
    HOLD_COLUMNS,
    RECALLED_COLUMNS,
    SPEND_COLUMNS,
    STATE_COLUMNS,
    is_intact,
    is_intact_attempt,
    newest_schema,
    schema_of,
    sums_query,
)

_ROUNDING = 1e-9
"""Relative difference of two sums of the same dollars in another order."""


def problems_of(connection: sqlite3.Connection, path: Path, *, hashed_rows: bool) -> Iterator[str]:
    """Yield one line for each problem.

    Args:
        connection: To read from.
        path: The file, for the lines.
        hashed_rows: False for a ledger of the first schema, whose rows have no hashes.
    """
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    checks: list[Callable[[sqlite3.Connection], Iterator[str]]] = [_pages, _requests]
    if hashed_rows:
        checks += [_schema, _replies, _other_rows, problems_of_spend]
    try:
        for check in checks:
            try:
                for problem in check(connection):
                    yield one_line(f"{path}: {problem}")
            except DAMAGE as error:
                yield one_line(f"{path}: damaged: {error}")
    finally:
        connection.text_factory = str


def problems_of_spend(connection: sqlite3.Connection, run: str | None = None) -> Iterator[str]:
    """Yield one line for each part of the spending that is not the sum of its calls."""
    values = () if run is None else (run,)
    sums = {row[:4]: row[4:] for row in connection.execute(sums_query(run is not None), values)}
    where = "" if run is None else "WHERE run = ?"
    columns = ", ".join(SPEND_COLUMNS)
    for row in connection.execute(f"SELECT {columns} FROM spend {where}", values):
        key, amounts = row[:4], row[4:-1]
        name = " / ".join(map(str, key))
        if not is_intact(row):
            yield f"spend of {name}: is not what was written"
        called = sums.pop(key, None)
        if called is None:
            yield f"spend of {name}: has no calls"
        elif called[:-1] != amounts[:-1] or not _are_equal(called[-1], amounts[-1]):
            yield f"spend of {name}: is not the sum of its calls"
    for key in sums:
        yield f"spend of {' / '.join(map(str, key))}: is missing"


def _are_equal(one: object, other: object) -> bool:
    return (
        isinstance(one, float)
        and isinstance(other, float)
        and abs(one - other) <= _ROUNDING * max(1.0, abs(one))
    )


def _pages(connection: sqlite3.Connection) -> Iterator[str]:
    for (problem,) in connection.execute("PRAGMA integrity_check"):
        if problem != "ok":
            yield str(problem)


def _schema(connection: sqlite3.Connection) -> Iterator[str]:
    for kind, name, *_ in schema_of(connection) ^ newest_schema():
        yield f"the definition of the {kind} {name} is not what it was"


def _requests(connection: sqlite3.Connection) -> Iterator[str]:
    for identity, request in connection.execute("SELECT id, request FROM attempts"):
        derived = hashed(request) if isinstance(request, bytes) else "none"
        if derived != identity:
            yield f"{identity}: what was sent now has the fingerprint {derived}"


def _replies(connection: sqlite3.Connection) -> Iterator[str]:
    for row in connection.execute(f"SELECT {', '.join(RECALLED_COLUMNS)} FROM attempts"):
        if not is_intact_attempt(row):
            yield f"{row[0]}: the reply, its usage or its cost is not what was written"


def _other_rows(connection: sqlite3.Connection) -> Iterator[str]:
    tables = {"other_calls": CALL_COLUMNS, "holds": HOLD_COLUMNS, "state": STATE_COLUMNS}
    for table, columns in tables.items():
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
        for row in rows:
            if not is_intact(row):
                yield f"{table}: the row of {row[0]} is not what was written"
        if table == "state" and len(rows) != 1:
            yield f"state: has {len(rows)} rows in place of one"
