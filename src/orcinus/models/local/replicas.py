"""A local model in several copies on a Ray cluster, each with its own GPU (or core).

    request ──► the copy with the fewest requests ──► its answer
    a copy dies ──► its requests go to the others, and a new copy starts

Each copy opens the model as a single process would (``open_local``): with vLLM installed and a GPU,
behind vLLM's server. The answer does not depend on the copy: a greedy answer does not depend on the
rest of the batch, and a sampled one depends only on its seed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orcinus.core.errors import CompleterError, ConfigError, StepError
from orcinus.core.protocols import Completer
from orcinus.core.requests import chat_request
from orcinus.core.types import Completion, Message, Request, Sampling, Traits, WorstCase
from orcinus.models.bounds import free_call
from orcinus.models.local import open_local
from orcinus.models.local.config import LocalConfig, local_identity

TRIES = 5
"""Copies that may die during one request. A request that kills each copy would never end."""
IDLE_S = 2.0
"""Seconds without a request after which the copies free their resources: evaluation opens several
students, one after the other."""
START_S = 600.0
"""Seconds for a copy to get its resources and read its weights."""


@dataclass(slots=True, eq=False)
class _Copy:
    """One copy of the model, seen from the process that uses it."""

    actor: Any
    in_flight: int = 0


class Replicas:
    """The Completer of a ``LocalConfig`` whose model is held by Ray actors.

    Every node must be able to read the model's folder.
    """

    def __init__(
        self,
        config: LocalConfig,
        *,
        replicas: int,
        device: str = "auto",
        note: Callable[[str], None] | None = None,
    ) -> None:
        """Find the model; the first request starts the copies.

        The process must be connected to a Ray cluster.

        Args:
            config: The model, its paths resolved.
            replicas: Number of copies.
            device: Device of each copy; ``auto`` is a GPU if the cluster has one.
            note: Gets the lines that the first copy has for the user.

        Raises:
            ConfigError: The path is no model.
        """
        self._config, self._count, self._device = config, replicas, device
        self._note, self._noted = note, False
        self._identity = local_identity(config, Path())
        self._copies: list[_Copy] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failure: Exception | None = None
        self._open_requests = 0
        self._idle: asyncio.TimerHandle | None = None

    @property
    def model(self) -> str:
        """Hash of the weights, or hub id and revision: the same as in a single process."""
        return self._identity

    @property
    def traits(self) -> Traits:
        """Its copies continue partial replies."""
        return Traits(continues=True)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs no money."""
        return free_call(request)

    async def complete(self, request: Request) -> Completion:
        """Send the request to the copy with the fewest in flight; if it dies, to another.

        Raises:
            CompleterError: Several copies died during this request.
            ConfigError: The model cannot be loaded on a node.
            StepError: No copy could be started.
        """
        if self._idle is not None:
            self._idle.cancel()
        self._open_requests += 1
        try:
            return await self._try_copies(request)
        finally:
            self._open_requests -= 1
            if not self._open_requests:
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._release)

    async def _try_copies(self, request: Request) -> Completion:
        from ray.exceptions import RayActorError, RayTaskError

        for _ in range(TRIES):
            copy = await self._least_loaded()
            copy.in_flight += 1
            try:
                answer: Completion = await copy.actor.complete.remote(request)
                return answer
            except RayActorError:
                self._replace(copy)
            except RayTaskError as error:
                raise (error.cause or error) from None
            finally:
                copy.in_flight -= 1
        raise CompleterError(
            "server", f"{TRIES} copies of the model died during this request, one after the other"
        )

    async def aclose(self) -> None:
        """Stop the copies and free their resources."""
        if self._idle is not None:
            self._idle.cancel()
        starting = tuple(self._starting)
        self._release()
        await asyncio.gather(*starting, return_exceptions=True)

    def _release(self) -> None:
        import ray

        for task in self._starting:
            task.cancel()
        while self._copies:
            ray.kill(self._copies.pop().actor)
        self._failure = None

    async def _least_loaded(self) -> _Copy:
        """Return the copy with the fewest requests in flight; wait for one if there is none."""
        if not self._copies and not self._starting:
            for _ in range(self._count):
                self._add_copy()
        while not self._copies:
            if not self._starting and self._failure is not None:
                raise self._failure
            self._changed.clear()
            await self._changed.wait()
        return min(self._copies, key=lambda copy: copy.in_flight)

    def _replace(self, copy: _Copy) -> None:
        """Start a new copy in place of a dead one, once, however many of its requests failed."""
        if copy in self._copies:
            self._copies.remove(copy)
            self._add_copy()

    def _add_copy(self) -> None:
        task = asyncio.create_task(self._start_copy())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        task.add_done_callback(lambda _: self._changed.set())

    async def _start_copy(self) -> None:
        """Start one copy and add it once it is ready."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        gpus = int(
            self._device != "cpu"
            and (self._device != "auto" or ray.cluster_resources().get("GPU", 0) > 0)
        )
        device = "cuda" if gpus else "cpu"
        actor = ray.remote(_Replica).options(num_cpus=1, num_gpus=gpus, max_concurrency=4096)
        copy = _Copy(actor.remote(self._config, device, self._identity))
        try:
            notes = await asyncio.wait_for(copy.actor.ready.remote(), START_S)
        except TimeoutError:
            ray.kill(copy.actor)
            self._failure = StepError(
                f"a copy of the model did not start within {START_S:.0f} s: it needs a CPU and "
                f"{gpus} GPU of its own; the cluster is full or too small for --replicas"
            )
        except RayTaskError as error:
            self._failure = error.cause or error
        except RayError as error:
            first = str(error).strip().splitlines()[0]
            self._failure = StepError(
                f"a copy of the model could not be started on the Ray cluster: {first}"
            )
        except asyncio.CancelledError:
            ray.kill(copy.actor)
            raise
        else:
            self._copies.append(copy)
            if self._note is not None and not self._noted:
                self._noted = True
                for text in notes:
                    self._note(text)


class _Replica:
    """One copy, in its own process on some node."""

    def __init__(self, config: LocalConfig, device: str, identity: str) -> None:
        self._config, self._device, self._identity = config, device, identity
        self._model: Completer | None = None

    async def ready(self) -> list[str]:
        """Open the model, check its identity, and write one token so that the weights are read.

        Returns:
            Lines for the user.

        Raises:
            ConfigError: Another model lies at this path on this node.
        """
        found = local_identity(self._config, Path())
        if found != self._identity:
            raise ConfigError(
                f"{self._config.path}: a Ray node has another model at this path; "
                "put the folder on a shared disk"
            )
        notes: list[str] = []
        self._model = open_local(self._config, self._device, notes.append)
        question = (Message(role="user", content="?"),)
        await self._model.complete(chat_request(question, Sampling(max_tokens=1)))
        return notes

    async def complete(self, request: Request) -> Completion:
        """Answer, in one batch with the copy's other requests."""
        if self._model is None:
            raise ConfigError("a copy of the model got a request before it was ready")
        return await self._model.complete(request)
