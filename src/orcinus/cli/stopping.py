"""Stop on Ctrl-C, SIGTERM and SIGHUP: in order the first time, at once on the second Ctrl-C.

$ orcinus run recipe.yaml          ^C  ──► train one: stopped; it resumes at step 165 of 525
                                       ──► exit code 130 (128 + the signal's number)
"""

import os
import signal
import sys
import time
from typing import Any, NoReturn

from orcinus.cli.options import Interrupted

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""The signals that stop a command. Windows has no SIGHUP."""
SAME_CTRL_C_S = 0.2
"""Seconds. Launchers such as `uv run` pass Ctrl-C on, so that one key arrives twice."""
SHOW_CURSOR = b"\x1b[?25h"
"""Progress bars hide the cursor of the terminal."""


class StopSignals:
    """The signals that stop this process."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._at = 0.0
        self._terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def install(self) -> None:
        """Handle the signals, except those that the parent ignores (``nohup``, ``&``)."""
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)

    def _stop(self, number: int, frame: Any) -> None:
        if self._received is not None:
            if number == signal.SIGINT and time.monotonic() - self._at > SAME_CTRL_C_S:
                os.write(2, b"orcinus: stopped at once\n")
                self.exit_at_once()
            return
        self._received, self._at = number, time.monotonic()
        if number == getattr(signal, "SIGHUP", None):
            self._leave_terminal()
        # Loaded where there is work to stop, and only there. While it is being loaded, it is there
        # and has no functions yet.
        event_loop = sys.modules.get("orcinus.pipeline.event_loop")
        cancel_running = getattr(event_loop, "cancel_running", None)
        if cancel_running is None or not cancel_running():
            raise Interrupted
        if number == signal.SIGINT and os.isatty(2):
            os.write(2, b"\nstopping in order; Ctrl-C again stops at once\n")

    def _leave_terminal(self) -> None:
        """Print nowhere: a write to a terminal that is gone fails, and so would the saving."""
        for stream in self._terminals:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)

    def exit_at_once(self) -> NoReturn:
        """End without waiting for threads: what was committed is on disk, and steps resume."""
        if 2 in self._terminals:
            os.write(2, SHOW_CURSOR)
        os._exit(128 + (self._received or signal.SIGINT))
