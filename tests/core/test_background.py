"""Blocking work goes on in a thread, and a stopped command does not wait for it."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from orcinus.core.background import in_background

FOLDER = ContextVar("FOLDER", default="none")


def test_the_result_comes_back_from_another_thread_with_the_same_context() -> None:
    FOLDER.set("here")

    def work() -> tuple[str, bool]:
        return FOLDER.get(), threading.current_thread() is threading.main_thread()

    assert asyncio.run(in_background(work)) == ("here", False)


def test_an_error_comes_back() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_background(lambda: 1 // 0))


def test_who_is_cancelled_does_not_wait() -> None:
    started, may_end, ended = (threading.Event() for _ in range(3))

    def work() -> None:
        started.set()
        may_end.wait(5)
        ended.set()

    async def cancelled() -> None:
        waiting = asyncio.create_task(in_background(work))
        while not started.is_set():
            await asyncio.sleep(0.001)
        waiting.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert not ended.is_set()  # the threads of asyncio.to_thread are waited for here
    may_end.set()
