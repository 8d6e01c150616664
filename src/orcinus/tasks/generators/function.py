"""Read tasks from a function of your own.

    {function: "my_tasks:fractions", settings: {count: 300}}    with my_tasks.py beside the recipe

    def fractions(count=100):
        for i in range(count):
            yield Example(id=str(i), task="fractions", prompt=…, answer_type="number", reference=…)

A registered name may stand in place of ``module:function``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

from pydantic import Field, model_validator

from orcinus.core import registry
from orcinus.core.config import Config
from orcinus.core.errors import DataError
from orcinus.core.types import Example


class FunctionTaskConfig(Config):
    """A task whose examples a function yields."""

    function: str
    """A registered name, or ``module:function`` in a module beside the recipe or an installed one.
    It is called for each pass and must yield the same examples in the same order."""
    name: str | None = None
    """Name of the task; None takes it from the examples."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the function."""
    version: str = "1"
    """Raise this when the function yields other examples, so that finished steps are redone."""

    @model_validator(mode="after")
    def _function_takes_the_settings(self) -> Self:
        self.open()
        return self

    def open(self) -> registry.Function:
        """Return the function with its settings.

        Raises:
            ConfigError: There is no such function, it is not of the shape of a task, or it does not
                take the settings.
        """
        function = registry.find("task", self.function, {})
        return registry.with_settings("task", self.function, function, self.settings)

    def identity(self) -> dict[str, Any]:
        """Return what decides the examples."""
        return self.model_dump(mode="json")


def draw_function(config: FunctionTaskConfig) -> Iterator[Example]:
    """Yield the examples of ``config``.

    Raises:
        DataError: The function yields something other than Examples.
    """
    drawn: object = config.open()()
    for item in drawn if isinstance(drawn, Iterable) else (drawn,):
        if not isinstance(item, Example):
            raise DataError(f"task {config.function}: gives {item!r:.60}; a task gives Examples")
        yield item if config.name is None else replace(item, task=config.name)
