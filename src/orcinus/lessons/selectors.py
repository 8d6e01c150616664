"""The built-in selectors: each one yields the examples to teach, in their order.

teachable  questions that the student answers right sometimes (Phi-4-reasoning, arXiv:2504.21318)
matched    rows whose verbosity fits their difficulty (OmniThoughtVis, arXiv:2605.11629)
balanced   equal shares of each value of a column, such as a tag
diverse    equal shares of each cluster of similar questions, or of near duplicates

A selector is a function of (examples), an iterable that it can go through more than once. The
built-in ones hold only hashes of the examples. One declared with ``needs_pass_rate=True`` finds the
student's share of right answers to a question in ``meta.pass_rate``.
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
from orcinus.tasks.config import Mixture
from orcinus.tasks.duplicates.near import originals_of
from orcinus.tasks.duplicates.seen import hash_of
from orcinus.tasks.mixing import Mixer

_BATCH = 4096
"""Questions that are clustered at once."""


class Teachable(Config):
    """Settings of ``teachable``: a band of pass rates at the edge of the student's ability.

    Examples without a pass rate are left out.
    """

    low: float = Field(default=0.2, ge=0, le=1)
    """Lowest share of right answers; below it a question is still too hard."""
    high: float = Field(default=0.8, ge=0, le=1)
    """Highest share of right answers; above it there is little to learn."""

    @model_validator(mode="after")
    def _band_is_not_empty(self) -> Self:
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
    """Settings of ``matched``: rows whose explanation is as verbose as the question is hard.

    Both columns are on the same scale, such as 0 to 9.
    """

    difficulty: str = "difficulty"
    """Column of ``meta`` that says how hard the question is."""
    verbosity: str = "verbosity"
    """Column of ``meta`` that says how verbose the explanation is."""
    within: float = Field(default=2, ge=0)
    """Largest difference between the two."""
    hardest: float | None = None
    """Highest difficulty that is taken, since a small student learns little from questions far too
    hard for it; None sets no limit."""


@declare("selector", check=Matched)
def matched(examples: Iterable[Example], **settings: Any) -> Iterator[Example]:
    """Yield the examples whose two levels match; the settings are those of ``Matched``.

    A row without one of the levels is left out.
    """
    limits = Matched(**settings)
    for example in examples:
        hard = _level(example, limits.difficulty)
        verbose = _level(example, limits.verbosity)
        if hard is None or verbose is None:
            continue
        if limits.hardest is not None and hard > limits.hardest:
            continue
        if abs(hard - verbose) <= limits.within:
            yield example


class Balanced(Config):
    """Settings of ``balanced``: equal shares of each value of a column.

    The values are drawn from like the tasks of ``sample.total``.
    """

    by: str
    """Column of ``meta``: a text, a number, or a list of tags. Of a list only the rarest tag
    counts."""
    per_value: int | None = Field(default=None, ge=1)
    """At most this many examples of a value."""
    total: int | None = Field(default=None, ge=1)
    """This many examples of all values together. Rare values are used up; frequent ones get equal
    shares."""
    temperature: float | None = Field(default=None, ge=1)
    """With ``total``: values are drawn from in proportion to frequency^(1/temperature)."""
    seed: int = 0
    """Another seed draws other examples."""

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
    return _draw(examples, groups, mixture, limits.seed)


def _tags(example: Example, column: str) -> list[str]:
    value = example.meta.get(column)
    if isinstance(value, list):
        return [str(item) for item in value] or [""]
    return ["" if value is None else str(value)]


class Diverse(Config):
    """Settings of ``diverse``: equal shares of each cluster of questions."""

    clusters: int = Field(default=100, ge=2)
    """Number of clusters, by words (TF-IDF, truncated SVD, k-means)."""
    similarity: float | None = Field(default=None, gt=0, le=1)
    """Group near duplicates instead: questions that share this part of their runs of five words
    (MinHash)."""
    per_cluster: int | None = Field(default=None, ge=1)
    """At most this many examples of a cluster."""
    total: int | None = Field(default=None, ge=1)
    """This many examples of all clusters together. Small clusters are used up; large ones get equal
    shares."""
    seed: int = 0
    """Another seed makes other clusters and draws other examples."""

    @model_validator(mode="after")
    def _something_is_limited(self) -> Self:
        _mixture(self.per_cluster, self.total, None, "per_cluster")
        return self


@declare("selector", check=Diverse)
def diverse(examples: Iterable[Example], **settings: Any) -> Iterator[Example]:
    """Yield the drawn examples; the settings are those of ``Diverse``."""
    limits = Diverse(**settings)
    if limits.similarity is None:
        groups = _cluster(examples, limits.clusters, limits.seed)
    else:
        prompts = (example.prompt for example in examples)
        groups = map(str, originals_of(prompts, similarity=limits.similarity).tolist())
    mixture = _mixture(limits.per_cluster, limits.total, None, "per_cluster")
    return _draw(examples, groups, mixture, limits.seed)


def _cluster(examples: Iterable[Example], count: int, seed: int) -> Iterator[str]:
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
            f"select: meta.{column} of {example.task}/{example.id} is {value!r:.40}, "
            "not a number; name another column"
        ) from error


def _mixture(
    per_group: int | None, total: int | None, temperature: float | None, name: str
) -> Mixture:
    if per_group is None and total is None:
        raise ValueError(f"takes everything; set {name} or total")
    if temperature is not None and total is None:
        raise ValueError("temperature says how total is divided; set total too")
    return Mixture(per_task=per_group, total=total, temperature=temperature)


def _draw(
    examples: Iterable[Example], groups: Iterable[str], mixture: Mixture, seed: int
) -> Iterator[Example]:
    """Yield of each group the examples that ``mixture`` takes of a task."""
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
