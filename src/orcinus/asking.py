"""How examples become requests: the settings of sampling that probe, teach and evaluate share."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from operator import itemgetter
from typing import Any, Literal

from pydantic import Field, field_validator

from orcinus.config import Config
from orcinus.fingerprint import stable_fraction
from orcinus.strategies import ask
from orcinus.types import Example, Request, Sampling, Strategy


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
    instructions: Mapping[Literal["verdict", "groundedness", "rating"], str] = Field(default_factory=dict)
    """What it is to look at, in place of our words: ``verdict`` for right or wrong, ``groundedness`` for claims that a text supports,
    ``rating`` for what ``curate.quality`` learns, on a scale from 1 to 10. The protection of what is judged and the form of the verdict stay ours."""

    @field_validator("sampling")
    @classmethod
    def _asked_once(cls, value: SamplingConfig) -> SamplingConfig:
        if value.samples != 1:
            raise ValueError(f"the judge is asked once about each answer, not {value.samples} times")
        return value


def first_by_hash(
    examples: Iterable[Example], salt: str, group_of: Callable[[Example], str], count: int | None
) -> dict[str, list[Example]]:
    """Of each group, sorted by name, the examples with the smallest hashes, in the hashes' order: which are asked never depends on how a file was sorted.

    Args:
        examples: Read as a stream.
        salt: Another one draws others.
        group_of: The group of an example.
        count: How many of each group; about twice as many are held. None takes all.
    """
    drawn: dict[str, list[tuple[float, str, Example]]] = {}
    for example in examples:
        of_group = drawn.setdefault(group_of(example), [])
        of_group.append((stable_fraction(salt, example.task, example.id), example.id, example))
        if count is not None and len(of_group) > 2 * count:
            _keep_first(of_group, count)
    for of_group in drawn.values():
        _keep_first(of_group, count)
    return {group: [example for _, _, example in of_group] for group, of_group in sorted(drawn.items())}


def _keep_first(drawn: list[tuple[float, str, Example]], count: int | None) -> None:
    drawn.sort(key=itemgetter(0, 1))
    del drawn[len(drawn) if count is None else count :]


def requests_for(
    example: Example, strategy: Strategy, config: SamplingConfig, *, seed: int, first: int = 0
) -> Iterator[Request]:
    """The k requests that put ``example`` to a model under ``strategy``.

    Args:
        example: The question.
        strategy: Whose system message and demonstrations are shown.
        config: k and how to sample.
        seed: Of the first sample; the others count up from it.
        first: Index of the first sample, to ask for more of what was asked before.
    """
    messages = ask(example, strategy, seed=seed)
    instead: Iterator[Request | None] = repeat(None)
    if strategy.fallback is not None:
        instead = iter(requests_for(example, strategy.fallback, config, seed=seed, first=first))
    for sample in range(first, first + config.samples):
        yield Request(
            example=example,
            strategy=strategy.name,
            messages=messages,
            sampling=config.sampling(sample, seed),
            sample=sample,
            fallback=next(instead),
        )
