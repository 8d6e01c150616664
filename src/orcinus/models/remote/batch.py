"""The provider's batch interface as a model: slower, cheaper, and as durable as single calls.

    requests ─► collected ─► journal ─► uploaded ─► created ─► polled ─► downloaded ─► answers

Each batch has a folder in the journal (``batch_journal.py``), written before anything is sent.
``batch_provider.py`` has the exchanges with the provider.

A process that starts again resumes the batches in its journal. It polls those under way and reads
those that came back from the disk. A batch that was about to be sent is looked up at the provider
by its key, which it would carry as metadata, and is dropped if it is not there. So an interrupted
upload never becomes two batches, and requests find the answers to what earlier processes sent.
"""

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import CompleterError, StoreError
from orcinus.core.types import Completion, Request, Traits, WorstCase
from orcinus.models.bounds import book_lost_try, current_tries
from orcinus.models.remote.batch_journal import Batch, read_journal, take
from orcinus.models.remote.batch_provider import BatchProvider
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import BatchConfig, EndpointConfig
from orcinus.models.remote.refusals import without_password
from orcinus.runs.ledger_records import attempt_id

MAX_FILE_BYTES = 150 * 2**20
"""Bytes of a batch's requests, at most. Providers take files of 200 MB."""
MAX_QUEUE_PAUSE_S = 600.0
"""Longest pause, in seconds, before a retry of a batch that the provider had no room for."""


class BatchEndpoint:
    """The Completer of an ``EndpointConfig`` with ``batch``."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        secrets: Mapping[str, str],
        journal: Path,
        entry: str = "teacher",
    ) -> None:
        """Read keys and limits; the journal is not read and nothing is connected yet.

        Args:
            config: The model and its URLs, of which the first is used.
            secrets: The environment, in which the configuration names keys.
            journal: Folder of the batches; all runs with one ledger share it.
            entry: The recipe's entry of the model, which errors name.

        Raises:
            ConfigError: A named variable is not set.
        """
        self.config = config
        self._batch_config = config.batch or BatchConfig()
        self._endpoint = Endpoint(config, secrets=secrets, entry=entry)
        self._provider = BatchProvider(self._endpoint)
        self._journal = journal
        self._waiting: dict[str, asyncio.Future[Completion]] = {}
        self._early: dict[str, Completion] = {}
        """Answers of earlier batches that no request has asked for yet, by id."""
        self._under_way: set[str] = set()
        """Ids in batches that earlier processes sent."""
        self._booked_by: dict[str, str] = {}
        """By id of an earlier process's request: the run that has booked its worst case."""
        self._to_resume: list[tuple[Batch, list[str]]] = []
        self._run_with_budget = ""
        self._collected: dict[str, dict[str, Any]] = {}
        self._new_request = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_read_journal = False

    @property
    def model(self) -> str:
        """Its name, revision and omitted fields."""
        return self.config.known_as()

    @property
    def traits(self) -> Traits:
        """Calls in flight for two batches: one is collected while another is under way."""
        remote = self._endpoint.traits.remote
        return Traits(in_flight=2 * self._batch_config.size, remote=remote)

    async def complete(self, request: Request) -> Completion:
        """Send the request in a batch, or take the answer if an earlier process sent it.

        Raises:
            CompleterError: No answer came, not even from later batches if a retry could help.
        """
        identity = attempt_id(request, self.model)
        self._read_journal()
        while self._to_resume:
            self._start(*self._to_resume.pop(), resumed=True)
        self._booked_by.pop(identity, None)  # from now on it is a call of this process
        for tried in range(1, self.config.patience.tries + 1):
            try:
                found = self._early.pop(identity, None) or await self._wait_for(identity, request)
            except CompleterError as error:
                if error.permanent or error.fatal or tried == self.config.patience.tries:
                    raise
                if error.cost_unknown and not await book_lost_try(current_tries()):
                    raise
            else:
                if found.usage.tokens_in:
                    return found
                factor = self._endpoint.price.batch
                return self._endpoint.priced_at_worst(found, 0.0, request, factor=factor)
        raise AssertionError("unreachable: the last try raises")

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a single call at the batch's price.

        They name the run that has booked them, where an earlier process has sent the request.
        """
        self._read_journal()
        worst = self._endpoint.worst_case(request)
        return WorstCase(
            usd=worst.usd * self._endpoint.price.batch,
            tokens=worst.tokens,
            booked_by=self._booked_by.get(attempt_id(request, self.model), ""),
        )

    async def aclose(self) -> None:
        """Stop polling. The provider continues the batches; the next process resumes them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for batch, _ in self._to_resume:
            batch.unlock()
        await self._endpoint.aclose()

    async def _wait_for(self, identity: str, request: Request) -> Completion:
        if identity not in self._waiting:
            self._waiting[identity] = asyncio.get_running_loop().create_future()
            if identity not in self._under_way:
                self._collected[identity] = self._endpoint.body(request)
                for tries in current_tries():
                    self._run_with_budget = tries.run
                self._new_request.set()
                if len(self._collected) == 1:
                    self._spawn(self._send_collected())
        return await asyncio.shield(self._waiting[identity])

    async def _send_collected(self) -> None:
        """Send the collected requests once they fill a batch, or once no more of them come."""
        while len(self._collected) < self._batch_config.size:
            self._new_request.clear()
            try:
                await asyncio.wait_for(self._new_request.wait(), self._batch_config.linger_s)
            except TimeoutError:
                break
        while self._collected:
            bodies, self._collected = _take_batch(self._collected, self._batch_config.size)
            try:
                batch = Batch.prepare(self._journal, self.config, bodies, self._run_with_budget)
            except OSError as error:  # a full disk: nothing was sent
                self._settle(
                    list(bodies), {}, StoreError(f"{self._journal}: cannot be written: {error}")
                )
            else:
                self._start(batch, list(bodies))

    def _read_journal(self) -> None:
        """Learn, once, what earlier processes have sent."""
        if self._has_read_journal:
            return
        self._has_read_journal = True
        for batch in read_journal(self._journal):
            if (
                batch.state.model != self.model
                or batch.state.config["base_urls"][0] != self.config.base_urls[0]
            ):
                continue
            if batch.state.progress not in ("ended", "refused") and not take(batch):
                continue  # another process works on it, and has claimed its requests
            if batch.state.progress == "ended":
                answered = {
                    identity: self._priced(outcome)
                    for identity, outcome in batch.answers()
                    if isinstance(outcome, Completion)
                }
                self._early.update(answered)
                self._booked_by.update(dict.fromkeys(answered, batch.state.run))
                batch.unlock()
            elif batch.state.progress != "refused":
                ids = batch.ids()
                self._under_way.update(ids)
                self._booked_by.update(dict.fromkeys(ids, batch.state.run))
                self._to_resume.append((batch, ids))

    def _start(self, batch: Batch, ids: list[str], *, resumed: bool = False) -> None:
        task = self._spawn(self._run(batch, ids, resumed=resumed))
        task.add_done_callback(lambda _: batch.unlock())

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, batch: Batch, ids: list[str], *, resumed: bool = False) -> None:
        """Send one batch, wait for it, and set the answers or errors on the waiting futures.

        Args:
            batch: The batch.
            ids: The ids of its requests.
            resumed: An earlier process wrote it to the journal. If it was not sent then, it is
                dropped: its answers may not be wanted any more.
        """
        try:
            if (
                resumed
                and batch.state.progress == "prepared"
                and not await self._provider.adopt(batch)
            ):
                shutil.rmtree(batch.folder)
                raise CompleterError("server", "the batch was never sent")
            pause_s = self._batch_config.poll_s
            while not await self._provider.collect(batch, self._batch_config):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_QUEUE_PAUSE_S)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (set on the futures)
            if isinstance(error, CompleterError):
                error.cost_unknown = batch.may_be_charged  # not of the exchange, of the batch
            if batch.may_be_charged and batch.folder.exists():
                # Its calls are booked as lost tries: who resumes it has nothing to take back.
                with suppress(StoreError):
                    batch.save(run="")
            self._settle(ids, {}, error)
        else:
            lost = CompleterError(
                "server",
                f"batch {batch.state.batch_id} {batch.state.status} without this answer",
                cost_unknown=True,
            )
            self._settle(ids, dict(batch.answers()), lost)

    def _settle(
        self,
        ids: list[str],
        outcomes: Mapping[str, Completion | CompleterError],
        otherwise: Exception,
    ) -> None:
        """Set each request's outcome on its future; keep answers that no request waits for."""
        for identity in ids:
            self._under_way.discard(identity)
            outcome = outcomes.get(identity, otherwise)
            future = self._waiting.pop(identity, None)
            if isinstance(outcome, Completion):
                outcome = self._priced(outcome)
                if future is None or future.done():
                    self._early[identity] = outcome
                else:
                    future.set_result(outcome)
            elif future is not None and not future.done():
                future.set_exception(outcome)

    def _priced(self, completion: Completion) -> Completion:
        priced = self._endpoint.priced(completion, 0.0, factor=self._endpoint.price.batch)
        return replace(priced, source=without_password(self.config.base_urls[0]))


def _take_batch(
    collected: dict[str, dict[str, Any]], count: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split requests into the next batch, bounded in number and bytes, and the rest."""
    size, taken = 0, 0
    for body in collected.values():
        size += len(orjson.dumps(body)) + 200
        if taken == count or (taken and size > MAX_FILE_BYTES):
            break
        taken += 1
    rows = list(collected.items())
    return dict(rows[:taken]), dict(rows[taken:])
