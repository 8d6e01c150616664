r"""Run a program that a model wrote, without access to the host and within limits.

    run_program("print(17 + 25)")   →  Ran("42\n", None)
    run_program("open('/etc/passwd')")   →  Ran("", "PermissionError: …")

The sandbox is Monty (pydantic-monty), an interpreter for a part of Python. It runs in its own
worker process and cannot reach files, the network or the host; time, memory and output are limited.
A program is never given to Python itself. Whatever Monty lacks (a class of the standard library, a
package) is an error of the program like any other, and the strategy's fallback is used instead.
"""

import atexit
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

from orcinus.core.errors import MissingExtraError

SECONDS = 2.0
"""Seconds a program may run. Programs that end at all end within milliseconds: measured, one worker
runs 2,600 of them a second."""
MEMORY = 128 * 2**20
"""Bytes of a program's heap."""
OUTPUT = 10_000
"""Characters of output that are kept, from its end."""


CLOCK = datetime(2000, 1, 1, tzinfo=UTC)
"""The time that a program reads from the clock."""


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of running a program."""

    output: str
    error: str | None
    """The last line of the error; None if the program ran to its end."""


NO_SANDBOX = "its program was not run: pip install pydantic-monty"
"""Why there is no verdict. It names the package of the extra ``sandbox``: the index has another
package of the name ``orcinus``, and a verdict must not hold the path of a clone."""


def has_sandbox() -> bool:
    """Return True if programs can be run here."""
    return find_spec("pydantic_monty") is not None


def require_sandbox() -> None:
    """Fail early if programs cannot be run.

    Raises:
        MissingExtraError: The sandbox is not installed.
    """
    if not has_sandbox():
        raise MissingExtraError("running programs that a model wrote", "sandbox")


@lru_cache(maxsize=4096)
def run_program(*parts: str) -> Ran:
    """Run a program in the sandbox; recent results are cached.

    Args:
        parts: The program, or parts that run one after the other in the same session. None of them
            can end another one early, or leave a quote open for it.

    Raises:
        MissingExtraError: The sandbox is not installed.
    """
    require_sandbox()
    import pydantic_monty as monty

    printed = monty.CollectString()
    error = None
    limits = monty.ResourceLimits(max_feed_duration_secs=SECONDS, max_memory=MEMORY)
    # The seed and clock are fixed, so that a repeated verdict is the same.
    policy = monty.OSPolicy(random_start={"seed": 0}, datetime=CLOCK, sleep="zero")
    try:
        with _pool().checkout(limits=limits, os_policy=policy) as session:
            for part in parts:
                session.feed_run(part, print_callback=printed)
    except (monty.MontyError, MemoryError, RuntimeError, ValueError) as failure:
        error = _last_line(failure)
    return Ran(str(printed.output)[-OUTPUT:], error)


def _last_line(failure: Exception) -> str:
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(failure).__name__


@cache
def _pool() -> Any:
    """Return the worker processes, started for the first program and ended with this process."""
    import pydantic_monty as monty

    pool = monty.Monty(min_processes=1, request_timeout=4 * SECONDS)
    pool.__enter__()
    atexit.register(pool.__exit__, None, None, None)
    return pool
