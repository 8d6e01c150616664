"""Workers that send requests to a model, each once, and commit what comes back.

    claimed ─► room in the budget ─► a reply ─► committed in a group ─► the futures of the group

A server's call counts as in flight until its reply is on disk, so a kill costs no more than these.
Replies of a model in this process wait for the disk while it is asked for more. The asker of one
``attempt_all`` recalls what the ledger has, and puts the other requests into a queue. What another
process asks at the same time is taken from the ledger when it is there.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from orcinus.core.errors import BudgetError, CompleterError, ConfigError, StoreError
from orcinus.core.fingerprint import hashed
from orcinus.core.protocols import Completer
from orcinus.core.requests import as_sent
from orcinus.core.secrets import scrub
from orcinus.core.types import Attempt, Completion, Request
from orcinus.models.bounds import Tries, tries_of_call
from orcinus.models.first_calls import first_calls, report_refusals
from orcinus.runs.budget import Budget
from orcinus.runs.counters import open_counters
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_records import record_json

QUIET_S = 180.0
"""Seconds without the end of a call after which a line says what is waited for. Most replies of
models that think come sooner."""
CLAIM_PAUSE_S = 0.01
"""Seconds before the second look whether another process has finished the same call."""
MAX_CLAIM_PAUSE_S = 0.25
"""Longest pause, in seconds, between two such looks."""
CANCEL_EVERY_S = 0.5
"""Seconds after which a worker that has not ended is cancelled again."""
UNSYNCED = 2048
"""Replies of a model in this process that wait for the disk while it is asked for more, at most:
about 8 MiB."""
TURN_S = 0.01
"""Seconds after which a worker whose model never waits lets others have the event loop."""
MAX_COUNT = 2**53
"""Tokens. Sums of smaller counts fit into the ledger's 64 bits."""


class Found(NamedTuple):
    """An attempt, and whether it was in the ledger before the call was made."""

    attempt: Attempt
    recalled: bool


class _Call(NamedTuple):
    """A request that is asked, and the future of its attempt."""

    request: Request
    record: bytes
    """What the ledger stores of it."""
    identity: str
    future: asyncio.Future[Found]


class _Reply(NamedTuple):
    """What came of a call, while it is not known to be on disk."""

    call: _Call
    attempt: Attempt
    tries: Tries
    fatal: CompleterError | None
    """The error after which no other call is made."""


class Asker:
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
        self._model, self._remote = completer.model, completer.traits.remote
        self._waiting_for_reply = f"a reply of {self._model}"
        self._settings = "" if self._remote is None else self._remote.settings
        self._first = first_calls(completer, run, step)
        self._counters = open_counters(run, step, self._model)
        self._reporter: asyncio.Task[None] | None = None
        self._unknown_finishes: Counter[str] = Counter()
        self._budget = budget
        self._capped = None if budget is None or budget.holder is None else budget
        """The budget where it has a cap."""
        self._concurrency = concurrency
        self._queue: deque[_Call] = deque()
        self._in_flight: dict[str, asyncio.Future[Found]] = {}
        self._waits: dict[str, str] = {}
        """What each call in flight waits for, in words."""
        self._unsynced: dict[asyncio.Future[None], list[_Reply]] = {}
        """Replies that wait for the disk, by the commit of their group; the oldest first."""
        self._unsynced_replies = 0
        self._ended = 0
        self._workers: set[asyncio.Task[Any] | None] = set()
        self._is_starting = False
        """True while there is a worker that has not yet begun."""
        self._is_waited_for = self._remote is not None
        """True for a model whose calls overlap; others end before a second worker begins."""
        self._is_asked = False
        """True while a worker makes a call."""
        self._watch: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._closing = False

    def recall_or_ask(
        self, batch: list[Request]
    ) -> Iterator[tuple[Request, Attempt | asyncio.Future[Found]]]:
        """Yield each request with its attempt from the ledger, or with the future of its call."""
        records = [record_json(request, self._model) for request in batch]
        ids = list(map(hashed, records))
        known = self._ledger.recall(batch, ids, self._model)
        for attempt in known:
            if attempt is not None:
                self._first.recalled(attempt, self._ledger.note)
        for request, record, identity, attempt in zip(batch, records, ids, known, strict=True):
            if attempt is not None and self._is_final(attempt):
                self._first.ended(attempt)
                if self._counters is not None:
                    self._counters.count_recalled()
                yield request, attempt
            else:
                yield request, self._ask(request, record, identity)

    def _is_final(self, attempt: Attempt) -> bool:
        """Return whether an attempt from the ledger is not asked again.

        A permanent error is an error of the request *and* of the settings that it was sent with.
        Where no call of the step was ever answered, it says nothing about the request.
        """
        if attempt.error is None:
            return True
        return (
            attempt.permanent
            and attempt.settings == self._settings
            and (
                self._first.answered or self._ledger.has_answer(self._run, self._step, self._model)
            )
        )

    def _ask(self, request: Request, record: bytes, identity: str) -> asyncio.Future[Found]:
        """Return the future of the call for ``request``; equal requests share one call."""
        if identity not in self._in_flight:
            future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
            self._in_flight[identity] = future
            self._queue.append(_Call(request, record, identity, future))
            self._start_worker()
            if self._watch is None:
                self._watch = asyncio.create_task(self._report_silence())
            if self._reporter is None and self._remote is not None:
                report = report_refusals(self._remote, self._step, self._ledger.note)
                self._reporter = asyncio.create_task(report)
        return self._in_flight[identity]

    def _start_worker(self) -> None:
        """Start a worker if there may be more; one at a time, unless the model is waited for."""
        may_start = self._is_waited_for or not self._is_starting
        if may_start and len(self._workers) < self._concurrency:
            self._is_starting = True
            self._workers.add(asyncio.create_task(self._work()))

    def _start_others(self) -> None:
        """Start a worker for the next call, or for all calls if another one is still made."""
        self._is_waited_for = self._is_asked
        for _ in range(len(self._queue) if self._is_waited_for else min(1, len(self._queue))):
            self._start_worker()

    async def _work(self) -> None:
        """Ask what is queued, call by call, until the queue is empty."""
        self._is_starting = False
        turn_from = time.monotonic()
        # A client can return a reply although its task was cancelled. So the worker asks itself.
        while self._queue and not self._closing:
            if self._failure is not None:
                self._drop_queued(self._failure)
                break
            call = self._queue.popleft()
            if not self._is_waited_for:
                self._start_others()
            self._is_asked = True
            try:
                committed = await self._find(call)
            except asyncio.CancelledError:
                self._end(call)
                call.future.cancel()
                raise
            except BaseException as error:  # noqa: BLE001 (set on the future)
                self._fail(call, error)
                continue
            finally:
                self._is_asked = False
            if committed is not None and self._remote is None:
                committed = self._oldest_commit()
            if committed is not None:
                with suppress(StoreError):  # the calls of its group have it
                    await committed
            elif time.monotonic() - turn_from > TURN_S:
                await asyncio.sleep(0)
                turn_from = time.monotonic()
        # At once, not when the task is done: a request that comes in between needs a worker.
        self._workers.discard(asyncio.current_task())

    def _oldest_commit(self) -> "asyncio.Future[None] | None":
        """Return the oldest commit under way if many replies wait for the disk."""
        return next(iter(self._unsynced)) if self._unsynced_replies >= UNSYNCED else None

    async def _find(self, call: _Call) -> "asyncio.Future[None] | None":
        """Take the attempt of another process, or call the model; return the commit of the reply.

        A cancelled call ends here, and one that was made ends once its reply is on disk.
        """
        request, identity = call.request, call.identity
        waited = not self._ledger.claim(identity)
        if waited:
            await self._wait_for_claim(identity)
        try:
            if waited or not self._ledger.is_alone:
                [known] = self._ledger.recall([request], [identity], self._model)
                if known is not None and self._is_final(known):
                    if self._counters is not None:
                        self._counters.count_recalled()
                    self._ledger.unclaim(identity)
                    self._answer(call, Found(known, recalled=True))
                    return None
            if not self._first.enter_now():
                await self._first.enter()
            try:
                return await self._attempt(call)
            finally:
                self._first.leave()
        except BaseException:
            self._ledger.unclaim(identity)
            raise

    def _synced(self, committed: "asyncio.Future[None]") -> None:
        """End the calls of a group, which is on disk or has failed."""
        error, replies = committed.exception(), self._unsynced.pop(committed)
        self._unsynced_replies -= len(replies)
        for reply in replies:
            try:
                self._settle(reply, error)
            except Exception as problem:  # noqa: BLE001 (set on the future)
                self._fail(reply.call, problem)

    def _settle(self, reply: _Reply, error: BaseException | None) -> None:
        """End a call whose reply is on disk, or could not be written."""
        call, attempt, tries = reply.call, reply.attempt, reply.tries
        # If it is on disk, no other process pays for it again.
        self._ledger.unclaim(call.identity)
        if self._budget is not None:
            self._budget.book(attempt)
        if self._capped is not None:
            self._capped.release(tries.worst, tries.reserved)
        error = error or reply.fatal
        if error is not None:
            self._fail(call, error)
            return
        if self._counters is not None:
            self._counters.count_call(attempt, tries.retries)
        self._first.ended(attempt)
        self._answer(call, Found(attempt, recalled=False))

    def _answer(self, call: _Call, found: Found) -> None:
        self._end(call)
        if not call.future.done():
            call.future.set_result(found)

    def _fail(self, call: _Call, error: BaseException) -> None:
        """End a call with an error, which stops all others too."""
        if self._failure is None:
            self._failure = error
        self._end(call)
        _fail(call.future, error)

    def _end(self, call: _Call) -> None:
        self._ended += 1
        self._waits.pop(call.identity, None)
        self._in_flight.pop(call.identity, None)

    async def _wait_for_claim(self, identity: str) -> None:
        """Claim a request that another process asks now, so that both pay once."""
        pause_s = CLAIM_PAUSE_S
        while True:
            self._waits[identity] = f"{self._ledger.claimed_by(identity)}, which asks the same"
            if self._capped is not None:
                await self._capped.give_back()  # the other process may need it to end its call
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_CLAIM_PAUSE_S)
            if self._ledger.claim(identity):
                return

    async def _attempt(self, call: _Call) -> "asyncio.Future[None]":
        """Call the model once and queue the attempt; the future is done once it is on disk."""
        request, identity, budget = call.request, call.identity, self._capped
        tries = Tries(
            lambda: self._completer.worst_case(request),
            None if budget is None else budget.reserve_now,
            "" if budget is None else self._run,
        )
        if budget is not None:
            if budget.caps_dollars and tries.worst.usd == math.inf:
                raise ConfigError(
                    f"budget.usd is set, but no price is known for {self._model}; set its price: "
                    "{input: …, output: …} in dollars per million tokens"
                )
            self._waits[identity] = "room in the budget"
            was_booked = tries.worst.booked_by == self._run and await budget.reclaim(tries.worst)
            if not was_booked:
                await budget.reserve(tries.worst)
        self._waits[identity] = self._waiting_for_reply
        try:
            attempt, fatal = await self._call(request, identity, tries)
            self._waits[identity] = "the disk of the ledger"
            committed = self._ledger.commit(
                attempt,
                call.record,
                run=self._run,
                step=self._step,
                holder=None if budget is None else budget.holder,
            )
        except BaseException:
            if budget is not None:
                sent = min(tries.lost + tries.sent, tries.reserved)
                budget.forfeit(tries.worst, sent)
                budget.release(tries.worst, tries.reserved - sent)
            raise
        if committed not in self._unsynced:
            self._unsynced[committed] = []
            committed.add_done_callback(self._synced)
        self._unsynced[committed].append(_Reply(call, attempt, tries, fatal))
        self._unsynced_replies += 1
        if fatal is not None and self._failure is None:
            self._failure = fatal
        return committed

    async def _call(
        self, request: Request, identity: str, tries: Tries
    ) -> tuple[Attempt, CompleterError | None]:
        """Return the attempt of one call, and the error if no call to this model can succeed."""
        started = time.perf_counter()
        error: CompleterError | None = None
        tries_of_call.set(tries)
        try:
            completion = check_completion(await self._completer.complete(request))
        except CompleterError as failure:
            completion, error = Completion(text="", finish="error"), failure
            tries.lost += failure.cost_unknown
        usage = completion.usage
        if tries.lost:
            unreported = usage.tokens_unreported + tries.lost_tokens
            usage = replace(usage, tokens_unreported=unreported)
        messages, sampling = as_sent(request)
        if error is not None and error.kind == "forbidden" and not self._first.answered:
            self._first.answered = self._ledger.has_answer(self._run, self._step, self._model)
        stops = self._first.record(error)
        logprobs = completion.logprobs
        if completion.unknown_finish is not None:
            self._unknown_finishes[completion.unknown_finish] += 1
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
            usage=usage,
            logprobs=None if logprobs is None else tuple(round(value, 5) for value in logprobs),
            token_bytes=completion.token_bytes,
            cost_usd=completion.cost_usd + tries.lost_usd,
            latency_s=completion.latency_s or time.perf_counter() - started,
            error=None if error is None else scrub(str(error)),
            permanent=error is not None and error.permanent and not error.fatal,
            source="" if self._remote is None else completion.source,
            settings="" if error is None else self._settings,
        )
        return attempt, stops

    async def _report_silence(self) -> None:
        """Note what is waited for when no call ends for a while; then again after twice as long."""
        seen, since, patience_s = -1, 0.0, QUIET_S
        while True:
            now = time.monotonic()
            if self._ended != seen or not self._waits:
                seen, since, patience_s = self._ended, now, QUIET_S
            elif now - since >= patience_s:
                patience_s *= 2
                waits = ", ".join(
                    f"{what} ({count:,})" for what, count in Counter(self._waits.values()).items()
                )
                self._ledger.note(
                    f"{self._step}: no call has ended for {(now - since) / 60:.0f} minutes; "
                    f"waiting for: {waits}"
                )
            await asyncio.sleep(QUIET_S / 10)

    async def aclose(self) -> None:
        """Stop the workers.

        When a cap or a wrong key stopped the calls, those in flight arrive and are committed first:
        they are paid for. After any other error, or when the caller leaves, they are cancelled.
        """
        try:
            if isinstance(self._failure, BudgetError | CompleterError):
                self._drop_queued(self._failure)
                while self._in_flight:
                    await asyncio.wait(list(self._in_flight.values()))
        finally:
            self._closing = True
            for future in self._in_flight.values():
                future.cancel()
            await self._stop([*self._workers, self._watch, self._reporter])
            while self._unsynced:  # replies that have arrived are not lost
                await asyncio.wait(list(self._unsynced))
            if self._failure is None:
                self._first.note_failures(self._ledger.note)
            for said, count in self._unknown_finishes.items():
                self._ledger.note(
                    f"{self._step}: {count:,} replies of {self._model} ended in {said!r}, an "
                    "unknown finish reason; they count as whole, or as cut off at max_tokens"
                )
            if self._budget is not None:
                with suppress(StoreError):  # the calls have reported it; the hold stays
                    await self._budget.close()

    async def _stop(self, tasks: Iterable[asyncio.Task[Any] | None]) -> None:
        """Cancel tasks until they have ended, also those in which a reply got in the way."""
        running = {task for task in tasks if task is not None and not task.done()}
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=CANCEL_EVERY_S)

    def _drop_queued(self, error: BaseException) -> None:
        while self._queue:
            call = self._queue.popleft()
            self._in_flight.pop(call.identity, None)
            _fail(call.future, error)


def check_completion(completion: Completion) -> Completion:
    """Return a completion that the ledger can store.

    Raises:
        CompleterError: A model returned counts, a cost, a time or a text that cannot be right.
    """
    usage = completion.usage
    # A model of the user's own may return anything.
    counts: tuple[Any, ...] = (
        usage.tokens_in,
        usage.tokens_out,
        usage.tokens_cached,
        usage.tokens_reasoning,
        usage.tokens_unreported,
    )
    try:  # one sum and two comparisons: this is done for every reply
        is_count = type(sum(counts)) is int and min(counts) >= 0 and max(counts) < MAX_COUNT
    except TypeError:
        is_count = False
    if not is_count:
        raise CompleterError("bad_reply", f"a model cannot have used {counts} tokens")
    if not 0 <= completion.cost_usd < math.inf:
        raise CompleterError("bad_reply", f"a call cannot cost {completion.cost_usd} dollars")
    if not 0 <= completion.latency_s < math.inf:
        raise CompleterError("bad_reply", f"a call cannot take {completion.latency_s} seconds")
    for text in (completion.text, completion.reasoning):
        if text is not None and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise CompleterError("bad_reply", f"the text is not Unicode: {error}") from error
    return completion


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # marks it as seen: asyncio warns of an exception that no caller awaits
