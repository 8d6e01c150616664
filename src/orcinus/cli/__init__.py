"""The command line: parse, call the library, print.

This is the only place that prints or exits.

Library modules are imported inside the commands, so that ``orcinus --help`` answers at once.
"""

import gc
import os
import sys
import traceback
import warnings
from typing import Any

from orcinus.cli.app import app
from orcinus.cli.options import Interrupted
from orcinus.cli.stopping import StopSignals
from orcinus.core.errors import OrcinusError, one_line
from orcinus.core.printing import printable

EXIT_BAD_INPUT = 2
RESUME = "what has arrived is kept; run the same command to resume"
OBJECTS_OF_A_START = 200_000
"""New objects before the garbage collector looks, 700 by itself. A plan makes 124,000, nearly all
of which stay: the collector found nothing, in a tenth of the plan's time."""


def main() -> None:
    """Run the command line.

    An error that the user can fix is one line and exit code 2; a defect of ours is a traceback.
    """
    gc.set_threshold(OBJECTS_OF_A_START)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait are up to fifty times slower when another process has
    # their cores (measured: a probe took 200 s in place of 4 s). Sleeping costs nothing measurable.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _silence_libraries()
    sys.excepthook = _show_defect
    signals = StopSignals()
    signals.install()
    try:
        app()
    except OrcinusError as error:
        _say(str(error))
        raise SystemExit(EXIT_BAD_INPUT) from None
    except Interrupted:
        _say(f"interrupted; {RESUME}")
        sys.stdout.flush()
        signals.exit_at_once()
    except BrokenPipeError:
        # The reader has closed the pipe (`orcinus verify … | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror}; {RESUME}")
        raise SystemExit(EXIT_BAD_INPUT) from None


def _silence_libraries() -> None:
    """Keep what libraries tell developers off the terminal, also in the processes started here.

    Errors are shown, and so is everything that the user asks for by these variables or ``-W``.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.warnoptions:
        # Libraries warn about calls that are ours to change, which tells a user nothing.
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        warnings.simplefilter("ignore")


def _say(text: str) -> None:
    sys.stderr.write(f"orcinus: {one_line(printable(text))}\n")


def _show_defect(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print a traceback, whose messages may hold what a data set or a server wrote."""
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))
