"""Work on shards in a process of its own, which ``processes.py`` starts.

    stdin:   the import path, the function's file, a shard, a shard, …
    stdout:  (True, result) or (False, error) of each shard

The process ends when its stdin ends or its parent does, so none is left behind.
"""

import mmap
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from orcinus.core.errors import OrcinusError, StepError, one_line

PROTOCOL = 5
"""Version of pickle: the first that leaves arrays out of the stream."""
_HEAD, _ARRAYS = "function", "arrays"
_ALIGNMENT = 64
"""Bytes. NumPy copies an array that does not begin at a multiple of its items' size."""


def write_function(fn: Callable[[Any], Any], folder: Path) -> None:
    """Write a function and what it holds to a folder that ``read_function`` reads.

    Arrays stand there as they are, so that all workers share them in the system's file cache.

    Raises:
        pickle.PicklingError: It cannot be sent to another process.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(fn, PROTOCOL, buffer_callback=buffers.append)
    spans = []
    with (folder / _ARRAYS).open("wb") as file:
        for buffer in buffers:
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            spans.append((file.tell(), file.write(buffer.raw())))
        file.write(b"\0")  # an empty file cannot be mapped
    (folder / _HEAD).write_bytes(pickle.dumps((head, spans), PROTOCOL))


def read_function(folder: Path) -> Callable[[Any], Any]:
    """Return the function in a folder; its arrays are read-only parts of the file."""
    head, spans = pickle.loads((folder / _HEAD).read_bytes())
    with (folder / _ARRAYS).open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    buffers = [content[start : start + size] for start, size in spans]
    fn: Callable[[Any], Any] = pickle.loads(head, buffers=buffers)
    return fn


def main() -> None:
    """Answer the shards on stdin until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a filter prints is no answer
    fn = read_function(pickle.load(sys.stdin.buffer))
    with suppress(BrokenPipeError):  # the parent was killed
        while (shard := _next_shard(sys.stdin.buffer)) is not None:
            answers.write(_answer(fn, shard[0]))
            answers.flush()


def _end_with(parent: int) -> None:
    """End this process soon after its parent, also while it works on a shard."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _next_shard(source: IO[bytes]) -> tuple[Any] | None:
    try:
        return (pickle.load(source),)
    except (EOFError, pickle.UnpicklingError):
        return None


def _answer(fn: Callable[[Any], Any], shard: Any) -> bytes:
    try:
        return pickle.dumps((True, fn(shard)), PROTOCOL)
    except Exception as error:  # noqa: BLE001 (the parent raises it)
        if not isinstance(error, OrcinusError):
            error.add_note(traceback.format_exc())
        return _pickled_error(error)


def _pickled_error(error: Exception) -> bytes:
    """Return a failed shard's answer. Some errors can be written but not read again."""
    try:
        answer = pickle.dumps((False, error), PROTOCOL)
        pickle.loads(answer)
    except Exception:  # noqa: BLE001 (whatever a stranger's error does when it is read)
        told = StepError(one_line(f"{type(error).__name__}: {error}"))
        return pickle.dumps((False, told), PROTOCOL)
    return answer
