"""Tasks drawn by a program: any number of new examples, each with its right answer.

    {generator: sums, count: 300, size: [4, 7]}   →   "Add 4 7 2 9 5." …

Example i depends on (generator, seed, i) alone, so that a larger count only adds examples. A new
generator is a ``Generator`` in a file of its own and an entry in ``GENERATORS``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.errors import DataError
from orcinus.core.types import Example
from orcinus.tasks.generators.bbh import BBH
from orcinus.tasks.generators.deduction import (
    BRANCHES,
    DEDUCTION,
    Language,
    deduction,
    deepest,
)
from orcinus.tasks.generators.generator import Generator
from orcinus.tasks.generators.short import SHORT

VERSION = 1
"""Raised when a generator draws other examples for the same settings."""

GENERATORS: Mapping[str, Generator] = {
    generator.name: generator for generator in (*SHORT, *BBH, DEDUCTION)
}
"""The built-in generators by name."""

_REPEATS_IN_A_ROW = 1000
"""Draws. After this many repeats in a row there is hardly a new question left."""


class ProceduralConfig(Config):
    """A task drawn by a program."""

    generator: str
    """Name of the generator; a wrong name is answered with the known ones."""
    name: str | None = None
    """Name of the task; None takes the generator's, with the language for ``deduction``."""
    count: int = Field(default=300, ge=1)
    """How many examples, all different."""
    size: tuple[int, int] = (4, 6)
    """Smallest and largest size of a question: how many numbers, letters or words; for
    ``deduction`` the depth of the proof."""
    seed: int = 0
    """Another seed draws other examples."""
    dress: tuple[Literal["plain", "shop", "clinic", "court"], ...] = Field(
        default=(), exclude_if=lambda value: not value
    )
    """Ask each of the ``count`` questions in the words of these domains, with the same numbers and
    the same answer, for ``sums`` and ``largest``. ``meta.isomer`` names the question and
    ``meta.domain`` the words; one question's wordings stay in one split."""
    language: Language | None = Field(default=None, exclude_if=lambda value: value is None)
    """For ``deduction``: what rules may say, ``imply`` unless set. Each of imply, and, not, or,
    all holds those before it."""
    branches: int | None = Field(default=None, ge=2, le=8, exclude_if=lambda value: value is None)
    """For ``deduction``: how many options a question has, 4 unless set."""

    @field_validator("generator")
    @classmethod
    def _generator_is_known(cls, value: str) -> str:
        if value not in GENERATORS:
            raise ValueError(
                f"no generator named {value!r}; known: {', '.join(sorted(GENERATORS))}"
            )
        return value

    @field_validator("size")
    @classmethod
    def _size_is_a_range(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] <= 64:
            raise ValueError(f"size {list(value)} is no range within 1 … 64")
        return value

    @model_validator(mode="after")
    def _generator_takes_the_settings(self) -> "ProceduralConfig":
        if self.generator == DEDUCTION.name:
            branches = self.branches or BRANCHES
            if self.size[1] > deepest(branches):
                raise ValueError(
                    f"size {list(self.size)}: with {branches} options deduction has words for "
                    f"depth {deepest(branches)} at most"
                )
        else:
            if self.size[0] < 2:
                raise ValueError(f"size {list(self.size)} is no range within 2 … 64")
            if self.language is not None or self.branches is not None:
                raise ValueError("language and branches are settings of the generator deduction")
        if self.dress and not GENERATORS[self.generator].dresses:
            known = ", ".join(name for name, made in GENERATORS.items() if made.dresses)
            raise ValueError(f"{self.generator} has no dress; those that have one: {known}")
        return self

    def opened(self) -> Generator:
        """Return the generator with its settings."""
        if self.generator == DEDUCTION.name:
            return deduction(self.language or "imply", self.branches or BRANCHES)
        return GENERATORS[self.generator]

    def identity(self) -> dict[str, Any]:
        """Return what decides the examples."""
        return {**self.model_dump(mode="json"), "version": VERSION}


def draw(config: ProceduralConfig) -> Iterator[Example]:
    """Yield the first ``config.count`` different examples of a generator, in a stable order.

    With ``config.dress`` each comes once in every domain.

    Raises:
        DataError: The sizes allow fewer.
    """
    generator = config.opened()
    task = config.name or generator.name
    seen: set[str] = set()
    number = repeats = 0
    while len(seen) < config.count:
        example = generator.make(number, seed=config.seed, size=config.size, task=task)
        number += 1
        if example.prompt not in seen:
            seen.add(example.prompt)
            repeats = 0
            if config.dress:
                yield from (generator.dress(example, domain) for domain in config.dress)
            else:
                yield example
        elif (repeats := repeats + 1) >= _REPEATS_IN_A_ROW:
            raise DataError(
                f"task {task}: of {config.count} examples only {len(seen)} different ones were "
                "found; lower count or raise size"
            )


def explain(prompt: str, strategy: str, *, errors: float = 0.0) -> str:
    """Return the explanation of a built-in generator's question, ending in the answer.

    Args:
        prompt: The question.
        strategy: The name of a strategy; one without an explanation of its own here is answered
            step by step.
        errors: Share of questions to answer wrongly, chosen by a hash of their text.

    Raises:
        LookupError: No generator asks this.
    """
    for generator in GENERATORS.values():
        explanation = generator.explain(prompt, strategy, errors=errors)
        if explanation is not None:
            return explanation
    raise LookupError(f"no generator asks {prompt!r}")
