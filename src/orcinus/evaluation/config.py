"""The settings of an evaluation, which are read with every recipe.

evaluate: {arms: [before, after], per_task: 100}    ──►    EvaluateConfig
"""

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.imports import import_later
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig

if TYPE_CHECKING:
    from orcinus.verifiers import rewards
else:
    rewards = import_later("orcinus.verifiers.rewards")

By = Literal["majority", "best_of_n", "weighted", "rebase"]
Leaves = Literal["majority", "best_of_n", "weighted"]
Opponent = Literal["before", "prompted", "answer_only", "teacher"]
Arm = Literal["before", "prompted", "answer_only", "after", "after_prompted", "teacher"]


class DecideConfig(Config):
    """The rules that make one answer out of several samples.

    A recipe may give a name, or a list of names, in place of the section:
    ``decide: [majority, rebase]``.
    """

    by: tuple[By, ...] = Field(min_length=1)
    """``majority``: the most frequent answer. ``weighted``: the answer with the highest total
    reward. ``best_of_n``: the sample with the highest reward. ``rebase``: tree search guided by
    the reward. Each gets its own row in the table."""
    reward: str = "logprob"
    """``logprob``: mean probability of the model's own tokens. ``judge``: the judge's rating,
    without the reference. Or a function ``module:name`` from (example, text) to 0..1."""
    at: tuple[int, ...] = ()
    """Numbers of samples to choose among, and widths of the tree. Empty means 1, 2, 4 … up to
    ``sampling.samples``."""
    separator: str = Field(default="\n\n", min_length=1)
    """``rebase``: text that ends a step."""
    step_tokens: int = Field(default=256, ge=1)
    """``rebase``: tokens of a step at most; ``sampling.max_tokens`` limits the whole answer."""
    steps: int = Field(default=25, ge=1)
    """``rebase``: steps at most. The last one runs to the end of the answer."""
    temperature: float = Field(default=0.2, gt=0)
    """``rebase``: how evenly the width is divided among partial answers. Near 0 the best one gets
    all of it."""
    leaves: Leaves = "weighted"
    """``rebase``: how one of the finished answers is chosen."""

    @model_validator(mode="before")
    @classmethod
    def _accept_names(cls, value: Any) -> Any:
        if isinstance(value, str | list | tuple):
            value = {"by": value}
        if isinstance(value, Mapping) and isinstance(value.get("by"), str):
            value = {**value, "by": (value["by"],)}
        return value

    @field_validator("reward")
    @classmethod
    def _check_reward(cls, value: str) -> str:
        if value not in rewards.BUILT_IN:
            rewards.find_reward(value)
        return value

    @property
    def rewarded(self) -> bool:
        """True when any of the methods needs a reward."""
        return self.by != ("majority",)

    def widths(self, samples: int) -> tuple[int, ...]:
        """Return the numbers of samples to choose among."""
        return self.at or (*(2**i for i in range(samples.bit_length()) if 2**i < samples), samples)

    def sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """Return ``sampling`` with what the reward needs.

        Raises:
            ConfigError: There are no different samples to choose among.
        """
        if sampling.samples < 2 or sampling.temperature == 0:
            raise ConfigError(
                f"decide: {', '.join(self.by)} needs several answers that differ; raise "
                "sampling.samples and sampling.temperature "
                f"(now {sampling.samples} and {sampling.temperature})"
            )
        if not all(1 <= n <= sampling.samples for n in self.at):
            raise ConfigError(
                f"decide.at: {list(self.at)} must lie between 1 and sampling.samples, "
                f"{sampling.samples}"
            )
        needs_logprobs = self.rewarded and self.reward == "logprob"
        return sampling.model_copy(update={"logprobs": sampling.logprobs or needs_logprobs})

    def require(self, completer: Completer) -> None:
        """Check that ``completer`` can do what the methods need.

        Raises:
            ConfigError: ``rebase`` is asked for, and the model cannot continue a partial reply.
        """
        if "rebase" in self.by and not completer.traits.continues:
            raise ConfigError(
                f"decide: rebase continues partial replies, and {completer.model} is not known to "
                "do so; for a server that respects continue_final_message (vLLM, orcinus serve) "
                "set continues: true in the model's YAML, else use weighted or best_of_n"
            )


class PairwiseConfig(Config):
    """Whose answers a judge compares side by side with those of the trained student."""

    against: tuple[Opponent, ...] = Field(default=("before", "teacher"), min_length=1)
    """The arms that ``after`` is compared with, one by one."""
    per_task: int | None = Field(default=100, ge=1)
    """At most this many questions of a task are compared, drawn by a hash; None compares all.
    Each costs two calls of the judge for each arm under ``against``."""
    tasks: Literal["open", "all"] = "open"
    """open: only tasks whose answers are free text or are left to a judge (``verifier: judge`` or
    ``grounded``); all: every task."""

    @field_validator("against")
    @classmethod
    def _each_arm_once(cls, value: tuple[Opponent, ...]) -> tuple[Opponent, ...]:
        return tuple(dict.fromkeys(value))

    def check(self, arms: Container[str]) -> None:
        """Refuse arms that are not evaluated, unless they are only there by default.

        Raises:
            ValueError: ``after``, or an arm that the recipe names, is not in ``arms``.
        """
        named = self.against if "against" in self.model_fields_set else ()
        for arm in ("after", *named):
            if arm not in arms:
                raise ValueError(
                    f"pairwise compares the arm {arm}, which is not in evaluate.arms; add it"
                )


class EvaluateConfig(Config):
    """The arms to compare, and how many questions to ask them."""

    arms: tuple[Arm, ...] = ("before", "prompted", "answer_only", "after", "teacher")
    """before: the untrained student; prompted: the same under its best strategy;
    answer_only: trained on bare answers; after: trained on explanations; after_prompted: the same
    under its best strategy, to see whether the message still helps; teacher: under the assigned
    strategy."""
    per_task: int | None = Field(default=None, ge=1)
    """Questions of each held-out and retention task, drawn by hash; None asks all."""
    sampling: SamplingConfig = SamplingConfig()
    """How the models write. Greedy by default, as in Orca 2."""
    decide: DecideConfig | None = None
    """How several samples of the student become one answer, and the cost of that, in every arm but
    the teacher's. None only counts how often one, any or most of the samples are right."""
    # Excluded when None, so that the step keeps the fingerprint it had before this key existed.
    pairwise: PairwiseConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Have the judge compare the answers of ``after`` with those of other arms, in both orders.
    None does not."""

    @model_validator(mode="after")
    def _check_samples(self) -> "EvaluateConfig":
        if self.decide is not None:
            self.decide.sampling(self.sampling)
        return self

    @model_validator(mode="after")
    def _check_pairwise(self) -> "EvaluateConfig":
        if self.pairwise is not None:
            self.pairwise.check(self.arms)
        return self

    def sampling_of(self, arm: Arm) -> SamplingConfig:
        """Return the sampling of an arm's model."""
        return (
            self.sampling
            if self.decide is None or arm == "teacher"
            else self.decide.sampling(self.sampling)
        )
