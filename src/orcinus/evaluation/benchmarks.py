"""Evaluate any model on benchmarks without a recipe, under several layouts and system messages.

    benchmarks × layouts × system messages ──model──► attempts-NAME.parquet, items-NAME.parquet,
                                                      scores.json

Calls go through the engine and the ledger as in a recipe: an interrupted evaluation resumes, no
call is made twice, and a budget is a hard cap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from orcinus.core import stats
from orcinus.core.collector import relax_garbage_collection
from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Completer
from orcinus.core.results import Comparison, DecisionScore
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import Example, Judged, Request
from orcinus.evaluation.benchmark_scores import (
    BenchmarkScore,
    ConditionScore,
    ModelScores,
    Spread,
)
from orcinus.evaluation.comparisons import Key, compare_items, correct_for_number
from orcinus.evaluation.conditions import (
    STEP,
    BenchmarkSettings,
    Condition,
    conditions_of,
    requests_under,
)
from orcinus.evaluation.contamination import find_contaminated
from orcinus.evaluation.conversations import rate_conversations
from orcinus.evaluation.decide import decide
from orcinus.evaluation.scores import score_arm, scores_by_task, write_benchmark_scores
from orcinus.models.configs import ModelConfig
from orcinus.models.open import open_completer
from orcinus.runs import layout, tables
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.folders import locked, provenance
from orcinus.runs.ledger import Ledger
from orcinus.tasks.benchmarks.published import published
from orcinus.tasks.benchmarks.reading import BenchmarkItems, read_benchmark
from orcinus.tasks.benchmarks.specs import Benchmark
from orcinus.verifiers.ifeval import library
from orcinus.verifiers.measure import measure

ORCA2_SIX = ("agieval", "bbh_orca", "drop", "crass", "race", "gsm8k")
"""The six benchmarks whose mean Orca 2 reports."""


async def evaluate_model(
    settings: BenchmarkSettings,
    model: ModelConfig,
    judge: ModelConfig | None,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> ModelScores:
    """Evaluate ``model`` on benchmarks, and write the folder ``out``.

    Args:
        settings: The benchmarks, and how they are asked.
        model: The model to evaluate.
        judge: The model that rates answers; None when no benchmark needs one.
        out: Folder of the results; its name is the run's name in the ledger.
        runtime: Where and how fast.
        progress: Receives the progress.

    Returns:
        The results, which are also in ``scores.json``.

    Raises:
        ConfigError: The settings cannot be evaluated; nothing has been asked yet.
        OrcinusError: As ``attempt_all``; the same command resumes.
    """
    _check(settings, model, judge)
    items = {benchmark.name: _read(benchmark, settings) for benchmark in settings.benchmarks}
    with (
        locked(out),
        Ledger(runtime.ledger_path, note=progress.note, fresh=runtime.fresh) as ledger,
        relax_garbage_collection(),
    ):
        opened: dict[str, Completer] = {}

        def open_role(role: str, folder: Path | None = None) -> Completer:
            config = model if role == "model" else judge
            if config is None:
                raise ConfigError(f"there is no model in the role {role!r}")
            if role not in opened:
                opened[role] = open_completer(
                    config,
                    base=Path(),
                    device=runtime.device,
                    secrets=runtime.secrets,
                    entry=role,
                    note=progress.note,
                )
            return opened[role]

        context = StepContext(
            out=out,
            run=out.name,
            seed=settings.seed,
            ledger=ledger,
            runtime=runtime,
            progress=progress,
            completer=open_role,
            budget=settings.budget.open(ledger, out.name),
        )
        try:
            name = open_role("model").model
            if settings.decide is not None:
                settings.decide.require(open_role("model"))
            found = {
                benchmark.name: await _evaluate_benchmark(
                    benchmark, items[benchmark.name], settings, context
                )
                for benchmark in settings.benchmarks
            }
        finally:
            for completer in opened.values():
                await completer.aclose()
    scores = _model_scores(settings, name, found)
    write_benchmark_scores(out, scores)
    return scores


def _check(settings: BenchmarkSettings, model: ModelConfig, judge: ModelConfig | None) -> None:
    """Refuse, before anything is asked, what could not be finished."""
    known = [benchmark.name for benchmark in settings.benchmarks]
    decided = settings.decide
    for benchmark in settings.benchmarks:
        if known.count(benchmark.name) > 1:
            raise ConfigError(f"the benchmark {benchmark.name} is named twice; leave one out")
        if benchmark.needs == "judge" and judge is None:
            raise ConfigError(f"{benchmark.name} is scored by a judge; name one with --judge")
        if benchmark.needs == "library":
            library()
        if decided is not None:
            if benchmark.rated:
                raise ConfigError(
                    f"{benchmark.name} is rated answer by answer; there is nothing to --decide"
                )
            settings.sampling_of(benchmark)
    if decided is not None and decided.rewarded and decided.reward == "judge" and judge is None:
        raise ConfigError("the reward is judge; name one with --judge")
    _check_layouts(settings)
    if settings.budget.usd is not None:
        for role, config in (("model", model), ("judge", judge)):
            if config is not None and config.kind == "endpoint" and not config.known_price():
                raise ConfigError(
                    f"a budget in dollars, but no price is known for {config.model}; give the "
                    f"{role} as a YAML file with price:, or a budget in tokens"
                )


def _check_layouts(settings: BenchmarkSettings) -> None:
    known = sorted({name for benchmark in settings.benchmarks for name in benchmark.layouts})
    for name in settings.layouts:
        if name not in ("all", *known):
            benchmarks = ", ".join(benchmark.name for benchmark in settings.benchmarks)
            raise ConfigError(f"no layout {name!r}; {benchmarks} have: {', '.join(known)}")


def _read(benchmark: Benchmark, settings: BenchmarkSettings) -> BenchmarkItems:
    return read_benchmark(
        benchmark,
        settings.data,
        layouts=settings.layouts_of(benchmark),
        shots=settings.shots,
        limit=settings.limit,
    )


async def _evaluate_benchmark(
    benchmark: Benchmark, items: BenchmarkItems, settings: BenchmarkSettings, context: StepContext
) -> BenchmarkScore:
    """Evaluate one benchmark under all its conditions."""
    examples = next(iter(items.by_layout.values()))
    flagged = None
    if settings.learnt_from:
        flagged = find_contaminated(examples, settings.learnt_from, overlap=settings.overlap)
    _write_items(context.out / layout.benchmark_items(benchmark.name), examples, flagged)
    result = BenchmarkScore(
        title=benchmark.title,
        about=benchmark.about,
        url=benchmark.url,
        licence=benchmark.licence,
        items=len(examples),
        subsets=len(benchmark.subsets) - len(items.missing),
        missing=tuple(items.missing),
        skipped=tuple(items.skipped),
        sampling=settings.sampling_of(benchmark),
        layouts={name: benchmark.layout(name) for name in items.by_layout},
        published=tuple(published(benchmark.published)),
    )
    if benchmark.rated:
        ratings = await rate_conversations(benchmark, items, settings, context)
        return replace(result, ratings=ratings)
    if benchmark.needs == "judge":
        context = replace(context, judging=_judging(benchmark))
    answers = await _ask(benchmark, items, settings, context)
    conditions = {}
    for condition in conditions_of(items, settings):
        requests, judged = answers[condition.name]
        decided = await _decide(benchmark, settings, requests, judged, context)
        known = {(item.task, item.id): item for item in items.by_layout[condition.layout]}
        conditions[condition.name] = _score_condition(condition, judged, known, flagged, decided)
    first = next(iter(conditions.values()))
    return replace(
        result,
        conditions=conditions,
        against_first=_compare_with_first(answers, seed=settings.seed),
        systems=_spread([c for c in conditions.values() if c.layout == first.layout]),
        layouts_spread=_spread([c for c in conditions.values() if c.system == 1]),
    )


def _write_items(path: Path, examples: Sequence[Example], flagged: set[Key] | None) -> None:
    """Write the items, and for each whether it was flagged (None when that was not checked)."""
    with tables.TableWriter(path, tables.EXAMPLES) as writer:
        for item in examples:
            contaminated = None if flagged is None else (item.task, item.id) in flagged
            meta = {**item.meta, "contaminated": contaminated}
            writer.write(tables.example_row(replace(item, meta=meta), "held_out"))


def _judging(benchmark: Benchmark) -> JudgingConfig:
    if benchmark.judge_task is None:
        return JudgingConfig()
    kind: Literal["verdict", "groundedness"] = (
        "groundedness" if benchmark.verifier == "grounded" else "verdict"
    )
    return JudgingConfig(instructions={kind: benchmark.judge_task})


Answers = Mapping[str, tuple[list[Request], list[Judged]]]
"""By name of the condition: requests and answers, in the same order."""


async def _ask(
    benchmark: Benchmark, items: BenchmarkItems, settings: BenchmarkSettings, context: StepContext
) -> Answers:
    """Ask the model every item under every condition."""
    sampling = settings.sampling_of(benchmark)
    requests = [
        request
        for condition in conditions_of(items, settings)
        for request in requests_under(condition, items, settings, sampling)
    ]
    judged = await measure(
        requests,
        context.completer("model"),
        context.out / layout.attempts(benchmark.name),
        context,
        step=STEP,
        what=benchmark.name,
        total=len(requests),
    )
    answers: dict[str, tuple[list[Request], list[Judged]]] = {}
    for request, item in zip(requests, judged, strict=True):
        # By the request's condition: two that send the same messages share an attempt, which
        # carries the name of the first.
        asked, answered = answers.setdefault(request.strategy, ([], []))
        asked.append(request)
        answered.append(item)
    return answers


async def _decide(
    benchmark: Benchmark,
    settings: BenchmarkSettings,
    requests: Sequence[Request],
    judged: Sequence[Judged],
    context: StepContext,
) -> list[DecisionScore]:
    """Choose among the samples under one condition, where the settings ask for it."""
    if settings.decide is None:
        return []
    return await decide(
        settings.decide,
        settings.sampling_of(benchmark),
        requests,
        judged,
        context.completer("model"),
        context,
        step=STEP,
        name=f"{benchmark.name}-{requests[0].strategy.replace('/', '-')}",
    )


def _score_condition(
    condition: Condition,
    judged: Sequence[Judged],
    examples: Mapping[Key, Example],
    flagged: set[Key] | None,
    decided: Sequence[DecisionScore],
) -> ConditionScore:
    """Score one condition; ``flagged`` is None when contamination was not checked."""
    clean = None
    if flagged is not None:
        clean = scores_by_task(
            [i for i in judged if (i.attempt.task, i.attempt.example_id) not in flagged]
        )
    return ConditionScore(
        layout=condition.layout,
        system=condition.system,
        score=score_arm(judged, examples, decided=decided, has_judge=True),
        clean=clean,
        flagged=None if flagged is None else len(flagged),
        tokens_out=fmean([item.attempt.usage.tokens_out for item in judged]),
        cost_usd=sum(item.attempt.cost_usd for item in judged),
    )


def _spread(conditions: Sequence[ConditionScore]) -> Spread | None:
    """Measure how far the mean of tasks moves between conditions; None with a single one."""
    means = [m for c in conditions if (m := c.score.accuracy.macro.mean) is not None]
    if len(means) < 2:
        return None
    return Spread(
        n=len(means),
        mean=fmean(means),
        sd=stdev(means),
        low=min(means),
        high=max(means),
        spread=max(means) - min(means),
    )


def _compare_with_first(answers: Answers, *, seed: int) -> tuple[Comparison, ...]:
    """Compare every condition with the first, paired by item, with Holm's correction."""
    values = {name: stats.item_means(judged) for name, (_, judged) in answers.items()}
    (first, base), *others = values.items()
    rows = [compare_items(name, first, means, base, seed=seed) for name, means in others]
    return correct_for_number([row for row in rows if row is not None])


def _model_scores(
    settings: BenchmarkSettings, model: str, found: Mapping[str, BenchmarkScore]
) -> ModelScores:
    """Put the benchmarks together, with the settings that the results depend on."""
    means = {
        name: next(iter(score.conditions.values())).score.accuracy.macro.mean
        for name, score in found.items()
        if score.conditions
    }
    known = [mean for mean in means.values() if mean is not None]
    six = [means.get(name) for name in ORCA2_SIX]
    return ModelScores(
        model=model,
        date=datetime.now(UTC).date().isoformat(),
        seed=settings.seed,
        shots=settings.shots,
        limit=settings.limit,
        learnt_from=settings.learnt_from,
        overlap=settings.overlap,
        systems=settings.systems,
        macro=fmean(known) if known else None,
        orca2_six=fmean([mean for mean in six if mean is not None]) if None not in six else None,
        benchmarks=found,
        **provenance(),
    )
