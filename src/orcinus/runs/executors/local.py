"""Run shards in this process: one after the other, or in threads where the caller allows them."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from orcinus.core.protocols import Executor

A = TypeVar("A")
B = TypeVar("B")
MAX_THREADS = 8


class LocalExecutor:
    """The Executor of this process."""

    def map(
        self, fn: Callable[[A], B], shards: Iterable[A], *, threaded: bool = False
    ) -> Iterator[B]:
        """Yield ``fn`` of each shard, in the order of the shards; see ``Executor``."""
        return _in_threads(fn, shards) if threaded else map(fn, shards)


def _in_threads(fn: Callable[[A], B], shards: Iterable[A]) -> Iterator[B]:
    workers = min(MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        in_flight: deque[Future[B]] = deque()
        for shard in shards:
            in_flight.append(pool.submit(fn, shard))
            if len(in_flight) > workers:
                yield in_flight.popleft().result()
        while in_flight:
            yield in_flight.popleft().result()


LOCAL: Executor = LocalExecutor()
"""The default executor."""
