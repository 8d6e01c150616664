"""The tables of the ledger, and the hash that stands in every row.

    attempts      id → what was sent (canonical JSON), the reply, usage, cost, error
    other_calls   paid calls without a row in ``attempts``: replaced errors, calls lost in a kill
    spend         run × step × model × task → the sum of both; in the same transaction
    holds         run × holder → the part of the budget that a running process has in flight
    state         the ledger's own id and its number of commits

The hash of an attempt leaves out the request, because the id is the hash of the request.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import StoreError

ATTEMPT_COLUMNS = [
    "id",
    "run",
    "step",
    "task",
    "example_id",
    "strategy",
    "model",
    "sample",
    "request",
    "reply",
    "tokens_in",
    "tokens_out",
    "cost_usd",
    "latency_s",
    "error",
    "permanent",
    "created",
    "tokens_unreported",
    "hash",
]
CALL_COLUMNS = [
    "id",
    "run",
    "step",
    "model",
    "task",
    "calls",
    "errors",
    "tokens_in",
    "tokens_out",
    "tokens_unreported",
    "cost_usd",
    "hash",
]
SPEND_COLUMNS = [
    "run",
    "step",
    "model",
    "task",
    "calls",
    "errors",
    "tokens_in",
    "tokens_out",
    "tokens_unreported",
    "cost_usd",
    "hash",
]
HOLD_COLUMNS = ["run", "holder", "usd", "tokens", "hash"]
STATE_COLUMNS = ["ledger", "commits", "hash"]

RECALLED_COLUMNS = [name for name in ATTEMPT_COLUMNS if name != "request"]
"""What a recall reads of an attempt: all but the request."""
CREATED = RECALLED_COLUMNS.index("created")
REPLY = RECALLED_COLUMNS.index("reply")
_HASH_BYTES = 16
_HASHED_AT_ONCE = 2047
"""Bytes. For more, hashlib releases the interpreter lock, and the ledger's thread waits for it."""
_SUMS = (
    "sum(calls), sum(errors), sum(tokens_in), sum(tokens_out), sum(tokens_unreported), "
    "total(cost_usd)"
)
CALLS = """
    SELECT run, step, model, task, 1 AS calls, error IS NOT NULL AS errors, tokens_in, tokens_out,
        tokens_unreported, cost_usd FROM attempts
    UNION ALL
    SELECT run, step, model, task, calls, errors, tokens_in, tokens_out, tokens_unreported,
        cost_usd FROM other_calls
"""
"""Every paid call."""


def sums_query(run: bool) -> str:
    """Return the query for what the calls add up to by run, step, model and task."""
    where = "WHERE run = ?" if run else ""
    return f"SELECT run, step, model, task, {_SUMS} FROM ({CALLS}) {where} GROUP BY 1, 2, 3, 4"


MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE attempts (
        id TEXT PRIMARY KEY,
        run TEXT NOT NULL, step TEXT NOT NULL, task TEXT NOT NULL, example_id TEXT NOT NULL,
        strategy TEXT NOT NULL, model TEXT NOT NULL, sample INTEGER NOT NULL,
        request BLOB NOT NULL, reply BLOB NOT NULL,
        tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
        cost_usd REAL NOT NULL, latency_s REAL NOT NULL,
        error TEXT, permanent INTEGER NOT NULL, created REAL NOT NULL
    );
    CREATE INDEX attempts_by_run ON attempts (run, step);
    CREATE TABLE spend (
        run TEXT NOT NULL, step TEXT NOT NULL, model TEXT NOT NULL, task TEXT NOT NULL,
        calls INTEGER NOT NULL, errors INTEGER NOT NULL,
        tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost_usd REAL NOT NULL,
        PRIMARY KEY (run, step, model, task)
    ) WITHOUT ROWID;
    CREATE TABLE holds (
        run TEXT PRIMARY KEY, usd REAL NOT NULL, tokens INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    f"""
    ALTER TABLE attempts ADD COLUMN tokens_unreported INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempts ADD COLUMN hash BLOB;
    UPDATE attempts SET hash = row_hash({", ".join(RECALLED_COLUMNS[:-1])});
    CREATE TABLE other_calls (
        id TEXT NOT NULL, run TEXT NOT NULL, step TEXT NOT NULL, model TEXT NOT NULL,
        task TEXT NOT NULL, calls INTEGER NOT NULL, errors INTEGER NOT NULL,
        tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
        tokens_unreported INTEGER NOT NULL, cost_usd REAL NOT NULL, hash BLOB
    );
    INSERT INTO other_calls
        SELECT '', run, step, model, task, sum(calls), sum(errors), sum(tokens_in),
            sum(tokens_out), 0, sum(cost_usd), NULL
        FROM (
            SELECT * FROM spend
            UNION ALL
            SELECT run, step, model, task, -1, -(error IS NOT NULL), -tokens_in, -tokens_out,
                -cost_usd FROM attempts
        )
        GROUP BY 2, 3, 4, 5 HAVING sum(calls) <> 0;
    UPDATE other_calls SET hash = row_hash({", ".join(CALL_COLUMNS[:-1])});
    CREATE INDEX other_calls_by_run ON other_calls (run);
    ALTER TABLE spend ADD COLUMN tokens_unreported INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE spend ADD COLUMN hash BLOB;
    UPDATE spend SET hash = row_hash({", ".join(SPEND_COLUMNS[:-1])});
    ALTER TABLE holds RENAME TO old_holds;
    CREATE TABLE holds (
        run TEXT NOT NULL, holder INTEGER NOT NULL, usd REAL NOT NULL, tokens INTEGER NOT NULL,
        hash BLOB, PRIMARY KEY (run, holder)
    ) WITHOUT ROWID;
    INSERT INTO holds SELECT run, 0, usd, tokens, row_hash(run, 0, usd, tokens) FROM old_holds;
    DROP TABLE old_holds;
    CREATE TABLE state (ledger TEXT PRIMARY KEY, commits INTEGER NOT NULL, hash BLOB)
        WITHOUT ROWID;
    INSERT INTO state VALUES (lower(hex(randomblob(16))), 0, NULL);
    UPDATE state SET hash = row_hash(ledger, commits);
    """,
)
"""Schema changes, applied once each, in order, and counted in ``user_version``. A released one
never changes."""


DAMAGE = (sqlite3.Error, UnicodeDecodeError, OverflowError)
"""What Python raises for a damaged file: its messages can hold damaged names."""


def row_hash(*values: Any) -> bytes:
    """Return the hash of a row: its values, of which those in bytes come last in the hash.

    Raises:
        TypeError: A value is of a type that no row has.
    """
    plain = [value for value in values if not isinstance(value, bytes)]
    made = hashlib.blake2b(orjson.dumps(plain), digest_size=_HASH_BYTES)
    for value in values:
        if isinstance(value, bytes):
            made.update(value)
    return made.digest()


def attempt_hash(row: Sequence[Any]) -> bytes:
    """Return the hash of an attempt: ``row_hash`` of its recalled columns, in a third of the time.

    Args:
        row: The values of ``RECALLED_COLUMNS``, of which the last is left out.
    """
    return reply_hash((*row[:REPLY], *row[REPLY + 1 : -1]), row[REPLY])


def reply_hash(plain: Sequence[Any], reply: bytes) -> bytes:
    """Return the hash of an attempt, given by its reply and the other recalled columns."""
    made = hashlib.blake2b(orjson.dumps(plain), digest_size=_HASH_BYTES)
    if len(reply) <= _HASHED_AT_ONCE:
        made.update(reply)
    else:
        for at in range(0, len(reply), _HASHED_AT_ONCE):
            made.update(reply[at : at + _HASHED_AT_ONCE])
    return made.digest()


def is_intact_attempt(row: Sequence[Any]) -> bool:
    """Return True if an attempt, given by its recalled columns, is as it was written."""
    try:
        return bool(row[-1] == attempt_hash(row))
    except (TypeError, ValueError):
        return False


def hashed_row(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values followed by their hash."""
    row = tuple(values)
    return *row, row_hash(*row)


def is_intact(row: Sequence[Any]) -> bool:
    """Return True if the last value of a row is the hash of the others."""
    try:
        return bool(row[-1] == row_hash(*row[:-1]))
    except (TypeError, ValueError):  # a value of another type, or a text that is no UTF-8
        return False


def migrate(connection: sqlite3.Connection, path: Path, *, may_be_old: bool = True) -> None:
    """Bring the schema up to date.

    Args:
        connection: Outside a transaction.
        path: The file, for errors.
        may_be_old: False where the file is known to have had the newest schema already.

    Raises:
        StoreError: A newer version wrote the file, or it is an older copy of itself.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: written by a newer orcinus (schema {version}); upgrade orcinus, or use "
            "another --ledger"
        )
    if version == 1 and not may_be_old:
        raise StoreError(
            f"{path}: this is an older copy, from before an upgrade. Put the newer file back, or "
            f"delete {path.name}-mark to go on without the calls since then"
        )
    for number in range(version, len(MIGRATIONS)):
        # Another process can migrate at the same time: the second to get the lock finds it done.
        connection.execute("BEGIN EXCLUSIVE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == number:
            for statement in MIGRATIONS[number].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")


def schema_of(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    """Return the definitions of tables and indexes."""
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def newest_schema() -> set[tuple[Any, ...]]:
    """Return the definitions that a new ledger has."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.create_function("row_hash", -1, row_hash, deterministic=True)
    try:
        migrate(connection, Path(":memory:"))
        return schema_of(connection)
    finally:
        connection.close()
