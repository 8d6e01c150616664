"""The settings that choose a strategy: the ``assign`` section of a recipe.

assign: {measure: learned, share: 0.25}    ──►    AssignConfig
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from orcinus.core import registry
from orcinus.core.config import Config

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
