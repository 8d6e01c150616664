"""Functions of shards that worker processes run; apart from the tests, so that they start fast."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orcinus.core.errors import ConfigError
from orcinus.runs.executors.local import LocalExecutor


class Odd(Exception):
    """An error that pickle can write and not read."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class KilledOnce:
    """A function whose process is killed when it first runs, anywhere, and imports no pandas.

    That would take half a CPU second in each worker.
    """

    def __init__(self, fn: Callable[[Any], Any], mark: Path) -> None:
        self.fn, self.mark = fn, mark

    def __call__(self, shard: object) -> Any:
        with suppress(FileExistsError):
            self.mark.open("x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        found = self.fn(shard)
        assert "pandas" not in sys.modules
        return found


@dataclass
class KillsAWorker:
    """The executor of two worker processes, of which each ``map`` loses one."""

    folder: Path
    killed: int = 0

    def map(self, fn: Callable[[Any], Any], shards: Iterable[Any], **_: bool) -> Iterator[Any]:
        """Yield ``fn`` of each shard."""
        self.killed += 1
        once = KilledOnce(fn, self.folder / f"killed {self.killed}")
        yield from LocalExecutor(2).map(once, shards, processes=True)
        assert once.mark.exists()


class Holder:
    """A function that holds values, an array for example."""

    def __init__(self, values: object) -> None:
        self.values = values

    def __call__(self, place: int) -> tuple[float, int]:
        return self.values[place], os.getpid()  # type: ignore[index]


def work(folder: Path, shard: int) -> int:
    """Note that a shard was begun. 0 is slow; 7 kills its worker, as often as ``kills`` says."""
    with (folder / f"{shard}").open("a", encoding="ascii") as file:
        file.write(".")
    if shard == 0:
        time.sleep(0.1)
    if shard == 7 and (folder / "7").stat().st_size <= int((folder / "kills").read_text()):
        os.kill(os.getpid(), signal.SIGKILL)
    if shard == 11:
        raise ConfigError("eleven is refused")
    if shard == 12:
        raise Odd("one", "two")
    return -shard


def server_of(shard: int) -> tuple[int, int]:
    """Return the process that this one was forked from, and the number of its threads."""
    server = os.getppid()
    return server, len(os.listdir(f"/proc/{server}/task"))


def kill_server_once(server: int) -> int:
    """Kill a fork server, and return the one after it."""
    if os.getppid() == server:
        os.kill(server, signal.SIGKILL)
        time.sleep(60)  # this process ends sooner
    return os.getppid()


def sleep_long(folder: Path, shard: int) -> None:
    """Write the numbers of this process and of its fork server, and do not come back."""
    (folder / f"{os.getpid()} {os.getppid()}").touch()
    time.sleep(60)
