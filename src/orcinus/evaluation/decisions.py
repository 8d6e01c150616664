"""Settings and records of deciding among several answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.stats import Candidate
from orcinus.core.types import Attempt, Example, Judged
from orcinus.verifiers.rewards import BUILT_IN, Worth, Written, reward_named

By = Literal["majority", "best_of_n", "weighted", "rebase"]
Leaves = Literal["majority", "best_of_n", "weighted"]


class DecideConfig(Config):
    """How several tries at a question become one answer. A name, or several, may stand in its place: ``decide: [majority, rebase]``."""

    by: tuple[By, ...] = Field(min_length=1)
    """``majority``: the answer most come to; ``weighted``: the one with the most reward together; ``best_of_n``: that of the most reward;
    ``rebase``: tree search under the reward. Each is a line of the table."""
    reward: str = "logprob"
    """``logprob``: the mean probability of the model's own tokens; ``judge``: the judge's rating, the reference not shown; or a function
    ``module:name`` of (example, text) that gives a number from 0 to 1."""
    at: tuple[int, ...] = ()
    """Numbers of answers to decide among, and widths of the tree; empty is 1, 2, 4 … up to ``sampling.samples``."""
    separator: str = Field(default="\n\n", min_length=1)
    """``rebase``: the text that ends a step."""
    step_tokens: int = Field(default=256, ge=1)
    """``rebase``: longest step; ``sampling.max_tokens`` bounds the whole answer."""
    steps: int = Field(default=25, ge=1)
    """``rebase``: most steps; the last one is written to the answer's end."""
    temperature: float = Field(default=0.2, gt=0)
    """``rebase``: how evenly the width is shared out; towards 0 the best gets all of it."""
    leaves: Leaves = "weighted"
    """``rebase``: how its finished answers become one."""

    @model_validator(mode="before")
    @classmethod
    def _names_may_stand_alone(cls, value: Any) -> Any:
        if isinstance(value, str | list | tuple):
            value = {"by": value}
        if isinstance(value, Mapping) and isinstance(value.get("by"), str):
            value = {**value, "by": (value["by"],)}
        return value

    @field_validator("reward")
    @classmethod
    def _reward_is_there(cls, value: str) -> str:
        if value not in BUILT_IN:
            reward_named(value)
        return value

    @property
    def rewarded(self) -> bool:
        """Whether anything is decided by reward."""
        return self.by != ("majority",)

    def widths(self, samples: int) -> tuple[int, ...]:
        """The numbers of answers to decide among."""
        return self.at or (*(2**i for i in range(samples.bit_length()) if 2**i < samples), samples)

    def sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """How the model is asked so that the reward can be told.

        Raises:
            ConfigError: There is nothing to decide between.
        """
        if sampling.samples < 2 or sampling.temperature == 0:
            raise ConfigError(
                f"decide: {', '.join(self.by)} needs several answers that differ; raise sampling.samples and sampling.temperature "
                f"(now {sampling.samples} and {sampling.temperature:g})"
            )
        if not all(1 <= n <= sampling.samples for n in self.at):
            raise ConfigError(
                f"decide.at: {list(self.at)} must lie between 1 and sampling.samples, {sampling.samples}"
            )
        wanted = self.rewarded and self.reward == "logprob"
        return sampling.model_copy(update={"logprobs": sampling.logprobs or wanted})

    def require(self, completer: Completer) -> None:
        """See that ``completer`` can be searched with.

        Raises:
            ConfigError: It cannot go on with a half-written answer.
        """
        if "rebase" in self.by and not completer.traits.continues:
            raise ConfigError(
                f"decide: rebase goes on with half-written answers, and {completer.model} is not known to do so; for a server that heeds "
                "continue_final_message (vLLM, orcinus serve) say continues: true in the model's YAML, else take weighted or best_of_n"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """One question, decided once."""

    judged: Judged
    calls: Sequence[Attempt]
    worths: Sequence[Worth]


def _candidate(judged: Judged, worth: Worth | None) -> Candidate:
    value = worth.value if worth is not None else None
    return Candidate(answer=judged.verdict.answer, reward=0.0 if value is None else value)


def _written(example: Example, attempt: Attempt) -> Written:
    return Written(example=example, text=attempt.text, logprobs=attempt.logprobs)
