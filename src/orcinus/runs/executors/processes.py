"""Run shards in worker processes on this machine, with the results in the order of the shards.

    shards ──► one worker for each core ──► results in the order of the shards

Each worker belongs to a thread, which sends it one shard at a time. When a worker is killed, its
thread starts another one, and that shard is done again, once. Workers are forks, of a process that
was started for that and not of this one: the ledger's thread runs here, and a user's script must
not run twice.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from orcinus.core.errors import StepError
from orcinus.runs.executors.worker import PROTOCOL, READY, write_function

A = TypeVar("A")
B = TypeVar("B")
_START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = sys.argv[2:]; "
    "from orcinus.runs.executors.worker import main; main()"
)
"""What a fork server runs. Ctrl-C is left to this process, which ends it."""

_NOT_STARTED = "no worker process can be started ({}); run again with --executor local:1"
_GONE = (EOFError, ConnectionError, pickle.UnpicklingError)
"""Errors of asking a process that has ended."""
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Environment of a fork server. A fork of several threads would be unsafe, and there is a worker
for each core. Importing Arrow starts a thread for its second allocator, which is not used."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_processes(fn: Callable[[A], B], shards: Iterable[A], *, workers: int) -> Iterator[B]:
    """Yield ``fn`` of each shard, in the order of the shards.

    Args:
        fn: Pure, and picklable with what it holds. While workers are warmed up, it runs here.
        shards: Read lazily, at most two for each worker ahead of the results taken.
        workers: Processes.

    Raises:
        StepError: A shard ended two workers.
    """
    with SERVER.held(), tempfile.TemporaryDirectory(prefix="orcinus-") as folder:
        write_function(fn, Path(folder))
        crew = _Crew(Path(folder), workers)
        in_flight: deque[Future[B]] = deque()
        try:
            for shard in shards:
                if not in_flight and SERVER.is_importing():
                    yield fn(shard)  # this process would wait for the workers
                    continue
                in_flight.append(crew.submit(shard))
                if len(in_flight) > 2 * workers:
                    yield in_flight.popleft().result()
            while in_flight:
                yield in_flight.popleft().result()
        finally:
            crew.stop()


class _Crew:
    """The workers of one ``map_in_processes``, one for each thread of a pool."""

    def __init__(self, function: Path, workers: int) -> None:
        self._function = function
        self._pool = ThreadPoolExecutor(workers)
        self._mine = threading.local()
        self._all: list[_Worker] = []
        self._lock = threading.Lock()
        self._is_stopped = False

    def submit(self, shard: Any) -> Future[Any]:
        """Send a shard to the next worker that is free."""
        return self._pool.submit(self._run, shard)

    def _run(self, shard: Any) -> Any:
        """Return the function of a shard, from this thread's worker.

        Raises:
            StepError: Two workers ended on it.
        """
        codes: list[int] = []
        while len(codes) < 2:
            worker = self._worker()
            try:
                return worker.ask(shard)
            except WorkerEndedError:
                self._mine.worker = None
                codes.append(worker.end())
        raise StepError(
            f"two worker processes ended on the same rows ({_how(codes[-1])}): {shard}; "
            "run again with fewer workers: --executor local:1"
        )

    def _worker(self) -> "_Worker":
        """Return this thread's worker, started where there is none."""
        worker: _Worker | None = getattr(self._mine, "worker", None)
        if worker is None:
            with self._lock:
                if self._is_stopped:
                    raise StepError("the step was stopped")
                worker = _Worker(self._function)
                self._all.append(worker)
            self._mine.worker = worker
        return worker

    def stop(self) -> None:
        """End all workers, and the threads that wait for them."""
        with self._lock:
            self._is_stopped = True
            for worker in self._all:
                worker.end()
        self._pool.shutdown(cancel_futures=True)
        for worker in self._all:
            worker.close()


class WorkerEndedError(Exception):
    """A worker process ended before it answered."""


class _Worker:
    """A process that answers shards with a function."""

    def __init__(self, function: Path) -> None:
        self._number, self._socket = SERVER.fork(function)
        self._stream = self._socket.makefile("rwb")
        self._code: int | None = None

    def ask(self, shard: Any) -> Any:
        """Return the function of a shard, or raise its error.

        Raises:
            WorkerEndedError: The process ended.
        """
        try:
            pickle.dump(shard, self._stream, PROTOCOL)
            self._stream.flush()
            is_done, answer = pickle.load(self._stream)
        except _GONE as error:
            raise WorkerEndedError from error
        if is_done:
            return answer
        raise answer

    def end(self) -> int:
        """End the process if it has not ended, and return how it did, as ``Popen.returncode``."""
        if self._code is None:
            self._code = SERVER.end(self._number)
            with suppress(OSError):  # it is closed on the other side
                self._socket.shutdown(socket.SHUT_RDWR)  # who reads from it returns
        return self._code

    def close(self) -> None:
        """Close the socket, once no thread reads from it."""
        with suppress(ConnectionError), self._stream:  # a shard may wait in it that nobody reads
            pass
        self._socket.close()


class _ForkServer:
    """The process whose forks the workers are; it runs while someone holds it and needs it.

    It imports from the same places as this process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket
        self._answers: IO[bytes]
        self._path: list[str] = []
        self._is_ready = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the process run on between two maps; it ends with the last who holds it."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._end()

    def warm_up(self, module: str) -> None:
        """Start the process if it does not run, and import a module there meanwhile."""
        with self._lock:
            if self._holders:
                self._start(module)

    def is_importing(self) -> bool:
        """Return True between ``warm_up`` and the end of the import."""
        with self._lock:
            if self._process is None or self._is_ready:
                return False
            try:
                self._control.recv(len(READY), socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            return False

    def fork(self, function: Path) -> tuple[int, socket.socket]:
        """Start a worker for the function in a folder; return its number and a socket to it.

        Raises:
            StepError: None can be started.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                return self._forked(os.fsencode(function), theirs), ours
        except BaseException:
            ours.close()
            raise

    def end(self, worker: int) -> int:
        """End a worker and return how it ended."""
        with self._lock, suppress(*_GONE):
            if self._process is not None:
                return self._ask(b"%d" % worker)
        return -signal.SIGKILL  # as all workers are whose fork server was killed

    def _forked(self, function: bytes, theirs: socket.socket) -> int:
        for _ in range(2):  # the process ends where nobody asks for long, or it was killed
            self._start()
            try:
                return self._ask(function, theirs)
            except _GONE:
                self._end()
            except OSError as error:
                raise StepError(_NOT_STARTED.format(error)) from error
        raise StepError(_NOT_STARTED.format("what they are forked from ended"))

    def _ask(self, request: bytes, *sockets: socket.socket) -> int:
        """Send a request and return the number that answers it, or raise the error."""
        socket.send_fds(self._control, [request], [one.fileno() for one in sockets])
        if not self._is_ready:
            self._answers.read(len(READY))
            self._is_ready = True
        is_done, answer = pickle.load(self._answers)
        if is_done:
            number: int = answer
            return number
        raise answer

    def _start(self, module: str = "") -> None:
        """Start the process, unless it runs and imports from where this one does."""
        path = [str(Path(place).absolute()) for place in sys.path]
        is_running = self._process is not None and self._process.poll() is None
        if is_running and self._path == path:
            return
        self._end()
        self._control, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, module, *path],
                    stdin=theirs.fileno(),
                    env={**os.environ, **_ONE_THREAD},
                )
            except OSError as error:
                self._control.close()
                raise StepError(_NOT_STARTED.format(error)) from error
        self._path, self._answers = path, self._control.makefile("rb")
        self._is_ready = False

    def _end(self) -> None:
        if self._process is not None:
            self._answers.close()
            self._control.close()
            with self._process as process:
                process.kill()
            self._process = None


SERVER = _ForkServer()
"""The fork server of this process, for all its maps."""


def _how(code: int) -> str:
    """Say how a process ended."""
    if code == -signal.SIGKILL:
        return "killed, perhaps because memory ran out"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
