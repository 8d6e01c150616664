"""Pure functions for statistics on verdicts: intervals, paired tests, decisions among answers."""

from orcinus.core.stats.deciding import DECIDERS, Candidate, balanced, majority
from orcinus.core.stats.paired import (
    Compared,
    Outcome,
    binomial_at_least,
    compare,
    holm,
    mcnemar,
    mean_of_strata,
    minimum_detectable_drop,
    outcome,
    paired_difference,
    sign_flip,
)
from orcinus.core.stats.scores import (
    clustered_interval,
    item_means,
    macro_score,
    pass_at_k,
    score,
    score_samples,
    wilson,
)

__all__ = [
    "DECIDERS",
    "Candidate",
    "Compared",
    "Outcome",
    "balanced",
    "binomial_at_least",
    "clustered_interval",
    "compare",
    "holm",
    "item_means",
    "macro_score",
    "majority",
    "mcnemar",
    "mean_of_strata",
    "minimum_detectable_drop",
    "outcome",
    "paired_difference",
    "pass_at_k",
    "score",
    "score_samples",
    "sign_flip",
    "wilson",
]
