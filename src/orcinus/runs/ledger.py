"""The ledger: a SQLite file with every call to a model, shared by all runs of a workspace.

An attempt is committed with a full sync to disk before anything depends on it. One thread writes.
Attempts that arrive during a commit share the next one (group commit), so that 1,000 calls per
second cost a few dozen syncs.

``ledger_schema.py`` describes the tables, ``ledger_writing.py`` what a transaction writes, and
``ledger_checks.py`` how damage is found. The id of an attempt is a fingerprint of what was sent.
Verdicts are not stored: they follow from attempts, and a judge's replies are attempts too.
"""

import logging
import queue
import random
import sqlite3
import threading
import time
import uuid
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import orjson

from orcinus.core.errors import StoreError
from orcinus.core.fingerprint import canonical, hashed
from orcinus.core.requests import as_sent
from orcinus.core.types import Attempt, Request, Usage
from orcinus.runs import tables
from orcinus.runs.claims import HOLDERS_FROM, Claims
from orcinus.runs.high_water import HighWater
from orcinus.runs.ledger_checks import problems_of, problems_of_spend
from orcinus.runs.ledger_schema import (
    ATTEMPT_COLUMNS,
    CREATED,
    DAMAGE,
    RECALLED_COLUMNS,
    REPLY,
    attempt_hash,
    is_intact_attempt,
    migrate,
    row_hash,
)
from orcinus.runs.ledger_writing import (
    IN_FLIGHT_AT_STOP,
    Caps,
    Grant,
    absorb_dead_holds,
    acquire_hold,
    change_hold,
    count_commit,
    rebuild_spend,
    reclaim_lost,
    release_hold,
    spent_by,
    store_attempts,
)

T = TypeVar("T")

FEW = 64
"""Writes. When fewer are queued, a commit waits ``GATHER_S`` for more to share its sync. Measured
with 256 calls in flight, medians of three runs of 4,000: 82 commits instead of 118 (8 writes), and
77 µs of the ledger's thread for a call instead of 90."""
GATHER_S = 0.01
"""Seconds. The calls of waiting writes count as in flight. Measured for an evaluation with 64 calls
in flight on an idle machine, in two runs: 0.26 and 0.39 CPU-seconds per 1,000 calls instead of 0.56
and 0.56 (0.002 s: 0.49 and 0.53; 0.004 s: 0.41 and 0.53)."""
COMMIT_LIMIT = 512
"""Attempts in one transaction, at most: about 2 MiB."""
BUSY_TIMEOUT_S = 60.0
"""Seconds to wait while another process writes. Then SQLite reports that the file is locked."""

_UNOPENED = ("SQLITE_CANTOPEN", "SQLITE_PROTOCOL")
"""Errors of a ledger whose write-ahead log, or its index, cannot be opened."""
_NAMED_DAMAGES = 3
"""Damaged rows that are named one by one; ``verify`` lists all."""
_REQUEST = ATTEMPT_COLUMNS.index("request")


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
    tokens_unreported: int = 0
    """Worst case of the calls whose usage is not known; it counts in budgets."""


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
    return hashed(record_json(request, model))


def record_json(request: Request, model: str) -> bytes:
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


class _Commit(Future[None]):
    """The commit of an attempt, which goes on where the task that waits for it is cancelled."""

    def cancel(self, msg: object = None) -> bool:
        """Do nothing: a reply that has arrived is not lost."""
        return False


@dataclass(slots=True)
class _Write:
    attempt: Attempt
    run: str
    step: str
    record: bytes
    holder: int | None
    loop: AbstractEventLoop
    done: "Future[None]"


@dataclass(slots=True)
class _Work:
    """Something to do in the next transaction, and what came of it."""

    work: Callable[[sqlite3.Connection], Any]
    result: Any
    loop: AbstractEventLoop
    done: "Future[Any]"


def _name_of(error: Exception) -> str:
    """Return SQLite's name of an error; empty for another kind of error."""
    return str(getattr(error, "sqlite_errorname", ""))


def _log(text: str) -> None:
    logging.getLogger("orcinus").warning(text)


class Ledger:
    """An open ledger and context manager. Other processes can read while this one writes."""

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        note: Callable[[str], None] = _log,
        fresh: bool = False,
    ) -> None:
        """Open the ledger at ``path``; create or migrate it if needed.

        Args:
            path: The file. Two small ones lie beside it: its claims and its mark.
            read_only: Change nothing.
            note: Receives one line on what a user should know, such as a damaged row.
            fresh: Recall no older answer: it is asked again, and a new answer replaces it.

        Raises:
            StoreError: The file is not a ledger, is newer than this version, is an older copy of
                itself, or cannot be written.
        """
        self.path = path
        self.note = note
        self._fresh_from = time.time() if fresh else 0.0
        self._read_only = read_only
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._mark = HighWater(path.with_name(f"{path.name}-mark"))
        marked = self._mark.read()
        self._reader, self._version = self._connect(marked)
        self._claims: Claims | None = None
        self._queue: queue.SimpleQueue[_Write | _Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failure: StoreError | None = None
        self._damaged = 0
        if read_only:
            return
        try:
            self._refuse_older_copy(marked)
            self._claims = Claims(path.with_name(f"{path.name}-claims"))
            # Opened before any call: sockets may use up the file descriptors.
            self._writer, _ = self._connect(marked)
        except OSError as error:
            self._reader.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"{error.filename}: {error.strerror}") from error

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
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._claims is not None:
            self._writer.close()
            self._claims.close()
            self._claims = None
        self._mark.close()
        self._reader.close()

    def _connect(self, marked: tuple[str, int] | None) -> tuple[sqlite3.Connection, int]:
        """Return a connection, and the version of its schema."""
        try:
            try:
                return self._open("mode=ro" if self._read_only else "mode=rwc", marked)
            except sqlite3.OperationalError as error:
                # In a folder that cannot be written, SQLite reads a file with a write-ahead log
                # only if it is told that no process writes it.
                wal = self.path.with_name(f"{self.path.name}-wal")
                is_whole = self.path.exists() and not (wal.exists() and wal.stat().st_size)
                if not (self._read_only and is_whole and _name_of(error) in _UNOPENED):
                    raise
                return self._open("mode=ro&immutable=1", marked)
        except DAMAGE as error:
            raise self._explained(error, "not a usable ledger") from error

    def _open(self, mode: str, marked: tuple[str, int] | None) -> tuple[sqlite3.Connection, int]:
        """Return a connection in a mode, as parameters of a URI, and the version of its schema."""
        uri = f"{self.path.resolve().as_uri()}?{mode}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.create_function("row_hash", -1, row_hash, deterministic=True)
        if not self._read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # 40 MB of log, because a checkpoint writes every changed page, and the pages of the
            # index change all the time.
            connection.execute("PRAGMA wal_autocheckpoint = 10000")
            migrate(connection, self.path, may_be_old=marked is None)
        connection.execute("SELECT id FROM attempts LIMIT 1")
        return connection, int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _refuse_older_copy(self, marked: tuple[str, int] | None) -> None:
        problem = self._mark.explain(marked, *self._state())
        if problem is not None:
            raise StoreError(f"{self.path}: {problem}")

    def _state(self) -> tuple[str, int]:
        rows = self._rows("SELECT ledger, commits FROM state")
        return (str(rows[0][0]), int(rows[0][1])) if rows else ("", 0)

    def _explained(self, error: Exception, otherwise: str = "damaged") -> StoreError:
        """Return an error of SQLite as one line on what to do."""
        name = _name_of(error)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            said = (
                f"another process has held it locked for {BUSY_TIMEOUT_S:.0f} s; wait for it or "
                "end it, and run again"
            )
        elif name in _UNOPENED and self._read_only:
            said = (
                f"cannot be read here: {error}; copy it to a folder that can be written, together "
                f"with {self.path.name}-wal"
                if self.path.exists()
                else "there is no such file"
            )
        elif name in _UNOPENED or name.startswith("SQLITE_READONLY"):
            said = (
                f"cannot be written: {error}; earlier attempts are safe, so make its folder "
                "writable, or put the ledger elsewhere with --ledger PATH"
            )
        elif name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            said = (
                f"cannot be {'read' if self._read_only else 'written'}: {error}; earlier attempts "
                "are safe, so free some space and run again"
            )
        elif isinstance(error, ValueError) or name.startswith(
            ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
        ):
            said = f"{otherwise}: {error}; orcinus ledger verify lists what is damaged"
        else:
            said = f"cannot be used: {type(error).__name__}: {error}"
        return StoreError(f"{self.path}: {said}")

    # Writing

    def commit(
        self, attempt: Attempt, record: bytes, *, run: str, step: str, holder: int | None = None
    ) -> "Future[None]":
        """Queue an attempt; return a future that is done once it is on disk.

        The future cannot be cancelled: a task that is cancelled while it waits for it ends once
        the attempt is on disk.

        Args:
            attempt: What came back.
            record: What was sent, as ``record_json`` gives it.
            run: Run under which spending is booked.
            step: Step under which spending is booked.
            holder: The budget in whose hold the call was; the hold shrinks by what it cost.

        Raises:
            StoreError: The disk is full or fails. The future can raise it too. Earlier commits are
                intact.
        """
        loop = get_running_loop()
        write = _Write(attempt, run, step, record, holder, loop, _Commit(loop=loop))
        self._submit(write)
        return write.done

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Queue ``work`` for the next transaction; return the future of its result."""
        item = _Work(work, None, *self._promise())
        self._submit(item)
        return item.done

    def _promise(self) -> "tuple[AbstractEventLoop, Future[Any]]":
        loop = get_running_loop()
        return loop, loop.create_future()

    def _submit(self, item: "_Write | _Work") -> None:
        if self._failure is not None:
            raise self._failure
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_loop, name="ledger", daemon=True)
            self._thread.start()
        self._queue.put(item)

    def _write_loop(self) -> None:
        last = False
        while not last:
            first = self._queue.get()
            if first is None:
                return
            if self._queue.qsize() < FEW:
                time.sleep(GATHER_S)
            batch, last = self._drain(first)
            self._write_batch(batch)

    def _drain(self, first: "_Write | _Work") -> "tuple[list[_Write | _Work], bool]":
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

    def _write_batch(self, batch: "list[_Write | _Work]") -> None:
        """Commit a batch and resolve its futures; every one hears of whatever fails."""
        if self._failure is None:
            try:
                self._commit_batch(batch)
            except Exception as error:  # noqa: BLE001 (set on the futures)
                with suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                self._failure = error if isinstance(error, StoreError) else self._explained(error)
        by_loop: dict[AbstractEventLoop, list[_Write | _Work]] = {}
        for item in batch:
            by_loop.setdefault(item.loop, []).append(item)
        for loop, items in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed: no one waits
                loop.call_soon_threadsafe(_resolve, items, self._failure)

    def _commit_batch(self, batch: "list[_Write | _Work]") -> None:
        writes = [item for item in batch if isinstance(item, _Write)]
        rows = [_row(write) for write in writes]
        spent: dict[tuple[str, int], list[Any]] = {}
        for write in writes:
            if write.holder is not None:
                amounts = spent.setdefault((write.run, write.holder), [0.0, 0])
                amounts[0] += write.attempt.cost_usd
                amounts[1] += write.attempt.usage.total
        with _Transaction(self._writer, self.path, self._explained):
            store_attempts(self._writer, rows, fresh_from=self._fresh_from)
            for (run, holder), (usd, tokens) in spent.items():
                change_hold(self._writer, run, holder, usd=-usd, tokens=-tokens)
            for item in batch:
                if isinstance(item, _Work):
                    item.result = item.work(self._writer)
            state = count_commit(self._writer, uuid.uuid4().hex)
        self._mark.write(*state)

    # Budgets

    def open_budget(self, run: str) -> int:
        """Return a holder for the part of a run's budget that this process will have in flight.

        What processes held that have ended is booked as spent. So is what is missing in the sum of
        the run's spending.
        """
        claims = self._locks()
        holder = random.getrandbits(59)
        claims.take(HOLDERS_FROM + holder)
        with _Transaction(self._reader, self.path, self._explained) as connection:
            if any(problems_of_spend(connection, run)):
                self.note(f"{self.path}: the spending of {run} was changed; it is summed up anew")
                rebuild_spend(connection, run)
            absorb_dead_holds(connection, claims, run)
            state = count_commit(connection, uuid.uuid4().hex)
        self._mark.write(*state)
        return holder

    def acquire(
        self,
        run: str,
        holder: int,
        *,
        need: tuple[float, int],
        want: tuple[float, int],
        caps: Caps,
    ) -> "Future[Grant]":
        """Ask for more of a run's budget, in dollars and tokens; see ``acquire_hold``."""
        claims = self._locks()
        return self._transact(
            lambda connection: acquire_hold(
                connection, claims, run, holder, need=need, want=want, caps=caps
            )
        )

    def give_back(self, run: str, holder: int, *, usd: float, tokens: int) -> "Future[None]":
        """Give back a part of what a holder may have in flight."""
        return self._transact(
            lambda connection: change_hold(connection, run, holder, usd=-usd, tokens=-tokens)
        )

    def reclaim_lost(self, run: str, holder: int, *, usd: float, tokens: int) -> "Future[bool]":
        """Move what is booked for a lost call into a hold, because its reply can still come."""
        return self._transact(
            lambda connection: reclaim_lost(connection, run, holder, usd=usd, tokens=tokens)
        )

    def close_budget(
        self, run: str, holder: int, *, lost_usd: float, lost_tokens: int
    ) -> "Future[None]":
        """Release all that a holder had, and book the calls whose replies were not seen."""
        return self._transact(
            lambda connection: release_hold(
                connection,
                run,
                holder,
                IN_FLIGHT_AT_STOP,
                lost_usd=lost_usd,
                lost_tokens=lost_tokens,
            )
        )

    # Claims

    def _locks(self) -> Claims:
        if self._claims is None:
            raise StoreError(f"{self.path}: is not open for writing")
        return self._claims

    def claim(self, identity: str) -> bool:
        """Claim a request for one call; return False while another call for it is in flight.

        The claim holds for all processes that use this ledger, and ends with the process.
        """
        return self._locks().claim(identity)

    @property
    def is_alone(self) -> bool:
        """True if no other process can have committed since this one opened the ledger."""
        return self._locks().is_alone

    def unclaim(self, identity: str) -> None:
        """Give up a claim, after the attempt is committed. Closing the ledger gives up all."""
        if self._claims is not None:
            self._claims.unclaim(identity)

    def claimed_by(self, identity: str) -> str:
        """Return who has claimed a request, in words."""
        owner = self._locks().claimant(identity)
        return "another call of this run" if owner is None else f"process {owner}"

    # Reading

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return list(self._stream(query, values))

    def _stream(self, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Yield the rows of a query; a damaged file is one line."""
        try:
            yield from self._reader.execute(query, values)
        except DAMAGE as error:
            raise self._explained(error) from error

    def recall(
        self, requests: Sequence[Request], ids: Sequence[str], model: str
    ) -> list[Attempt | None]:
        """Return the committed attempt of each id, in their order; None where there is none.

        A row that is not as it was written counts as none, and is noted. So does an older one
        where fresh answers are wanted: it stands until a new answer replaces it.
        """
        marks = ",".join("?" * len(ids))
        rows = self._rows(
            f"SELECT {', '.join(RECALLED_COLUMNS)} FROM attempts WHERE id IN ({marks})", ids
        )
        found = {
            row[0]: row
            for row in rows
            if (is_intact_attempt(row) or self._note_damage(row))
            and row[CREATED] >= self._fresh_from
        }
        return [
            None if row is None else _attempt(request, row, model)
            for request, row in (
                (request, found.get(identity))
                for request, identity in zip(requests, ids, strict=True)
            )
        ]

    def _note_damage(self, row: Sequence[Any]) -> Literal[False]:
        self._damaged += 1
        if self._damaged <= _NAMED_DAMAGES:
            self.note(f"{self.path}: {row[0]} is not as it was written; it is asked again")
        elif self._damaged == _NAMED_DAMAGES + 1:
            self.note(f"{self.path}: more such rows; orcinus ledger verify lists them")
        return False

    def known(self, ids: Sequence[str], *, settings: str | None = "") -> int:
        """Return how many of these ids need no further call.

        Args:
            ids: Of attempts.
            settings: The model's settings, as ``Remote`` has them: a permanent error of other ones
                is asked again. None asks every error again.
        """
        marks = ",".join("?" * len(ids))
        known = f"FROM attempts WHERE id IN ({marks}) AND created >= ?"
        values = [*ids, self._fresh_from]
        answers = int(self._rows(f"SELECT count(*) {known} AND error IS NULL", values)[0][0])
        if settings is None:
            return answers
        columns = ", ".join(RECALLED_COLUMNS)
        errors = self._stream(f"SELECT {columns} {known} AND permanent", values)
        return answers + sum(
            is_intact_attempt(row)
            and bool(orjson.loads(row[REPLY]).get("settings", "") == settings)
            for row in errors
        )

    def has_answer(self, run: str, step: str, model: str) -> bool:
        """Return whether any call of a step to a model was answered."""
        query = (
            "SELECT 1 FROM attempts WHERE run = ? AND step = ? AND model = ? AND error IS NULL "
            "LIMIT 1"
        )
        return bool(self._rows(query, (run, step, model)))

    def attempts(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield id, request and reply of every attempt; the latter two as JSON."""
        yield from self._stream("SELECT id, request, reply FROM attempts ORDER BY rowid")

    def spend(self, run: str | None = None) -> list[SpendRow]:
        """Return the spending by run, step, model and task, of one run or of all."""
        where, values = ("WHERE run = ?", (run,)) if run is not None else ("", ())
        names = list(SpendRow.__dataclass_fields__)
        columns = names if self._version != 1 else names[:-1]
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM spend {where} ORDER BY run, step, model, task",
            values,
        )
        return [SpendRow(**dict(zip(columns, row, strict=True))) for row in rows]

    def spent(self, run: str) -> tuple[float, int]:
        """Return the dollars and tokens of a run, with the worst case of calls lost in a kill."""
        try:
            return spent_by(self._reader, run)
        except DAMAGE as error:
            raise self._explained(error) from error

    def errors(self) -> list[tuple[str, str, int, int]]:
        """Return (model, class of error, number of attempts that end in it, permanent ones)."""
        query = """
            SELECT model, substr(error, 1, instr(error || ':', ':') - 1), count(*), sum(permanent)
            FROM attempts WHERE error IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 3 DESC
        """
        return [
            (str(model), str(kind), int(count), int(permanent))
            for model, kind, count, permanent in self._rows(query)
        ]

    def forget_errors(self, run: str | None = None) -> int:
        """Have all errors, or those of one run, asked again; return their number.

        What they cost stays booked.
        """
        of_run, values = (" AND run = ?", (run,)) if run is not None else ("", ())
        where = f"WHERE error IS NOT NULL{of_run}"
        hashed = ["0" if name == "permanent" else name for name in RECALLED_COLUMNS[:-1]]
        with _Transaction(self._reader, self.path, self._explained) as connection:
            connection.execute(
                f"UPDATE attempts SET permanent = 0, hash = row_hash({', '.join(hashed)}) {where}",
                values,
            )
            found = connection.execute(f"SELECT count(*) FROM attempts {where}", values).fetchone()
            state = count_commit(connection, uuid.uuid4().hex)
        self._mark.write(*state)
        return int(found[0])

    def latencies(self) -> list[Latency]:
        """Return percentiles of the time to a reply, by model."""
        query = """
            SELECT model, latency_s FROM attempts WHERE error IS NULL AND latency_s > 0
            ORDER BY model, latency_s
        """
        by_model: dict[str, list[float]] = {}
        for model, seconds in self._stream(query):
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
        (row,) = self._rows(
            """
            SELECT count(*), avg(tokens_in), avg(tokens_out),
                avg(tokens_out * tokens_out) - avg(tokens_out) * avg(tokens_out)
            FROM attempts WHERE model = ?1 AND error IS NULL
                AND iif(?2 IS NULL, strategy NOT GLOB 'judge: *', strategy = 'judge: ' || ?2)
            """,
            (model, judging),
        )
        return (
            None if not row[0] else (float(row[1]), float(row[2]), max(float(row[3]), 0.0) ** 0.5)
        )

    def verify(self) -> Iterator[str]:
        """Yield one line for each part that is not as it was written."""
        marked = self._mark.read()
        if self._version >= 2:
            problem = self._mark.explain(marked, *self._state())
            if problem is not None:
                yield f"{self.path}: {problem}"
        yield from problems_of(self._reader, self.path, hashed_rows=self._version >= 2)

    def export(self, path: Path) -> int:
        """Write all attempts to a Parquet file; return their number."""
        columns = (
            "id, run, step, task, example_id, strategy, model, sample, tokens_in, tokens_out, "
            "cost_usd, latency_s, error, created"
        )
        names = columns.split(", ")
        with tables.TableWriter(path, tables.CALLS) as writer:
            for *values, request, reply in self._stream(
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
        for statement in (
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "VACUUM",
            "PRAGMA wal_checkpoint(TRUNCATE)",
        ):
            self._rows(statement)
        return before, self.path.stat().st_size


class _Transaction:
    """A ``with`` block around one immediate transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        explained: Callable[[Exception], StoreError],
    ) -> None:
        self._connection, self._path, self._explained = connection, path, explained

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._explained(error) from error
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
                return
        except sqlite3.Error as problem:
            error = problem
        with suppress(sqlite3.Error):  # a full disk has rolled it back already
            self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise self._explained(error) from error


def _row(write: _Write) -> tuple[Any, ...]:
    """Return the values of ``ATTEMPT_COLUMNS``."""
    attempt = write.attempt
    usage = attempt.usage
    recalled = (
        attempt.id,
        write.run,
        write.step,
        attempt.task,
        attempt.example_id,
        attempt.strategy,
        attempt.model,
        attempt.sample,
        _reply(attempt),
        usage.tokens_in,
        usage.tokens_out,
        float(attempt.cost_usd),
        float(attempt.latency_s),
        attempt.error,
        int(attempt.permanent),
        time.time(),
        usage.tokens_unreported,
        b"",
    )
    return (*recalled[:_REQUEST], write.record, *recalled[_REQUEST:-1], attempt_hash(recalled))


def _reply(attempt: Attempt) -> bytes:
    """Return the reply as JSON without empty fields, which are usually half of them."""
    usage = attempt.usage
    reply: dict[str, Any] = {
        "text": attempt.text,
        "finish": attempt.finish,
        "usage": [usage.tokens_in, usage.tokens_out, usage.tokens_cached, usage.tokens_reasoning],
    }
    if usage.tokens_unreported:
        reply["usage"].append(usage.tokens_unreported)
    if attempt.reasoning is not None:
        reply["reasoning"] = attempt.reasoning
    if attempt.logprobs is not None:
        reply["logprobs"] = [round(value, 5) for value in attempt.logprobs]
    if attempt.token_bytes is not None:
        reply["token_bytes"] = attempt.token_bytes
    if attempt.source:
        reply["source"] = attempt.source
    if attempt.settings:
        reply["settings"] = attempt.settings
    return orjson.dumps(reply)


def _attempt(request: Request, row: tuple[Any, ...], model: str) -> Attempt:
    identity, _, _, _, _, _, _, _, reply_json, _, _, cost_usd, latency_s, error, *rest = row
    permanent, created, tokens_unreported, _ = rest
    reply = orjson.loads(reply_json)
    logprobs, token_bytes = reply.get("logprobs"), reply.get("token_bytes")
    tokens_in, tokens_out, tokens_cached, tokens_reasoning, *_ = reply["usage"]
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
            tokens_unreported=tokens_unreported,
        ),
        logprobs=None if logprobs is None else tuple(logprobs),
        token_bytes=None if token_bytes is None else tuple(token_bytes),
        cost_usd=cost_usd,
        latency_s=latency_s,
        error=error,
        permanent=bool(permanent),
        source=reply.get("source", ""),
        settings=reply.get("settings", ""),
        created=created,
    )


def _resolve(items: Iterable[_Write | _Work], error: StoreError | None) -> None:
    for item in items:
        if item.done.done():
            continue
        if error is None:
            item.done.set_result(item.result if isinstance(item, _Work) else None)
        else:
            item.done.set_exception(error)
