"""Judging in workers gives the verdicts of judging in this process, in the same order."""

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.runs.shard_work import KillsAWorker

from orcinus.core import registry
from orcinus.core.errors import StepError
from orcinus.core.types import Attempt, Example, Judged, Sampling, Verdict
from orcinus.runs.executors.local import LocalExecutor, has_workers
from orcinus.verifiers import in_workers
from orcinus.verifiers.in_workers import JudgingInWorkers
from orcinus.verifiers.verify import verify

KINDS: list[tuple[str, tuple[str, ...] | None, str | None, str]] = [
    ("number", None, "42", "The answer is {}."),
    ("choice", ("41", "42"), "B", "So it is (B)."),
    ("math", None, "\\frac{1}{2}", "The answer is $0.5$."),
    ("bool", None, "yes", "No."),
    ("exact", None, None, "The answer is whatever."),
]


class ByPickle:
    """An executor that sends each shard as to a worker, and remembers its threads."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails, self.shards = fails, 0
        self.threads: set[int] = set()

    def map(self, fn: Callable[[Any], Any], shards: Iterable[Any], **_: bool) -> Iterator[Any]:
        self.threads.add(threading.get_ident())
        for shard in shards:
            self.shards += 1
            if self.fails:
                raise StepError("two worker processes ended on the same rows")
            yield pickle.loads(pickle.dumps(fn(pickle.loads(pickle.dumps(shard)))))


def reply(number: int) -> tuple[Example, Attempt]:
    answer_type, choices, reference, text = KINDS[number % len(KINDS)]
    example = Example(
        id=str(number),
        task="t",
        prompt="?",
        answer_type=cast(Any, answer_type),
        choices=choices,
        reference=reference,
        meta={"verifier": "mine"} if number % 7 == 0 else {},
    )
    attempt = Attempt(
        id=f"a{number}",
        example_id=example.id,
        task="t",
        strategy="program" if number % 11 == 0 else "step_by_step",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text.format(40 + number % 3),
        finish="error" if number % 13 == 0 else "stop",
    )
    return example, attempt


async def mine(example: Example, attempt: Attempt) -> Verdict:
    return Verdict(attempt_id=attempt.id, verifier="mine", value=0.5, answer="x", reason="")


async def judge(executor: object, count: int, *, take: int | None = None) -> list[Judged]:
    judging = JudgingInWorkers(cast(Any, executor), at_once=["program"])
    asked_at_once = []

    async def replies() -> AsyncIterator[Judged]:
        for number in range(count):
            example, attempt = reply(number)
            verdict = await judging.verify(example, attempt)
            if attempt.strategy == "program":
                asked_at_once.append(verdict.verifier)
            yield Judged(attempt=attempt, verdict=verdict)
            await asyncio.sleep(0)

    found = judging.judged(replies())
    got: list[Judged] = []
    async for one in found:
        got.append(one)
        if len(got) == take:
            break
    await cast(Any, found).aclose()
    assert in_workers.LATER not in asked_at_once
    return got


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_workers, "ROWS_AT_ONCE", 64)
    monkeypatch.setitem(registry._registered, ("verifier", "mine"), mine)


def test_verdicts_are_those_of_this_process_in_their_order() -> None:
    executor = ByPickle()
    found = asyncio.run(judge(executor, 500))
    expected = [asyncio.run(verify(*reply(number))) for number in range(500)]
    assert [judged.verdict for judged in found] == expected
    assert executor.shards == 8
    assert threading.get_ident() not in executor.threads


def test_a_killed_worker_changes_no_verdict(tmp_path: Path) -> None:
    kills = KillsAWorker(tmp_path)
    assert asyncio.run(judge(kills, 300)) == asyncio.run(judge(ByPickle(), 300))
    assert kills.killed == 1


def test_replies_have_their_own_verdicts_in_any_order() -> None:
    numbers = [6, 1, 3, 6, 2, 8]

    async def judge_last_first() -> list[Judged]:
        judging = JudgingInWorkers(cast(Any, ByPickle()), at_once=[])
        pairs = [reply(number) for number in numbers]
        verdicts = {one[1].id: await judging.verify(*one) for one in reversed(pairs)}

        async def replies() -> AsyncIterator[Judged]:
            for _, attempt in pairs:
                yield Judged(attempt=attempt, verdict=verdicts[attempt.id])

        return [judged async for judged in judging.judged(replies())]

    found = asyncio.run(judge_last_first())
    expected = [asyncio.run(verify(*reply(number))) for number in numbers]
    assert [judged.verdict for judged in found] == expected


def test_an_error_of_the_workers_is_raised_and_no_thread_is_left() -> None:
    before = threading.active_count()
    with pytest.raises(StepError, match="two worker processes"):
        asyncio.run(judge(ByPickle(fails=True), 5_000))
    assert len(asyncio.run(judge(ByPickle(), 5_000, take=3))) == 3
    assert threading.active_count() == before


def test_one_process_has_no_workers() -> None:
    assert not has_workers(LocalExecutor(1))
    assert has_workers(LocalExecutor(2))
    assert has_workers(cast(Any, ByPickle()))
