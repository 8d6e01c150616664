r"""Ask the library math-verify whether two expressions are equal, from a small pool of processes.

    submit(r"\int_0^1 x\,dx", r"\frac12").result()  →  Comparison(True, "the library math-verify")

The library may run for minutes and cannot be interrupted, so it runs in processes of its own
(``math_worker``). One that exceeds its time is ended and replaced, and the comparison has no
result. The processes start when they are first needed, and end with this one.
"""

import atexit
import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

WORKERS = 2
"""Processes, each with a thread here that waits for it. The library is needed for few rows."""
DEADLINE = 4.0
"""Seconds after which a worker counts as lost. Its own limits, of two seconds, come before."""
START_DEADLINE = 60.0
"""Seconds for a worker to import the library. Measured: 1 s on a free core."""
LONGEST = 2_000
"""Characters of an expression that is handed to the library."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing an answer with a reference, and how it was found."""

    same: bool | None
    """None if it could not be decided."""
    rule: str
    """What decided, or why nothing did."""


class _Worker:
    """One process and the pipes to it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends a run in order, and its last verdicts count
        )  # fmt: skip
        self.ready = False

    def read_word(self, seconds: float) -> str | None:
        """Return the next reply; None if the worker ended or the time is over."""
        pipe = self.process.stdout
        if pipe is None:
            return None
        received, until = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not received.endswith(b"\n"):
                left = until - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                piece = os.read(pipe.fileno(), 1024)
                if not piece:
                    return None
                received += piece
        return received.decode().strip()

    def ask(self, answer: str, reference: str) -> str | None:
        if self.process.stdin is None:
            return None
        try:
            self.process.stdin.write(json.dumps([answer, reference]).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return None
        return self.read_word(DEADLINE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class _Pool:
    """Threads that each hold a worker; a thread waits for its own worker only."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="math-verify")
        self._own = threading.local()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()

    def compare(self, answer: str, reference: str) -> Comparison:
        """Compare in this thread's worker; runs in ``threads`` only."""
        try:
            worker = self._worker()
        except OSError as error:
            return Comparison(None, f"cannot be compared: math-verify did not start ({error})")
        if not worker.ready:
            word = worker.read_word(START_DEADLINE)
            if word != "ready":
                self._discard(worker)
                why = "is not installed" if word == "missing" else "did not start"
                return Comparison(None, f"cannot be compared: the library math-verify {why}")
            worker.ready = True
        word = worker.ask(answer, reference)
        if word is None:
            self._discard(worker)
        if word in (None, "late"):
            return Comparison(None, "cannot be compared: the library math-verify took too long")
        if word == "unread":
            return Comparison(None, "cannot be compared: no rule and no library can read it")
        return Comparison(word == "yes", "the library math-verify")

    def _worker(self) -> _Worker:
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None:
            worker = self._own.worker = _Worker()
            with self._lock:
                self._workers.add(worker)
        return worker

    def _discard(self, worker: _Worker) -> None:
        self._own.worker = None
        with self._lock:
            self._workers.discard(worker)
        worker.close()

    def close(self) -> None:
        if os.getpid() != self.pid:  # a forked child holds copies of the parent's pipes
            return
        self.threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for worker in self._workers:
                worker.close()
            self._workers.clear()


_pool: _Pool | None = None
_pool_lock = threading.Lock()


def _find_pool() -> _Pool:
    global _pool
    with _pool_lock:
        if _pool is None or _pool.pid != os.getpid():
            _pool = _Pool()
            atexit.register(_pool.close)
        return _pool


def submit(answer: str, reference: str) -> "Future[Comparison]":
    """Start a comparison; its result comes within two seconds of a worker's time."""
    if max(len(answer), len(reference)) > LONGEST:
        done: Future[Comparison] = Future()
        done.set_result(Comparison(None, "cannot be compared: the expression is too long"))
        return done
    pool = _find_pool()
    return pool.threads.submit(pool.compare, answer, reference)
