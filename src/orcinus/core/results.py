"""Results of an evaluation, as frozen records.

    attempts of an arm ──score──► ArmScore: accuracy by task, over all items, mean of tasks
    arm "after" against another arm, item by item ──► Comparison
    all of a run ──► Scores, which ``evaluation/scores.py`` writes to ``scores.json`` and reads back

Field names are the keys of ``scores.json``, except where that module says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from orcinus.core.imports import import_later
from orcinus.core.types import Score

if TYPE_CHECKING:
    from orcinus.core import stats
else:
    stats = import_later("orcinus.core.stats")


ARMS = {
    "before": "student before training",
    "prompted": "student before, prompted with its best strategy",
    "answer_only": "student trained on answers only",
    "after": "student trained on explanations",
    "after_prompted": "student after, prompted with its best strategy",
    "teacher": "teacher",
}
"""The arms of a run's evaluation, with their names for a reader."""
FALSE_ALARMS = 0.05
"""Probability of reporting any loss on the retention tasks when training has cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScores:
    """Accuracy by task and two ways to aggregate it."""

    by_task: Mapping[str, Score]
    micro: Score
    """Over all items; ``_micro`` on disk."""
    macro: Score
    """Mean of tasks, each with the same weight; ``_macro`` on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleScore:
    """Accuracy by a published rule for finding and comparing answers, beside ours."""

    n: int
    """Answers that the rule applies to."""
    mean: float
    """Accuracy by the rule, in 0..1."""
    ours: float
    """Accuracy of the same answers by our verifier, in 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCounts:
    """Number of answers that were sent to a judge."""

    given: int
    """Answers whose verdict is the judge's."""
    no_verdict: int
    """Answers on which the judge's reply contained no verdict; ``in_vain`` on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionScore:
    """Accuracy and cost of one way to choose among n answers to a question.

    Costs are per question. A call shared by several rows counts in full in each.
    """

    by: str
    """``majority``, ``best_of_n``, ``weighted`` or ``rebase``."""
    n: int
    """Answers to choose among; for ``rebase`` the width of the tree."""
    score: Score
    """Over all items; with fewer than all samples, over every group of n of them."""
    tokens_out: float
    """Tokens written by the model."""
    tokens_in: float
    """Tokens read by the model; tree search reads the beginning of an answer again at each step."""
    calls: float
    """Calls of the model."""
    usd: float
    """Cost of the model and the judge."""
    reward_calls: float
    """Calls of the judge for rewards."""
    reward_tokens: float
    """Tokens read and written by the judge for rewards."""
    unrated: int
    """Ratings that could not be read, in total; they count as the lowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The accuracy of k answers to each question together."""

    k: int
    questions: int
    one: float
    """Accuracy of a single answer."""
    any_of_k: float
    """pass@k: share of questions with a right answer among k (Chen et al. 2021)."""
    majority: float
    """Accuracy of the most frequent of the k answers; a tie goes to the one given first."""
    tokens: float
    """Written tokens per question, for all k answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmScore:
    """Results of one arm of a run, or of one condition of a benchmark."""

    accuracy: TaskScores
    samples: Samples | None = None
    """Value of k answers to each question together; None when each question was asked once."""
    decided: tuple[DecisionScore, ...] = ()
    """Empty without ``decide``."""
    rules: Mapping[str, RuleScore] = field(default_factory=dict)
    """By published rule; only rules that apply to some of the items."""
    judge: JudgeCounts | None = None
    """None when there is no judge."""
    confidence: Mapping[str, int] = field(default_factory=dict)
    """Answers by how rules found them (``core.types.Confidence``); empty in older runs."""
    guessing: Mapping[str, float] = field(default_factory=dict)
    """By task, the accuracy that guessing has on its questions. Tasks with free answers are left
    out; empty in older runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Paired comparison of ``a`` with ``b`` over the items that both answered."""

    a: str
    """Name of an arm or a condition."""
    b: str
    task: str | None
    """None for all tasks together."""
    n: int
    """Items compared."""
    difference: float
    """Score of ``a`` minus score of ``b``, in -1..1; over all tasks the mean of tasks, each with
    the same weight."""
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval of ``difference``; tasks are resampled one by one."""
    p_value: float
    """Two-sided: exact McNemar test; randomised signs where values lie between 0 and 1, or where
    tasks have different numbers of items."""
    repairs: int
    """Items on which ``a`` is better."""
    regressions: int
    """Items on which ``a`` is worse."""
    p_holm: float
    """``p_value`` after Holm's correction over the comparisons made together."""

    @property
    def outcome(self) -> "stats.Outcome":
        """``better``, ``worse`` or ``not told apart``; for a single task after the correction."""
        p_value = self.p_value if self.task is None else self.p_holm
        return stats.outcome(self.low, self.high, p_value)


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """A judge's preference between the answers of one arm and those of another."""

    a: str
    """The arm whose wins are counted: ``after``."""
    b: str
    task: str | None
    """None: all tasks together."""
    n: int
    """Questions with a verdict: wins, ties and losses."""
    wins: int
    ties: int
    losses: int
    identical: int
    """The ties where both answers are the same text; the judge is not asked about them."""
    flips: int
    """The ties where the two orders of the answers gave different verdicts."""
    first_preferred: int
    """The flips where each order preferred the answer that it showed first."""
    flip_rate: float | None
    """Flips as a share of the judged pairs; None where there are none."""
    unreadable: int
    """Questions without a verdict, because a reply of the judge could not be read; not in n."""
    missing: int
    """Questions that one of the two arms did not answer, because its call failed; not in n."""
    win_rate: float | None
    """Wins plus half the ties as a share of n; None when n is 0."""
    low: float | None
    high: float | None
    """Bounds of the 95 % interval of ``win_rate``: Wilson's, which is too wide where pairs tie."""
    p_value: float
    """Two-sided sign test that wins and losses are equally likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionScore:
    """The student before and after training on one thing it must not get worse at."""

    kind: Literal["task", "harmful", "harmless"]
    what: str
    """Name of the task, or the wanted response to marked requests."""
    n: int
    """Items compared."""
    before: float
    after: float
    """Accuracy; for marked requests the share refused (harmful) or answered (harmless)."""
    difference: float
    """``after`` minus ``before``."""
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval of ``difference``, over items."""
    repairs: int
    """Items that got better."""
    regressions: int
    """Items that got worse."""
    p_value: float
    """One-sided: probability of at least this many losses if training cost nothing."""
    p_holm: float
    """``p_value`` after Holm's correction over all rows."""
    detectable: float | None
    """Smallest loss found with 80 % probability; None when even a total loss would be missed."""

    @property
    def lost(self) -> bool:
        """True when training made the student significantly worse here."""
        return self.p_holm < FALSE_ALARMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All results of a run's evaluation: the content of ``scores.json``."""

    arms: Mapping[str, ArmScore]
    """By name of the arm, in the order in which they were asked."""
    comparisons: tuple[Comparison, ...] = ()
    """``after`` against each other arm: all tasks together first, then task by task."""
    retention: tuple[RetentionScore, ...] = ()
    """Empty when the recipe has no ``retention`` tasks."""
    pairwise: tuple[WinRate, ...] = ()
    """``after`` against other arms, by a judge: all tasks together first, then task by task. Empty
    unless the recipe sets ``evaluate.pairwise``."""
