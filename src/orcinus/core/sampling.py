"""The sampling settings of a recipe, which probe, teach and evaluate share."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from orcinus.core.config import Config
from orcinus.core.types import Sampling


class SamplingConfig(Config):
    """Decoding settings of a model."""

    samples: int = Field(default=1, ge=1)
    """Answers to each question, k."""
    temperature: float | None = Field(default=0.0, ge=0)
    """0 is greedy decoding, where all samples are the same. null sends none, for endpoints that
    refuse one; a model in this process then samples at 1."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: the share of probability to keep."""
    max_tokens: int = Field(default=512, ge=1)
    """Upper bound on written tokens, including reasoning."""
    stop: tuple[str, ...] = ()
    """Texts that end the reply."""
    seeded: bool = True
    """Send a seed with each request. Some endpoints refuse one; a model in this process needs one
    to repeat its samples."""
    logprobs: bool = False
    """Keep the log-probability of each written token if the model returns it."""
    extra: Mapping[str, Any] = Field(default_factory=dict)
    """Further body parameters, sent unchanged."""

    def sampling(self, sample: int, seed: int) -> Sampling:
        """Return the settings of one of the k answers, ``sample`` counted from 0."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            sends_temperature=self.temperature is not None,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=self.stop,
            seed=seed + sample if self.seeded else None,
            logprobs=self.logprobs,
            extra=self.extra,
        )


class JudgingConfig(Config):
    """Settings of the judge."""

    sampling: SamplingConfig = SamplingConfig(max_tokens=1024)
    """How the judge samples; it is asked once about each answer."""
    instructions: Mapping[Literal["verdict", "groundedness", "rating", "comparison"], str] = Field(
        default_factory=dict
    )
    """Your own criteria in place of the built-in ones. ``verdict``: right or wrong.
    ``groundedness``: claims that a text supports. ``rating``: the scale from 1 to 10 that
    ``curate.quality`` learns. ``comparison``: for ``evaluate.pairwise``. The delimiters around the
    judged text and the format of the verdict stay built in."""
    facts: tuple[str, ...] = ()
    """Columns with facts that the judge is shown beside a question, and the student never:
    ``[rubric, caption]``, kept with ``columns: {meta: [rubric, caption]}`` of the task. They count
    in verdicts, ratings and comparisons; as a reward at test time the judge does not see them."""

    @field_validator("sampling")
    @classmethod
    def _asked_once(cls, value: SamplingConfig) -> SamplingConfig:
        if value.samples != 1:
            raise ValueError(
                f"the judge is asked once about each answer, not {value.samples} times"
            )
        return value
