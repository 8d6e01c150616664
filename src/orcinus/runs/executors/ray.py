"""Run shards on an existing Ray cluster, with the results in the order of the shards.

    shards ──► at most four per CPU in flight ──► results in the order of the shards

A shard is one Ray task. When a worker or node is killed, Ray runs its shards again elsewhere. The
function is sent once and unpickled once in each worker, because unpickling a student's tokenizer
takes as long as tokenizing hundreds of lessons.
"""

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any, TypeVar

from orcinus.core.errors import ConfigError, MissingExtraError, StepError

A = TypeVar("A")
B = TypeVar("B")
SHARDS_PER_CPU = 4
"""Shards in flight per CPU. Several, so that the others continue while one is slow or retried."""
RETRIES = 10
"""Retries of a shard whose worker was killed. Limited, because a shard can kill every worker."""
CONNECT_TIMEOUT_S = 10
"""Seconds to wait for the cluster's port. Ray itself would wait more than 30."""


class RayExecutor:
    """The Executor of a Ray cluster. Its nodes need the same version of orcinus."""

    def __init__(self, address: str | None = None) -> None:
        """Connect, unless this process is already connected.

        Args:
            address: ``HOST:PORT`` of the head, ``ray://HOST:PORT`` of a Ray client server, or
                ``auto``. None is the cluster that ``RAY_ADDRESS`` names or that this machine
                belongs to, or else a new one on this machine alone.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: No cluster can be reached at ``address``.
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
                raise ConfigError(
                    f"--executor ray, address {address}: no Ray cluster can be reached: "
                    f"{_first_line(error)}"
                ) from error

    def map(
        self,
        fn: Callable[[A], B],
        shards: Iterable[A],
        *,
        threaded: bool = False,
        processes: bool = False,
    ) -> Iterator[B]:
        """Yield ``fn`` of each shard, in the order of the shards; see ``Executor``.

        Raises:
            StepError: A shard lost its worker more than ``RETRIES`` times.
        """
        import ray

        task = ray.remote(_run).options(num_cpus=1, max_retries=RETRIES)
        sent = [ray.put(fn)]  # in a list, so that Ray passes the reference and not the function
        window = SHARDS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        in_flight: deque[Any] = deque()
        for shard in shards:
            in_flight.append(task.remote(_installed_version(), sent, shard))
            if len(in_flight) > window:
                yield _result(in_flight.popleft())
        while in_flight:
            yield _result(in_flight.popleft())


def _refuse_unreachable(address: str) -> None:
    """Refuse an address where no server listens, before Ray starts to wait for one."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--executor ray:{address}: no Ray cluster can be reached: {error}"
        ) from error


def _run(version: str, sent: list[Any], shard: Any) -> Any:
    """Compute one shard in a worker."""
    here = _installed_version()
    if version != here:
        raise ConfigError(
            f"a Ray node has orcinus {here}, but this run uses {version}; install the same version "
            "on all nodes"
        )
    return _function(sent[0])(shard)


def _installed_version() -> str:
    try:
        return metadata.version("orcinus")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "of unknown version"


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
        raise StepError(
            f"the Ray cluster lost a shard, also after {RETRIES} retries: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
