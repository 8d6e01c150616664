"""Read the probe by group, and tell where it is able to choose a strategy.

sums: direct 12 % (5 … 25), step_by_step 80 % (66 … 89)   ──►  the probe tells
last letters: all strategies 0 % (0 … 14)                 ──►  it cannot tell
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orcinus.core import stats
from orcinus.core.errors import ConfigError
from orcinus.core.types import Example, Judged, Score, Split
from orcinus.runs import layout, tables
from orcinus.runs.context import StepContext
from orcinus.strategies.clusters import grouping
from orcinus.strategies.config import AssignConfig
from orcinus.strategies.pseudo_labels import Key, key_of
from orcinus.verifiers.guessing import mean_guess_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResults:
    """The untrained student's answers under every strategy; empty where it was not asked."""

    examples: Mapping[Key, Example]
    """All examples of the probe split."""
    judged: Sequence[Judged]
    """Its attempts that got a reply."""

    @classmethod
    def read(cls, context: StepContext) -> "ProbeResults":
        """Read the inputs ``sample`` and, where there is one, ``probe``."""
        judged: list[Judged] = []
        if "probe" in context.inputs:
            found = tables.read_judged(context.inputs["probe"] / layout.ATTEMPTS)
            judged = [item for item in found if item.attempt.finish != "error"]
        return cls(
            examples={(e.task, e.id): e for e in examples_of(context, "probe")}, judged=judged
        )

    @property
    def asked(self) -> dict[Key, Example]:
        """The examples that were asked."""
        return {key: self.examples[key] for key in dict.fromkeys(map(key_of, self.judged))}


def examples_of(context: StepContext, split: Split | None = None) -> Iterator[Example]:
    """Read the examples of a split; of all splits for None."""
    return tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, split)


def find_groups(
    config: AssignConfig, probe: ProbeResults, context: StepContext
) -> Callable[[Example], str]:
    """Return the function that gives the group of an example.

    Raises:
        ConfigError: Categories are wanted and no example has one.
    """
    probed = (probe.asked or probe.examples).values()
    if config.by == "category" and not any(example.meta.get("category") for example in probed):
        raise ConfigError(
            "assign.by: category, and no question has one; keep the column that holds it, which "
            "must be called category, with the task's `columns: {meta: [category]}`"
        )
    return grouping(
        probed,
        lambda: examples_of(context),
        by=config.by,
        count=config.clusters,
        smallest=config.smallest,
        seed=context.seed,
    )


def by_group(
    judged: Sequence[Judged],
    examples: Mapping[Key, Example],
    group_of: Callable[[Example], str],
) -> dict[str, list[Judged]]:
    """Sort attempts by the group of their example, groups by name."""
    found: dict[str, list[Judged]] = {}
    for item in judged:
        found.setdefault(group_of(examples[key_of(item)]), []).append(item)
    return dict(sorted(found.items()))


def probe_tells(attempts: Sequence[Judged], examples: Mapping[Key, Example]) -> bool:
    """Return whether the probe of one group singles out a strategy.

    One strategy's 95 % interval must lie above those of all others, and above guessing. With a
    single strategy there is nothing to choose.
    """
    scores = _scores_by_strategy(attempts)
    guess = mean_guess_rate([examples[key] for key in dict.fromkeys(map(key_of, attempts))])
    return len(scores) == 1 or any(
        (score.low or 0.0)
        > max([guess, *(other.high or 0.0 for other in scores if other is not score)])
        for score in scores
    )


def _scores_by_strategy(attempts: Sequence[Judged]) -> list[Score]:
    by_strategy: dict[str, list[Judged]] = {}
    for item in attempts:
        by_strategy.setdefault(item.attempt.strategy, []).append(item)
    return [stats.score(items) for items in by_strategy.values()]
