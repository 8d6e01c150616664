r"""Compare expressions by the library math-verify, in a process of its own.

    ["\\int_0^1 x\\,dx", "\\frac12"]  →  yes

It is started by ``math_library`` as a plain script, so it imports nothing of orcinus. It reads one
JSON array a line and replies with one word: ``yes``, ``no``, ``unread`` or ``late``. The library
cannot be stopped from inside. So a child compares, the system ends it when one comparison has used
up its time, and the next child is there in milliseconds.
"""

import json
import os
import signal
import sys
from typing import Any, TextIO

SECONDS = 1.2
"""Seconds of processor time for one comparison. Measured: the median takes 14 ms."""
MEMORY = 2 * 2**30
"""Bytes of address space. The library and SymPy take 0.3 GiB."""
WALL_SECONDS = 1.8
"""Seconds on the clock for one comparison, on a machine with more processes than cores."""
_DIGITS = 50
"""Digits to which a yes is checked where both sides are numbers."""


def main() -> None:
    """Reply to each line of the standard input until it ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever the library prints goes nowhere
    _limit_memory()
    try:
        import math_verify  # noqa: F401
    except ImportError:
        print("missing", file=replies, flush=True)
        return
    for text in (r"\frac{1}{2}", r"\int_0^1 x\,dx", r"\sum_{k=1}^{3} \sqrt{k} \pi"):
        _compare(text, text)  # what the library prepares on its first use, every child has then
        _compare(text, r"\frac{1}{7}")  # a first "no" takes eight times as long as later ones
    print("ready", file=replies, flush=True)
    if not hasattr(os, "fork"):  # Windows, where only the client's deadline counts
        _serve(replies)
        return
    while child := os.fork():
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        print("late", file=replies, flush=True)
    _serve(replies)


def _serve(replies: TextIO) -> None:
    for line in sys.stdin:
        answer, reference = json.loads(line)
        _limit_time(1)
        try:
            reply = _compare(answer, reference)
        except MemoryError:
            reply = "late"
        except Exception:  # noqa: BLE001 - the library raises nearly everything
            reply = "unread"
        _limit_time(0)
        print(reply, file=replies, flush=True)


def _compare(answer: str, reference: str) -> str:
    from math_verify import verify

    right, given = _read(reference), _read(answer)
    if right is None or given is None:
        return "unread"
    same = verify(
        [right], [given], float_rounding=15, numeric_precision=30, timeout_seconds=None,
        raise_on_error=True,
    )  # fmt: skip
    return "yes" if same and _same_number(given, right) else "no"


def _read(text: str) -> Any:
    """Return the expression as SymPy knows it; None if the library takes it for a text."""
    from math_verify import LatexExtractionConfig, parse

    text = text.strip().strip("$")
    found = parse(f"${text}$", [LatexExtractionConfig()], parsing_timeout=None, raise_on_error=True)
    return next((item for item in found if not isinstance(item, str)), None)


def _same_number(first: Any, second: Any) -> bool:
    """Check a yes: the library rounds, and takes 1 - 1/e for 1 + 1/e."""
    from sympy import Expr

    if not isinstance(first, Expr) or not isinstance(second, Expr):
        return True
    if first.free_symbols or second.free_symbols:
        return True
    a, b = first.evalf(_DIGITS), second.evalf(_DIGITS)
    return bool(abs(a - b) <= max(abs(a), abs(b), 1) * 10 ** (-_DIGITS // 2))


def _limit_time(share: int) -> None:
    """Let the system end this process after its time; zero takes the limit away."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_VIRTUAL, share * SECONDS)
        signal.setitimer(signal.ITIMER_REAL, share * WALL_SECONDS)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
