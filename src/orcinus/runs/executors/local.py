"""Shards one after the other in this process; in threads where the function says that they help."""

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
        """``fn`` of each shard, in order; see ``Executor``."""
        return _in_threads(fn, shards) if threaded else map(fn, shards)


def _in_threads(fn: Callable[[A], B], shards: Iterable[A]) -> Iterator[B]:
    workers = min(MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[B]] = deque()
        for shard in shards:
            under_way.append(pool.submit(fn, shard))
            if len(under_way) > workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


LOCAL: Executor = LocalExecutor()
"""What runs where nobody says otherwise."""
