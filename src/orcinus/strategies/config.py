"""The settings of the steps that choose strategies: the sections ``probe``, ``assign``, ``skills``.

assign: {measure: learned, share: 0.25}    ──►    AssignConfig
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orcinus.core import registry
from orcinus.core.config import Config
from orcinus.core.sampling import SamplingConfig

USUAL = "step_by_step"
"""The strategy of a group in which nothing tells the strategies apart. It was as good as every
choice that we measured (docs/experiments/001, 002)."""
REMOVED_KEYS = frozenset({"each", "sure"})
"""Keys that only the removed ``by: example`` read; a recipe with one of them is told so."""


class AssignConfig(Config):
    """The rules that choose a strategy."""

    measure: Literal["prompted", "learned", "both"] | None = None
    """What decides. prompted: how the untrained student answers under each strategy, as in Orca 2.
    learned: how a trial student answers that a few lessons taught with the strategy. both: measure
    both, and let what is learned decide. None: prompted for the groups where one strategy's 95 %
    interval lies above those of all others and above guessing; learned for the other groups."""
    share: float = Field(default=0.25, gt=0, le=1)
    """Share of each task's teach split that the teacher explains for the trial students with every
    strategy, at least 24 and at most 500 examples. ``teach`` reuses the explanations."""
    by: Literal["task", "category", "cluster"] = "task"
    """The unit that gets a strategy of its own: a task, each ``meta.category`` of a task, or each
    cluster of questions with similar words, whatever their task."""
    clusters: int | None = Field(default=None, ge=1)
    """Number of clusters. None takes the number that separates best, with at least twice
    ``smallest`` probe examples in a cluster on average."""
    margin: float = Field(default=0.01, ge=0, le=1)
    """Accuracy given up for a cheaper strategy: strategies within it count as tied."""
    floor: float | None = Field(default=None, ge=0, le=1)
    """A group is not yet learnable when its best strategy is believed to be under this accuracy.
    None takes 5 points more than guessing gets."""
    below_floor: str = "best"
    """How such a group is taught: with its ``best`` strategy anyway, not at all (``skip``), or with
    the strategy of this name."""
    whose: Literal["student", "teacher"] = "student"
    """Which model is probed: the student, as in Orca 2, or for comparison the teacher, whose best
    strategies may differ."""
    fixed: str | None = None
    """For comparisons: one strategy for all groups, ``random`` for one drawn for each group, or
    ``longest`` for the one under which most is written, right or wrong."""
    chooser: str | None = None
    """Your own rule: a function that returns the Assignment of a group, given its judged attempts.
    The name of a registered one, or ``module:function``. ``margin``, ``floor`` and
    ``below_floor`` are then not used."""
    confirm: int = Field(default=10, ge=0)
    """Fresh probe examples on which the chosen strategy is measured again; 0 skips this. The
    untrained student is asked again only in groups whose accuracy may lie on the other side of the
    floor: elsewhere the answers would change nothing, and ``evaluate`` measures it anyway."""
    proxy: Literal["agreement", "teacher", "none"] = "agreement"
    """The pseudo-label where a task has no references. agreement: the answer that most of the
    student's attempts give; teacher: the teacher's answer, which costs calls; none: every attempt
    counts as wrong, which leaves the cheapest strategy. (A task with ``verifier: judge`` asks a
    judge instead.)"""
    smallest: int = Field(default=5, ge=1)
    """Probe examples that a category or cluster needs to be a group; smaller ones stay with their
    task."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_single_examples(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and (
            value.get("by") == "example" or REMOVED_KEYS & value.keys()
        ):
            raise ValueError(
                "`by: example` was removed, and its keys `each` and `sure` with it; "
                "use `by: cluster` or `by: category`"
            )
        return value

    @field_validator("chooser")
    @classmethod
    def _chooser_exists(cls, value: str | None) -> str | None:
        if value is not None:
            registry.find("chooser", value, {})
        return value

    @model_validator(mode="after")
    def _refuse_two_choosers(self) -> "AssignConfig":
        if self.chooser is not None and self.fixed is not None:
            raise ValueError("chooser and fixed exclude each other: set one of them")
        return self

    @model_validator(mode="after")
    def _refuse_trials_that_decide_nothing(self) -> "AssignConfig":
        if self.measure in ("learned", "both") and not self.tries:
            key = "whose: teacher" if self.whose == "teacher" else "fixed"
            key = "chooser" if self.chooser is not None else key
            raise ValueError(f"measure: {self.measure} and {key} exclude each other: set one")
        return self

    @property
    def tries(self) -> bool:
        """True when trial students may decide."""
        plain = self.fixed is None and self.chooser is None and self.whose == "student"
        return plain and self.measure != "prompted"

    @property
    def asks_probe(self) -> bool:
        """True when the answers of an untrained model have a part in the choice."""
        if self.tries:
            return self.measure != "learned"
        return self.fixed in (None, "longest")


class ProbeConfig(Config):
    """The settings of the measurement of the student."""

    per_task: int | None = Field(default=50, ge=1)
    """Questions for each task and strategy that the student is tested on; with ``adaptive`` this is
    the average. None asks all."""
    adaptive: bool = True
    """Ask in waves, each where it tells most. False asks the same number of examples of every
    task."""
    wave: int = Field(default=8, ge=1)
    """Examples of a task in one wave. The first wave has half of ``per_task``."""
    reserve: int = Field(default=10, ge=0)
    """Probe examples of a task that are kept back, at most half, to measure the chosen strategy
    again (``assign.confirm``)."""
    hopeless: float = Field(default=0.02, ge=0, lt=0.5)
    """Stop asking a strategy on a task once its chance of being the best falls below this
    (0.02 = 2 %)."""
    sampling: SamplingConfig = SamplingConfig()
    """How the student writes, and how many answers to each question."""


class SkillsConfig(Config):
    """The settings for writing and testing instructions."""

    below: float = Field(default=0.9, gt=0, le=1)
    """Only groups whose strategy has a lower accuracy than this get an instruction."""
    shown: int = Field(default=6, ge=1)
    """Right answers, and wrong answers, that the teacher is shown."""
    test: int = Field(default=60, ge=10)
    """Fresh examples of a group on which a draft is compared with the group's strategy."""
    rounds: int = Field(default=2, ge=1)
    """Drafts of a group, at most: a refused one is revised, and tested on further examples."""
    net: int = Field(default=3, ge=1)
    """Repairs less regressions that a draft needs."""
    relative: float = Field(default=0.05, ge=0)
    """The same as a share of what the group's strategy gets right."""
    luck: float = Field(default=0.1, gt=0, le=1)
    """Highest p-value of a one-sided sign test that a draft may have. Where 12 of 60 answers
    differ, 19 % of the drafts that change nothing pass the other two rules alone, and 7 % pass all
    three."""
    growth: Literal["revise", "front"] = Field(
        default="revise", exclude_if=lambda value: value == "revise"
    )
    """revise: a refused draft is revised and tested again. front: instructions grow on probed
    examples, the teacher is told the verifier's reasons, two that complement each other are merged,
    and the best is tested once; at most as many calls."""
    sampling: SamplingConfig = SamplingConfig(max_tokens=600)
    """How the teacher writes."""

    @model_validator(mode="after")
    def _growth_is_paid_for(self) -> Self:
        if self.growth == "front" and self.rounds == 1:
            raise ValueError(
                "growth: front grows for the calls of the rounds that it saves, and rounds: 1 "
                "saves none; take rounds: 2 or more"
            )
        return self
