"""Names for the extension points: name → factory, with entry points for other people's packages.

    verifiers.register("last_number", factory)
    factory = verifiers.get("last_number")

Another package adds ``[project.entry-points.orcinus]`` with ``verifiers.last_number = "their_package:factory"``.
"""

import importlib
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

from orcinus.core.errors import ConfigError

Factory = Callable[..., Any]


class Registry:
    """Factories of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._factories: dict[str, Factory] = {}
        self._entry_points_read = False

    def register(self, name: str, factory: Factory) -> Factory:
        """Give ``factory`` a name.

        Raises:
            ConfigError: The name is taken by something else.
        """
        if self._factories.get(name, factory) is not factory:
            raise ConfigError(
                f"two {self.kind} are named {name!r}: {self._factories[name]!r} and {factory!r}"
            )
        self._factories[name] = factory
        return factory

    def get(self, name: str) -> Factory:
        """The factory named ``name``.

        Raises:
            ConfigError: Nothing has that name; the message lists what there is.
        """
        self._read_entry_points()
        if name not in self._factories:
            raise ConfigError(
                f"no {self.kind} named {name!r}; known: {', '.join(sorted(self._factories)) or 'none'}"
            )
        return self._factories[name]

    def named(self, name: str) -> Any:
        """What a recipe names: what a registered factory makes, or the function at ``package.module:name``.

        Raises:
            ConfigError: There is neither.
        """
        return function_named(name) if ":" in name else self.get(name)()

    def __iter__(self) -> Iterator[str]:
        self._read_entry_points()
        return iter(sorted(self._factories))

    def _read_entry_points(self) -> None:
        if self._entry_points_read:
            return
        self._entry_points_read = True
        for point in entry_points(group="orcinus"):
            kind, _, name = point.name.partition(".")
            if kind == self.kind:
                self.register(name, point.load())


def function_named(path: str) -> Callable[..., Any]:
    """The function at ``package.module:name``.

    Raises:
        ConfigError: There is no such function.
    """
    module_name, _, name = path.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"no function {path!r}: {error}; write it as package.module:name"
        ) from error
    return function


verifiers = Registry("verifiers")
filters = Registry("filters")
objectives = Registry("objectives")
selectors = Registry("selectors")
choosers = Registry("choosers")
rewards = Registry("rewards")
