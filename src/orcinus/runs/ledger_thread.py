"""The thread that commits what is written to the ledger: many writes share one sync to disk.

write(attempt, …)   ─┐
write(attempt, …)   ─┼─► a group: one transaction, synced ──► its future is done, and each work's
transact(acquire)   ─┘
"""

import queue
import sqlite3
import threading
import time
import uuid
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from orcinus.core.errors import StoreError
from orcinus.core.types import Attempt
from orcinus.runs.high_water import HighWater
from orcinus.runs.ledger_records import attempt_row
from orcinus.runs.ledger_writing import change_hold, count_commit, store_attempts

T = TypeVar("T")

FEW = 64
"""Writes. When fewer are queued, a commit waits ``GATHER_S`` for more to share its sync. Measured
with 256 calls in flight, medians of three runs of 4,000: 82 commits instead of 118 (8 writes), and
77 µs of the ledger's thread for a call instead of 90."""
GATHER_S = 0.01
"""Seconds. A server's call counts as in flight while its write waits. Measured for an evaluation
with 64 calls in flight on an idle machine, in two runs: 0.26 and 0.39 CPU-seconds per 1,000 calls
instead of 0.56 and 0.56 (0.002 s: 0.49 and 0.53; 0.004 s: 0.41 and 0.53)."""
COMMIT_LIMIT = 2048
"""Attempts in one transaction, at most: about 8 MiB."""


class _Commit(Future[None]):
    """The commit of a group, which goes on where a task that waits for it is cancelled."""

    __slots__ = ()

    def cancel(self, msg: object = None) -> bool:
        """Do nothing: a reply that has arrived is not lost."""
        return False


class Write(NamedTuple):
    """An attempt to store."""

    attempt: Attempt
    record: bytes
    run: str
    step: str
    holder: int | None


@dataclass(slots=True)
class Work:
    """Something to do in a transaction, and what came of it."""

    work: Callable[[sqlite3.Connection], Any]
    result: Any
    loop: AbstractEventLoop
    done: "Future[Any]"


class _Group:
    """What is done in one transaction."""

    __slots__ = ("commits", "works", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.works: list[Work] = []
        self.commits: dict[AbstractEventLoop, _Commit] = {}
        """The future of the writes, for each event loop that has some."""


class CommitThread:
    """Commits groups until it is closed; the first failure is that of all later writes too."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        mark: HighWater,
        path: Path,
        explained: Callable[[Exception], StoreError],
        *,
        fresh_from: float,
    ) -> None:
        """Commit by ``connection``.

        Args:
            connection: The thread's own from now on.
            mark: Receives the number of commits.
            path: The ledger's file.
            explained: Makes a line of an error of SQLite.
            fresh_from: Seconds since the epoch; a new attempt replaces older ones.
        """
        self._connection, self._mark, self._path = connection, mark, path
        self._explained, self._fresh_from = explained, fresh_from
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._open: _Group | None = None
        """The last group, while it still takes writes."""
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failure: StoreError | None = None

    def write(
        self, attempt: Attempt, record: bytes, run: str, step: str, holder: int | None
    ) -> "Future[None]":
        """Queue an attempt; see ``Ledger.commit``."""
        loop = get_running_loop()
        with self._guard:
            group = self._open_group()
            group.writes.append(Write(attempt, record, run, step, holder))
            done = group.commits.get(loop)
            if done is None:
                done = group.commits[loop] = _Commit(loop=loop)
        return done

    def transact(self, work: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Queue ``work`` for the next transaction; return the future of its result."""
        loop = get_running_loop()
        done: Future[Any] = loop.create_future()
        with self._guard:
            self._open_group().works.append(Work(work, None, loop, done))
        return done

    def close(self) -> None:
        """Commit what is queued, end the thread and close its connection."""
        if self._thread is not None:
            self._groups.put(None)
            self._thread.join()
            self._thread = None
        self._connection.close()

    def _open_group(self) -> _Group:
        """Return the group that takes the next write; call it with the guard."""
        if self._failure is not None:
            raise self._failure
        if self._thread is None:
            thread = threading.Thread(target=self._write_loop, name="ledger", daemon=True)
            thread.start()
            self._thread = thread
        if self._open is None or len(self._open.writes) == COMMIT_LIMIT:
            self._open = _Group()
            self._groups.put(self._open)
        return self._open

    def _write_loop(self) -> None:
        while (group := self._groups.get()) is not None:
            if len(group.writes) < FEW:
                time.sleep(GATHER_S)
            with self._guard:
                if self._open is group:
                    self._open = None
            self._write_group(group)

    def _write_group(self, group: _Group) -> None:
        """Commit a group and resolve its futures; every one hears of whatever fails."""
        if self._failure is None:
            try:
                self._commit_group(group)
            except Exception as error:  # noqa: BLE001 (set on the futures)
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                self._failure = error if isinstance(error, StoreError) else self._explained(error)
        by_loop: dict[AbstractEventLoop, list[tuple[Future[Any], Any]]] = {
            loop: [(done, None)] for loop, done in group.commits.items()
        }
        for work in group.works:
            by_loop.setdefault(work.loop, []).append((work.done, work.result))
        for loop, results in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed: no one waits
                loop.call_soon_threadsafe(_resolve, results, self._failure)

    def _commit_group(self, group: _Group) -> None:
        rows = [
            attempt_row(item.attempt, item.record, item.run, item.step) for item in group.writes
        ]
        spent: dict[tuple[str, int], list[Any]] = {}
        for item in group.writes:
            if item.holder is not None:
                amounts = spent.setdefault((item.run, item.holder), [0.0, 0])
                amounts[0] += item.attempt.cost_usd
                amounts[1] += item.attempt.usage.total
        with Transaction(self._connection, self._path, self._explained):
            store_attempts(self._connection, rows, fresh_from=self._fresh_from)
            for (run, holder), (usd, tokens) in spent.items():
                change_hold(self._connection, run, holder, usd=-usd, tokens=-tokens)
            for work in group.works:
                work.result = work.work(self._connection)
            state = count_commit(self._connection, uuid.uuid4().hex)
        self._mark.write(*state)


class Transaction:
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


def _resolve(results: Sequence[tuple["Future[Any]", Any]], error: StoreError | None) -> None:
    for done, result in results:
        if done.done():
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)
