"""Processes that a benchmark starts often and ends early, with what they said."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ENDS_IN_S = 5.0
"""Seconds in which a process ends after a signal; the others are counted as late."""
DONE_IN_S = 300.0
"""Seconds after which a process hangs. On a busy machine one ends late."""


def send_output_to(path: Path) -> None:
    """Write what this process prints to a file, which also has it after a kill."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)


class Forks:
    """Processes that are forked from one that has loaded all modules: a start costs no seconds."""

    def __init__(self, folder: Path) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._folder, self._started = folder, 0
        self.hangs = self.late = 0
        self.raw_errors: list[str] = []

    def start(self, target: Callable[..., None], *values: Any) -> tuple[ForkServerProcess, Path]:
        """Start ``target(path, *values)``; return the process, and the path for its output."""
        said = self._folder / f"said-{self._started}"
        self._started += 1
        process = self._context.Process(target=target, args=(str(said), *values))
        process.start()
        return process, said

    def end(self, process: ForkServerProcess, said: Path, *, within_s: float = DONE_IN_S) -> str:
        """Wait for the end of a process and return what it said; kill it if it hangs."""
        started = time.monotonic()
        process.join(DONE_IN_S)
        if process.exitcode is None:
            self.hangs += 1
            process.kill()
            process.join()
        self.late += time.monotonic() - started > within_s
        text = said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""
        if "Traceback" in text:
            self.raw_errors.append(text[-2000:])
        return text
