"""Judge replies by rules in worker processes, while the model is asked for more.

    replies ──2,048 at a time──► workers: verdicts by the rules for the answer type ──► in order

Only the texts are sent, and what they are compared with. What is left to a function of the user's,
to a judge or to a library is judged in the run's own process.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import suppress

from orcinus.core.protocols import Executor
from orcinus.core.types import AnswerType, Attempt, Example, Finish, Judged, Verdict
from orcinus.verifiers import rules
from orcinus.verifiers.answers.maths import NEEDS_LIBRARY
from orcinus.verifiers.answers.text import Outcome

ROWS_AT_ONCE = 2048
"""Replies in a shard: a tenth of a second of judging, 2 MB to send."""
_JOIN_S = 0.05
"""Seconds between two looks whether the thread has ended."""
LATER = "later"
"""The verifier of a verdict that is still to come."""
Reply = tuple[str, Finish, AnswerType, tuple[str, ...] | None, rules.Reference]
"""What the rules look at: text, finish reason, answer type, choices, reference. To send a record
with names takes 20 times as long (31 µs)."""


def judge_replies(replies: list[Reply]) -> list[Outcome | None]:
    """Judge replies by the rules; None where a library must be asked."""
    outcomes = [rules.judge_reply(*reply) for reply in replies]
    return [None if one.reason == NEEDS_LIBRARY else one for one in outcomes]


class JudgingInWorkers:
    """The judging of one step's replies, of which the rules can judge some elsewhere.

    ``verify`` takes the place of ``verify.verify`` where replies are asked for. ``judged`` then
    gives all of them their verdicts, in their order.
    """

    def __init__(self, executor: Executor, *, at_once: Collection[str]) -> None:
        """Take what is judged at once.

        Args:
            executor: Its workers judge.
            at_once: Strategies whose replies need their verdicts before others are asked for.
        """
        self._executor, self._at_once = executor, frozenset(at_once)
        self._examples: dict[str, Example] = {}
        """Those of the replies that are judged later, by the id of the attempt."""

    async def verify(self, example: Example, attempt: Attempt) -> Verdict:
        """Judge an attempt, or say that this is done later."""
        if "verifier" in example.meta or attempt.strategy in self._at_once:
            return await _verify(example, attempt)
        self._examples[attempt.id] = example
        return Verdict(attempt_id=attempt.id, verifier=LATER, value=None, answer=None, reason="")

    async def judged(self, replies: AsyncIterator[Judged]) -> AsyncIterator[Judged]:
        """Yield the replies in their order, with their verdicts."""
        waiting: deque[list[tuple[Judged, Example | None]]] = deque()
        workers = _Workers(self._executor)
        try:
            batch: list[tuple[Judged, Example | None]] = []
            async for reply in replies:
                is_later = reply.verdict.verifier == LATER
                batch.append((reply, self._examples[reply.attempt.id] if is_later else None))
                if len(batch) == ROWS_AT_ONCE:
                    for judged, _ in batch:
                        self._examples.pop(judged.attempt.id, None)
                    waiting.append(batch)
                    await workers.send(_asked(batch))
                    batch = []
                    while (found := workers.next_now()) is not None:
                        for one in await _merged(waiting.popleft(), found):
                            yield one
            waiting.append(batch)
            await workers.send(_asked(batch))
            await workers.send(None)
            while waiting:
                for one in await _merged(waiting.popleft(), await workers.next()):
                    yield one
        finally:
            await workers.stop()


def _asked(batch: list[tuple[Judged, Example | None]]) -> list[Reply]:
    return [
        (
            judged.attempt.text,
            judged.attempt.finish,
            example.answer_type,
            example.choices,
            example.reference,
        )
        for judged, example in batch
        if example is not None
    ]


async def _merged(
    batch: list[tuple[Judged, Example | None]], outcomes: list[Outcome | None]
) -> list[Judged]:
    """Return replies with their verdicts."""
    found, coming = [], iter(outcomes)
    for judged, example in batch:
        if example is not None:
            outcome, attempt = next(coming), judged.attempt
            verdict = (
                await _verify(example, attempt)
                if outcome is None
                else rules.verdict_of(outcome, example.answer_type, attempt.id)
            )
            judged = Judged(
                attempt=attempt,
                verdict=verdict,
                recalled=judged.recalled,
                instead=judged.instead,
            )
        found.append(judged)
    return found


async def _verify(example: Example, attempt: Attempt) -> Verdict:
    from orcinus.verifiers.verify import verify  # here, as workers import this module

    return await verify(example, attempt)


class _Workers:
    """The executor's map in a thread, which waits for workers while the event loop goes on."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._shards: queue.Queue[list[Reply] | None] = queue.Queue(maxsize=2)
        self._found: asyncio.Queue[list[Outcome | None] | BaseException] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    async def send(self, replies: list[Reply] | None) -> None:
        """Send a shard, or None after the last one; wait where the workers have enough."""
        try:
            self._shards.put_nowait(replies)
        except queue.Full:
            await asyncio.to_thread(self._shards.put, replies)

    def next_now(self) -> list[Outcome | None] | None:
        """Return the outcomes of the next shard if they are there."""
        return None if self._found.empty() else _raised(self._found.get_nowait())

    async def next(self) -> list[Outcome | None]:
        """Return the outcomes of the next shard."""
        return _raised(await self._found.get())

    async def stop(self) -> None:
        """End the workers; what they have not judged yet is not wanted."""
        self._is_stopped = True
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._shards.put_nowait(None)
            self._thread.join(_JOIN_S)

    def _work(self) -> None:
        try:
            for found in self._executor.map(judge_replies, self._sent(), processes=True):
                self._loop.call_soon_threadsafe(self._found.put_nowait, found)
                if self._is_stopped:
                    return
        except BaseException as error:  # noqa: BLE001 (the step raises it)
            self._loop.call_soon_threadsafe(self._found.put_nowait, error)
            while self._shards.get() is not None:  # so that ``send`` does not wait forever
                pass

    def _sent(self) -> Iterator[list[Reply]]:
        while (shard := self._shards.get()) is not None and not self._is_stopped:
            yield shard


def _raised(found: list[Outcome | None] | BaseException) -> list[Outcome | None]:
    if isinstance(found, BaseException):
        raise found
    return found
