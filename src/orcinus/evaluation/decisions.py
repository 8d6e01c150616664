"""Settings and records for choosing one answer among several.

decide: [majority, rebase]  ──►  DecideConfig(by=("majority", "rebase"))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.stats import DECIDERS, Candidate
from orcinus.core.types import Attempt, Judged
from orcinus.verifiers.rewards import BUILT_IN, Worth, find_reward

By = Literal["majority", "best_of_n", "weighted", "rebase"]
Leaves = Literal["majority", "best_of_n", "weighted"]


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
        if value not in BUILT_IN:
            find_reward(value)
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
