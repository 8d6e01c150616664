"""Keep the teacher's traces that are worth learning from, and record why the others are dropped.

    attempts.parquet  ──rules──►  best of an example  ──duplicates, quota, quality──►  kept.parquet
"The answer is 41." to 17 + 25  ──►  drops.parquet: wrong, answered '41'
"""

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import chain, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orcinus.core.collector import relax_garbage_collection
from orcinus.core.draw import draw
from orcinus.core.errors import StepError
from orcinus.core.protocols import Executor
from orcinus.core.records import quick_init
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import LECTURE, Attempt, Example, Judged, Request, Strategy
from orcinus.lessons import quality
from orcinus.lessons.checks import (
    Checked,
    Reason,
    TraceChecks,
    calls_users_functions,
    refuses_unsafe,
)
from orcinus.lessons.config import CurateConfig, QualityConfig, ToxicityConfig
from orcinus.lessons.refusals import INSTRUCTION, UNSAFE, is_replaced, refused
from orcinus.runs import layout, tables
from orcinus.runs.columns import array_of
from orcinus.runs.context import Asking, StepContext
from orcinus.runs.row_groups import TraceGroup, map_trace_groups, trace_groups, warm_up_workers
from orcinus.tasks.duplicates.near import NearDuplicates
from orcinus.tasks.duplicates.ngrams import I64
from orcinus.tasks.duplicates.overlap import Overlap, batched
from orcinus.tasks.duplicates.seen import SeenHashes
from orcinus.verifiers.judge import judge_of, judge_request, rate
from orcinus.verifiers.judge_prompts import facts_of, rating, reference_text

_BATCH = 1024
"""Traces that the classifier scores at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    traces: int
    """Traces that were read."""
    kept: int
    """Traces that were written."""
    tasks: Mapping[str, int]
    """Traces that were written, by task."""
    replaced: Mapping[str, int]
    """Those of them that are refusals in place of unsafe traces."""


async def curate(
    config: CurateConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    booked_as: str = "curate",
) -> dict[str, Any]:
    """Sort ``teach``'s traces into ``kept.parquet`` and ``drops.parquet``.

    Args:
        config: What is kept.
        strategies: The recipe's strategies, whose words a trace must not repeat.
        context: With the inputs ``sample`` and ``teach``.
        booked_as: The step under which the judge's calls are booked.

    Returns:
        ``traces`` and ``kept``, their numbers; ``dropped``, the numbers by filter; ``for_example``,
        the first reason of each filter; ``tasks``, the kept traces by task; ``replaced``, refusals
        in place of unsafe traces by task, where there are any; with ``quality`` or
        ``toxicity.labelled``, how well the classifier does.

    Raises:
        StepError: Nothing is kept.
    """
    found: dict[str, Any] = {}
    with (
        relax_garbage_collection(),
        tables.TableWriter(context.out / layout.DROPS, tables.DROPS) as table,
    ):
        drops = _Drops(table)
        detox = config.toxicity if config.toxicity and config.toxicity.labelled else None
        passed = context.out / layout.PASSED
        learns = detox is not None or config.quality is not None
        out = passed if learns else context.out / layout.KEPT
        counts = await _sort_all(config, strategies, context, out, drops)
        traces = counts.traces
        if detox is not None and counts.kept:
            found["toxicity"], unsafe = await _learn_toxicity(detox, context, booked_as)
            counts = _detoxify(detox, unsafe, context, drops)
            if config.quality is not None:
                (context.out / layout.KEPT).replace(passed)
        if config.quality is not None and counts.kept:
            found["quality"], classifier = await _learn_quality(config.quality, context, booked_as)
            counts = _keep_best(config.quality, classifier, context, drops)
        passed.unlink(missing_ok=True)
    if counts.kept == 0:
        most = ", ".join(f"{name} {count}" for name, count in drops.counts.most_common(3))
        raise StepError(
            f"none of {traces} traces is worth keeping ({most}); "
            "see drops.parquet in the curate step's folder"
        )
    return {
        "traces": traces,
        "kept": counts.kept,
        "dropped": dict(drops.counts.most_common()),
        "for_example": drops.first,
        "tasks": dict(counts.tasks),
        **({"replaced": dict(counts.replaced)} if counts.replaced else {}),
        **found,
    }


def requests(
    config: CurateConfig, context: StepContext, *, taught: Iterable[Request]
) -> list[Asking]:
    """List the ratings that the judge is asked for: an upper bound.

    Args:
        config: What is kept.
        context: With the recipe's ``judging``.
        taught: The requests of ``teach``, whose replies are rated. The replies are not there yet,
            so a listed request holds only the question and the reference.
    """
    judging = context.judging or JudgingConfig()
    sampling = judging.sampling.sampling(0, context.seed)
    learnt: list[tuple[int, str | None]] = []
    if config.toxicity is not None and config.toxicity.labelled is not None:
        learnt.append((config.toxicity.labelled, INSTRUCTION))
    if config.quality is not None:
        learnt.append((config.quality.labelled, judging.instructions.get("rating")))
    if not learnt:
        return []
    asked = (
        judge_request(
            request.example,
            rating(
                request.example.prompt,
                "",
                reference_text(request.example),
                task=task,
                facts=facts_of(request.example),
            ),
            sampling,
        )
        for place, request in enumerate(islice(taught, max(count for count, _ in learnt)))
        for count, task in learnt
        if place < count
    )
    return [Asking(role="judge", requests=asked, exact=False)]


class _Drops:
    """The table of dropped traces, and their numbers."""

    def __init__(self, table: tables.TableWriter) -> None:
        self._table = table
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        """The first reason of each filter."""

    def add(self, attempt: "Attempt | _Trace", reason: Reason) -> None:
        name, why = reason
        self.counts[name] += 1
        self.first.setdefault(name, why)
        self._table.write(
            tables.drop_row(
                tables.Drop(
                    attempt_id=attempt.id,
                    example_id=attempt.example_id,
                    task=attempt.task,
                    filter=name,
                    reason=why,
                )
            )
        )


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class _Trace:
    """What the choice among traces needs of one."""

    id: str
    example_id: str
    task: str
    value: float | None
    tokens_out: int
    sample: int
    reason: Reason | None
    """Why it is dropped, from the checks of it alone."""
    replaced: Judged | None
    """A refusal in its place."""
    content: int
    """Hash of question and answer."""
    group: int
    """Number of its group of near duplicates; -1 when it has none."""


class _Sorter:
    """Decides which traces to keep, one example after another, and remembers the kept ones."""

    def __init__(self, config: CurateConfig) -> None:
        self.tasks: Counter[str] = Counter()
        """Kept traces by task."""
        self.replaced: Counter[str] = Counter()
        """Of them, refusals in place of unsafe traces."""
        self._config = config
        self._seen = SeenHashes()
        self._kept_of_group: dict[int, str] = {}

    def sort(self, traces: Iterable[_Trace]) -> Iterator[tuple[_Trace, Reason | None]]:
        """Yield the traces of one example, each with the reason to drop it; None keeps it."""
        usable = []
        for trace in traces:
            if trace.reason is None:
                usable.append(trace)
            else:
                yield trace, trace.reason
        limit = 1 if self._config.keep == "best" else self._config.per_example
        for rank, trace in enumerate(sorted(usable, key=_preference)):
            if limit is not None and rank >= limit:
                why = f"a better trace of the example is kept (at most {limit})"
                yield trace, ("surplus", why)
                continue
            reason = self._check_against_kept(trace)
            if reason is None:
                self.tasks[trace.task] += 1
                self.replaced[trace.task] += trace.replaced is not None
                if trace.group >= 0:
                    self._kept_of_group[trace.group] = trace.id
            yield trace, reason

    def _check_against_kept(self, trace: _Trace) -> Reason | None:
        if not self._seen.add(trace.content):
            return "duplicate", "the same answer to the same question was kept before"
        if trace.group in self._kept_of_group:
            return "near_duplicate", f"is nearly the trace {self._kept_of_group[trace.group]}"
        quota = self._config.max_per_task
        if quota is not None and self.tasks[trace.task] >= quota:
            return "quota", f"the task has its {quota} lessons"
        return None


def _preference(trace: _Trace) -> tuple[float, int, int]:
    """Order right traces before wrong ones, and short ones before long ones."""
    value = None if trace.replaced is not None else trace.value
    return -(value or 0.0), trace.tokens_out, trace.sample


async def _sort_all(
    config: CurateConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    out: Path,
    drops: _Drops,
) -> _Counts:
    """Write every trace that is kept to ``out``, and the others to ``drops``.

    Workers check each trace alone. Which of the usable ones are kept depends on those before them,
    and is decided here.
    """
    sorter, read = _Sorter(config), 0
    with (
        tables.TableWriter(out, tables.JUDGED) as kept,
        closing(_whole_examples(_check_all(config, strategies, context))) as parts,
    ):
        for table, traces in parts:
            await asyncio.sleep(0)  # here Ctrl-C ends the step
            read += len(traces)
            places = {trace.id: place for place, trace in enumerate(traces)}
            chosen: list[_Trace] = []
            for _, several in groupby(traces, key=attrgetter("task", "example_id")):
                for trace, reason in sorter.sort(several):
                    if reason is None:
                        chosen.append(trace)
                    else:
                        drops.add(trace, reason)
            rows = table.take(array_of([places[trace.id] for trace in chosen], pa.int64()))
            kept.write_rows(_with_refusals(rows, chosen))
    return _Counts(traces=read, kept=kept.rows, tasks=sorter.tasks, replaced=+sorter.replaced)


def _with_refusals(rows: pa.Table, traces: Sequence[_Trace]) -> pa.Table:
    """Return the rows of traces, with the refusals of those that are replaced."""
    if not any(trace.replaced for trace in traces):
        return rows
    pairs = zip(rows.to_pylist(), traces, strict=True)
    return pa.Table.from_pylist(
        [row if one.replaced is None else tables.judged_row(one.replaced) for row, one in pairs],
        schema=tables.JUDGED,
    )


def _check_all(
    config: CurateConfig, strategies: tuple[Strategy, ...], context: StepContext
) -> Iterator[tuple[pa.Table, list[_Trace]]]:
    """Yield the traces of each row group, checked alone, as a table and as what is chosen by."""
    examples = context.inputs["sample"] / layout.EXAMPLES
    traces = context.inputs["teach"] / layout.ATTEMPTS
    is_here = calls_users_functions(config)
    if not is_here:
        warm_up_workers(traces, context, TraceChecks.__module__)
    held_out = Overlap(
        chain(
            tables.read_prompts(examples, "held_out"), tables.read_prompts(examples, "retention")
        ),
        n=config.ngram,
        fuzzy=config.fuzzy_overlap,
    )
    checks = TraceChecks(config=config, strategies=strategies, held_out=held_out)
    groups = trace_groups(traces, examples)
    context.progress.start("curate", sum(group.rows for group in groups))
    checked = map_trace_groups(checks, groups, context, here=is_here)
    near: I64 | None = None
    if config.near_duplicates is not None:
        checked, near = _find_near(checked, config.near_duplicates, context.runtime.executor)
    start = 0
    for group, found in checked:
        table = tables.with_columns(group.table(), tables.JUDGED)
        numbers = None if near is None else near[start : start + group.rows].tolist()
        start += group.rows
        yield table, _traces_of(table, found, numbers)
        context.progress.advance(group.rows)


def _find_near(
    checked: Iterator[tuple[TraceGroup, Checked]], similarity: float, executor: Executor
) -> tuple[Iterator[tuple[TraceGroup, Checked]], I64]:
    """Read all that was checked, and group the traces that are nearly the same.

    Returns:
        What was read, without signatures; the number of each trace's group, -1 without one.
    """
    near, kept = NearDuplicates(similarity=similarity), []
    for group, found in checked:
        if found.signatures is not None:
            near.add_signatures(*found.signatures)
        kept.append((group, replace(found, signatures=None)))
    groups = near.originals(executor)
    groups[np.bincount(groups, minlength=1)[groups] == 1] = -1
    return iter(kept), groups


def _traces_of(table: pa.Table, found: Checked, groups: list[int] | None) -> list[_Trace]:
    """Return what the choice needs of each row."""
    names = ("id", "example_id", "task", "value", "tokens_out", "sample")
    columns = (table[name].to_pylist() for name in names)
    return [
        _Trace(
            id=name,
            example_id=example_id,
            task=task,
            value=value,
            tokens_out=tokens_out,
            sample=sample,
            reason=found.reasons.get(place),
            replaced=found.replaced.get(place),
            content=found.hashes[place],
            group=-1 if groups is None else groups[place],
        )
        for place, (name, example_id, task, value, tokens_out, sample) in enumerate(
            zip(*columns, strict=True)
        )
    ]


def _whole_examples(
    parts: Iterable[tuple[pa.Table, list[_Trace]]],
) -> Generator[tuple[pa.Table, list[_Trace]]]:
    """Cut tables of traces anew, so that none ends within an example."""
    held, waiting = pa.Table.from_batches([], tables.JUDGED), list[_Trace]()
    for table, traces in parts:
        held = pa.concat_tables([held, table]).combine_chunks()
        waiting += traces
        end = len(waiting)
        last = waiting[-1]
        while end and (waiting[end - 1].task, waiting[end - 1].example_id) == (
            last.task,
            last.example_id,
        ):
            end -= 1
        yield held.slice(0, end), waiting[:end]
        held, waiting = held.slice(end), waiting[end:]
    yield held, waiting


def _read_traces(
    context: StepContext, path: Path | None = None
) -> Iterator[tuple[Example, Judged]]:
    """Read ``teach``'s traces, or those of another table made of them, each with its example."""
    traces = tables.read_judged(path or context.inputs["teach"] / layout.ATTEMPTS)
    return tables.with_examples(traces, context.inputs["sample"] / layout.EXAMPLES)


async def _learn_quality(
    config: QualityConfig, context: StepContext, booked_as: str
) -> tuple[dict[str, Any], quality.Classifier | None]:
    """Have the judge rate some of the traces that passed the rules, and learn from the ratings.

    Returns:
        The summary of how well it went, and the classifier; None where it is no better than chance.
    """
    chosen, rated = await _rate_traces(config.labelled, context, booked_as)
    learned = quality.learn(
        [attempt.text for attempt, _ in rated],
        [value for _, value in rated],
        [f"{attempt.task}/{attempt.example_id}" for attempt, _ in rated],
        seed=context.seed,
    )
    summary = _summarize(learned, asked=chosen, rated=len(rated))
    if learned.classifier is None:
        context.progress.note(f"quality: {_doubt(summary)}; every trace is kept")
    return summary, learned.classifier


async def _learn_toxicity(
    config: ToxicityConfig, context: StepContext, booked_as: str
) -> tuple[dict[str, Any], quality.Classifier | None]:
    """Have the judge rate some of the traces for safety, and learn which are unsafe.

    Returns:
        As ``_learn_quality``.
    """
    count = config.labelled or 0
    chosen, rated = await _rate_traces(count, context, booked_as, instruction=INSTRUCTION)
    learned = quality.learn_labels(
        [attempt.text for attempt, _ in rated],
        np.array([value >= UNSAFE for _, value in rated], bool),
        [f"{attempt.task}/{attempt.example_id}" for attempt, _ in rated],
        seed=context.seed,
    )
    summary = _summarize(learned, asked=chosen, rated=len(rated))
    if learned.classifier is None:
        context.progress.note(f"toxicity: {_doubt(summary)}; no trace counts as unsafe")
    return summary, learned.classifier


async def _rate_traces(
    count: int, context: StepContext, booked_as: str, *, instruction: str | None = None
) -> tuple[int, list[tuple[Attempt, float]]]:
    """Have the judge rate some of the traces that passed the rules.

    Args:
        count: Traces to draw.
        context: With the recipe's judge.
        booked_as: The step under which the calls are booked.
        instruction: What to rate, in place of the recipe's or the built-in instruction.

    Returns:
        How many were drawn, and those with a rating.
    """
    chosen = list(_draw_traces(context, count))
    judge = judge_of(context.judging or JudgingConfig(), context, step=booked_as)
    if instruction is not None:
        judge = replace(judge, instructions={**judge.instructions, "rating": instruction})
    items = [
        (replace(example, prompt=example.meta.get(LECTURE, example.prompt)), judged.attempt.text)
        for example, judged in chosen
    ]
    context.progress.start("curate: the judge rates", len(items))
    ratings = await rate(items, judge)
    rated = [
        (judged.attempt, found.value)
        for (_, judged), found in zip(chosen, ratings, strict=True)
        if found.value is not None
    ]
    return len(chosen), rated


def _summarize(learned: quality.Learned, *, asked: int, rated: int) -> dict[str, Any]:
    """Return what a step's record says of a classifier."""
    used = learned.classifier is not None
    summary: dict[str, Any] = {"asked": asked, "rated": rated, "used": used, "auc": None}
    if learned.validation is not None:
        area = asdict(learned.validation.area)
        summary |= {"auc": area.pop("value"), **area}
        summary |= {"p_value": learned.validation.p_value, "good": learned.good}
    return summary


def _doubt(summary: Mapping[str, Any]) -> str:
    """Say why the classifier is not used."""
    if summary["auc"] is None:
        return (
            f"the judge's {summary['rated']} ratings of {summary['asked']} traces do not tell good "
            "ones from others"
        )
    return (
        f"a classifier of {summary['rated']} rated traces is not clearly better than chance "
        f"(AUC {summary['auc']:.2f}, p {summary['p_value']:.2f})"
    )


def _is_lecture(judged: Judged) -> bool:
    return judged.attempt.strategy == LECTURE


def _detoxify(
    config: ToxicityConfig,
    classifier: quality.Classifier | None,
    context: StepContext,
    drops: _Drops,
) -> _Counts:
    """Write the traces that passed to ``kept.parquet``, without the unsafe ones, or refused."""
    tasks, replaced, read = Counter[str](), Counter[str](), 0
    with tables.TableWriter(context.out / layout.KEPT, tables.JUDGED) as kept:
        for batch in batched(tables.read_judged(context.out / layout.PASSED), _BATCH):
            read += len(batch)
            scores = np.zeros(len(batch))
            if classifier is not None:
                texts = [judged.attempt.text for judged in batch]
                scores = (classifier.scores(texts) + 1) / 2  # from -1 … 1 to 0 … 1
            for judged, score in zip(batch, scores, strict=True):
                if classifier is not None and score >= config.limit:
                    why = f"the classifier scores it {score:.2f}, {config.limit:g} or more"
                    if not refuses_unsafe(config, judged):
                        drops.add(judged.attempt, ("toxic", why))
                        continue
                    judged = refused(judged, why)
                    replaced[judged.attempt.task] += 1
                tasks[judged.attempt.task] += 1
                kept.write(tables.judged_row(judged))
    return _Counts(traces=read, kept=kept.rows, tasks=tasks, replaced=replaced)


def _keep_best(
    config: QualityConfig,
    classifier: quality.Classifier | None,
    context: StepContext,
    drops: _Drops,
) -> _Counts:
    """Write the best of the traces that passed to ``kept.parquet``; all without a classifier."""
    passed = context.out / layout.PASSED
    thresholds = {True: -np.inf, False: -np.inf}
    """Of lectures and of explanations: each kind keeps its own best."""
    if classifier is not None:
        scored = [
            (
                classifier.scores([row["text"] for row in rows]),
                np.array([row["strategy"] == LECTURE for row in rows]),
            )
            for rows in _in_batches(passed)
        ]
        every = np.concatenate([scores for scores, _ in scored])
        lectures = np.concatenate([are_lectures for _, are_lectures in scored])
        for kind in np.unique(lectures):
            best = np.quantile(every[lectures == kind], 1 - config.keep)
            thresholds[bool(kind)] = float(best)
    tasks, replaced, read = Counter[str](), Counter[str](), 0
    with tables.TableWriter(context.out / layout.KEPT, tables.JUDGED) as kept:
        for batch in batched(tables.read_judged(passed), _BATCH):
            read += len(batch)
            scores = np.zeros(len(batch))
            if classifier is not None:
                scores = classifier.scores([judged.attempt.text for judged in batch])
            for judged, score in zip(batch, scores, strict=True):
                threshold = thresholds[_is_lecture(judged)]
                if score < threshold and not is_replaced(judged):
                    why = (
                        f"scores {score:.2f}, below {threshold:.2f}, "
                        f"where the best {config.keep:.0%} begin"
                    )
                    drops.add(judged.attempt, ("quality", why))
                else:
                    tasks[judged.attempt.task] += 1
                    replaced[judged.attempt.task] += is_replaced(judged)
                    kept.write(tables.judged_row(judged))
    return _Counts(traces=read, kept=kept.rows, tasks=tasks, replaced=+replaced)


def _in_batches(passed: Path) -> Iterator[list[dict[str, Any]]]:
    return batched(tables.read_rows(passed, ["text", "strategy"]), _BATCH)


def _draw_traces(context: StepContext, count: int) -> Iterator[tuple[Example, Judged]]:
    """Draw ``count`` of the traces that passed, by a hash of their ids; keep their order."""
    passed = context.out / layout.PASSED
    ids = (row["id"] for row in tables.read_rows(passed, ["id"]))
    drawn = set(draw(ids, lambda key: ("quality", key), count))
    return (trace for trace in _read_traces(context, passed) if trace[1].attempt.id in drawn)
