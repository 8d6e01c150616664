"""Write a transaction of the ledger: attempts, their sums, and the holds of budgets.

    attempts of a group commit ─► attempts | other_calls ─► spend, and the hold they were part of

Every function takes a connection inside a transaction.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from orcinus.runs.claims import HOLDERS_FROM, Claims
from orcinus.runs.ledger_schema import (
    ATTEMPT_COLUMNS,
    CALL_COLUMNS,
    CREATED,
    HOLD_COLUMNS,
    RECALLED_COLUMNS,
    SPEND_COLUMNS,
    STATE_COLUMNS,
    hashed_row,
    is_intact,
    is_intact_attempt,
    sums_query,
)

IN_FLIGHT_AT_KILL = "(in flight when killed)"
IN_FLIGHT_AT_STOP = "(in flight when stopped)"
"""Steps under which the worst case of calls is booked whose replies the process did not see."""
ROUNDING = 1e-9
"""Relative error of a sum of dollars that is added to and taken from ten thousand times. In holds,
which are small, also dollars."""
_ROWS_AT_ONCE = (128, 64, 32, 16, 8, 4, 2, 1)
"""Rows in one statement. Few statements, because the thread releases the interpreter lock at each
one, and waits for it while other threads are busy."""
_LOOKUPS = 512
"""Ids in one query."""
_ERROR = RECALLED_COLUMNS.index("error")

SpendKey = tuple[str, str, str, str]
"""Run, step, model, task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most that a run may spend; infinity where there is no cap."""

    usd: float
    tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The part of a run's budget that one process may have in flight from now on."""

    granted: bool
    usd: float = 0.0
    tokens: int = 0
    spent_usd: float
    spent_tokens: int
    held_by_others: bool
    """True when another process may give back a part of the budget."""


def store_attempts(
    connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], *, fresh_from: float = 0.0
) -> None:
    """Write attempts, and add them to the spending.

    Args:
        connection: In a transaction.
        rows: Each with the values of ``ATTEMPT_COLUMNS``.
        fresh_from: An answer replaces those from before this time, in Unix seconds.
    """
    # With OR IGNORE, SQLite keeps no copy of each changed page to undo a part of the statement.
    inserted = _insert_many(connection, "attempts", ATTEMPT_COLUMNS, rows, conflict="IGNORE")
    if inserted < len(rows):
        _replace_attempts(connection, _not_inserted(connection, rows), fresh_from)
    sums: dict[SpendKey, list[Any]] = {}
    for row in rows:
        _, run, step, task, _, _, model, _, _, _, read, written, usd, _, error, _, _, lost, _ = row
        total = sums.setdefault((run, step, model, task), [0, 0, 0, 0, 0, 0.0])
        total[0] += 1
        total[1] += error is not None
        total[2] += read
        total[3] += written
        total[4] += lost
        total[5] += usd
    add_to_spend(connection, sums)


def _not_inserted(
    connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Return the rows whose ids had another row before them."""
    standing = _read_attempts(connection, [row[0] for row in rows])
    return [row for row in rows if standing.pop(row[0], None) != _without_request(row)]


def _replace_attempts(
    connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], fresh_from: float
) -> None:
    """Write attempts of which some have an earlier row.

    An answer replaces an error, a damaged row, or an answer from before ``fresh_from``. What is
    replaced, or came second, was paid for too: it is kept as one of the ``other_calls``.
    """
    standing = _read_attempts(connection, [row[0] for row in rows])
    kept: dict[str, tuple[Any, ...]] = {}
    others = []
    for row in rows:
        recalled = _without_request(row)
        old = standing.get(row[0])
        if (
            old is None
            or old[_ERROR] is not None
            or not is_intact_attempt(old)
            or (old[CREATED] < fresh_from and recalled[_ERROR] is None)
        ):
            standing[row[0]], kept[row[0]] = recalled, row
        else:
            old = recalled
        if old is not None:
            others.append(hashed_row(_as_call(old)))
    _insert_many(connection, "attempts", ATTEMPT_COLUMNS, list(kept.values()), conflict="REPLACE")
    _insert_many(connection, "other_calls", CALL_COLUMNS, others)


def book_lost_calls(
    connection: sqlite3.Connection, run: str, step: str, *, usd: float, tokens: int, calls: int = 1
) -> None:
    """Book the worst case of calls whose replies were not seen; negative amounts take it back."""
    key = (run, step, "", "")
    amounts = (calls, 0, 0, 0, tokens, usd)
    _insert_many(connection, "other_calls", CALL_COLUMNS, [hashed_row(("", *key, *amounts))])
    add_to_spend(connection, {key: amounts})


def add_to_spend(connection: sqlite3.Connection, sums: Mapping[SpendKey, Sequence[Any]]) -> None:
    """Add to the spending what has just been written to the tables of calls."""
    standing = _read_spend(connection, list(sums))
    damaged = {row[0] for row in standing.values() if not is_intact(row)}
    for run in damaged:
        rebuild_spend(connection, run)
    rows = []
    for key, amounts in sums.items():
        if key[0] in damaged:
            continue
        before = standing[key][len(key) : -1] if key in standing else (0,) * len(amounts)
        after = [old + more for old, more in zip(before, amounts, strict=True)]
        after[-1] = float(after[-1])
        rows.append(hashed_row((*key, *after)))
    _insert_many(connection, "spend", SPEND_COLUMNS, rows, conflict="REPLACE")


def _read_spend(
    connection: sqlite3.Connection, keys: Sequence[SpendKey]
) -> dict[SpendKey, tuple[Any, ...]]:
    """Return the rows of the spending under some keys."""
    found = {}
    for at, size in _parts(len(keys)):
        values = [part for key in keys[at : at + size] for part in key]
        for row in connection.execute(_spend_query(size), values):
            found[row[0], row[1], row[2], row[3]] = row
    return found


@cache
def _spend_query(keys: int) -> str:
    marks = ", ".join(["(?, ?, ?, ?)"] * keys)
    # A join, because IN (VALUES …) does not use the primary key.
    return (
        f"SELECT {', '.join(SPEND_COLUMNS)} FROM (VALUES {marks}) CROSS JOIN spend "
        "ON run = column1 AND step = column2 AND model = column3 AND task = column4"
    )


def rebuild_spend(connection: sqlite3.Connection, run: str) -> None:
    """Write the spending of a run anew, as the sum of its calls."""
    sums = connection.execute(sums_query(run=True), (run,)).fetchall()
    connection.execute("DELETE FROM spend WHERE run = ?", (run,))
    _insert_many(connection, "spend", SPEND_COLUMNS, [hashed_row(row) for row in sums])


def spent_by(connection: sqlite3.Connection, run: str) -> tuple[float, int]:
    """Return the dollars and tokens that are booked to a run."""
    row = connection.execute(
        "SELECT total(cost_usd), coalesce(sum(tokens_in + tokens_out + tokens_unreported), 0) "
        "FROM spend WHERE run = ?",
        (run,),
    ).fetchone()
    return float(row[0]), int(row[1])


def absorb_dead_holds(connection: sqlite3.Connection, claims: Claims, run: str) -> None:
    """Book the holds of processes that have ended as spent."""
    for holder, usd, tokens in connection.execute(
        "SELECT holder, usd, tokens FROM holds WHERE run = ?", (run,)
    ).fetchall():
        with claims.taken_if_free(HOLDERS_FROM + holder) as ended:
            if ended:
                release_hold(
                    connection, run, holder, IN_FLIGHT_AT_KILL, lost_usd=usd, lost_tokens=tokens
                )


def acquire_hold(
    connection: sqlite3.Connection,
    claims: Claims,
    run: str,
    holder: int,
    *,
    need: tuple[float, int],
    want: tuple[float, int],
    caps: Caps,
) -> Grant:
    """Add to the hold of one process as much as it wants, or as there is room for.

    Args:
        connection: In a transaction.
        claims: Tells which other processes are running.
        run: The run that has the cap.
        holder: The process's budget.
        need: Dollars and tokens without which nothing is granted.
        want: Dollars and tokens to grant if there is room.
        caps: The caps of the run.
    """
    absorb_dead_holds(connection, claims, run)
    usd, tokens = spent_by(connection, run)
    held = connection.execute(
        "SELECT total(usd), coalesce(sum(tokens), 0), "
        "coalesce(sum(holder <> ? AND (usd > ? OR tokens > 0)), 0) FROM holds WHERE run = ?",
        (holder, ROUNDING, run),
    ).fetchone()
    room_usd, room_tokens = caps.usd - usd - held[0], caps.tokens - tokens - held[1]
    facts = {"spent_usd": usd, "spent_tokens": tokens, "held_by_others": held[2] > 0}
    if need[0] > room_usd or need[1] > room_tokens:
        return Grant(granted=False, **facts)
    more_usd, more_tokens = min(want[0], room_usd), int(min(want[1], room_tokens))
    change_hold(connection, run, holder, usd=more_usd, tokens=more_tokens)
    return Grant(granted=True, usd=more_usd, tokens=more_tokens, **facts)


def change_hold(
    connection: sqlite3.Connection, run: str, holder: int, *, usd: float, tokens: int
) -> None:
    """Add to a hold; negative amounts reduce it."""
    row = connection.execute(
        "SELECT usd, tokens FROM holds WHERE run = ? AND holder = ?", (run, holder)
    ).fetchone()
    old_usd, old_tokens = (0.0, 0) if row is None else row
    _insert_many(
        connection,
        "holds",
        HOLD_COLUMNS,
        [hashed_row((run, holder, old_usd + usd, old_tokens + tokens))],
        conflict="REPLACE",
    )


def release_hold(
    connection: sqlite3.Connection,
    run: str,
    holder: int,
    step: str,
    *,
    lost_usd: float,
    lost_tokens: int,
) -> None:
    """Delete a hold, and book the part of it that may have been charged."""
    connection.execute("DELETE FROM holds WHERE run = ? AND holder = ?", (run, holder))
    if lost_usd > 0 or lost_tokens > 0:
        book_lost_calls(connection, run, step, usd=lost_usd, tokens=lost_tokens)


def reclaim_lost(
    connection: sqlite3.Connection, run: str, holder: int, *, usd: float, tokens: int
) -> bool:
    """Move the worst case of a call that a stopped process has booked into a hold.

    Returns:
        False when less than that is booked; then nothing is moved.
    """
    for step in (IN_FLIGHT_AT_STOP, IN_FLIGHT_AT_KILL):
        booked_usd, booked_tokens = connection.execute(
            "SELECT total(cost_usd), coalesce(sum(tokens_unreported), 0) FROM spend "
            "WHERE run = ? AND step = ?",
            (run, step),
        ).fetchone()
        if usd <= booked_usd * (1 + ROUNDING) and tokens <= booked_tokens:
            book_lost_calls(
                connection, run, step, usd=-min(usd, booked_usd), tokens=-tokens, calls=0
            )
            change_hold(connection, run, holder, usd=usd, tokens=tokens)
            return True
    return False


def count_commit(connection: sqlite3.Connection, new_id: str) -> tuple[str, int]:
    """Count this transaction; return the ledger's id and its number of commits.

    Args:
        connection: In a transaction.
        new_id: The id to take where the table is damaged.
    """
    rows = connection.execute(f"SELECT {', '.join(STATE_COLUMNS)} FROM state").fetchall()
    ledger, commits = rows[0][:2] if len(rows) == 1 and is_intact(rows[0]) else (new_id, 0)
    if ledger == new_id:
        connection.execute("DELETE FROM state")
    row = hashed_row((ledger, commits + 1))
    _insert_many(connection, "state", STATE_COLUMNS, [row], conflict="REPLACE")
    return ledger, commits + 1


def _read_attempts(
    connection: sqlite3.Connection, ids: Sequence[str]
) -> dict[str, tuple[Any, ...]]:
    """Return the rows that stand under some ids, without the requests."""
    found = {}
    for at in range(0, len(ids), _LOOKUPS):
        part = ids[at : at + _LOOKUPS]
        for row in connection.execute(
            f"SELECT {', '.join(RECALLED_COLUMNS)} FROM attempts "
            f"WHERE id IN ({', '.join('?' * len(part))})",
            part,
        ):
            found[row[0]] = row
    return found


_REQUEST = ATTEMPT_COLUMNS.index("request")


def _without_request(row: Sequence[Any]) -> tuple[Any, ...]:
    return (*row[:_REQUEST], *row[_REQUEST + 1 :])


def _as_call(recalled: Sequence[Any]) -> tuple[Any, ...]:
    """Return an attempt as one of the ``other_calls``, without the hash."""
    identity, run, step, task, _, _, model, _, _, read, written, usd, _, error, *rest = recalled
    _, _, unreported, _ = rest
    failed = int(error is not None)
    return identity, run, step, model, task, 1, failed, read, written, unreported, usd


def _insert_many(
    connection: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    conflict: Literal["ABORT", "IGNORE", "REPLACE"] = "ABORT",
) -> int:
    """Insert rows in few statements; return how many were inserted."""
    inserted = 0
    for at, size in _parts(len(rows)):
        statement = _insert_statement(table, tuple(columns), size, conflict)
        values = [value for row in rows[at : at + size] for value in row]
        inserted += connection.execute(statement, values).rowcount
    return inserted


def _parts(rows: int) -> Iterator[tuple[int, int]]:
    """Yield where each statement's rows begin, and how many they are.

    The sizes are few, so that the statements are compiled once.
    """
    at = 0
    for size in _ROWS_AT_ONCE:
        while rows - at >= size:
            yield at, size
            at += size


@cache
def _insert_statement(table: str, columns: tuple[str, ...], rows: int, conflict: str) -> str:
    marks = ", ".join(["(" + ", ".join("?" * len(columns)) + ")"] * rows)
    return f"INSERT OR {conflict} INTO {table} ({', '.join(columns)}) VALUES {marks}"
