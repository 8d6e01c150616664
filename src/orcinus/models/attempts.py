"""Send requests to a model and judge the answers: the one place where a model is called.

    requests ──► in the ledger? recall it : call the model ──► commit ──► judge ──► yield, in order

An attempt is yielded only once it is on disk, and a request whose answer is on disk is never sent
again, in this run or the next. A call that fails is data: it is committed as an error and has the
verdict None. The next run retries it, unless the request itself was bad.
"""

import asyncio
import os
import resource
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

from orcinus.core.collector import relax_garbage_collection
from orcinus.core.protocols import Completer, Verifier
from orcinus.core.types import Attempt, Judged, Request
from orcinus.models.asker import Asker, Found
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger

RECALL_BATCH = 128
"""Requests looked up in one query. Measured: 128 recalls a third more calls a second than 1,024."""
MIN_WINDOW = 4096
"""Requests from the first that is not yet yielded to the last that is read, at least: one slow call
does not hold up the others."""

SPARE_FILES = 24
"""File descriptors that are left to tables, locks and libraries."""
_Slot = Attempt | asyncio.Future[Found] | asyncio.Task[Judged]
"""An attempt from the ledger, a call in flight, or a call that may be followed by its fallback."""


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
    concurrency = completer.traits.in_flight or _fit_descriptors(concurrency, ledger.note)
    asker = Asker(completer, ledger, run=run, step=step, concurrency=concurrency, budget=budget)
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
                await asyncio.sleep(0)  # the first calls are sent before the window is full
            while slots:
                yield await _judge(*slots.popleft(), verify)
    finally:
        await asker.aclose()
        for task in fallbacks:
            task.cancel()
        await asyncio.gather(*fallbacks, return_exceptions=True)


def _fit_descriptors(wanted: int, note: Callable[[str], None]) -> int:
    """Return the calls in flight for which this process has file descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/dev/fd")) + SPARE_FILES
    except OSError:
        return wanted
    if soft != resource.RLIM_INFINITY and soft < used + 2 * wanted:
        more = used + 2 * wanted if hard == resource.RLIM_INFINITY else min(hard, used + 2 * wanted)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
    # Half of the rest: a judge may ask at the same time.
    possible = max(1, (soft - used) // 2) if soft != resource.RLIM_INFINITY else wanted
    if possible < wanted:
        note(
            f"only {possible} calls in flight instead of {wanted}: this process may open {soft} "
            "files; `ulimit -n` raises that"
        )
    return min(possible, wanted)


def _split_into_batches(requests: Iterable[Request]) -> Iterator[list[Request]]:
    iterator = iter(requests)
    while batch := list(islice(iterator, RECALL_BATCH)):
        yield batch


def _is_ready(slot: Attempt | asyncio.Future[Any]) -> bool:
    return isinstance(slot, Attempt) or slot.done()


async def _judge(request: Request, slot: _Slot, verify: Verifier) -> Judged:
    found = Found(slot, recalled=True) if isinstance(slot, Attempt) else await slot
    if isinstance(found, Judged):
        return found
    verdict = await verify(request.example, found.attempt)
    return Judged(attempt=found.attempt, verdict=verdict, recalled=found.recalled)


async def _judge_or_fall_back(
    request: Request, slot: Attempt | asyncio.Future[Found], verify: Verifier, asker: "Asker"
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
