"""Run shards on this machine: in this process, in its threads, or in processes of their own."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from orcinus.core.protocols import Executor
from orcinus.runs.executors.processes import SERVER, cores, map_in_processes

A = TypeVar("A")
B = TypeVar("B")
MAX_THREADS = 8


class LocalExecutor:
    """The Executor of this machine."""

    def __init__(self, workers: int | None = None) -> None:
        """Choose the number of worker processes.

        Args:
            workers: 1 starts none; None takes as many as there are cores.
        """
        self._workers = workers

    @property
    def workers(self) -> int:
        """The number of worker processes."""
        return self._workers or cores()

    def map(
        self,
        fn: Callable[[A], B],
        shards: Iterable[A],
        *,
        threaded: bool = False,
        processes: bool = False,
    ) -> Iterator[B]:
        """Yield ``fn`` of each shard, in the order of the shards; see ``Executor``."""
        workers = self.workers
        if processes and workers > 1:
            return map_in_processes(fn, shards, workers=workers)
        if threaded and workers > 1:
            return _in_threads(fn, shards, min(MAX_THREADS, workers))
        return map(fn, shards)


def _in_threads(fn: Callable[[A], B], shards: Iterable[A], workers: int) -> Iterator[B]:
    with ThreadPoolExecutor(workers) as pool:
        in_flight: deque[Future[B]] = deque()
        for shard in shards:
            in_flight.append(pool.submit(fn, shard))
            if len(in_flight) > workers:
                yield in_flight.popleft().result()
        while in_flight:
            yield in_flight.popleft().result()


def has_workers(executor: Executor) -> bool:
    """Return True where an executor runs shards elsewhere than in this process."""
    return not isinstance(executor, LocalExecutor) or executor.workers > 1


def warm_up(executor: Executor, module: str) -> None:
    """Start what an executor's worker processes are forked from, which imports a module.

    A later ``map`` with ``processes`` need not wait for that.
    """
    if isinstance(executor, LocalExecutor) and executor.workers > 1:
        SERVER.warm_up(module)


LOCAL: Executor = LocalExecutor()
"""The default executor."""
