"""Import modules when they are first used.

    if TYPE_CHECKING:
        from orcinus.strategies import probe
    else:
        probe = import_later("orcinus.strategies.probe")
    await probe.probe(…)    →    imported now, and once

The rule: a room's ``config.py`` and what a plan or a finished run needs import nothing that works
on rows, asks a model or draws a page. Where such a module is named in one of these, it is named
like this, at the top of the module. A start took 2 s when every step was imported with the recipe.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module, and imports it when one of its names is first read."""

    def __getattr__(self, name: str) -> Any:
        with without_collector():
            return getattr(import_module(self.__name__), name)


def import_later(name: str) -> ModuleType:
    """Return the module ``name`` if it is imported already, else what imports it at its first use.

    Give the type checker the plain import beside it, as above.
    """
    return sys.modules.get(name) or _Later(name)


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch the garbage collector off while modules are loaded.

    What they make stays, and the collector walks all of it again and again: torch and Transformers
    make 780,000 objects, and loaded in 9.1 CPU-s in place of 14.0.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
