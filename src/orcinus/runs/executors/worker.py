"""Work on shards in forks of a process that ``processes.py`` starts.

    fork server:  the folder of a function and a socket in, a worker's number out;
                  a worker's number in, how it ended out
    worker:       a shard in, (True, result) or (False, error) out, on that socket

The fork server imports once what all workers need. It has one thread and never runs the user's
script. It ends with its parent, and the workers end with it.
"""

import gc
import mmap
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NoReturn

from orcinus.core.errors import OrcinusError, StepError, one_line

PROTOCOL = 5
"""Version of pickle: the first that leaves arrays out of the stream."""
_HEAD, _ARRAYS = "function", "arrays"
IDLE_S = 10
"""Seconds. A fork server without workers that nobody asks ends: its 60 MB may be needed."""
READY = b"."
"""What a fork server says once it has imported a module."""
_LONGEST = 8192
"""Bytes of a request; paths are shorter."""
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
    """Fork workers as the socket on stdin asks, until it is closed."""
    os.dup2(2, 1)  # what a filter prints is no result
    with socket.socket(fileno=os.dup(0)) as control:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if module := sys.argv[1]:
            with suppress(ImportError):  # the function's own import tells more
                import_module(module)
        _Forks(control).serve()


class _Forks:
    """The workers of a fork server."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: set[int] = set()
        self._function: tuple[bytes, Callable[[Any], Any]] | None = None

    def serve(self) -> None:
        """Do what the parent asks, until it ends or asks nothing for long."""
        self._control.settimeout(IDLE_S)
        parent = os.getppid()
        with suppress(ConnectionError):
            self._control.sendall(READY)
            while True:
                try:
                    request, sockets, *_ = socket.recv_fds(self._control, _LONGEST, 1)
                except TimeoutError:
                    if self._workers and os.getppid() == parent:
                        continue
                    return
                if not request:
                    return
                self._control.sendall(self._answer(request, sockets))

    def _answer(self, request: bytes, sockets: list[int]) -> bytes:
        try:
            done = self._fork(request, *sockets) if sockets else self._end(int(request))
            return pickle.dumps((True, done), PROTOCOL)
        except Exception as error:  # noqa: BLE001 (the parent raises it)
            return _pickled_error(error)
        finally:
            for one in sockets:
                os.close(one)

    def _fork(self, folder: bytes, descriptor: int) -> int:
        """Fork a worker for the function in a folder and return its number."""
        if self._function is None or self._function[0] != folder:
            self._function = None  # so that two are never held at once
            self._function = folder, read_function(Path(os.fsdecode(folder)))
        gc.freeze()  # collections in the workers leave alone, and share, what is here
        server, worker = os.getpid(), os.fork()
        if not worker:
            self._control.close()
            _work(self._function[1], descriptor, server)
        self._workers.add(worker)
        return worker

    def _end(self, worker: int) -> int:
        """End a worker and return how it ended, as ``Popen.returncode`` does."""
        if worker not in self._workers:  # it was the worker of a fork server that was killed
            return -signal.SIGKILL
        self._workers.remove(worker)
        os.kill(worker, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])


def _work(fn: Callable[[Any], Any], descriptor: int, server: int) -> NoReturn:
    """Answer the shards on a socket until it is closed, and end the process."""
    try:
        threading.Thread(target=_end_with, args=(server,), daemon=True).start()
        with (
            suppress(ConnectionError),
            socket.socket(fileno=descriptor) as channel,
            channel.makefile("rwb") as stream,
        ):
            while (shard := _next_shard(stream)) is not None:
                stream.write(_answer(fn, shard[0]))
                stream.flush()
        os._exit(0)
    finally:
        os._exit(1)


def _end_with(parent: int) -> None:
    """End this process soon after its parent, also while it works on a shard."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _next_shard(source: BufferedIOBase) -> tuple[Any] | None:
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
