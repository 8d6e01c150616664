"""``orcinus`` and ``python -m orcinus`` both start here."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until the command line has its own handler, Ctrl-C ends the loading of modules in silence.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from orcinus.cli import main

if __name__ == "__main__":
    main()
