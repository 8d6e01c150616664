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

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module, and imports it when one of its names is first read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def import_later(name: str) -> ModuleType:
    """Return the module ``name`` if it is imported already, else what imports it at its first use.

    Give the type checker the plain import beside it, as above.
    """
    return sys.modules.get(name) or _Later(name)
