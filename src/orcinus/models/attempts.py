"""Asking models: the one place where a model is called.

    requests ──► known in the ledger? recall it : ask ──► commit ──► judge ──► yield, in the order of the requests

Nothing is yielded before it is on disk; nothing that is on disk is asked again, in this run or the next. A call that fails is
data: it is remembered as an error, has the verdict None, and is asked again by the next run unless the request itself was bad.
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
from orcinus.core.types import Attempt, Completion, Judged, Request
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger, attempt_id

RECALL_BATCH = 128
"""Requests looked up in one query. Measured: 128 a query recalls a third more calls a second than 1,024."""
MIN_WINDOW = 4096
"""Requests between the first that is not yet yielded and the last that is read: one slow call does not stop the others."""

_SELDOM = (100_000, 50, 50)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the garbage collector run seldom while thousands of attempts are held, all of them alive.

    At its usual thresholds it takes 7 % of the calls a second and finds nothing.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
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
    """Ask every request, or recall it, and judge the answers.

    Args:
        requests: Read lazily, a bounded window ahead.
        completer: The model.
        ledger: Where every attempt is committed before it is yielded.
        verify: Judges each attempt.
        run: Name under which spending is booked.
        step: Step under which spending is booked.
        concurrency: Calls in flight at most; a model that gathers requests (a batch interface) says itself how many.
        budget: The run's cap, if it has one.

    Yields:
        One Judged for each request, in their order. A request with a ``fallback`` whose reply holds no answer has that one's
        verdict, and it as ``instead``.

    Raises:
        CompleterError: No call to this model can succeed (wrong key, unknown model). What arrived is committed.
        BudgetError: The cap is reached. What was in flight is committed.
        StoreError: The ledger cannot be written.
    """
    concurrency = completer.traits.in_flight or concurrency
    asker = _Asker(completer, ledger, run=run, step=step, concurrency=concurrency, budget=budget)
    window = max(MIN_WINDOW, 16 * concurrency)
    slots: deque[tuple[Request, Attempt | asyncio.Future[Attempt] | asyncio.Task[Judged]]] = deque()
    second_tries: set[asyncio.Task[Judged]] = set()
    try:
        with collecting_seldom():
            for batch in _batches(requests):
                for request, slot in asker.recall_or_ask(batch):
                    if request.fallback is None:
                        slots.append((request, slot))
                    else:
                        task = asyncio.create_task(
                            _judged_or_fallback(request, slot, verify, asker)
                        )
                        second_tries.add(task)
                        task.add_done_callback(second_tries.discard)
                        slots.append((request, task))
                while len(slots) > window or (slots and _is_ready(slots[0][1])):
                    yield await _judged(*slots.popleft(), verify)
            while slots:
                yield await _judged(*slots.popleft(), verify)
    finally:
        await asker.aclose()
        for task in second_tries:
            task.cancel()
        await asyncio.gather(*second_tries, return_exceptions=True)


def _batches(requests: Iterable[Request]) -> Iterator[list[Request]]:
    iterator = iter(requests)
    while batch := list(islice(iterator, RECALL_BATCH)):
        yield batch


def _is_ready(slot: Attempt | asyncio.Future[Any]) -> bool:
    return isinstance(slot, Attempt) or slot.done()


async def _judged(
    request: Request,
    slot: Attempt | asyncio.Future[Attempt] | asyncio.Task[Judged],
    verify: Verifier,
) -> Judged:
    recalled = isinstance(slot, Attempt)
    found = slot if isinstance(slot, Attempt) else await slot
    if isinstance(found, Judged):
        return found
    return Judged(attempt=found, verdict=await verify(request.example, found), recalled=recalled)


async def _judged_or_fallback(
    request: Request, slot: Attempt | asyncio.Future[Attempt], verify: Verifier, asker: "_Asker"
) -> Judged:
    """The judged attempt; where no answer was found in it, with the verdict on what is asked instead."""
    first = await _judged(request, slot, verify)
    if (
        request.fallback is None
        or first.attempt.finish == "error"
        or first.verdict.answer is not None
    ):
        return first
    [(second, again)] = asker.recall_or_ask([request.fallback])
    other = await _judged(second, again, verify)
    reason = f"{first.verdict.reason}; {second.strategy} instead: {other.verdict.reason}"
    return replace(
        first,
        verdict=replace(other.verdict, attempt_id=first.attempt.id, reason=reason),
        instead=other,
    )


class _Asker:
    """The calls of one ``attempt_all``: workers that take requests from a queue and put attempts into futures."""

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
        self._asked: dict[str, asyncio.Future[Attempt]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._stopped: BaseException | None = None

    def recall_or_ask(
        self, batch: list[Request]
    ) -> Iterator[tuple[Request, Attempt | asyncio.Future[Attempt]]]:
        """Each request with its attempt from the ledger, or with the future of the call that now asks for it."""
        ids = [attempt_id(request, self._model) for request in batch]
        known = self._ledger.recall(batch, ids, self._model)
        for request, identity, attempt in zip(batch, ids, known, strict=True):
            if attempt is not None and (attempt.error is None or attempt.permanent):
                yield request, attempt
            else:
                yield request, self._ask(request, identity)

    def _ask(self, request: Request, identity: str) -> asyncio.Future[Attempt]:
        """The call for ``request``; two equal requests share one."""
        if identity not in self._asked:
            future: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
            self._asked[identity] = future
            future.add_done_callback(lambda _: self._asked.pop(identity, None))
            self._queue.put_nowait((request, identity, future))
            if len(self._workers) < self._concurrency:
                self._workers.append(asyncio.create_task(self._work()))
        return self._asked[identity]

    async def _work(self) -> None:
        while True:
            request, identity, future = await self._queue.get()
            if self._stopped is not None:
                _fail(future, self._stopped)
                continue
            try:
                attempt = await self._attempt(request, identity)
            except asyncio.CancelledError:
                future.cancel()
                raise
            except BaseException as error:  # noqa: BLE001 (handed to whoever waits for the attempt)
                if self._stopped is None:
                    self._stopped = error
                _fail(future, error)
            else:
                if not future.done():
                    future.set_result(attempt)

    async def _attempt(self, request: Request, identity: str) -> Attempt:
        """Ask once, commit, and only then return."""
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
        """Return the attempt that one call made, and the error if no call to this model can succeed."""
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
            text=completion.text,
            finish=completion.finish,
            reasoning=completion.reasoning,
            usage=completion.usage,
            logprobs=None if logprobs is None else tuple(round(value, 5) for value in logprobs),
            cost_usd=completion.cost_usd,
            latency_s=completion.latency_s or time.perf_counter() - started,
            error=None if error is None else str(error),
            permanent=error is not None and error.permanent and not error.fatal,
        )
        return attempt, error if error is not None and error.fatal else None

    async def aclose(self) -> None:
        """Let what is in flight arrive and be committed when a cap or a bad key stopped the asking; else end at once."""
        if isinstance(self._stopped, BudgetError | CompleterError):
            self._drop_queued(self._stopped)
            while self._asked:
                await asyncio.wait(list(self._asked.values()))
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
        future.exception()  # noted: whoever waits will see it, nobody else needs a warning
