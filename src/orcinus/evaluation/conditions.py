"""Conditions of a benchmark run: a layout under a system message."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.sampling import SamplingConfig
from orcinus.evaluation.decisions import DecideConfig
from orcinus.runs.budget import BudgetConfig
from orcinus.strategies.library import generic_messages
from orcinus.tasks.benchmarks.reading import BenchmarkItems
from orcinus.tasks.benchmarks.specs import Benchmark

STEP = "evaluate"


class Settings(Config):
    """What is asked, and how."""

    benchmarks: tuple[Benchmark, ...]
    data: Path | None = None
    """Folder of their files; None reads from the hub."""
    layouts: tuple[str, ...] = ()
    """Names of layouts; a benchmark is asked under those that it has. Empty is each one's first; ``all`` is all."""
    systems: tuple[str, ...] = ("",)
    """System messages; an empty one sends none, as Orca was asked."""
    shots: int = 0
    limit: int | None = None
    """Items of each subset at most."""
    sampling: Mapping[str, Any] = {}
    """In place of the benchmarks' own: ``max_tokens``, ``temperature``, ``samples``, ``seeded``."""
    decide: DecideConfig | None = None
    """How several tries at a question become one answer, and what that costs."""
    learnt_from: tuple[str, ...] = ()
    """Runs or files that the model has learnt from, to flag items that stand in them."""
    overlap: int = 13
    """Words that an item and what was learnt must share in a row to be flagged (GPT-3's rule)."""
    budget: BudgetConfig = BudgetConfig()
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One layout under one system message."""

    layout: str
    system: int
    """Number of the system message, from 1."""

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.layout}/{self.system}"


def _sampling(benchmark: Benchmark, settings: Settings) -> SamplingConfig:
    sampling = SamplingConfig.model_validate(
        {**benchmark.sampling.model_dump(), **settings.sampling}
    )
    return sampling if settings.decide is None else settings.decide.sampling(sampling)


def _conditions(read: BenchmarkItems, settings: Settings) -> Iterator[Condition]:
    for layout in read.by_layout:
        for number in range(1, len(settings.systems) + 1):
            yield Condition(layout=layout, system=number)


def system_message(text: str) -> str:
    """A system message as the command line has it: ``@FILE``, the name of a generic one (``cautious``), or the words themselves.

    Raises:
        ConfigError: The file cannot be read.
    """
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{text[1:]}: cannot be read as a system message: {error}") from error
    return generic_messages().get(text, text)
