"""Settings of a task that a model writes, and the cells that its questions are drawn from.

{authored: {by: writer, topics: [levers, gases], count: 4, controls: [a, b], solver: c}}
→  cells (levers, number, 1), (gases, number, 1), (levers, number, 2), (gases, number, 2)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orcinus.core.config import Config
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import LECTURE
from orcinus.tasks.authored.units import Level, Unit, read_corpus, read_topics, units_content

Kind = Literal["number", "math", "exact", "program", "lecture"]
"""Answer types that a question can be written for, and a text without a question."""


class AuthoringConfig(Config):
    """The questions that a model writes, the models that check them, and the number of calls.

    A model is named by its role (``teacher``, ``assistant``, ``judge``) or by its name under
    ``models:``.
    """

    by: str
    """The model that writes the questions with their answers."""
    topics: str | tuple[str, ...] = ()
    """What the questions are about: a list, or a file with one topic on each line (a YAML list also
    works). Each topic is a source unit: all its questions go into the same split."""
    corpus: str | None = None
    """Documents to write about in place of topics: a file, a folder or a glob of text, Markdown,
    HTML or PDF (the last two: extra ``documents``). Each document is a source unit."""
    levels: tuple[Level, ...] = Field(default=(), exclude_if=lambda value: not value)
    """With ``corpus``: ask about single concepts, about relations of two, or about chains of two
    relations, which the author first finds in each passage. Teach ``[concept, relation]``, and test
    ``[chain]`` by a task under ``evaluation:`` on the same documents."""
    only: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """With ``levels``: ask about these alone, named as in ``meta.concepts`` and ``meta.relations``
    of the questions. ``orcinus improve --patch`` names here what the student lacks."""
    audiences: tuple[str, ...] = ()
    """Whom the questions are meant for, e.g. ``[pupils, engineers]``; each is crossed with each
    topic."""
    constraints: tuple[str, ...] = ()
    """What a question must keep to, e.g. ``[use units, tell a story]``; crossed with the others."""
    kinds: tuple[Kind, ...] = ("number",)
    """The kinds of answer. ``program`` asks for a function, which must pass the author's tests.
    ``[lecture]`` writes texts in place of questions: lessons of which every token is learned, rated
    by ``curate.quality``. They are never probed or tested."""
    count: int = Field(default=300, ge=1)
    """How many questions are written, spread evenly over topics, audiences, constraints, kinds."""
    controls: tuple[str, ...] = ()
    """Models that rate each question with its answer from 0 to 1, one after the other. A question
    that one of them rates lower than ``agree`` is dropped."""
    agree: float = Field(default=0.8, ge=0, le=1)
    """The rating that each control must give."""
    solver: str | None = None
    """A model that answers each question without seeing the stated answer. A question is kept if
    one of its tries agrees; the number of tries is its ``meta.difficulty``."""
    seed: int = 0
    """Another seed writes other questions."""
    sampling: SamplingConfig = SamplingConfig(temperature=1.0, max_tokens=1024)
    """How the author writes. Controls may write as many tokens, at temperature 0."""
    solving: SamplingConfig = SamplingConfig(samples=3, temperature=0.7, max_tokens=1024)
    """How the solver is asked; ``samples`` is the number of its tries, at most."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.topics) == (self.corpus is not None):
            raise ValueError("give topics: or corpus:, what the questions are written about")
        if self.levels and self.corpus is None:
            raise ValueError("levels: are found in documents; name them with corpus:")
        if self.only and not self.levels:
            raise ValueError("only: names concepts and relations; say which with levels:")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds {list(self.kinds)} must be one or more that differ")
        checked = self.controls or self.solver or self.levels
        if self.is_lectures and (checked or len(self.kinds) > 1):
            raise ValueError(
                "kinds: [lecture] has no answer to control or solve: write questions in a task of "
                "their own, leave controls:, solver: and levels: out, and set curate.quality"
            )
        if self.sampling.samples != 1:
            raise ValueError("sampling.samples must be 1; count: says how many are written")
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("controls: names the same model twice; two opinions need two models")
        return self

    @property
    def is_lectures(self) -> bool:
        """True for texts without a question."""
        return LECTURE in self.kinds

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that are asked, each once."""
        solver = () if self.solver is None else (self.solver,)
        return tuple(dict.fromkeys((self.by, *self.controls, *solver)))

    def units(self, base: Path) -> Sequence[Unit]:
        """Return what the questions are written about, in order.

        Raises:
            ConfigError: There is no such file.
            DataError: A file cannot be read, or holds nothing.
        """
        if self.corpus is not None:
            return read_corpus(self.corpus, base)
        return read_topics(self.topics, base)

    def content(self, base: Path) -> Any:
        """Return what decides the units: the topics, or a hash of each document.

        Raises:
            ConfigError: There is no such file.
            DataError: The file of topics cannot be read.
        """
        if self.corpus is not None:
            return units_content(self.corpus, base)
        return [unit.name for unit in read_topics(self.topics, base)]


class AuthoredConfig(Config):
    """A task whose questions a model writes and further models check."""

    authored: AuthoringConfig
    """What is written, and who checks it."""
    name: str = "authored"
    """Name of the task."""
    collection: str | None = None
    """The collection the task belongs to, for quotas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One question to write."""

    unit: Unit
    audience: str | None
    constraint: str | None
    kind: Kind
    number: int
    """Counts the questions of the same combination from 1."""


def cells_of(config: AuthoringConfig, units: Sequence[Unit]) -> Iterator[Cell]:
    """Yield ``config.count`` cells: every combination as often as every other, give or take one.

    Args:
        config: Audiences, constraints, kinds and count.
        units: What is written about.
    """
    audiences, constraints = config.audiences or (None,), config.constraints or (None,)
    grid = list(product(units, audiences, constraints, config.kinds))
    Random(f"cells/{config.seed}").shuffle(grid)
    for place in range(config.count):
        unit, audience, constraint, kind = grid[place % len(grid)]
        yield Cell(
            unit=unit,
            audience=audience,
            constraint=constraint,
            kind=kind,
            number=place // len(grid) + 1,
        )
