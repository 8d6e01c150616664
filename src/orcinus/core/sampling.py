"""How examples become requests: the settings of sampling that probe, teach and evaluate share."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from orcinus.core.config import Config
from orcinus.core.types import Sampling


class SamplingConfig(Config):
    """How a model is asked to write."""

    samples: int = Field(default=1, ge=1)
    """How many answers to each question, k."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy decoding: then more than one sample tells nothing new."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: the share of probability that is kept."""
    max_tokens: int = Field(default=512, ge=1)
    """Upper bound on written tokens, reasoning included."""
    stop: tuple[str, ...] = ()
    """Texts at which writing ends."""
    seeded: bool = True
    """Send a seed with each request. Some endpoints refuse one; a model in this process samples the same way again only with one."""
    logprobs: bool = False
    """Keep each written token's log-probability where the model gives it."""
    extra: Mapping[str, Any] = Field(default_factory=dict)
    """Further body parameters, sent as they are."""

    def sampling(self, sample: int, seed: int) -> Sampling:
        """The settings of the ``sample``-th of the k answers."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=self.stop,
            seed=seed + sample if self.seeded else None,
            logprobs=self.logprobs,
            extra=self.extra,
        )


class JudgingConfig(Config):
    """How the judge is asked."""

    sampling: SamplingConfig = SamplingConfig(max_tokens=1024)
    """How the judge writes; it is asked once about each answer."""
    instructions: Mapping[Literal["verdict", "groundedness", "rating", "comparison"], str] = Field(
        default_factory=dict
    )
    """What it is to look at, in place of our words: ``verdict`` for right or wrong, ``groundedness`` for claims that a text supports,
    ``rating`` for what ``curate.quality`` learns, on a scale from 1 to 10, ``comparison`` for ``evaluate.pairwise``. The protection of what is judged and the form of the verdict stay ours."""

    @field_validator("sampling")
    @classmethod
    def _asked_once(cls, value: SamplingConfig) -> SamplingConfig:
        if value.samples != 1:
            raise ValueError(
                f"the judge is asked once about each answer, not {value.samples} times"
            )
        return value
