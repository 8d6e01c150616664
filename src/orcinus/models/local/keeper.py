"""Runs a command for as long as whoever started it lives: ``python -m orcinus.models.local.keeper COMMAND …`` with a pipe as input.

The pipe closes when the starter ends, however it ends; then the command and all that it started are killed.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def keep(command: list[str]) -> int:
    """Run ``command`` until it ends or the standard input does; gives its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end_with_the_starter() -> None:
        sys.stdin.buffer.read()
        _kill(child)

    threading.Thread(target=end_with_the_starter, daemon=True).start()
    try:
        return child.wait()
    finally:
        _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
