"""Curation: of the teacher's traces those that are worth learning from, and the reason for each one that is not.

teach's attempts ──errors, refusals, truncation, loops, leaks, wrong──► best of each example ──duplicates──► kept.parquet
                                                                                                           drops.parquet
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

from pydantic import Field, field_validator

from orcinus import registry
from orcinus.config import Config
from orcinus.curation import filters
from orcinus.curation.near import originals_of
from orcinus.curation.overlap import Overlap
from orcinus.curation.text import I64, normal
from orcinus.errors import StepError
from orcinus.runtime import StepContext
from orcinus.store import tables
from orcinus.strategies import by_name
from orcinus.tasks.seen import SeenHashes, hash_of
from orcinus.types import Example, Judged, Strategy

VERSION = 1


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
    filters: tuple[str, ...] = ()
    """Further filters, by the names under which they are registered as ``filters.NAME`` in the entry-point group ``orcinus``."""
    max_per_task: int | None = Field(default=None, ge=1)
    """At most so many lessons of one task, in the order of the examples; None sets no quota."""

    @field_validator("filters")
    @classmethod
    def _filters_are_registered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            registry.filters.get(name)
        return value


async def curate(config: CurateConfig, strategies: tuple[Strategy, ...], context: StepContext) -> dict[str, Any]:
    """Sort ``teach``'s traces into ``kept.parquet`` and ``drops.parquet``.

    Returns:
        ``traces``, ``kept``, and ``dropped``: counts by filter.

    Raises:
        StepError: Nothing is kept.
    """
    path = context.inputs["sample"] / "examples.parquet"
    examples = {(e.task, e.id): e for e in tables.read_examples(path, "teach")}
    held_out = Overlap((e.prompt for e in tables.read_examples(path, "held_out")), n=config.ngram)
    rules = curate_rules(config, strategies)
    dropped: Counter[str] = Counter()
    traces, per_task = 0, Counter[str]()
    seen = SeenHashes()
    groups, kept_groups = _groups(config, examples, context), dict[int, str]()
    attempts = tables.read_judged(context.inputs["teach"] / "attempts.parquet")
    context.progress.start("curate", tables.count_rows(context.inputs["teach"] / "attempts.parquet"))
    with (
        tables.TableWriter(context.out / "kept.parquet", tables.JUDGED) as kept,
        tables.TableWriter(context.out / "drops.parquet", tables.DROPS) as drops,
    ):

        def drop(judged: Judged, name: str, reason: str) -> None:
            attempt = judged.attempt
            dropped[name] += 1
            drops.write(
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

        marked = held_out.mark(attempts, lambda judged: judged.attempt.text, executor=context.runtime.executor)
        place: dict[str, int] = {}
        for key, group in groupby(marked, key=lambda pair: (pair[0].attempt.task, pair[0].attempt.example_id)):
            usable = []
            for judged, contaminated in group:
                place[judged.attempt.id] = traces
                traces += 1
                context.progress.advance()
                found = _first_reason(rules, examples[key], judged)
                if found is None and contaminated:
                    found = ("contaminated", "shares words with a held-out question")
                if found is not None:
                    drop(judged, *found)
                else:
                    usable.append(judged)
            for judged, found in _selected(config, usable):
                if found is None and not seen.add(hash_of(examples[key].prompt, normal(judged.attempt.text))):
                    found = ("duplicate", "the same answer to the same question was kept before")
                near = int(groups[place[judged.attempt.id]]) if groups is not None else -1
                if found is None and near in kept_groups:
                    found = ("near_duplicate", f"is nearly the trace {kept_groups[near]}")
                if found is None and config.max_per_task is not None and per_task[key[0]] >= config.max_per_task:
                    found = ("quota", f"the task has its {config.max_per_task} lessons")
                if found is not None:
                    drop(judged, *found)
                    continue
                per_task[key[0]] += 1
                if groups is not None:
                    kept_groups[near] = judged.attempt.id
                kept.write(tables.judged_row(judged))
            place.clear()
    if kept.rows == 0:
        most = ", ".join(f"{name} {count}" for name, count in dropped.most_common(3))
        raise StepError(
            f"none of {traces} traces is worth keeping ({most}); see drops.parquet in the curate step's folder"
        )
    return {"traces": traces, "kept": kept.rows, "dropped": dict(dropped.most_common()), "tasks": dict(per_task)}


def _groups(config: CurateConfig, examples: Mapping[tuple[str, str], Example], context: StepContext) -> I64 | None:
    """For each of teach's traces the number of its group of near repetitions; None where nobody asks."""
    if config.near_duplicates is None:
        return None
    attempts = tables.read_judged(context.inputs["teach"] / "attempts.parquet")
    texts = (
        f"{examples[judged.attempt.task, judged.attempt.example_id].prompt}\n{judged.attempt.text}"
        for judged in attempts
    )
    return originals_of(texts, similarity=config.near_duplicates, executor=context.runtime.executor)


def curate_rules(config: CurateConfig, strategies: Sequence[Strategy]) -> dict[str, filters.Rule]:
    """The filters by name, in the order in which they are asked."""
    rules: dict[str, filters.Rule] = {
        "error": filters.errors,
        "empty": filters.empty,
        "refused": filters.refused,
        "truncated": filters.truncated,
        "loop": filters.loops,
        "leak": filters.leaks(by_name(strategies)),
    }
    if config.max_tokens is not None:
        rules["too_long"] = filters.too_long(config.max_tokens)
    if config.keep != "all":
        rules["wrong"] = filters.wrong
    if config.unjudged == "drop":
        rules["unjudged"] = filters.unjudged
    for name in config.filters:
        rules[name] = registry.filters.get(name)()
    return rules


def _first_reason(rules: dict[str, filters.Rule], example: Example, judged: Judged) -> tuple[str, str] | None:
    for name, rule in rules.items():
        reason = rule(example, judged.attempt, judged.verdict)
        if reason is not None:
            return name, reason
    return None


def _selected(config: CurateConfig, usable: Sequence[Judged]) -> Iterator[tuple[Judged, tuple[str, str] | None]]:
    """The traces of one example with what speaks against each: right ones before others, short ones before long ones."""
    limit = 1 if config.keep == "best" else config.per_example
    ordered = sorted(
        usable, key=lambda item: (-(item.verdict.value or 0.0), item.attempt.usage.tokens_out, item.attempt.sample)
    )
    for rank, judged in enumerate(ordered):
        if limit is not None and rank >= limit:
            yield judged, ("surplus", f"a better trace of the example is kept (at most {limit})")
        else:
            yield judged, None
