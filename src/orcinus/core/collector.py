"""Run Python's garbage collector less often while many records are held.

    with relax_garbage_collection():
        ...  # thousands of attempts, examples or traces at once

The collector looks for objects that refer to each other in a circle, and records do not. At its
usual thresholds it looks at all of them again and again, and frees nothing.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (100_000, 50, 50)
"""For ``gc.set_threshold``: new objects, then collections of the younger generation. The usual ones
cost 7 % of the calls a second, and 7 to 12 % of the CPU time of ``sample``, ``curate`` and
``erase``."""


@contextmanager
def relax_garbage_collection() -> Iterator[None]:
    """Run the garbage collector less often in the block."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*map(max, thresholds, _THRESHOLDS))
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
