"""Curation: of the teacher's traces those that are worth learning from, and the reason for each one that is not.

teach's attempts ──errors, refusals, truncation, loops, leaks, wrong──► best of each example ──duplicates──(quality)──► kept.parquet
                                                                                                                    drops.parquet
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.draw import draw
from orcinus.core.errors import StepError
from orcinus.core.protocols import Filter
from orcinus.core.registry import function_named
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import Example, Judged, Request, Strategy
from orcinus.lessons import filters, quality
from orcinus.lessons.language import languages
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.library import by_name
from orcinus.tasks.duplicates.near import originals_of
from orcinus.tasks.duplicates.ngrams import I64, normal
from orcinus.tasks.duplicates.overlap import Overlap, batched
from orcinus.tasks.duplicates.seen import SeenHashes, hash_of
from orcinus.verifiers.judge import judge_of, judge_request, rate
from orcinus.verifiers.judge_prompts import rating, reference_text

VERSION = 2
_BATCH = 1024


class ToxicityConfig(Config):
    """A door: nothing that ships here knows what is toxic."""

    function: str
    """``package.module:name`` of a function that gives a text a score from 0.0, harmless, to 1.0."""
    limit: float = Field(default=0.5, gt=0, le=1)
    """A trace that scores so much or more is dropped."""

    @field_validator("function")
    @classmethod
    def _function_exists(cls, value: str) -> str:
        function_named(value)
        return value


class QualityConfig(Config):
    """A classifier that learns from a judge's ratings of some traces and scores them all (phi-1, arXiv:2306.11644)."""

    labelled: int = Field(default=500, ge=50)
    """How many traces the judge rates, drawn by a hash; one call each."""
    keep: float = Field(default=0.8, gt=0, lt=1)
    """Share of the traces that is kept, the best by score. All are kept where the classifier is not clearly better than chance."""


class CurateConfig(Config):
    """What is kept."""

    keep: Literal["correct", "best", "all"] = "correct"
    """correct: every trace whose answer is right; best: the shortest right one of each example; all: wrong ones too."""
    per_example: int | None = Field(default=None, ge=1)
    """At most so many traces of one example, the shortest first; None keeps all."""
    unjudged: Literal["drop", "keep"] = "drop"
    """What becomes of traces that could not be judged though there is a reference; without a reference they are kept."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest trace in tokens the teacher wrote; None sets no limit. What does not fit a row is for ``train.too_long``."""
    ngram: int | None = Field(default=13, ge=3)
    """A trace that shares a run of so many words with a held-out question is dropped; None looks for nothing."""
    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    """A trace is dropped when question and answer together are so similar to a kept one (share of runs of five words, e.g. 0.9)."""
    fuzzy_overlap: float | None = Field(default=None, gt=0, le=1)
    """A trace that has such a share of a held-out question's runs of three words is dropped too, e.g. 0.6; None does not look for them."""
    min_words: int | None = Field(default=None, ge=1)
    """A trace with fewer words is dropped."""
    max_words: int | None = Field(default=None, ge=1)
    """A trace with more words is dropped."""
    languages: tuple[str, ...] = ()
    """ISO codes such as ``en``: a trace that is surely in another language is dropped; empty asks nothing. Needs ``orcinus[language]``."""
    toxicity: ToxicityConfig | None = None
    """A function of yours that scores traces; None asks nothing."""
    quality: QualityConfig | None = None
    """Learn from the judge's ratings of some traces which of all are worth keeping; None leaves it out."""
    filters: tuple[str, ...] = ()
    """Further filters: ``boilerplate`` (speaks of itself as a language model), ``personal_data`` (e-mail addresses, phone and card numbers, IBANs, IP
    addresses), ``label_agreement`` (a stored answer without the dataset's label in it), others by the names under which a package registers
    them as ``filters.NAME`` in the entry-point group ``orcinus``, and functions of yours as ``module:name``, of a module beside the recipe or an
    installed one."""
    max_per_task: int | None = Field(default=None, ge=1)
    """At most so many lessons of one task, in the order of the examples; None sets no quota."""

    @field_validator("filters")
    @classmethod
    def _filters_are_registered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            filters.filter_named(name)
        return value

    @model_validator(mode="after")
    def _some_length_is_left(self) -> "CurateConfig":
        if (
            self.min_words is not None
            and self.max_words is not None
            and self.min_words > self.max_words
        ):
            raise ValueError(
                f"min_words {self.min_words} is more than max_words {self.max_words}; nothing would be kept"
            )
        return self


async def curate(
    config: CurateConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    booked_as: str = "curate",
) -> dict[str, Any]:
    """Sort ``teach``'s traces into ``kept.parquet`` and ``drops.parquet``.

    Returns:
        ``traces``, ``kept``, ``dropped``: counts by filter, ``for_example``: by filter the first reason, and ``quality``: what the classifier
        is worth, where one was asked for.

    Raises:
        StepError: Nothing is kept.
    """
    found: dict[str, Any] = {}
    with tables.TableWriter(context.out / layout.DROPS, tables.DROPS) as table:
        drops = _Drops(table)
        if config.quality is None:
            traces, kept, tasks = _by_rules(
                config, strategies, context, context.out / layout.KEPT, drops
            )
        else:
            passed = context.out / layout.PASSED
            traces, kept, tasks = _by_rules(config, strategies, context, passed, drops)
            if kept:
                found["quality"] = await _by_quality(
                    config.quality, context, passed, drops, booked_as
                )
                kept, tasks = found["quality"].pop("kept"), found["quality"].pop("tasks")
            passed.unlink()
    if kept == 0:
        most = ", ".join(f"{name} {count}" for name, count in drops.counts.most_common(3))
        raise StepError(
            f"none of {traces} traces is worth keeping ({most}); see drops.parquet in the curate step's folder"
        )
    return {
        "traces": traces,
        "kept": kept,
        "dropped": dict(drops.counts.most_common()),
        "for_example": drops.first,
        "tasks": dict(tasks),
        **found,
    }


def requests(
    config: CurateConfig, context: StepContext, *, taught: Iterable[Request]
) -> list[Asking]:
    """List the ratings that ``quality`` asks the judge for: at most, as rules may leave fewer traces.

    Args:
        config: What is kept.
        context: With the recipe's ``judging``.
        taught: The requests of ``teach``, whose replies are rated. Each listed request shows the judge
            the question and the reference; the trace, which is not written yet, comes on top.
    """
    if config.quality is None:
        return []
    judging = context.judging or JudgingConfig()
    task, sampling = judging.instructions.get("rating"), judging.sampling.sampling(0, context.seed)
    asked = (
        judge_request(
            example, rating(example.prompt, "", reference_text(example), task=task), sampling
        )
        for example in (request.example for request in islice(taught, config.quality.labelled))
    )
    return [Asking(role="judge", requests=asked, exact=False)]


class _Drops:
    """Writes down what is left out, and counts."""

    def __init__(self, table: tables.TableWriter) -> None:
        self._table = table
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        """By filter the first reason."""

    def add(self, judged: Judged, name: str, reason: str) -> None:
        attempt = judged.attempt
        self.counts[name] += 1
        self.first.setdefault(name, reason)
        self._table.write(
            tables.drop_row(
                tables.Drop(
                    attempt_id=attempt.id,
                    example_id=attempt.example_id,
                    task=attempt.task,
                    filter=name,
                    reason=reason,
                )
            )
        )


def _by_rules(
    config: CurateConfig,
    strategies: Sequence[Strategy],
    context: StepContext,
    out: Path,
    drops: _Drops,
) -> tuple[int, int, Counter[str]]:
    """Write what passes every filter to ``out``: (traces seen, traces written, these by task)."""
    path = context.inputs["sample"] / layout.EXAMPLES
    unseen = chain(tables.read_examples(path, "held_out"), tables.read_examples(path, "retention"))
    held_out = Overlap(
        ((f"{example.task}/{example.id}", example.prompt) for example in unseen),
        n=config.ngram,
        fuzzy=config.fuzzy_overlap,
    )
    rules = curate_rules(config, strategies)
    traces, per_task = 0, Counter[str]()
    seen = SeenHashes()
    groups, kept_groups = _groups(config, context), dict[int, str]()
    context.progress.start("curate", tables.count_rows(context.inputs["teach"] / layout.ATTEMPTS))
    with tables.TableWriter(out, tables.JUDGED) as kept:
        marked = held_out.mark(
            _traces(context), lambda trace: trace[1].attempt.text, executor=context.runtime.executor
        )
        place: dict[str, int] = {}
        for _, group in groupby(marked, key=lambda pair: (pair[0][0].task, pair[0][0].id)):
            usable = []
            for (example, judged), overlap in group:
                place[judged.attempt.id] = traces
                traces += 1
                context.progress.advance()
                found = _first_reason(rules, example, judged)
                if found is None and overlap is not None:
                    found = ("contaminated", overlap)
                if found is not None:
                    drops.add(judged, *found)
                else:
                    usable.append(judged)
            for judged, found in _selected(config, usable):
                if found is None and not seen.add(
                    hash_of(example.prompt, normal(judged.attempt.text))
                ):
                    found = ("duplicate", "the same answer to the same question was kept before")
                near = -1 if groups is None else int(groups[place[judged.attempt.id]])
                if found is None and near in kept_groups:
                    found = ("near_duplicate", f"is nearly the trace {kept_groups[near]}")
                if (
                    found is None
                    and config.max_per_task is not None
                    and per_task[example.task] >= config.max_per_task
                ):
                    found = ("quota", f"the task has its {config.max_per_task} lessons")
                if found is not None:
                    drops.add(judged, *found)
                    continue
                per_task[example.task] += 1
                if near >= 0:
                    kept_groups[near] = judged.attempt.id
                kept.write(tables.judged_row(judged))
            place.clear()
    return traces, kept.rows, per_task


async def _by_quality(
    config: QualityConfig,
    context: StepContext,
    passed: Path,
    drops: _Drops,
    booked_as: str,
) -> dict[str, Any]:
    """Of the traces in ``passed`` the best to ``kept.parquet``, by a classifier that learnt from the judge's ratings of some."""
    chosen = list(_drawn(passed, config.labelled, context))
    judge = judge_of(context.judging or JudgingConfig(), context, step=booked_as)
    items = [(example, judged.attempt.text) for example, judged in chosen]
    context.progress.start("curate: the judge rates", len(items))
    ratings = [found.value for found in await rate(items, judge)]
    rated = [
        (judged.attempt, value)
        for (_, judged), value in zip(chosen, ratings, strict=True)
        if value is not None
    ]
    good = quality.split_ratings([value for _, value in rated])
    found: dict[str, Any] = {"asked": len(chosen), "rated": len(rated), "used": False, "auc": None}
    classifier, threshold = None, -np.inf
    if good is not None:
        texts = [attempt.text for attempt, _ in rated]
        examples_of = [f"{attempt.task}/{attempt.example_id}" for attempt, _ in rated]
        worth = quality.validate(texts, good, examples_of, seed=context.seed)
        if worth is not None:
            found |= {
                **asdict(worth.area),
                "auc": worth.area.value,
                "p_value": worth.p_value,
                "good": float(good.mean()),
            }
            found["used"] = worth.clear
            found.pop("value")
        if found["used"]:
            classifier = quality.fit(texts, good)
            every = np.concatenate([classifier.scores(texts) for texts in _texts(passed)])
            threshold = float(np.quantile(every, 1 - config.keep))
    if classifier is None:
        context.progress.note(f"quality: {_doubt(found)}; every trace is kept")
    kept_by_task = Counter[str]()
    with tables.TableWriter(context.out / layout.KEPT, tables.JUDGED) as kept:
        for batch in batched(tables.read_judged(passed), _BATCH):
            scores = (
                np.zeros(len(batch))
                if classifier is None
                else classifier.scores([j.attempt.text for j in batch])
            )
            for judged, score in zip(batch, scores, strict=True):
                if score < threshold:
                    drops.add(
                        judged,
                        "quality",
                        f"scores {score:.2f}, below {threshold:.2f}, where the best {config.keep:.0%} begin",
                    )
                else:
                    kept_by_task[judged.attempt.task] += 1
                    kept.write(tables.judged_row(judged))
    return {**found, "kept": kept.rows, "tasks": kept_by_task}


def _doubt(found: Mapping[str, Any]) -> str:
    if found["auc"] is None:
        return f"the judge's {found['rated']} ratings of {found['asked']} traces do not tell good ones from others"
    return f"a classifier of {found['rated']} rated traces is not clearly better than chance (AUC {found['auc']:.2f}, p {found['p_value']:.2f})"


def _traces(context: StepContext, path: Path | None = None) -> Iterator[tuple[Example, Judged]]:
    """``teach``'s traces, or those of another table made of them, each with its example."""
    traces = tables.read_judged(path or context.inputs["teach"] / layout.ATTEMPTS)
    return tables.with_examples(traces, context.inputs["sample"] / layout.EXAMPLES)


def _drawn(path: Path, count: int, context: StepContext) -> Iterator[tuple[Example, Judged]]:
    """So many traces of the table, by a hash of their ids, in the table's order."""
    ids = (row["id"] for row in tables.read_rows(path, ["id"]))
    first = set(draw(ids, lambda identity: ("quality", identity), count))
    return (trace for trace in _traces(context, path) if trace[1].attempt.id in first)


def _texts(path: Path) -> Iterator[list[str]]:
    for batch in batched(tables.read_rows(path, ["text"]), _BATCH):
        yield [row["text"] for row in batch]


def _groups(config: CurateConfig, context: StepContext) -> I64 | None:
    """For each of teach's traces the number of its group of near repetitions, -1 for one that has none; None where nobody asks."""
    if config.near_duplicates is None:
        return None
    texts = (f"{example.prompt}\n{judged.attempt.text}" for example, judged in _traces(context))
    groups = originals_of(
        texts, similarity=config.near_duplicates, executor=context.runtime.executor
    )
    groups[np.bincount(groups, minlength=1)[groups] == 1] = -1
    return groups


def curate_rules(config: CurateConfig, strategies: Sequence[Strategy]) -> dict[str, Filter]:
    """The filters by name, in the order in which they are asked."""
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
    if config.toxicity is not None:
        score = function_named(config.toxicity.function)
        rules["toxic"] = filters.toxic(score, config.toxicity.function, config.toxicity.limit)
    for name in config.filters:
        rules[name] = filters.filter_named(name)
    return rules


def _first_reason(
    rules: dict[str, Filter], example: Example, judged: Judged
) -> tuple[str, str] | None:
    for name, rule in rules.items():
        reason: object = rule(example, judged.attempt, judged.verdict)
        if isinstance(reason, str):
            return name, reason
        if reason is not None:
            raise StepError(
                f"filter {name!r} gives {reason!r:.60}; a filter gives a reason or None"
            )
    return None


def _selected(
    config: CurateConfig, usable: Sequence[Judged]
) -> Iterator[tuple[Judged, tuple[str, str] | None]]:
    """The traces of one example with what speaks against each: right ones before others, short ones before long ones."""
    limit = 1 if config.keep == "best" else config.per_example
    ordered = sorted(
        usable,
        key=lambda item: (
            -(item.verdict.value or 0.0),
            item.attempt.usage.tokens_out,
            item.attempt.sample,
        ),
    )
    for rank, judged in enumerate(ordered):
        if limit is not None and rank >= limit:
            yield judged, ("surplus", f"a better trace of the example is kept (at most {limit})")
        else:
            yield judged, None
