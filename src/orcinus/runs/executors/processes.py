"""Run shards in worker processes on this machine, with the results in the order of the shards.

    shards ──► one worker for each core ──► results in the order of the shards

Each worker belongs to a thread, which sends it one shard at a time. When a worker is killed, its
thread starts another one, and that shard is done again, once. Workers are new processes and no
forks: the ledger's thread runs here, and a user's script must not run twice.
"""

import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from orcinus.core.errors import StepError
from orcinus.runs.executors.worker import PROTOCOL, write_function

A = TypeVar("A")
B = TypeVar("B")
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from orcinus.runs.executors.worker import main; main()"
)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_processes(fn: Callable[[A], B], shards: Iterable[A], *, workers: int) -> Iterator[B]:
    """Yield ``fn`` of each shard, in the order of the shards.

    Args:
        fn: Pure, and picklable with what it holds.
        shards: Read lazily, at most two for each worker ahead of the results taken.
        workers: Processes.

    Raises:
        StepError: A shard ended two workers.
    """
    with tempfile.TemporaryDirectory(prefix="orcinus-") as folder:
        write_function(fn, Path(folder))
        crew = _Crew(Path(folder))
        pool = ThreadPoolExecutor(workers)
        in_flight: deque[Future[B]] = deque()
        try:
            for shard in shards:
                in_flight.append(pool.submit(crew.run, shard))
                if len(in_flight) > 2 * workers:
                    yield in_flight.popleft().result()
            while in_flight:
                yield in_flight.popleft().result()
        finally:
            crew.stop()
            pool.shutdown(cancel_futures=True)


class _Crew:
    """The workers of one ``map_in_processes``, one for each thread that asks."""

    def __init__(self, function: Path) -> None:
        self._function = function
        self._mine = threading.local()
        self._all: list[_Worker] = []
        self._lock = threading.Lock()
        self._is_stopped = False

    def run(self, shard: Any) -> Any:
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
                codes.append(worker.process.wait())
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
        """End all workers; the threads that wait for one return."""
        with self._lock:
            self._is_stopped = True
            for worker in self._all:
                worker.process.kill()
        for worker in self._all:
            with suppress(BrokenPipeError), worker.process:
                pass


class WorkerEndedError(Exception):
    """A worker process ended before it answered."""


class _Worker:
    """A process that answers shards with a function. It imports from the same places as this one.

    Arrow and NumPy get one thread in it, as there is a worker for each core.
    """

    def __init__(self, function: Path) -> None:
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            raise StepError(
                f"no worker process can be started ({error}); run again with --executor local:1"
            ) from error
        self._to = cast("IO[bytes]", self.process.stdin)
        self._from = cast("IO[bytes]", self.process.stdout)
        with suppress(BrokenPipeError):  # the first shard finds that out
            self._send([str(Path(place).absolute()) for place in sys.path])
            self._send(function)

    def ask(self, shard: Any) -> Any:
        """Return the function of a shard, or raise its error.

        Raises:
            WorkerEndedError: The process ended.
        """
        try:
            self._send(shard)
            is_done, answer = pickle.load(self._from)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise WorkerEndedError from error
        if is_done:
            return answer
        raise answer

    def _send(self, message: Any) -> None:
        pickle.dump(message, self._to, PROTOCOL)
        self._to.flush()


def _how(code: int) -> str:
    """Say how a process ended."""
    if code == -9:
        return "killed, perhaps because memory ran out"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
