"""Tasks that a program draws: as many examples as one wants, none of them seen before, each with its right answer.

    {generator: sums, count: 300, size: [4, 7]}   →   "Add 4 7 2 9 5." …

Example i depends on (generator, seed, i) alone, so that a larger count only adds examples.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator

from orcinus.core.config import Config
from orcinus.core.types import Example
from orcinus.tasks.generators import short

VERSION = 1
"""Raised when a generator draws other examples for the same settings."""


class ProceduralConfig(Config):
    """A task drawn by a program."""

    generator: str
    """What is drawn; the known ones are listed when the name is wrong."""
    name: str | None = None
    """Name of the task; None takes the generator's."""
    count: int = Field(default=300, ge=1)
    """How many examples, all different."""
    size: tuple[int, int] = (4, 6)
    """Least and greatest size of a question: how many numbers, letters, words."""
    seed: int = 0
    """Another seed draws other examples."""

    @field_validator("generator")
    @classmethod
    def _generator_is_known(cls, value: str) -> str:
        if value not in short.FAMILIES:
            raise ValueError(
                f"no generator named {value!r}; known: {', '.join(sorted(short.FAMILIES))}"
            )
        return value

    @field_validator("size")
    @classmethod
    def _size_is_a_range(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 2 <= value[0] <= value[1] <= 64:
            raise ValueError(f"size {list(value)} is no range within 2 … 64")
        return value

    def identity(self) -> dict[str, Any]:
        """What decides the examples."""
        return {**self.model_dump(mode="json"), "version": VERSION}


def draw(config: ProceduralConfig) -> Iterator[Example]:
    """The examples of ``config`` in a stable order.

    Raises:
        DataError: There are not so many different ones.
    """
    name = config.name or config.generator
    return short.examples(
        config.generator, task=name, count=config.count, seed=config.seed, size=config.size
    )
