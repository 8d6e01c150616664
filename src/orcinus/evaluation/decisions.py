"""Settings and records for choosing one answer among several.

decide: [majority, rebase]  ──►  DecideConfig(by=("majority", "rebase"))
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orcinus.core.stats import DECIDERS, Candidate
from orcinus.core.types import Attempt, Judged
from orcinus.evaluation.config import Leaves
from orcinus.verifiers.rewards import Worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An answer to choose, with its reward."""

    judged: Judged
    worth: Worth | None
    """None when no reward was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer chosen for one question, and what it took."""

    judged: Judged
    calls: Sequence[Attempt]
    """Calls of the model."""
    worths: Sequence[Worth]
    """Rewards that the choice used."""


def choose(by: Leaves, samples: Sequence[Sample]) -> Sample:
    """Choose one of at least one sample; a sample without a reward counts as the lowest."""
    candidates = [
        Candidate(
            answer=sample.judged.verdict.answer,
            reward=(sample.worth.value if sample.worth is not None else None) or 0.0,
        )
        for sample in samples
    ]
    return samples[DECIDERS[by](candidates)]
