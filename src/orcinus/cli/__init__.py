"""The command line: parse, call the library, print. The only place that prints, reads the environment or exits.

Library modules are imported inside the commands, so that ``orcinus --help`` answers at once.
"""

import os
import sys

from orcinus.cli.app import app
from orcinus.cli.options import Interrupted
from orcinus.core.errors import OrcinusError, one_line

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; what a user can mend is one line and exit code 2, what is our defect is a traceback."""
    # Commands import slow libraries that would otherwise look for a hub at start.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait for each other by spinning are up to fifty times slower when another process has their cores (measured:
    # a probe of 200 s in place of 4 s); sleeping costs nothing that can be measured on an idle machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except OrcinusError as error:
        _say(str(error))
        raise SystemExit(EXIT_BAD_INPUT) from None
    except Interrupted:
        _say("interrupted; what has arrived is kept, and the same command goes on from here")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has gone away (`orcinus verify … | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _say(
            f"{where}{error.strerror}; what has arrived is kept, and the same command goes on from here"
        )
        raise SystemExit(EXIT_BAD_INPUT) from None


def _say(text: str) -> None:
    sys.stderr.write(f"orcinus: {one_line(text)}\n")
