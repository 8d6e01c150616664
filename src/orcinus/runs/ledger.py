"""The ledger: a SQLite file with every call to a model, shared by all runs of a workspace.

An attempt is committed with a full sync to disk before anything depends on it. One thread writes.
Attempts that arrive during a commit share the next one (group commit), so that 1,000 calls per
second cost a few dozen syncs.

``ledger_thread.py`` has the thread, ``ledger_records.py`` the form of an attempt and its id, and
``ledger_figures.py`` the sums. ``ledger_schema.py`` describes the tables, ``ledger_writing.py``
what a transaction writes, and ``ledger_checks.py`` how damage is found. Verdicts are not stored:
they follow from attempts, and a judge's replies are attempts too.
"""

import logging
import random
import sqlite3
import time
import uuid
from asyncio import Future
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import orjson

from orcinus.core.errors import StoreError
from orcinus.core.types import Attempt, Request
from orcinus.runs import ledger_figures
from orcinus.runs.claims import HOLDERS_FROM, Claims
from orcinus.runs.high_water import HighWater
from orcinus.runs.ledger_checks import problems_of, problems_of_spend
from orcinus.runs.ledger_figures import Latency, SpendRow
from orcinus.runs.ledger_records import attempt_of
from orcinus.runs.ledger_schema import (
    CREATED,
    DAMAGE,
    RECALLED_COLUMNS,
    REPLY,
    is_intact_attempt,
    migrate,
    row_hash,
)
from orcinus.runs.ledger_thread import CommitThread, Transaction
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
)

BUSY_TIMEOUT_S = 60.0
"""Seconds to wait while another process writes. Then SQLite reports that the file is locked."""
PAGE_BYTES = 8192
"""Bytes of a page: two usual attempts. Measured, 64 attempts in a commit: 55 instead of 64 µs an
attempt among 4,000, and 86 instead of 92 among 100,000 (4,096 bytes)."""
LOG_BYTES = 40_960_000
"""Bytes of the write-ahead log after which SQLite copies it into the file."""
_UNOPENED = ("SQLITE_CANTOPEN", "SQLITE_PROTOCOL")
"""Errors of a ledger whose write-ahead log, or its index, cannot be opened."""
_NAMED_DAMAGES = 3
"""Damaged rows that are named one by one; ``verify`` lists all."""


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
        self._commits: CommitThread | None = None
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
        self._commits = CommitThread(
            self._writer, self._mark, path, self._explained, fresh_from=self._fresh_from
        )

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
        if self._commits is not None:
            self._commits.close()
            self._commits = None
        if self._claims is not None:
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
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # A long log, because a checkpoint writes every changed page, and the pages of the
            # index change all the time.
            connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // PAGE_BYTES}")
            migrate(connection, self.path, may_be_old=marked is None)
        connection.execute("SELECT id FROM attempts LIMIT 1")
        return connection, int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _refuse_older_copy(self, marked: tuple[str, int] | None) -> None:
        problem = self._mark.explain(marked, *self._state())
        if problem is not None:
            raise StoreError(f"{self.path}: {problem}")

    def _state(self) -> tuple[str, int]:
        """Return the ledger's own id and the number of its commits; nothing where damaged."""
        for ledger, commits in self._rows("SELECT ledger, commits FROM state"):
            if isinstance(ledger, str) and isinstance(commits, int):
                return ledger, commits
        return "", 0

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

        All attempts of one commit share the future, which cannot be cancelled: a task that is
        cancelled while it waits for it ends once they are on disk.

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
        return self._thread().write(attempt, record, run, step, holder)

    def _thread(self) -> CommitThread:
        if self._commits is None:
            raise self._not_writable()
        return self._commits

    def _not_writable(self) -> StoreError:
        return StoreError(f"{self.path}: is not open for writing")

    # Budgets

    def open_budget(self, run: str) -> int:
        """Return a holder for the part of a run's budget that this process will have in flight.

        What processes held that have ended is booked as spent. So is what is missing in the sum of
        the run's spending.
        """
        claims = self._locks()
        holder = random.getrandbits(59)
        claims.take(HOLDERS_FROM + holder)
        with Transaction(self._reader, self.path, self._explained) as connection:
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
        return self._thread().transact(
            lambda connection: acquire_hold(
                connection, claims, run, holder, need=need, want=want, caps=caps
            )
        )

    def give_back(self, run: str, holder: int, *, usd: float, tokens: int) -> "Future[None]":
        """Give back a part of what a holder may have in flight."""
        return self._thread().transact(
            lambda connection: change_hold(connection, run, holder, usd=-usd, tokens=-tokens)
        )

    def reclaim_lost(self, run: str, holder: int, *, usd: float, tokens: int) -> "Future[bool]":
        """Move what is booked for a lost call into a hold, because its reply can still come."""
        return self._thread().transact(
            lambda connection: reclaim_lost(connection, run, holder, usd=usd, tokens=tokens)
        )

    def close_budget(
        self, run: str, holder: int, *, lost_usd: float, lost_tokens: int
    ) -> "Future[None]":
        """Release all that a holder had, and book the calls whose replies were not seen."""
        return self._thread().transact(
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
            raise self._not_writable()
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
            None if row is None else attempt_of(request, row, model)
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
        return ledger_figures.spend(self._stream, run, version=self._version)

    def spent(self, run: str) -> tuple[float, int]:
        """Return the dollars and tokens of a run, with the worst case of calls lost in a kill."""
        try:
            return spent_by(self._reader, run)
        except DAMAGE as error:
            raise self._explained(error) from error

    def errors(self) -> list[tuple[str, str, int, int]]:
        """Return (model, class of error, number of attempts that end in it, permanent ones)."""
        return ledger_figures.errors(self._stream)

    def latencies(self) -> list[Latency]:
        """Return percentiles of the time to a reply, by model."""
        return ledger_figures.latencies(self._stream)

    def mean_tokens(
        self, model: str, *, judging: str | None = None
    ) -> tuple[float, float, float] | None:
        """Return mean tokens read, and mean and standard deviation of tokens written.

        ``judging`` counts the model's calls as a judge of this kind; None counts all others. The
        result is None before the first answered call.
        """
        return ledger_figures.mean_tokens(self._stream, model, judging)

    def export(self, path: Path) -> int:
        """Write all attempts to a Parquet file; return their number."""
        return ledger_figures.export(self._stream, path)

    def forget_errors(self, run: str | None = None) -> int:
        """Have all errors, or those of one run, asked again; return their number.

        What they cost stays booked.
        """
        of_run, values = (" AND run = ?", (run,)) if run is not None else ("", ())
        where = f"WHERE error IS NOT NULL{of_run}"
        hashed = ["0" if name == "permanent" else name for name in RECALLED_COLUMNS[:-1]]
        with Transaction(self._reader, self.path, self._explained) as connection:
            connection.execute(
                f"UPDATE attempts SET permanent = 0, hash = row_hash({', '.join(hashed)}) {where}",
                values,
            )
            found = connection.execute(f"SELECT count(*) FROM attempts {where}", values).fetchone()
            state = count_commit(connection, uuid.uuid4().hex)
        self._mark.write(*state)
        return int(found[0])

    def verify(self) -> Iterator[str]:
        """Yield one line for each part that is not as it was written."""
        marked = self._mark.read()
        if self._version >= 2:
            problem = self._mark.explain(marked, *self._state())
            if problem is not None:
                yield f"{self.path}: {problem}"
        yield from problems_of(self._reader, self.path, hashed_rows=self._version >= 2)

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
