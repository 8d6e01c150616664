"""Turn judged attempts into outcome arrays, and into the evidence stored with an assignment.

    judged attempts at 40 examples, 2 strategies  →  (2, 40) outcomes  →  Measurements
                                                  →  Evidence("step_by_step", 48 %, 62 tokens)

Shapes: G groups, S strategies, n examples of a group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from orcinus.core import stats
from orcinus.core.types import Evidence, Judged
from orcinus.strategies.choosing import Array, Belief, believe
from orcinus.strategies.pseudo_labels import AGREEMENT, TEACHER, key_of
from orcinus.verifiers.judge import given_by_judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """The probe's results in every group under every strategy."""

    names: tuple[str, ...]
    """(S,) names of the strategies."""
    attempts: Mapping[str, Sequence[Judged]]
    """The judged attempts of each of the G groups, by the group's name."""
    belief: Belief
    """(G, S) accuracies, shrunk towards what all groups show."""
    tokens: Array
    """(G, S) mean tokens written; infinite where a strategy was not asked."""
    overall: int
    """The strategy that is best over all groups, of those that were asked in the most groups."""

    @classmethod
    def from_attempts(cls, attempts: Mapping[str, Sequence[Judged]], names: Sequence[str]) -> Self:
        """Measure each group's ``attempts`` under each of the strategies ``names``."""
        belief = believe({group: outcomes(items, names) for group, items in attempts.items()})
        reach = (belief.counts > 0).sum(0)
        overall = np.where(reach == reach.max(), belief.mean.mean(0), -1.0).argmax()
        return cls(
            names=tuple(names),
            attempts=attempts,
            belief=belief,
            tokens=tokens_written(attempts, names),
            overall=int(overall),
        )


def outcomes(items: Sequence[Judged], names: Sequence[str]) -> Array:
    """Return the (S, n) mean verdicts of each strategy on each example.

    NaN stands where an example was not asked. An attempt without a verdict counts as not right.
    """
    columns = {key: column for column, key in enumerate(dict.fromkeys(map(key_of, items)))}
    sums, counts = np.zeros((len(names), len(columns))), np.zeros((len(names), len(columns)))
    for item in items:
        at = names.index(item.attempt.strategy), columns[key_of(item)]
        sums[at] += item.verdict.value or 0.0
        counts[at] += 1
    means: Array = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means


def tokens_written(attempts: Mapping[str, Sequence[Judged]], names: Sequence[str]) -> Array:
    """Return the (G, S) mean tokens written; infinite where a strategy was not asked in a group."""
    sums, counts = np.zeros((len(attempts), len(names))), np.zeros((len(attempts), len(names)))
    for g, items in enumerate(attempts.values()):
        for item in items:
            sums[g, names.index(item.attempt.strategy)] += item.attempt.usage.tokens_out
            counts[g, names.index(item.attempt.strategy)] += 1
    means: Array = np.divide(sums, counts, out=np.full(sums.shape, np.inf), where=counts > 0)
    return means


def evidence_of(
    prompted: Sequence[Judged], names: Sequence[str], learned: Sequence[Judged] = ()
) -> tuple[Evidence, ...]:
    """Score a group's attempts under each of ``names``, in this order; skip those not asked.

    Args:
        prompted: Attempts of the untrained student.
        names: The strategies.
        learned: Attempts of trial students that were taught with the strategies.
    """
    untrained, trial = _by_strategy(prompted), _by_strategy(learned)
    return tuple(
        Evidence(
            strategy=name,
            score=stats.score(untrained.get(name, ())),
            tokens_out=float(
                np.mean([i.attempt.usage.tokens_out for i in untrained.get(name) or trial[name]])
            ),
            learned=stats.score(trial[name]) if name in trial else None,
        )
        for name in names
        if name in untrained or name in trial
    )


def _by_strategy(items: Sequence[Judged]) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for item in items:
        found.setdefault(item.attempt.strategy, []).append(item)
    return found


def proxy_of(items: Sequence[Judged]) -> str | None:
    """Return what replaced references in some of the verdicts: a pseudo-label, or a judge."""
    for name in (AGREEMENT, TEACHER):
        if any(item.verdict.verifier == name for item in items):
            return name
    return "judge" if given_by_judge(items)[0] else None


def paired_p(items: Sequence[Judged], first: str, second: str) -> float | None:
    """Return the p-value of McNemar's test between two strategies; None without a shared example.

    With several samples, an example counts as right when at least half of them are.
    """
    pair = [item for item in items if item.attempt.strategy in (first, second)]
    values = outcomes(pair, [first, second])
    shared = values[:, ~np.isnan(values).any(0)]
    if not shared.shape[1]:
        return None
    right = (shared >= 0.5).astype(float)
    return stats.mcnemar(right[0], right[1])
