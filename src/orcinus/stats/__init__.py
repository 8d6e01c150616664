"""Statistics on verdicts: intervals, paired tests, and the choice of a strategy. Pure functions; nothing here asks a model."""

from orcinus.stats.paired import holm, mcnemar, minimum_detectable_difference, paired_difference
from orcinus.stats.scores import clustered_interval, macro_score, pass_at_k, score, wilson

__all__ = [
    "clustered_interval",
    "holm",
    "macro_score",
    "mcnemar",
    "minimum_detectable_difference",
    "paired_difference",
    "pass_at_k",
    "score",
    "wilson",
]
