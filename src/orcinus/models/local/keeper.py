"""Run a command only as long as the process that started it lives.

    python -m orcinus.models.local.keeper COMMAND …     with a pipe as standard input

The pipe closes when the parent process ends, even if it was killed. The keeper then kills the
command and every process that it started.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def keep(command: list[str]) -> int:
    """Run ``command`` until it ends or standard input closes; return its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def kill_with_parent() -> None:
        sys.stdin.buffer.read()
        _kill(child)

    threading.Thread(target=kill_with_parent, daemon=True).start()
    try:
        return child.wait()
    finally:
        _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
