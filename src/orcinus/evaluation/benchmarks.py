"""Evaluation without a recipe: any model on benchmarks, in several layouts and under several system messages.

    benchmarks × layouts × system messages ──model──► attempts-NAME.parquet, items-NAME.parquet, scores.json

Asked through the engine and the ledger like everything else: what is interrupted goes on, what was asked is not asked again, and
a budget is a hard cap. A *condition* is one layout under one system message.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from orcinus.core import stats
from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Completer
from orcinus.core.results import Comparison, DecisionScore
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import Example, Judged, Request, Strategy
from orcinus.evaluation.benchmark_scores import (
    BenchmarkScore,
    ConditionScore,
    ModelScores,
    Spread,
)
from orcinus.evaluation.comparisons import compare_items, correct_for_number
from orcinus.evaluation.conditions import STEP, Condition, Settings, _conditions, _sampling
from orcinus.evaluation.contamination import _flagged
from orcinus.evaluation.conversations import _rated
from orcinus.evaluation.decide import decide
from orcinus.evaluation.scores import score_arm, scores_by_task, write_benchmark_scores
from orcinus.models.attempts import collecting_seldom
from orcinus.models.configs import ModelConfig
from orcinus.models.open import open_completer
from orcinus.runs import layout, tables
from orcinus.runs.budget import Budget
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.folders import locked, provenance
from orcinus.runs.ledger import Ledger
from orcinus.strategies.prompts import requests_for
from orcinus.tasks.benchmarks.published import published
from orcinus.tasks.benchmarks.reading import BenchmarkItems, read_benchmark
from orcinus.tasks.benchmarks.specs import Benchmark
from orcinus.verifiers.ifeval import library
from orcinus.verifiers.measure import measure

ORCA2_SIX = ("agieval", "bbh_orca", "drop", "crass", "race", "gsm8k")
"""The six sets of Orca 2's mean."""


async def evaluate_model(
    settings: Settings,
    model: ModelConfig,
    judge: ModelConfig | None,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> ModelScores:
    """Ask ``model`` the benchmarks, and write the folder ``out``.

    Args:
        settings: What is asked.
        model: Who.
        judge: Who rates, where a benchmark needs it.
        out: Where to; its name is the run's name in the ledger.
        runtime: Where and how fast.
        progress: Is told how far it is.

    Returns:
        The results, which are also in ``scores.json``.

    Raises:
        OrcinusError: Something a user can mend; what is paid for is kept, and the same command goes on.
    """
    _check(settings, model, judge)
    read = {benchmark.name: _read(benchmark, settings) for benchmark in settings.benchmarks}
    with locked(out), Ledger(runtime.ledger_path) as ledger, collecting_seldom():
        opened: dict[str, Completer] = {}

        def completer(role: str, folder: Path | None = None) -> Completer:
            config = model if role == "model" else judge
            if config is None:
                raise ConfigError(f"there is no model in the role {role!r}")
            if role not in opened:
                opened[role] = open_completer(
                    config, base=Path(), device=runtime.device, secrets=runtime.secrets
                )
            return opened[role]

        budget = Budget(
            usd=settings.budget.usd, tokens=settings.budget.tokens, ledger=ledger, run=out.name
        )
        context = StepContext(
            out=out,
            inputs={},
            run=out.name,
            seed=settings.seed,
            ledger=ledger,
            runtime=runtime,
            progress=progress,
            completer=completer,
            budget=budget,
        )
        try:
            if settings.decide is not None:
                settings.decide.require(completer("model"))
            found = {
                b.name: await _one(b, read[b.name], settings, context, judge)
                for b in settings.benchmarks
            }
            name = completer("model").model
        finally:
            for item in opened.values():
                await item.aclose()
    scores = _model_scores(settings, name, found)
    write_benchmark_scores(out, scores)
    return scores


def _check(settings: Settings, model: ModelConfig, judge: ModelConfig | None) -> None:
    """Refuse, before anything is asked, what could not be finished."""
    names = [benchmark.name for benchmark in settings.benchmarks]
    for benchmark in settings.benchmarks:
        if names.count(benchmark.name) > 1:
            raise ConfigError(f"the benchmark {benchmark.name} is named twice")
        if benchmark.needs == "judge" and judge is None:
            raise ConfigError(f"{benchmark.name} is scored by a judge; name one with --judge")
        if benchmark.needs == "library":
            library()
        if settings.decide is not None:
            if benchmark.rated:
                raise ConfigError(
                    f"{benchmark.name} is rated answer by answer; there is nothing to --decide"
                )
            _sampling(benchmark, settings)
    if (
        settings.decide is not None
        and settings.decide.rewarded
        and settings.decide.reward == "judge"
        and judge is None
    ):
        raise ConfigError("the reward is judge; name one with --judge")
    for chosen in settings.layouts:
        if chosen != "all" and not any(
            chosen in benchmark.layouts for benchmark in settings.benchmarks
        ):
            known = sorted(
                {name for benchmark in settings.benchmarks for name in benchmark.layouts}
            )
            raise ConfigError(f"no layout {chosen!r}; {', '.join(names)} have: {', '.join(known)}")
    for role, config in (("model", model), ("judge", judge)):
        if (
            settings.budget.usd is not None
            and config is not None
            and config.kind == "endpoint"
            and not config.known_price()
        ):
            raise ConfigError(
                f"a budget in dollars, but no price is known for {config.model}; give the {role} as a YAML file with price:, or a budget in tokens"
            )


def _read(benchmark: Benchmark, settings: Settings) -> BenchmarkItems:
    wanted = tuple(benchmark.layouts) if "all" in settings.layouts else settings.layouts
    layouts = [name for name in wanted if name in benchmark.layouts]
    return read_benchmark(
        benchmark,
        settings.data,
        layouts=tuple(dict.fromkeys(layouts)),
        shots=settings.shots,
        limit=settings.limit,
    )


async def _one(
    benchmark: Benchmark,
    read: BenchmarkItems,
    settings: Settings,
    context: StepContext,
    judge: ModelConfig | None,
) -> BenchmarkScore:
    """All conditions of one benchmark, and what is made of them."""
    items = next(iter(read.by_layout.values()))
    flagged = _flagged(items, settings)
    with tables.TableWriter(
        context.out / layout.benchmark_items(benchmark.name), tables.EXAMPLES
    ) as writer:
        for item in items:
            meta = {
                **item.meta,
                "contaminated": (item.task, item.id) in flagged if settings.learnt_from else None,
            }
            writer.write(tables.example_row(replace(item, meta=meta), "held_out"))
    result = BenchmarkScore(
        title=benchmark.title,
        about=benchmark.about,
        url=benchmark.url,
        licence=benchmark.licence,
        items=len(items),
        subsets=len(benchmark.subsets) - len(read.missing),
        missing=tuple(read.missing),
        skipped=tuple(read.skipped),
        sampling=_sampling(benchmark, settings),
        layouts={name: benchmark.layout(name) for name in read.by_layout},
        published=tuple(published(benchmark.published)),
    )
    if benchmark.rated:
        return replace(result, ratings=await _rated(benchmark, read, settings, context))
    if benchmark.needs == "judge":
        context = replace(context, judging=_judging(benchmark))
    requests = list(_requests(benchmark, read, settings))
    judged = await measure(
        requests,
        context.completer("model"),
        context.out / layout.attempts(benchmark.name),
        context,
        step=STEP,
        what=benchmark.name,
        total=len(requests),
    )
    by_name: dict[str, list[Judged]] = {}
    asked: dict[str, list[Request]] = {}
    for request, answer in zip(
        requests, judged, strict=True
    ):  # two conditions that send the same words share an attempt
        by_name.setdefault(request.strategy, []).append(answer)
        asked.setdefault(request.strategy, []).append(request)
    examples = {
        layout: {(item.task, item.id): item for item in laid_out}
        for layout, laid_out in read.by_layout.items()
    }
    conditions = {
        condition.name: _condition_score(
            condition,
            by_name[condition.name],
            examples[condition.layout],
            flagged if settings.learnt_from else None,
            await _decided(
                benchmark, settings, asked[condition.name], by_name[condition.name], context
            ),
        )
        for condition in _conditions(read, settings)
    }
    first = next(iter(conditions))
    return replace(
        result,
        conditions=conditions,
        against_first=_against(by_name, first, settings.seed),
        systems=_spread([c for c in conditions.values() if c.layout == conditions[first].layout]),
        layouts_spread=_spread([c for c in conditions.values() if c.system == 1]),
    )


async def _decided(
    benchmark: Benchmark,
    settings: Settings,
    requests: Sequence[Request],
    judged: Sequence[Judged],
    context: StepContext,
) -> list[DecisionScore]:
    """What several tries come to together under one condition."""
    if settings.decide is None:
        return []
    return await decide(
        settings.decide,
        _sampling(benchmark, settings),
        requests,
        judged,
        context.completer("model"),
        context,
        step=STEP,
        name=f"{benchmark.name}-{requests[0].strategy.replace('/', '-')}",
    )


def _judging(benchmark: Benchmark) -> JudgingConfig:
    if benchmark.judge_task is None:
        return JudgingConfig()
    kind: Literal["verdict", "groundedness"] = (
        "groundedness" if benchmark.verifier == "grounded" else "verdict"
    )
    return JudgingConfig(instructions={kind: benchmark.judge_task})


def _requests(benchmark: Benchmark, read: BenchmarkItems, settings: Settings) -> Iterator[Request]:
    sampling = _sampling(benchmark, settings)
    for condition in _conditions(read, settings):
        strategy = Strategy(name=condition.name, system=settings.systems[condition.system - 1])
        for example in read.by_layout[condition.layout]:
            yield from requests_for(example, strategy, sampling, seed=settings.seed)


def _condition_score(
    condition: Condition,
    judged: Sequence[Judged],
    examples: Mapping[tuple[str, str], Example],
    flagged: set[tuple[str, str]] | None,
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


def _against(
    by_name: Mapping[str, Sequence[Judged]], first: str, seed: int
) -> tuple[Comparison, ...]:
    """Compare every condition with the first, paired by item, with Holm's correction."""
    base = stats.item_means(by_name[first])
    rows = [
        compare_items(name, first, stats.item_means(judged), base, seed=seed)
        for name, judged in by_name.items()
        if name != first
    ]
    return correct_for_number([row for row in rows if row is not None])


def _model_scores(
    settings: Settings, model: str, found: Mapping[str, BenchmarkScore]
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
