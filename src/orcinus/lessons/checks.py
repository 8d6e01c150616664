"""Check each trace alone: the rules of ``curate``, which workers run on row groups.

    TraceChecks(config=CurateConfig(), strategies=…, held_out=…)(group)
    →  Checked(reasons={3: ("wrong", "answered '41'")}, hashes=[…], …)

A worker imports this module and no verifiers, which take most of a second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.errors import StepError
from orcinus.core.protocols import Filter
from orcinus.core.registry import find_function
from orcinus.core.types import LECTURE, Example, Judged, Strategy
from orcinus.lessons import filters
from orcinus.lessons.language import languages
from orcinus.lessons.refusals import refused
from orcinus.runs.row_groups import TraceGroup
from orcinus.strategies.library import by_name
from orcinus.tasks.duplicates.near import TEXTS_PER_BATCH, signatures_of
from orcinus.tasks.duplicates.ngrams import normal
from orcinus.tasks.duplicates.overlap import Overlap
from orcinus.tasks.duplicates.seen import hash_of

Reason = tuple[str, str]
"""A filter's name, and why it drops a trace."""


class ToxicityConfig(Config):
    """The treatment of unsafe traces, scored by a function of yours or by a learnt classifier."""

    function: str | None = None
    """``module:name`` of a function that gives a text a score from 0.0 (harmless) to 1.0; none is
    built in."""
    labelled: int | None = Field(default=None, ge=50, exclude_if=lambda value: value is None)
    """In place of a function: the judge rates this many traces, drawn by a hash, for safety. A
    classifier learns from the ratings and scores all traces, if it is clearly better than
    chance."""
    limit: float = Field(default=0.5, gt=0, le=1)
    """A trace with this score or a higher one is unsafe."""
    instead: Literal["drop", "refuse"] = Field(
        default="drop", exclude_if=lambda value: value == "drop"
    )
    """Drop an unsafe trace, or put a refusal in its place; the lesson has ``meta.replaced``."""

    @field_validator("function")
    @classmethod
    def _function_exists(cls, value: str | None) -> str | None:
        if value is not None:
            find_function(value)
        return value

    @model_validator(mode="after")
    def _one_of_both_scores(self) -> "ToxicityConfig":
        if (self.function is None) == (self.labelled is None):
            raise ValueError(
                "toxicity needs either function: or labelled: (with a judge:), not both"
            )
        return self


class QualityConfig(Config):
    """A classifier that learns from a judge's ratings of some traces, and scores all of them.

    Source: phi-1, arXiv:2306.11644.
    """

    labelled: int = Field(default=500, ge=50)
    """Traces that the judge rates, drawn by a hash; one call each."""
    keep: float = Field(default=0.8, gt=0, lt=1)
    """Share of the traces that is kept, the best by score. All are kept where the classifier is not
    clearly better than chance."""


class CurateConfig(Config):
    """The rules that decide which traces are kept."""

    keep: Literal["correct", "best", "all"] = "correct"
    """correct: every trace whose answer is right; best: the shortest right one of each example;
    all: wrong ones too."""
    per_example: int | None = Field(default=None, ge=1)
    """Keep at most this many traces of one example, the shortest first; None keeps all."""
    unjudged: Literal["drop", "keep"] = "drop"
    """Drop or keep traces that could not be judged although there is a reference. Traces without a
    reference are kept."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest trace, in tokens that the teacher wrote; None sets no limit. ``train.too_long``
    decides about traces that do not fit a training row."""
    ngram: int | None = Field(default=13, ge=3)
    """Drop a trace that shares a run of this many words with a held-out question; None skips
    this."""
    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    """Drop a trace when this share of its runs of five words, question included, is in a kept one
    too, e.g. 0.9; None skips this."""
    fuzzy_overlap: float | None = Field(default=None, gt=0, le=1)
    """Drop a trace that has this share of a held-out question's runs of three words, e.g. 0.6; None
    skips this."""
    min_words: int | None = Field(default=None, ge=1)
    """Drop a trace with fewer words."""
    max_words: int | None = Field(default=None, ge=1)
    """Drop a trace with more words."""
    languages: tuple[str, ...] = ()
    """ISO codes such as ``en``: drop a trace that is surely in another language; empty skips this.
    Needs the extra ``language``."""
    toxicity: ToxicityConfig | None = None
    """Drop or replace unsafe traces; None skips this."""
    quality: QualityConfig | None = None
    """Learn from the judge's ratings of some traces which of all are worth keeping; None skips
    this."""
    filters: tuple[str, ...] = ()
    """Further filters: ``boilerplate`` (the trace speaks of itself as a language model),
    ``personal_data`` (e-mail addresses, phone and card numbers, IBANs, IP addresses),
    ``label_agreement`` (a stored answer that lacks the dataset's label), the names of registered
    ones, and ``module:name`` of a function of yours in a module beside the recipe or an installed
    one."""
    max_per_task: int | None = Field(default=None, ge=1)
    """Keep at most this many traces of one task, in the order of the examples; None sets no
    quota."""

    @field_validator("filters")
    @classmethod
    def _filters_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            filters.find_filter(name)
        return value

    @model_validator(mode="after")
    def _some_length_is_left(self) -> "CurateConfig":
        if (
            self.min_words is not None
            and self.max_words is not None
            and self.min_words > self.max_words
        ):
            raise ValueError(
                f"min_words {self.min_words} is more than max_words {self.max_words}; "
                "nothing would be kept"
            )
        return self


def calls_users_functions(config: CurateConfig) -> bool:
    """Return True where a user's own function looks at the traces; it stays in one process."""
    own_score = config.toxicity is not None and config.toxicity.function is not None
    return own_score or not set(config.filters) <= set(filters.BUILT_IN)


def refuses_unsafe(config: ToxicityConfig | None, judged: Judged) -> bool:
    """Return True where a refusal is put in place of an unsafe trace. A lecture answers nobody."""
    refuses = config is not None and config.instead == "refuse"
    return refuses and judged.attempt.strategy != LECTURE


def curate_rules(config: CurateConfig, strategies: Sequence[Strategy]) -> dict[str, Filter]:
    """Return the filters by name, in the order in which they are applied."""
    rules: dict[str, Filter] = {
        "error": filters.errors,
        "empty": filters.empty,
        "refused": filters.refused,
        "truncated": filters.truncated,
        "loop": filters.loops,
        "leak": filters.leaks(by_name(strategies)),
    }
    if config.max_tokens is not None:
        rules["too_long"] = filters.too_long(config.max_tokens)
    if config.min_words is not None or config.max_words is not None:
        rules["length"] = filters.length(config.min_words, config.max_words)
    if config.keep != "all":
        rules["wrong"] = filters.wrong
    if config.unjudged == "drop":
        rules["unjudged"] = filters.unjudged
    if config.languages:
        rules["language"] = languages(config.languages)
    if config.toxicity is not None and config.toxicity.function is not None:
        score = find_function(config.toxicity.function)
        rules["toxic"] = filters.toxic(score, config.toxicity.function, config.toxicity.limit)
    for name in config.filters:
        rules[name] = filters.find_filter(name)
    return rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the checks of each trace alone found in one row group."""

    reasons: Mapping[int, Reason]
    """Why traces are dropped, by their place in the group."""
    replaced: Mapping[int, Judged]
    """Refusals in place of unsafe traces, by place."""
    hashes: list[int]
    """Of question and answer; 0 for a trace that is dropped."""
    signatures: tuple[NDArray[np.uint8], NDArray[np.bool_]] | None
    """For near duplicates; None where they are not looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceChecks:
    """The checks of each trace alone. Workers run them on row groups."""

    config: CurateConfig
    strategies: tuple[Strategy, ...]
    held_out: Overlap

    def __call__(self, group: TraceGroup) -> Checked:
        """Check the traces of a row group."""
        return self.check(list(group.read()))

    def check(self, traces: Sequence[tuple[Example, Judged]]) -> Checked:
        """Check traces, each with its example."""
        rules = curate_rules(self.config, self.strategies)
        overlaps = self.held_out.reasons([judged.attempt.text for _, judged in traces])
        reasons: dict[int, Reason] = {}
        replaced: dict[int, Judged] = {}
        hashes = [0] * len(traces)
        for place, (example, judged) in enumerate(traces):
            reason = _drop_reason(rules, example, judged)
            if reason is None and overlaps[place] is not None:
                reason = "contaminated", overlaps[place] or ""
            is_toxic = reason is not None and reason[0] == "toxic"
            if reason is not None and is_toxic and refuses_unsafe(self.config.toxicity, judged):
                replaced[place] = judged = refused(judged, reason[1])
            elif reason is not None:
                reasons[place] = reason
                continue
            hashes[place] = hash_of(example.whole_prompt, normal(judged.attempt.text))
        return Checked(
            reasons=reasons,
            replaced=replaced,
            hashes=hashes,
            signatures=None if self.config.near_duplicates is None else _sign(traces),
        )


def _drop_reason(rules: Mapping[str, Filter], example: Example, judged: Judged) -> Reason | None:
    """Return the first rule's reason to drop a trace."""
    for name, rule in rules.items():
        why: object = rule(example, judged.attempt, judged.verdict)
        if isinstance(why, str):
            return name, why
        if why is not None:
            raise StepError(f"filter {name!r} gives {why!r:.60}; a filter gives a reason or None")
    return None


def _sign(
    traces: Sequence[tuple[Example, Judged]],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    texts = [f"{example.prompt}\n{judged.attempt.text}" for example, judged in traces]
    parts = [
        signatures_of(texts[start : start + TEXTS_PER_BATCH])
        for start in range(0, len(texts), TEXTS_PER_BATCH)
    ]
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])
