"""Shards on a Ray cluster that exists already: the same results in the same order, whatever the number of workers.

    shards ──► at most four a CPU under way ──► results in the order of the shards

A shard is one Ray task. A worker or node that is killed costs the shards that it had: Ray runs them again elsewhere, and nobody
notices but the clock. The function is sent once and unpacked once in each worker: a student's tokenizer takes as long to
unpack as hundreds of lessons take to tokenise.
"""

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, TypeVar

from orcinus import __version__
from orcinus.core.errors import ConfigError, MissingExtraError, StepError

A = TypeVar("A")
B = TypeVar("B")
SHARDS_PER_CPU = 4
"""Under way at once, so that one slow shard, or one that is run again, does not stop the others."""
RETRIES = 10
"""How often a shard is run again whose worker was killed. One that kills every worker would go on for ever."""


class RayExecutor:
    """The Executor of a Ray cluster. Its nodes need the same orcinus installed."""

    def __init__(self, address: str | None = None) -> None:
        """Connect, unless this process is connected already.

        Args:
            address: ``HOST:PORT`` of the head, ``ray://HOST:PORT`` of a Ray client server, or ``auto``; None is the cluster that
                ``RAY_ADDRESS`` names or this machine is part of, or else a new one of this machine alone.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: There is no cluster at ``address``.
        """
        if find_spec("ray") is None:
            raise MissingExtraError("an executor on a Ray cluster", "ray")
        import ray

        if address is not None:
            _refuse_unreachable(address)
        if not ray.is_initialized():
            try:
                ray.init(address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
                first = (
                    str(error).strip().splitlines()[0]
                    if str(error).strip()
                    else type(error).__name__
                )
                raise ConfigError(
                    f"--executor ray, address {address}: no Ray cluster can be reached: {first}"
                ) from error

    def map(
        self, fn: Callable[[A], B], shards: Iterable[A], *, threaded: bool = False
    ) -> Iterator[B]:
        """``fn`` of each shard, in order; see ``Executor``.

        Raises:
            StepError: A shard's worker was lost again and again.
        """
        import ray

        task = ray.remote(_run).options(num_cpus=1, max_retries=RETRIES)
        sent = [ray.put(fn)]  # in a list, so that Ray hands on the reference and not the function
        window = SHARDS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        under_way: deque[Any] = deque()
        for shard in shards:
            under_way.append(task.remote(__version__, sent, shard))
            if len(under_way) > window:
                yield _result(under_way.popleft())
        while under_way:
            yield _result(under_way.popleft())


def _refuse_unreachable(address: str) -> None:
    """Look whether anybody listens: Ray itself waits for more than half a minute before it says so."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--executor ray:{address}: no Ray cluster can be reached: {error}"
        ) from error


def _run(version: str, sent: list[Any], shard: Any) -> Any:
    """What a worker does with one shard."""
    if version != __version__:
        raise ConfigError(
            f"a Ray node has orcinus {__version__}, but this run is of {version}; install the same on all"
        )
    return _function(sent[0])(shard)


@lru_cache(maxsize=2)
def _function(reference: Any) -> Callable[[Any], Any]:
    import ray

    fetched: Callable[[Any], Any] = ray.get(reference)
    return fetched


def _result(reference: Any) -> Any:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise (error.cause or error) from None
    except RayError as error:
        first = str(error).strip().splitlines()[0]
        raise StepError(
            f"a shard was lost on the Ray cluster, {RETRIES} more tries included: {first}"
        ) from error
