"""Send requests to a model and judge the answers: the one place where a model is called.

    requests ──► in the ledger? recall it : call the model ──► commit ──► judge ──► yield, in order

An attempt is yielded only once it is on disk, and a request whose answer is on disk is never sent
again, in this run or the next. A call that fails is data: it is committed as an error and has the
verdict None. The next run retries it, unless the request itself was bad.
"""

import asyncio
import gc
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import Any

from orcinus.core.errors import BudgetError, CompleterError
from orcinus.core.protocols import Completer, Verifier
from orcinus.core.requests import as_sent
from orcinus.core.secrets import scrub
from orcinus.core.types import Attempt, Completion, Judged, Request
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger, attempt_id

RECALL_BATCH = 128
"""Requests looked up in one query. Measured: 128 recalls a third more calls a second than 1,024."""
MIN_WINDOW = 4096
"""Requests from the first that is not yet yielded to the last that is read, at least: one slow call
does not hold up the others."""

_Slot = Attempt | asyncio.Future[Attempt] | asyncio.Task[Judged]
"""An attempt from the ledger, a call in flight, or a call that may be followed by its fallback."""
_COLLECTOR_THRESHOLDS = (100_000, 50, 50)
"""Thresholds for ``gc.set_threshold``: new objects, then collections of the younger generation."""


@contextmanager
def relax_garbage_collection() -> Iterator[None]:
    """Run the garbage collector less often while thousands of live attempts are held.

    At its usual thresholds it costs 7 % of the calls a second and frees nothing.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


async def attempt_all(
    requests: Iterable[Request],
    completer: Completer,
    *,
    ledger: Ledger,
    verify: Verifier,
    run: str,
    step: str,
    concurrency: int = 64,
    budget: Budget | None = None,
) -> AsyncIterator[Judged]:
    """Send every request, or recall its attempt from the ledger, and judge the answers.

    Args:
        requests: Read lazily, a bounded window ahead.
        completer: The model.
        ledger: Where every attempt is committed before it is yielded.
        verify: Judges each attempt.
        run: Run under which spending is booked.
        step: Step under which spending is booked.
        concurrency: Calls in flight, at most. A model that declares its own number
            (``Traits.in_flight``, as a batch interface does) gets that many instead.
        budget: The run's cap, if it has one.

    Yields:
        One Judged for each request, in their order. Where a reply holds no answer and the request
        has a ``fallback``, that one is sent too: it stands in ``instead`` and gives the verdict.

    Raises:
        CompleterError: No call to this model can succeed (wrong key, unknown model). What arrived
            is committed.
        BudgetError: The cap is reached. What was in flight is committed.
        StoreError: The ledger cannot be written.
    """
    concurrency = completer.traits.in_flight or concurrency
    asker = _Asker(completer, ledger, run=run, step=step, concurrency=concurrency, budget=budget)
    window = max(MIN_WINDOW, 16 * concurrency)
    slots: deque[tuple[Request, _Slot]] = deque()
    fallbacks: set[asyncio.Task[Judged]] = set()
    try:
        with relax_garbage_collection():
            for batch in _split_into_batches(requests):
                for request, slot in asker.recall_or_ask(batch):
                    if request.fallback is None:
                        slots.append((request, slot))
                    else:
                        task = asyncio.create_task(
                            _judge_or_fall_back(request, slot, verify, asker)
                        )
                        fallbacks.add(task)
                        task.add_done_callback(fallbacks.discard)
                        slots.append((request, task))
                while len(slots) > window or (slots and _is_ready(slots[0][1])):
                    yield await _judge(*slots.popleft(), verify)
            while slots:
                yield await _judge(*slots.popleft(), verify)
    finally:
        await asker.aclose()
        for task in fallbacks:
            task.cancel()
        await asyncio.gather(*fallbacks, return_exceptions=True)


def _split_into_batches(requests: Iterable[Request]) -> Iterator[list[Request]]:
    iterator = iter(requests)
    while batch := list(islice(iterator, RECALL_BATCH)):
        yield batch


def _is_ready(slot: Attempt | asyncio.Future[Any]) -> bool:
    return isinstance(slot, Attempt) or slot.done()


async def _judge(request: Request, slot: _Slot, verify: Verifier) -> Judged:
    recalled = isinstance(slot, Attempt)
    found = slot if isinstance(slot, Attempt) else await slot
    if isinstance(found, Judged):
        return found
    return Judged(attempt=found, verdict=await verify(request.example, found), recalled=recalled)


async def _judge_or_fall_back(
    request: Request, slot: Attempt | asyncio.Future[Attempt], verify: Verifier, asker: "_Asker"
) -> Judged:
    """Judge the attempt; if it holds no answer, send the fallback and take the verdict on that."""
    first = await _judge(request, slot, verify)
    if (
        request.fallback is None
        or first.attempt.finish == "error"
        or first.verdict.answer is not None
    ):
        return first
    [(second, again)] = asker.recall_or_ask([request.fallback])
    other = await _judge(second, again, verify)
    reason = f"{first.verdict.reason}; {second.strategy} instead: {other.verdict.reason}"
    return replace(
        first,
        verdict=replace(other.verdict, attempt_id=first.attempt.id, reason=reason),
        instead=other,
    )


class _Asker:
    """The calls of one ``attempt_all``.

    Its workers take requests from a queue and put the attempts into futures.
    """

    def __init__(
        self,
        completer: Completer,
        ledger: Ledger,
        *,
        run: str,
        step: str,
        concurrency: int,
        budget: Budget | None,
    ) -> None:
        self._completer, self._ledger, self._run, self._step = completer, ledger, run, step
        self._model = completer.model
        self._budget = budget
        self._concurrency = concurrency
        self._queue: asyncio.Queue[tuple[Request, str, asyncio.Future[Attempt]]] = asyncio.Queue()
        self._in_flight: dict[str, asyncio.Future[Attempt]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    def recall_or_ask(
        self, batch: list[Request]
    ) -> Iterator[tuple[Request, Attempt | asyncio.Future[Attempt]]]:
        """Yield each request with its attempt from the ledger, or with the future of its call."""
        ids = [attempt_id(request, self._model) for request in batch]
        known = self._ledger.recall(batch, ids, self._model)
        for request, identity, attempt in zip(batch, ids, known, strict=True):
            if attempt is not None and (attempt.error is None or attempt.permanent):
                yield request, attempt
            else:
                yield request, self._ask(request, identity)

    def _ask(self, request: Request, identity: str) -> asyncio.Future[Attempt]:
        """Return the future of the call for ``request``; equal requests share one call."""
        if identity not in self._in_flight:
            future: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
            self._in_flight[identity] = future
            future.add_done_callback(lambda _: self._in_flight.pop(identity, None))
            self._queue.put_nowait((request, identity, future))
            if len(self._workers) < self._concurrency:
                self._workers.append(asyncio.create_task(self._work()))
        return self._in_flight[identity]

    async def _work(self) -> None:
        while True:
            request, identity, future = await self._queue.get()
            if self._failure is not None:
                _fail(future, self._failure)
                continue
            try:
                attempt = await self._attempt(request, identity)
            except asyncio.CancelledError:
                future.cancel()
                raise
            except BaseException as error:  # noqa: BLE001 (set on the future)
                if self._failure is None:
                    self._failure = error
                _fail(future, error)
            else:
                if not future.done():
                    future.set_result(attempt)

    async def _attempt(self, request: Request, identity: str) -> Attempt:
        """Call the model once and commit the attempt before returning it."""
        worst = None
        if self._budget is not None:
            worst = self._completer.worst_case(request)
            await self._budget.reserve(worst)
        attempt, fatal = await self._call(request, identity)
        # Shielded: once a reply has arrived, being cancelled must not lose it.
        await asyncio.shield(self._ledger.commit(attempt, request, run=self._run, step=self._step))
        if self._budget is not None and worst is not None:
            self._budget.settle(worst, attempt)
        if fatal is not None:
            raise fatal
        return attempt

    async def _call(self, request: Request, identity: str) -> tuple[Attempt, CompleterError | None]:
        """Return the attempt of one call, and the error if no call to this model can succeed."""
        started = time.perf_counter()
        error: CompleterError | None = None
        try:
            completion = await self._completer.complete(request)
        except CompleterError as failure:
            completion, error = Completion(text="", finish="error"), failure
        messages, sampling = as_sent(request)
        logprobs = completion.logprobs
        attempt = Attempt(
            id=identity,
            example_id=request.example.id,
            task=request.example.task,
            strategy=request.strategy,
            model=self._model,
            messages=messages,
            sampling=sampling,
            sample=request.sample,
            text=scrub(completion.text),
            finish=completion.finish,
            reasoning=None if completion.reasoning is None else scrub(completion.reasoning),
            usage=completion.usage,
            logprobs=None if logprobs is None else tuple(round(value, 5) for value in logprobs),
            cost_usd=completion.cost_usd,
            latency_s=completion.latency_s or time.perf_counter() - started,
            error=None if error is None else scrub(str(error)),
            permanent=error is not None and error.permanent and not error.fatal,
        )
        return attempt, error if error is not None and error.fatal else None

    async def aclose(self) -> None:
        """Stop the workers.

        When a cap or a wrong key stopped the calls, those in flight arrive and are committed first:
        they are paid for. After any other error, or when the caller leaves, they are cancelled.
        """
        if isinstance(self._failure, BudgetError | CompleterError):
            self._drop_queued(self._failure)
            while self._in_flight:
                await asyncio.wait(list(self._in_flight.values()))
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._budget is not None:
            self._budget.close()

    def _drop_queued(self, error: BaseException) -> None:
        with suppress(asyncio.QueueEmpty):
            while True:
                _fail(self._queue.get_nowait()[2], error)


def _fail(future: asyncio.Future[Attempt], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # marks it as seen: asyncio warns of an exception that no caller awaits
