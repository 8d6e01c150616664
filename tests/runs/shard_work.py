"""Functions of shards that worker processes run; apart from the tests, so that they start fast."""

import os
import signal
import time
from pathlib import Path

from orcinus.core.errors import ConfigError


class Odd(Exception):
    """An error that pickle can write and not read."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


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
