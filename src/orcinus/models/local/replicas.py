"""A local model in several copies on a Ray cluster, each on a GPU (or core) of its own.

    request ──► the copy with the fewest requests ──► its answer          a copy dies: its requests go to the others, a new one starts

Each copy opens the model as a single process would: behind vLLM's server where that is installed and a GPU is there.
Which copy answers changes nothing: a greedy answer does not depend on the rest of the batch, and a sampled one depends
on its own seed.
"""

import asyncio
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
"""Copies that may die under one request. One that kills every copy would go on for ever."""
IDLE_S = 2.0
"""Copies that nobody asks give their places back: evaluation opens several students, one after the other."""
START_S = 600.0
"""How long a copy may take to find its place and read its weights."""


@dataclass(slots=True, eq=False)
class _Copy:
    """One copy of the model, as seen from here."""

    actor: Any
    in_flight: int = 0


class Replicas:
    """The Completer of a ``LocalConfig`` whose model is held by Ray actors. The model's folder must be seen from every node."""

    def __init__(self, config: LocalConfig, *, replicas: int, device: str = "auto") -> None:
        """Find the model; its copies are started at the first question. The process is connected to a Ray cluster.

        Args:
            config: The model.
            replicas: How many copies.
            device: Of each: ``auto`` is a GPU where the cluster has one.

        Raises:
            ConfigError: The path is no model.
        """
        self._config, self._count, self._device = config, replicas, device
        self._identity = local_identity(config, Path())
        self._copies: list[_Copy] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failure: Exception | None = None
        self._asking = 0
        self._idle: asyncio.TimerHandle | None = None

    @property
    def model(self) -> str:
        """Hash of the weights, or hub id and revision: the same as that of one model in this process."""
        return self._identity

    @property
    def traits(self) -> Traits:
        """Its copies continue partial replies."""
        return Traits(continues=True)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs no money."""
        return free_call(request)

    async def complete(self, request: Request) -> Completion:
        """Ask the copy that has least to do; another one, when it dies over it.

        Raises:
            CompleterError: Several copies died over this request.
            ConfigError: The model cannot be loaded on a node.
            StepError: No copy could be started.
        """
        if self._idle is not None:
            self._idle.cancel()
        self._asking += 1
        try:
            return await self._ask_copies(request)
        finally:
            self._asking -= 1
            if not self._asking:
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._release)

    async def _ask_copies(self, request: Request) -> Completion:
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
            "server", f"{TRIES} copies of the model died over this request, one after the other"
        )

    async def aclose(self) -> None:
        """Stop the copies and free their places."""
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
        """The copy with the fewest requests in flight, waiting for one if there is none."""
        if not self._copies and not self._starting:
            for _ in range(self._count):
                self._start()
        while not self._copies:
            if not self._starting and self._failure is not None:
                raise self._failure
            self._changed.clear()
            await self._changed.wait()
        return min(self._copies, key=lambda copy: copy.in_flight)

    def _replace(self, copy: _Copy) -> None:
        """Start a new copy in place of a dead one, however many of its requests noticed."""
        if copy in self._copies:
            self._copies.remove(copy)
            self._start()

    def _start(self) -> None:
        task = asyncio.create_task(self._join())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        task.add_done_callback(lambda _: self._changed.set())

    async def _join(self) -> None:
        """A new copy, asked from the moment on at which it is ready."""
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
            await asyncio.wait_for(copy.actor.ready.remote(), START_S)
        except TimeoutError:
            ray.kill(copy.actor)
            self._failure = StepError(
                f"no place for a copy of the model within {START_S:.0f} s: it needs a CPU and {gpus} GPU of its own; "
                "the cluster is full or too small for --replicas"
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


class _Replica:
    """One copy, in a process of its own on some node."""

    def __init__(self, config: LocalConfig, device: str, identity: str) -> None:
        self._config, self._device, self._identity = config, device, identity
        self._model: Completer | None = None

    async def ready(self) -> None:
        """Open the model, refuse one that is not the one that was meant, and have it write a first word: weights are read then."""
        found = local_identity(self._config, Path())
        if found != self._identity:
            raise ConfigError(
                f"{self._config.path}: another model lies there on a Ray node; put the folder on a shared disk"
            )
        self._model = open_local(self._config, self._device)
        question = (Message(role="user", content="?"),)
        await self._model.complete(chat_request(question, Sampling(max_tokens=1)))

    async def complete(self, request: Request) -> Completion:
        """Answer, together with whatever else is being asked of this copy."""
        if self._model is None:
            raise ConfigError("a copy of the model was asked before it was ready")
        return await self._model.complete(request)
