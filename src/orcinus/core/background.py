"""Do what blocks in a thread that a stopped command does not wait for.

    model = await in_background(load_model)    →    Ctrl-C ends this line at once

The threads of ``asyncio.to_thread`` are waited for when the event loop ends: a signal while torch
was imported, weights were read or charts were drawn took 10 s on a busy machine.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_background(work: Callable[[], T]) -> T:
    """Return the result of ``work``, which runs in a thread of its own with this context.

    ``work`` goes on where this is cancelled, until it is done or the process ends.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # who stops waiting does not cancel it

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 (raised again where it is awaited)
            done.set_exception(error)
        else:
            done.set_result(result)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="background", daemon=True).start()
    return await asyncio.wrap_future(done)
