"""What a choice of strategy rests on: judged attempts as arrays, and as evidence that is kept beside the choice."""

from collections.abc import Mapping, Sequence

import numpy as np

from orcinus.core import stats
from orcinus.core.types import Evidence, Judged
from orcinus.strategies.choosing import Array
from orcinus.strategies.pseudo_labels import AGREEMENT, TEACHER
from orcinus.verifiers.judge import given_by_judge


def outcomes(items: Sequence[Judged], names: Sequence[str]) -> Array:
    """(S, n) mean verdict of each strategy on each example; NaN where it was not asked. None counts as not right."""
    columns = {
        key: i
        for i, key in enumerate(
            dict.fromkeys((item.attempt.task, item.attempt.example_id) for item in items)
        )
    }
    sums, counts = np.zeros((len(names), len(columns))), np.zeros((len(names), len(columns)))
    for item in items:
        at = names.index(item.attempt.strategy), columns[item.attempt.task, item.attempt.example_id]
        sums[at] += item.verdict.value or 0.0
        counts[at] += 1
    means: Array = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means


def written(by_group: Mapping[str, Sequence[Judged]], names: Sequence[str]) -> Array:
    """(G, S) mean tokens that were written under each strategy in each group; infinite where it was not asked."""
    sums, counts = np.zeros((len(by_group), len(names))), np.zeros((len(by_group), len(names)))
    for g, items in enumerate(by_group.values()):
        for item in items:
            sums[g, names.index(item.attempt.strategy)] += item.attempt.usage.tokens_out
            counts[g, names.index(item.attempt.strategy)] += 1
    means: Array = np.divide(sums, counts, out=np.full(sums.shape, np.inf), where=counts > 0)
    return means


def evidence_of(items: Sequence[Judged], names: Sequence[str]) -> tuple[Evidence, ...]:
    """The scores of a group's attempts under each of ``names``, in their order, leaving out what was not asked."""
    by_strategy: dict[str, list[Judged]] = {}
    for item in items:
        by_strategy.setdefault(item.attempt.strategy, []).append(item)
    return tuple(
        Evidence(
            strategy=name,
            score=stats.score(by_strategy[name]),
            tokens_out=float(
                np.mean([item.attempt.usage.tokens_out for item in by_strategy[name]])
            ),
        )
        for name in names
        if name in by_strategy
    )


def proxy_of(items: Sequence[Judged]) -> str | None:
    """What stood in for comparing with references in some of the verdicts."""
    for name in (AGREEMENT, TEACHER):
        if any(item.verdict.verifier == name for item in items):
            return name
    return "judge" if given_by_judge(items)[0] else None


def paired_p(items: Sequence[Judged], first: str, second: str) -> float | None:
    """McNemar's test on the examples that both were asked; with k samples an example counts as right from one half on."""
    values = outcomes(
        [item for item in items if item.attempt.strategy in (first, second)], [first, second]
    )
    both = values[:, ~np.isnan(values).any(0)]
    return (
        stats.mcnemar((both[0] >= 0.5).astype(float), (both[1] >= 0.5).astype(float))
        if both.shape[1]
        else None
    )
