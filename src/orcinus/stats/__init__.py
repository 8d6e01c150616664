"""Statistics on verdicts: intervals, paired tests, and the choice of a strategy. Pure functions; nothing here asks a model."""

from orcinus.stats.paired import (
    binomial_at_least,
    holm,
    mcnemar,
    minimum_detectable_difference,
    minimum_detectable_drop,
    paired_difference,
    sign_flip,
)
from orcinus.stats.scores import clustered_interval, macro_score, pass_at_k, score, score_samples, wilson

__all__ = [
    "binomial_at_least",
    "clustered_interval",
    "holm",
    "macro_score",
    "mcnemar",
    "minimum_detectable_difference",
    "minimum_detectable_drop",
    "paired_difference",
    "pass_at_k",
    "score",
    "score_samples",
    "sign_flip",
    "wilson",
]
