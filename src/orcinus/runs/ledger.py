"""The ledger: a SQLite file with every call to a model, shared by all runs of a workspace.

An attempt is committed with a full sync to disk before anything depends on it. One thread writes.
Attempts that arrive during a commit share the next one (group commit), so that 1,000 calls per
second cost a few dozen syncs.

    attempts   id → what was sent (canonical JSON), the reply, usage, cost, error
    spend      run × step × model × task → calls, tokens, dollars; in the attempt's transaction
    holds      run → worst case of the calls in flight; counts as spent after a kill

The id is a fingerprint of what was sent; ``verify`` derives each one again. Verdicts are not
stored: they follow from attempts, and a judge's replies are attempts too.
"""

import queue
import sqlite3
import threading
import time
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from orcinus.core.errors import StoreError
from orcinus.core.fingerprint import canonical, fingerprint, hashed
from orcinus.core.requests import as_sent
from orcinus.core.types import Attempt, Request, Usage
from orcinus.runs import tables

FEW = 8
"""Writes. When fewer are queued, a commit waits ``GATHER_S`` for more to share its sync."""
GATHER_S = 0.01
"""Seconds. The calls of waiting writes count as in flight. Measured for an evaluation with 64 calls
in flight on an idle machine, in two runs: 0.26 and 0.39 CPU-seconds per 1,000 calls instead of 0.56
and 0.56 (0.002 s: 0.49 and 0.53; 0.004 s: 0.41 and 0.53)."""
COMMIT_LIMIT = 512
"""Attempts in one transaction, at most: about 2 MiB."""
BUSY_TIMEOUT_S = 60.0
"""Seconds to wait while another process writes. Then SQLite reports that the file is locked."""

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
)
"""Schema changes, applied once each, in order, and counted in ``user_version``. A released one
never changes."""

_COLUMNS = 17
_INSERT_SIZES = (128, 32, 8, 1)
"""Rows in one INSERT. Few statements, because the thread releases the interpreter lock at each one,
and waits for it while other threads are busy."""
_ON_CONFLICT = """
    ON CONFLICT (id) DO UPDATE SET
        run = excluded.run, step = excluded.step, strategy = excluded.strategy,
        reply = excluded.reply, tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out,
        cost_usd = excluded.cost_usd, latency_s = excluded.latency_s, error = excluded.error,
        permanent = excluded.permanent, created = excluded.created
    WHERE attempts.error IS NOT NULL
"""
_ADD_SPEND = """
    INSERT INTO spend VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        calls = calls + excluded.calls, errors = errors + excluded.errors,
        tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out,
        cost_usd = cost_usd + excluded.cost_usd
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRow:
    """The spending of one step of one run on one model for one task."""

    run: str
    step: str
    model: str
    task: str
    calls: int
    errors: int
    tokens_in: int
    tokens_out: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of the seconds from request to reply, for one model."""

    model: str
    calls: int
    p50_s: float
    p90_s: float
    p99_s: float


def attempt_id(request: Request, model: str) -> str:
    """Return the id of an attempt: equal requests to a model share it, in this run or the next."""
    return hashed(_record_json(request, model))


def _record_json(request: Request, model: str) -> bytes:
    """Return ``request_record`` as canonical JSON.

    Only ``extra`` is walked: the other types are canonical, and a full walk takes five times as
    long.
    """
    return orjson.dumps(request_record(request, model), option=orjson.OPT_SORT_KEYS)


def request_record(request: Request, model: str) -> dict[str, Any]:
    """Return what was sent, in the form that is stored and fingerprinted."""
    messages, sampling = as_sent(request)
    temperature = float(sampling.temperature) if sampling.sends_temperature else None
    return {
        "task": request.example.task,
        "example": request.example.id,
        "model": model,
        "messages": [[message.role, message.content] for message in messages],
        "sampling": {
            "temperature": temperature,
            "top_p": float(sampling.top_p),
            "max_tokens": sampling.max_tokens,
            "stop": sampling.stop,
            "seed": sampling.seed,
            "logprobs": sampling.logprobs,
            "extra": canonical(sampling.extra) if sampling.extra else {},
        },
        "sample": request.sample,
    }


@dataclass(slots=True)
class _Write:
    attempt: Attempt
    run: str
    step: str
    record: bytes
    loop: AbstractEventLoop
    done: "Future[None]"


class Ledger:
    """An open ledger and context manager. Other processes can read while this one writes."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the ledger at ``path``; create or migrate it if needed.

        Raises:
            StoreError: The file is not a ledger, is newer than this version, or cannot be written.
        """
        self.path = path
        self._read_only = read_only
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._reader = self._connect()
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._failure: StoreError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commit the queue and close."""
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
            self._writer = None
        self._reader.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            uri = f"{self.path.resolve().as_uri()}?mode={'ro' if self._read_only else 'rwc'}"
            connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            if not self._read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                # 40 MB of log, because a checkpoint writes every changed page, and the pages of the
                # index change all the time.
                connection.execute("PRAGMA wal_autocheckpoint = 10000")
                _migrate(connection, self.path)
            connection.execute("SELECT id FROM attempts LIMIT 1")
            return connection
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: not a usable ledger: {error}") from error

    # Writing

    def commit(self, attempt: Attempt, request: Request, *, run: str, step: str) -> "Future[None]":
        """Queue an attempt; return a future that is done once it is on disk.

        Raises:
            StoreError: The disk is full or fails. The future can raise it too. Earlier commits are
                intact.
        """
        if self._failure is not None:
            raise self._failure
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_loop, name="ledger", daemon=True)
            self._writer.start()
        loop = get_running_loop()
        done: Future[None] = loop.create_future()
        record = _record_json(request, attempt.model)
        self._queue.put(_Write(attempt, run, step, record, loop, done))
        return done

    def _write_loop(self) -> None:
        connection = self._connect()
        try:
            while (first := self._queue.get()) is not None:
                if self._queue.qsize() < FEW:
                    time.sleep(GATHER_S)
                batch, last = self._drain(first)
                self._commit_batch(connection, batch)
                if last:
                    return
        finally:
            connection.close()

    def _drain(self, first: Any) -> tuple[list[_Write], bool]:
        """Return all queued writes, up to the limit, and whether the ledger is closing."""
        batch = [first]
        while len(batch) < COMMIT_LIMIT:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, True
            batch.append(item)
        return batch, False

    def _commit_batch(self, connection: sqlite3.Connection, batch: list[_Write]) -> None:
        error: StoreError | None = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, batch)
            connection.executemany(_ADD_SPEND, _spend_rows(batch))
            connection.execute("COMMIT")
        except sqlite3.Error as problem:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            error = self._failure = StoreError(
                f"{self.path}: cannot be written: {problem}; earlier attempts are safe, so free "
                "some space and run again"
            )
        batch[0].loop.call_soon_threadsafe(_resolve, batch, error)

    def hold(self, run: str, *, usd: float, tokens: int) -> None:
        """Store the worst case of a run's calls before they are sent, and wait for the sync."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO holds VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET usd = excluded.usd, tokens = excluded.tokens",
                (run, usd, tokens),
            )

    def absorb_hold(self, run: str) -> tuple[float, int]:
        """Book the hold of a killed process as spent; return it as (dollars, tokens)."""
        with self._transaction() as connection:
            row = connection.execute(
                "DELETE FROM holds WHERE run = ? RETURNING usd, tokens", (run,)
            ).fetchone()
            if row is None or row == (0.0, 0):
                return 0.0, 0
            connection.execute(
                _ADD_SPEND, (run, "(in flight when killed)", "", "", 1, 0, row[1], 0, row[0])
            )
            return float(row[0]), int(row[1])

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._reader, self.path)

    # Reading

    def recall(
        self, requests: Sequence[Request], ids: Sequence[str], model: str
    ) -> list[Attempt | None]:
        """Return the committed attempt of each id, in their order; None where there is none."""
        marks = ",".join("?" * len(ids))
        rows = self._reader.execute(
            "SELECT id, reply, cost_usd, latency_s, error, permanent FROM attempts "
            f"WHERE id IN ({marks})",
            ids,
        ).fetchall()
        found = {row[0]: row for row in rows}
        return [
            None if row is None else _attempt(request, row, model)
            for request, row in (
                (request, found.get(identity))
                for request, identity in zip(requests, ids, strict=True)
            )
        ]

    def known(self, ids: Sequence[str]) -> int:
        """Return how many of these ids need no further call."""
        marks = ",".join("?" * len(ids))
        query = (
            f"SELECT count(*) FROM attempts WHERE id IN ({marks}) AND (error IS NULL OR permanent)"
        )
        return int(self._reader.execute(query, ids).fetchone()[0])

    def attempts(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield id, request and reply of every attempt; the latter two as JSON."""
        yield from self._reader.execute("SELECT id, request, reply FROM attempts ORDER BY rowid")

    def spend(self, run: str | None = None) -> list[SpendRow]:
        """Return the spending by run, step, model and task, of one run or of all."""
        where, values = ("WHERE run = ?", (run,)) if run is not None else ("", ())
        rows = self._reader.execute(
            f"SELECT * FROM spend {where} ORDER BY run, step, model, task", values
        )
        names = SpendRow.__dataclass_fields__
        return [SpendRow(**dict(zip(names, row, strict=True))) for row in rows]

    def spent(self, run: str) -> tuple[float, int]:
        """Return the dollars and tokens of a run, with the worst case of calls lost in a kill."""
        row = self._reader.execute(
            "SELECT total(cost_usd), coalesce(sum(tokens_in + tokens_out), 0) FROM spend "
            "WHERE run = ?",
            (run,),
        ).fetchone()
        return float(row[0]), int(row[1])

    def errors(self) -> list[tuple[str, str, int]]:
        """Return (model, class of error, number of attempts that end in it now)."""
        query = """
            SELECT model, substr(error, 1, instr(error || ':', ':') - 1), count(*) FROM attempts
            WHERE error IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 3 DESC
        """
        return [
            (str(model), str(kind), int(count))
            for model, kind, count in self._reader.execute(query)
        ]

    def latencies(self) -> list[Latency]:
        """Return percentiles of the time to a reply, by model."""
        query = """
            SELECT model, latency_s FROM attempts WHERE error IS NULL AND latency_s > 0
            ORDER BY model, latency_s
        """
        by_model: dict[str, list[float]] = {}
        for model, seconds in self._reader.execute(query):
            by_model.setdefault(model, []).append(seconds)
        return [
            Latency(
                model=model,
                calls=len(ordered),
                p50_s=ordered[len(ordered) // 2],
                p90_s=ordered[len(ordered) * 9 // 10],
                p99_s=ordered[len(ordered) * 99 // 100],
            )
            for model, ordered in by_model.items()
        ]

    def mean_tokens(
        self, model: str, *, judging: str | None = None
    ) -> tuple[float, float, float] | None:
        """Return mean tokens read, and mean and standard deviation of tokens written.

        Args:
            model: Identity of the model.
            judging: Count the model's calls as a judge of this kind; None counts all other calls.

        Returns:
            None before the first answered call.
        """
        row = self._reader.execute(
            """
            SELECT count(*), avg(tokens_in), avg(tokens_out),
                avg(tokens_out * tokens_out) - avg(tokens_out) * avg(tokens_out)
            FROM attempts WHERE model = ?1 AND error IS NULL
                AND iif(?2 IS NULL, strategy NOT GLOB 'judge: *', strategy = 'judge: ' || ?2)
            """,
            (model, judging),
        ).fetchone()
        return (
            None if not row[0] else (float(row[1]), float(row[2]), max(float(row[3]), 0.0) ** 0.5)
        )

    def verify(self) -> Iterator[str]:
        """Yield one line for each damaged row."""
        for (problem,) in self._reader.execute("PRAGMA integrity_check"):
            if problem != "ok":
                yield f"{self.path}: {problem}"
        for identity, request, reply in self.attempts():
            try:
                derived = fingerprint(orjson.loads(request))
                orjson.loads(reply)
            except orjson.JSONDecodeError as error:
                yield f"{identity}: unreadable: {error}"
                continue
            if derived != identity:
                yield f"{identity}: what was sent now has the fingerprint {derived}"

    def export(self, path: Path) -> int:
        """Write all attempts to a Parquet file; return their number."""
        columns = (
            "id, run, step, task, example_id, strategy, model, sample, tokens_in, tokens_out, "
            "cost_usd, latency_s, error, created"
        )
        names = columns.split(", ")
        with tables.TableWriter(path, tables.CALLS) as writer:
            for *values, request, reply in self._reader.execute(
                f"SELECT {columns}, request, reply FROM attempts ORDER BY rowid"
            ):
                sent, came = orjson.loads(request), orjson.loads(reply)
                writer.write(
                    {
                        **dict(zip(names, values, strict=True)),
                        "messages": [
                            {"role": role, "content": content} for role, content in sent["messages"]
                        ],
                        "sampling": orjson.dumps(sent["sampling"]).decode(),
                        "text": came["text"],
                        "finish": came["finish"],
                        "reasoning": came.get("reasoning"),
                    }
                )
        return writer.rows

    def compact(self) -> tuple[int, int]:
        """Return unused space to the disk; return the bytes before and after."""
        before = self.path.stat().st_size
        self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._reader.execute("VACUUM")
        self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before, self.path.stat().st_size


class _Transaction:
    """A ``with`` block around one immediate transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
        except sqlite3.Error as problem:
            raise StoreError(f"{self._path}: cannot be written: {problem}") from problem


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: written by a newer orcinus (schema {version}); upgrade orcinus, or use "
            "another --ledger"
        )
    for number in range(version, len(MIGRATIONS)):
        # Another process can migrate at the same time: the second to get the lock finds it done.
        connection.execute("BEGIN EXCLUSIVE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == number:
            for statement in MIGRATIONS[number].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")


def _insert(connection: sqlite3.Connection, batch: Sequence[_Write]) -> None:
    at = 0
    for size in _INSERT_SIZES:
        statement = _insert_statement(size)
        while len(batch) - at >= size:
            connection.execute(
                statement, [value for write in batch[at : at + size] for value in _row(write)]
            )
            at += size


@cache
def _insert_statement(rows: int) -> str:
    marks = ", ".join(["(" + ", ".join("?" * _COLUMNS) + ")"] * rows)
    return f"INSERT INTO attempts VALUES {marks} {_ON_CONFLICT}"


def _row(write: _Write) -> tuple[Any, ...]:
    attempt = write.attempt
    usage = attempt.usage
    return (
        attempt.id,
        write.run,
        write.step,
        attempt.task,
        attempt.example_id,
        attempt.strategy,
        attempt.model,
        attempt.sample,
        write.record,
        _reply(attempt),
        usage.tokens_in,
        usage.tokens_out,
        attempt.cost_usd,
        attempt.latency_s,
        attempt.error,
        attempt.permanent,
        time.time(),
    )


def _reply(attempt: Attempt) -> bytes:
    """Return the reply as JSON without empty fields, which are usually half of them."""
    usage = attempt.usage
    reply: dict[str, Any] = {
        "text": attempt.text,
        "finish": attempt.finish,
        "usage": (usage.tokens_in, usage.tokens_out, usage.tokens_cached, usage.tokens_reasoning),
    }
    if attempt.reasoning is not None:
        reply["reasoning"] = attempt.reasoning
    if attempt.logprobs is not None:
        reply["logprobs"] = [round(value, 5) for value in attempt.logprobs]
    return orjson.dumps(reply)


def _spend_rows(batch: Iterable[_Write]) -> Iterator[tuple[Any, ...]]:
    """Yield the spending of a batch: one row for each run, step, model and task."""
    sums: dict[tuple[str, ...], list[float]] = {}
    for write in batch:
        attempt, usage = write.attempt, write.attempt.usage
        row = sums.setdefault(
            (write.run, write.step, attempt.model, attempt.task), [0, 0, 0, 0, 0.0]
        )
        row[0] += 1
        row[1] += attempt.error is not None
        row[2] += usage.tokens_in
        row[3] += usage.tokens_out
        row[4] += attempt.cost_usd
    for key, values in sums.items():
        yield *key, *values


def _attempt(request: Request, row: tuple[Any, ...], model: str) -> Attempt:
    identity, reply_json, cost_usd, latency_s, error, permanent = row
    reply = orjson.loads(reply_json)
    logprobs = reply.get("logprobs")
    tokens_in, tokens_out, tokens_cached, tokens_reasoning = reply["usage"]
    messages, sampling = as_sent(request)
    return Attempt(
        id=identity,
        example_id=request.example.id,
        task=request.example.task,
        strategy=request.strategy,
        model=model,
        messages=messages,
        sampling=sampling,
        sample=request.sample,
        text=reply["text"],
        finish=reply["finish"],
        reasoning=reply.get("reasoning"),
        usage=Usage(
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            tokens_cached=tokens_cached,
            tokens_reasoning=tokens_reasoning,
        ),
        logprobs=None if logprobs is None else tuple(logprobs),
        cost_usd=cost_usd,
        latency_s=latency_s,
        error=error,
        permanent=bool(permanent),
    )


def _resolve(batch: Iterable[_Write], error: StoreError | None) -> None:
    for write in batch:
        if write.done.done():
            continue
        if error is None:
            write.done.set_result(None)
        else:
            write.done.set_exception(error)
