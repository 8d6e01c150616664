"""Settings of a benchmark evaluation, and its conditions: a prompt layout under a system message.

layouts plain, cued × system messages "", "Be brief."  ──►  plain/1, plain/2, cued/1, cued/2
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Request, Strategy
from orcinus.evaluation.config import DecideConfig
from orcinus.runs.budget import BudgetConfig
from orcinus.strategies.library import generic_messages
from orcinus.strategies.prompts import requests_for
from orcinus.tasks.benchmarks.reading import BenchmarkItems
from orcinus.tasks.benchmarks.specs import Benchmark

STEP = "evaluate"
"""Name under which the ledger books the calls."""


class BenchmarkSettings(Config):
    """The benchmarks to evaluate a model on, and how it is asked."""

    benchmarks: tuple[Benchmark, ...]
    data: Path | None = None
    """Folder of the benchmarks' files; None reads them from the hub."""
    layouts: tuple[str, ...] = ()
    """Names of prompt layouts; each benchmark uses those that it has. Empty means each benchmark's
    first; ``all`` means all of them."""
    systems: tuple[str, ...] = ("",)
    """System messages; an empty one sends none, as for Orca's evaluation."""
    shots: int = 0
    """Demonstrations before each question."""
    limit: int | None = None
    """Items of each subset at most."""
    sampling: Mapping[str, Any] = {}
    """Replaces values of the benchmarks' sampling, such as ``max_tokens`` or ``temperature``."""
    decide: DecideConfig | None = None
    """How several samples become one answer, and what that costs."""
    learnt_from: tuple[str, ...] = ()
    """Runs or files with the model's training data: items found in them are flagged."""
    overlap: int = 13
    """Consecutive words that an item and the training data share when it is flagged, as in GPT-3's
    contamination test."""
    budget: BudgetConfig = BudgetConfig()
    seed: int = 0

    def sampling_of(self, benchmark: Benchmark) -> SamplingConfig:
        """Return the sampling for one benchmark.

        Raises:
            ConfigError: ``decide`` has no different samples to choose among.
        """
        sampling = SamplingConfig.model_validate(
            {**benchmark.sampling.model_dump(), **self.sampling}
        )
        return sampling if self.decide is None else self.decide.sampling(sampling)

    def layouts_of(self, benchmark: Benchmark) -> tuple[str, ...]:
        """Return the chosen layouts that ``benchmark`` has; empty stands for its first."""
        chosen = tuple(benchmark.layouts) if "all" in self.layouts else self.layouts
        return tuple(dict.fromkeys(name for name in chosen if name in benchmark.layouts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One prompt layout under one system message."""

    layout: str
    system: int
    """Number of the system message, from 1."""

    @property
    def name(self) -> str:
        """The name in tables and in the attempts' ``strategy``."""
        return f"{self.layout}/{self.system}"


def conditions_of(items: BenchmarkItems, settings: BenchmarkSettings) -> Iterator[Condition]:
    """Yield the conditions of a benchmark: layout by layout, all system messages."""
    for layout in items.by_layout:
        for number in range(1, len(settings.systems) + 1):
            yield Condition(layout=layout, system=number)


def requests_under(
    condition: Condition,
    items: BenchmarkItems,
    settings: BenchmarkSettings,
    sampling: SamplingConfig,
) -> Iterator[Request]:
    """Yield the requests for all items of a benchmark under one condition."""
    strategy = Strategy(name=condition.name, system=settings.systems[condition.system - 1])
    for example in items.by_layout[condition.layout]:
        yield from requests_for(example, strategy, sampling, seed=settings.seed)


def system_message(text: str) -> str:
    """Resolve a system message as it is given on the command line.

    Args:
        text: ``@FILE``, the name of a generic message (``cautious``), or the message itself.

    Raises:
        ConfigError: The file cannot be read.
    """
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{text[1:]}: cannot be read as a system message: {error}") from error
    return generic_messages().get(text, text)
