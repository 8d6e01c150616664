"""Which examples to teach: each selector goes through examples and gives those that it takes, in their order.

teachable  the student is right now and then, but not always (Phi-4-reasoning, arXiv:2504.21318)
matched    the row's verbosity fits its difficulty (OmniThought and OmniThoughtVis, arXiv:2605.11629)
balanced   equal shares of each value of a column, such as a tag
diverse    equal shares of each cluster of questions about the same kind of thing, or of near repetitions

A selector is a function of (examples), which can be gone through more than once, and nothing of them is held but hashes. One that says
``needs_pass_rate = True`` finds in ``meta.pass_rate`` the share of right answers that the student gave to the question.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self

from pydantic import Field, model_validator

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Selector
from orcinus.core.registry import declare
from orcinus.core.types import Example
from orcinus.strategies.clusters import FITTED_ON, Clusters
from orcinus.tasks.duplicates.near import originals_of
from orcinus.tasks.duplicates.seen import hash_of
from orcinus.tasks.mixing import Mixer, Mixture

_BATCH = 4096


class Teachable(Config):
    """Takes what is at the edge of the student's ability; what could not be measured is left out."""

    low: float = Field(default=0.2, ge=0, le=1)
    """Least share of right answers: under it a question is taken for too hard as yet."""
    high: float = Field(default=0.8, ge=0, le=1)
    """Greatest share of right answers: over it there is little to learn."""

    @model_validator(mode="after")
    def _the_band_is_one(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is over high {self.high}")
        return self


@declare("selector", needs_pass_rate=True, check=Teachable)
def teachable(examples: Iterable[Example], **settings: Any) -> Iterator[Example]:
    """Yield the examples in the band; the settings are those of ``Teachable``."""
    band = Teachable(**settings)
    for example in examples:
        rate = example.meta.get("pass_rate")
        if rate is not None and band.low <= rate <= band.high:
            yield example


class Matched(Config):
    """Takes rows whose explanation is as long-winded as the question is hard: both columns on the same scale, such as 0 to 9."""

    difficulty: str = "difficulty"
    """Column of ``meta`` that says how hard the question is."""
    verbosity: str = "verbosity"
    """Column of ``meta`` that says how long-winded the explanation is."""
    within: float = Field(default=2, ge=0)
    """How far the two may lie apart."""
    hardest: float | None = None
    """Greatest difficulty that is taken: a small student learns little from what is far over its head. None sets no limit."""


@declare("selector", check=Matched)
def matched(examples: Iterable[Example], **settings: Any) -> Iterator[Example]:
    """Yield the examples whose two levels match; the settings are those of ``Matched``.

    A row without one of the levels is left out.
    """
    limits = Matched(**settings)
    for example in examples:
        hard = _level(example, limits.difficulty)
        long_winded = _level(example, limits.verbosity)
        if hard is None or long_winded is None:
            continue
        if limits.hardest is not None and hard > limits.hardest:
            continue
        if abs(hard - long_winded) <= limits.within:
            yield example


class Balanced(Config):
    """Takes equal shares of each value of a column: the values are drawn from as tasks are by ``sample.total``."""

    by: str
    """Column of ``meta``: a text, a number, or a list of tags, of which an example's rarest one counts."""
    per_value: int | None = Field(default=None, ge=1)
    """At most so many examples with a value."""
    total: int | None = Field(default=None, ge=1)
    """So many examples of all values together; rare values are used up, frequent ones get equal shares."""
    temperature: float | None = Field(default=None, ge=1)
    """With ``total``: values are drawn from in proportion to frequency^(1/temperature)."""
    seed: int = 0
    """Another seed draws others."""

    @model_validator(mode="after")
    def _something_is_limited(self) -> Self:
        _mixture(self.per_value, self.total, self.temperature, "per_value")
        return self


@declare("selector", check=Balanced)
def balanced(examples: Iterable[Example], **settings: Any) -> Iterator[Example]:
    """Yield the drawn examples; the settings are those of ``Balanced``.

    Rows without the column are a value of their own.
    """
    limits = Balanced(**settings)
    frequency = Counter(tag for example in examples for tag in _tags(example, limits.by))
    groups = (
        min(_tags(example, limits.by), key=lambda tag: (frequency[tag], tag))
        for example in examples
    )
    mixture = _mixture(limits.per_value, limits.total, limits.temperature, "per_value")
    return _drawn(examples, groups, mixture, limits.seed)


def _tags(example: Example, column: str) -> list[str]:
    value = example.meta.get(column)
    if isinstance(value, list):
        return [str(item) for item in value] or [""]
    return ["" if value is None else str(value)]


class Diverse(Config):
    """Takes equal shares of each cluster of questions."""

    clusters: int = Field(default=100, ge=2)
    """How many clusters, by words (TF-IDF, truncated SVD, k-means)."""
    similarity: float | None = Field(default=None, gt=0, le=1)
    """Group near repetitions instead: questions that share so many of their runs of five words (MinHash)."""
    per_cluster: int | None = Field(default=None, ge=1)
    """At most so many examples of a cluster."""
    total: int | None = Field(default=None, ge=1)
    """So many examples of all clusters together; small clusters are used up, large ones get equal shares."""
    seed: int = 0
    """Another seed groups and draws anew."""

    @model_validator(mode="after")
    def _something_is_limited(self) -> Self:
        _mixture(self.per_cluster, self.total, None, "per_cluster")
        return self


@declare("selector", check=Diverse)
def diverse(examples: Iterable[Example], **settings: Any) -> Iterator[Example]:
    """Yield the drawn examples; the settings are those of ``Diverse``."""
    limits = Diverse(**settings)
    if limits.similarity is None:
        groups = _clusters(examples, limits.clusters, limits.seed)
    else:
        prompts = (example.prompt for example in examples)
        groups = map(str, originals_of(prompts, similarity=limits.similarity).tolist())
    mixture = _mixture(limits.per_cluster, limits.total, None, "per_cluster")
    return _drawn(examples, groups, mixture, limits.seed)


def _clusters(examples: Iterable[Example], count: int, seed: int) -> Iterator[str]:
    keyed = ((_key(example, seed), example.prompt) for example in examples)
    learnt_from = [prompt for _, prompt in heapq.nsmallest(FITTED_ON, keyed)]
    clusters = Clusters(learnt_from, count=count, most=count, seed=seed)
    prompts = (example.prompt for example in examples)
    while batch := list(islice(prompts, _BATCH)):
        yield from map(str, clusters.of(batch).tolist())


def _level(example: Example, column: str) -> float | None:
    value = example.meta.get(column)
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"select: meta.{column} of {example.task}/{example.id} is {value!r:.40}, not a number; name another column"
        ) from error


def _mixture(
    per_group: int | None, total: int | None, temperature: float | None, name: str
) -> Mixture:
    if per_group is None and total is None:
        raise ValueError(f"takes everything; set {name} or total")
    if temperature is not None and total is None:
        raise ValueError("temperature says how total is divided; set total too")
    return Mixture(per_task=per_group, total=total, temperature=temperature)


def _drawn(
    examples: Iterable[Example], groups: Iterable[str], mixture: Mixture, seed: int
) -> Iterator[Example]:
    """Of each group what ``mixture`` takes of a task."""
    mixer = Mixer(mixture, seed=seed)
    group_of: list[str] = []
    names: dict[str, str] = {}
    for example, group in zip(examples, groups, strict=True):
        group_of.append(names.setdefault(group, group))
        mixer.add(group, _key(example, seed))
    limits = mixer.limits()
    for example, group in zip(examples, group_of, strict=True):
        if _key(example, seed) <= limits[group]:
            yield example


def _key(example: Example, seed: int) -> int:
    return hash_of("select", str(seed), example.task, example.id)


BUILT_IN: Mapping[str, Selector] = {
    "teachable": teachable,
    "matched": matched,
    "balanced": balanced,
    "diverse": diverse,
}
"""The selectors that a recipe names in ``select.by``."""
