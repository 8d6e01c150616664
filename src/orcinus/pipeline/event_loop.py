"""Run a coroutine from synchronous code, in a script and in a notebook."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
"""What ``run_coroutine`` runs in the main thread: at most one."""


def cancel_running() -> bool:
    """Cancel the coroutine that ``run_coroutine`` runs; return False where there is none.

    Safe in the handler of a signal. ``run_coroutine`` then raises KeyboardInterrupt.
    """
    for loop, task in _running:
        task.cancel()
        loop.call_soon_threadsafe(lambda: None)  # wakes the loop
    return bool(_running)


def run_coroutine(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end and return its result.

    Where an event loop is already running, as in Jupyter, ``work`` gets a loop of its own in a
    thread. Ctrl-C cancels it there, so that its ``finally`` blocks run.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_here(work)
    return _run_in_thread(work)


def _run_here(work: Coroutine[Any, Any, T]) -> T:
    tasks: list[asyncio.Task[Any]] = []

    async def registered() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine that runs is a task)
        tasks.append(task)
        _running.append((asyncio.get_running_loop(), task))
        try:
            return await work
        finally:
            _running.clear()

    try:
        return _runner()(registered())
    except asyncio.CancelledError:
        if any(task.cancelling() for task in tasks):
            raise KeyboardInterrupt from None
        raise


def _runner() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Return the runner of the fastest event loop that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    runner: Callable[[Coroutine[Any, Any, T]], T] = uvloop.run
    return runner


def _run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []
    started = threading.Event()
    tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def supervised() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine that runs is a task)
        tasks.append((asyncio.get_running_loop(), task))
        started.set()
        results.append(await work)

    def run() -> None:
        try:
            asyncio.run(supervised())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            errors.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="orcinus")
    thread.start()
    try:
        thread.join()
    except BaseException:
        started.wait()
        for loop, task in tasks:
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]
