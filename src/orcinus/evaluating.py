"""Evaluation without a recipe: any model on benchmarks, in several layouts and under several system messages.

    benchmarks × layouts × system messages ──model──► attempts-NAME.parquet, items-NAME.parquet, scores.json, report.md, report.html

Asked through the engine and the ledger like everything else: what is interrupted goes on, what was asked is not asked again, and
a budget is a hard cap. A *condition* is one layout under one system message.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import orjson

from orcinus import stats
from orcinus.asking import JudgingConfig, SamplingConfig, requests_for
from orcinus.attempts import Budget, collecting_seldom
from orcinus.benchmarks.published import published
from orcinus.benchmarks.reading import ASKED, Read, read_benchmark
from orcinus.benchmarks.specs import Benchmark
from orcinus.completers.opening import open_completer
from orcinus.config import Config
from orcinus.curation.overlap import touched
from orcinus.durable import write_atomically
from orcinus.errors import ConfigError
from orcinus.judges import Judge, given_by_judge, rate
from orcinus.lineage import finished_steps
from orcinus.measuring import measure, scores_by_rule, scores_by_task
from orcinus.pipeline import locked, provenance
from orcinus.protocols import Completer
from orcinus.recipe import BudgetConfig, ModelConfig
from orcinus.reporting import evaluation as pages
from orcinus.runtime import Progress, Runtime, StepContext
from orcinus.searching import DecideConfig, decide
from orcinus.store import tables
from orcinus.store.ledger import Ledger
from orcinus.strategies import generic_messages
from orcinus.tasks.rows import read_rows
from orcinus.tasks.sources import find_sources
from orcinus.types import Example, Judged, Message, Request, Strategy
from orcinus.verifiers.ifeval import library

STEP = "evaluate"
ORCA2_SIX = ("agieval", "bbh_orca", "drop", "crass", "race", "gsm8k")
"""The six sets of Orca 2's mean."""


class Settings(Config):
    """What is asked, and how."""

    benchmarks: tuple[Benchmark, ...]
    data: Path | None = None
    """Folder of their files; None reads from the hub."""
    layouts: tuple[str, ...] = ()
    """Names of layouts; a benchmark is asked under those that it has. Empty is each one's first; ``all`` is all."""
    systems: tuple[str, ...] = ("",)
    """System messages; an empty one sends none, as Orca was asked."""
    shots: int = 0
    limit: int | None = None
    """Items of each subset at most."""
    sampling: Mapping[str, Any] = {}
    """In place of the benchmarks' own: ``max_tokens``, ``temperature``, ``samples``, ``seeded``."""
    decide: DecideConfig | None = None
    """How several tries at a question become one answer, and what that costs."""
    learnt_from: tuple[str, ...] = ()
    """Runs or files that the model has learnt from, to flag items that stand in them."""
    overlap: int = 13
    """Words that an item and what was learnt must share in a row to be flagged (GPT-3's rule)."""
    budget: BudgetConfig = BudgetConfig()
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One layout under one system message."""

    layout: str
    system: int
    """Number of the system message, from 1."""

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.layout}/{self.system}"


async def evaluate_model(
    settings: Settings,
    model: ModelConfig,
    judge: ModelConfig | None,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Ask ``model`` the benchmarks, and write the folder ``out``.

    Args:
        settings: What is asked.
        model: Who.
        judge: Who rates, where a benchmark needs it.
        out: Where to; its name is the run's name in the ledger.
        runtime: Where and how fast.
        progress: Is told how far it is.

    Returns:
        What stands in ``scores.json``.

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
                opened[role] = open_completer(config, base=Path(), device=runtime.device, secrets=runtime.secrets)
            return opened[role]

        budget = Budget(usd=settings.budget.usd, tokens=settings.budget.tokens, ledger=ledger, run=out.name)
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
            found = {b.name: await _one(b, read[b.name], settings, context, judge) for b in settings.benchmarks}
            name = completer("model").model
        finally:
            for item in opened.values():
                await item.aclose()
    scores = _together(settings, name, found)
    write_atomically(out / "scores.json", orjson.dumps(scores, option=orjson.OPT_INDENT_2))
    write_atomically(out / "report.md", pages.markdown(scores).encode())
    write_atomically(out / "report.html", pages.html(scores).encode())
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
                raise ConfigError(f"{benchmark.name} is rated answer by answer; there is nothing to --decide")
            _sampling(benchmark, settings)
    if settings.decide is not None and settings.decide.rewarded and settings.decide.reward == "judge" and judge is None:
        raise ConfigError("the reward is judge; name one with --judge")
    for layout in settings.layouts:
        if layout != "all" and not any(layout in benchmark.layouts for benchmark in settings.benchmarks):
            known = sorted({name for benchmark in settings.benchmarks for name in benchmark.layouts})
            raise ConfigError(f"no layout {layout!r}; {', '.join(names)} have: {', '.join(known)}")
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


def _read(benchmark: Benchmark, settings: Settings) -> Read:
    wanted = tuple(benchmark.layouts) if "all" in settings.layouts else settings.layouts
    layouts = [name for name in wanted if name in benchmark.layouts]
    return read_benchmark(
        benchmark, settings.data, layouts=tuple(dict.fromkeys(layouts)), shots=settings.shots, limit=settings.limit
    )


def _sampling(benchmark: Benchmark, settings: Settings) -> SamplingConfig:
    sampling = SamplingConfig.model_validate({**benchmark.sampling.model_dump(), **settings.sampling})
    return sampling if settings.decide is None else settings.decide.sampling(sampling)


async def _one(
    benchmark: Benchmark, read: Read, settings: Settings, context: StepContext, judge: ModelConfig | None
) -> dict[str, Any]:
    """All conditions of one benchmark, and what is made of them."""
    items = next(iter(read.by_layout.values()))
    flagged = _flagged(items, settings)
    with tables.TableWriter(context.out / f"items-{benchmark.name}.parquet", tables.EXAMPLES) as writer:
        for item in items:
            meta = {**item.meta, "contaminated": (item.task, item.id) in flagged if settings.learnt_from else None}
            writer.write(tables.example_row(replace(item, meta=meta), "held_out"))
    content: dict[str, Any] = {
        "title": benchmark.title,
        "about": benchmark.about,
        "url": benchmark.url,
        "licence": benchmark.licence,
        "items": len(items),
        "subsets": len(benchmark.subsets) - len(read.missing),
        "missing": list(read.missing),
        "skipped": list(read.skipped),
        "sampling": _sampling(benchmark, settings).model_dump(mode="json"),
        "layouts": {name: benchmark.layout(name) for name in read.by_layout},
        "published": [asdict(cell) for cell in published(benchmark.published)],
    }
    if benchmark.rated:
        return content | {"ratings": await _rated(benchmark, read, settings, context)}
    if benchmark.needs == "judge":
        context = replace(context, judging=_judging(benchmark))
    requests = list(_requests(benchmark, read, settings))
    judged = await measure(
        requests,
        context.completer("model"),
        context.out / f"attempts-{benchmark.name}.parquet",
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
        layout: {(item.task, item.id): item for item in laid_out} for layout, laid_out in read.by_layout.items()
    }
    conditions = {
        condition.name: asdict(condition)
        | _condition(by_name[condition.name], examples[condition.layout], flagged, bool(settings.learnt_from))
        | {"decided": await _decided(benchmark, settings, asked[condition.name], by_name[condition.name], context)}
        for condition in _conditions(read, settings)
    }
    first = next(iter(conditions))
    return content | {
        "conditions": conditions,
        "against_first": _against(by_name, first, settings.seed),
        "systems": _spread([c for c in conditions.values() if c["layout"] == conditions[first]["layout"]]),
        "layouts_spread": _spread([c for c in conditions.values() if c["system"] == 1]),
    }


async def _decided(
    benchmark: Benchmark,
    settings: Settings,
    requests: Sequence[Request],
    judged: Sequence[Judged],
    context: StepContext,
) -> list[dict[str, Any]]:
    """What several tries come to together under one condition."""
    if settings.decide is None:
        return []
    rows = await decide(
        settings.decide,
        _sampling(benchmark, settings),
        requests,
        judged,
        context.completer("model"),
        context,
        step=STEP,
        name=f"{benchmark.name}-{requests[0].strategy.replace('/', '-')}",
    )
    return [asdict(row) for row in rows]


def _judging(benchmark: Benchmark) -> JudgingConfig:
    if benchmark.judge_task is None:
        return JudgingConfig()
    kind: Literal["verdict", "groundedness"] = "groundedness" if benchmark.verifier == "grounded" else "verdict"
    return JudgingConfig(instructions={kind: benchmark.judge_task})


def _conditions(read: Read, settings: Settings) -> Iterator[Condition]:
    for layout in read.by_layout:
        for number in range(1, len(settings.systems) + 1):
            yield Condition(layout=layout, system=number)


def _requests(benchmark: Benchmark, read: Read, settings: Settings) -> Iterator[Request]:
    sampling = _sampling(benchmark, settings)
    for condition in _conditions(read, settings):
        strategy = Strategy(name=condition.name, system=settings.systems[condition.system - 1])
        for example in read.by_layout[condition.layout]:
            yield from requests_for(example, strategy, sampling, seed=settings.seed)


def _condition(
    judged: Sequence[Judged], examples: Mapping[tuple[str, str], Example], flagged: set[tuple[str, str]], looked: bool
) -> dict[str, Any]:
    """What one condition scored: by task, over all, by published rules, and without flagged items."""
    clean = [item for item in judged if (item.attempt.task, item.attempt.example_id) not in flagged]
    together = stats.score_samples(judged)
    return {
        "scores": scores_by_task(judged),
        "rules": scores_by_rule(judged, examples),
        "clean": scores_by_task(clean) if looked else None,
        "flagged": len(flagged) if looked else None,
        "judge": dict(zip(("given", "in_vain"), given_by_judge(judged), strict=True)),
        "samples": None if together is None else asdict(together),
        "tokens_out": fmean([item.attempt.usage.tokens_out for item in judged]),
        "cost_usd": sum(item.attempt.cost_usd for item in judged),
    }


def _spread(conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How far the mean of tasks moves between conditions on the same items; None with a single one."""
    means = [m for c in conditions if (m := c["scores"]["_macro"]["mean"]) is not None]
    if len(means) < 2:
        return None
    return {
        "n": len(means),
        "mean": fmean(means),
        "sd": stdev(means),
        "low": min(means),
        "high": max(means),
        "spread": max(means) - min(means),
    }


def _against(by_name: Mapping[str, Sequence[Judged]], first: str, seed: int) -> list[dict[str, Any]]:
    """Every condition against the first, paired by item, Holm's correction over them."""
    if len(by_name) < 2:
        return []
    base = stats.item_means(by_name[first])
    rows: list[dict[str, Any]] = []
    for name, judged in by_name.items():
        values = stats.item_means(judged)
        keys = [key for key in base if key in values]
        if name != first and keys:
            compared = stats.compare([values[key] for key in keys], [base[key] for key in keys], seed=seed)
            rows.append({"condition": name, **asdict(compared)})
    corrected = stats.holm([row["p_value"] for row in rows])
    return [row | {"p_holm": float(p)} for row, p in zip(rows, corrected, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One answer of a conversation."""

    example: Example
    condition: Condition
    sample: int
    before: tuple[Message, ...]
    """What was said until then, the question last."""
    turn: int


async def _rated(benchmark: Benchmark, read: Read, settings: Settings, context: StepContext) -> dict[str, Any]:
    """Conversations, turn after turn, each answer rated by the judge with the conversation before it."""
    sampling = _sampling(benchmark, settings)
    open_turns = [
        _Turn(
            example=request.example, condition=condition, sample=request.sample, before=tuple(request.messages), turn=1
        )
        for condition in _conditions(read, settings)
        for example in read.by_layout[condition.layout]
        for request in requests_for(
            example,
            Strategy(name=condition.name, system=settings.systems[condition.system - 1]),
            sampling,
            seed=settings.seed,
        )
    ]
    answered: list[tuple[_Turn, Judged]] = []
    number = 1
    while open_turns:
        requests = [
            Request(
                example=turn.example,
                strategy=turn.condition.name,
                messages=turn.before,
                sampling=sampling.sampling(turn.sample, settings.seed),
                sample=turn.sample,
            )
            for turn in open_turns
        ]
        replies = await measure(
            requests,
            context.completer("model"),
            context.out / f"attempts-{benchmark.name}-turn{number}.parquet",
            context,
            step=STEP,
            what=f"{benchmark.name}, turn {number}",
            total=len(requests),
        )
        pairs = list(zip(open_turns, replies, strict=True))
        answered += pairs
        open_turns = [_next(turn, reply) for turn, reply in pairs if _goes_on(turn, reply)]
        number += 1
    said = [(turn, reply) for turn, reply in answered if reply.attempt.finish != "error" and reply.attempt.text.strip()]
    judge = Judge(
        completer=context.completer("judge"),
        ledger=context.ledger,
        run=context.run,
        step=f"{STEP} (judge)",
        concurrency=context.runtime.concurrency,
        budget=context.budget,
        instructions={} if benchmark.judge_task is None else {"rating": benchmark.judge_task},
    )
    context.progress.start(f"{benchmark.name}, rating", None)
    ratings = await rate([(_conversation(turn), reply.attempt.text) for turn, reply in said], judge)
    rows = [(turn, rating.value) for (turn, _), rating in zip(said, ratings, strict=True)]
    return {
        condition.name: asdict(condition)
        | _ratings([row for row in rows if row[0].condition == condition])
        | {
            "unanswered": sum(turn.condition == condition for turn, _ in answered)
            - sum(t.condition == condition for t, _ in said)
        }
        for condition in _conditions(read, settings)
    }


def _goes_on(turn: _Turn, reply: Judged) -> bool:
    return reply.attempt.finish != "error" and turn.turn <= len(turn.example.meta.get("turns", ()))


def _next(turn: _Turn, reply: Judged) -> _Turn:
    said = Message(role="assistant", content=reply.attempt.text)
    asked = Message(role="user", content=turn.example.meta["turns"][turn.turn - 1])
    return replace(turn, before=(*turn.before, said, asked), turn=turn.turn + 1)


def _conversation(turn: _Turn) -> Example:
    """What the judge is shown as the question: all that was said before the answer, and the turn's own reference."""
    shown = [message for message in turn.before if message.role != "system"]
    if len(shown) == 1:
        prompt = shown[0].content
    else:
        names = {"user": "USER", "assistant": "ASSISTANT"}
        prompt = "\n\n".join(f"{names.get(message.role, message.role)}: {message.content}" for message in shown)
    references = turn.example.meta.get("references") or []
    reference = references[turn.turn - 1] if len(references) >= turn.turn else None
    return replace(turn.example, prompt=prompt, reference=reference or None)


def _ratings(rows: Sequence[tuple[_Turn, float | None]]) -> dict[str, Any]:
    """Means of ratings with an interval that knows that turns of one conversation belong together."""
    known = [(turn, value) for turn, value in rows if value is not None]
    content: dict[str, Any] = {
        "n": len(rows),
        "n_none": len(rows) - len(known),
        "mean": None,
        "low": None,
        "high": None,
    }
    if not known:
        return content | {"by_turn": {}, "by_category": {}}
    values = [value for _, value in known]
    mean, low, high = stats.clustered_interval(values, [turn.example.id for turn, _ in known])
    by_turn: dict[str, list[float]] = {}
    by_category: dict[str, list[float]] = {}
    for turn, value in known:
        by_turn.setdefault(str(turn.turn), []).append(value)
        by_category.setdefault(str(turn.example.meta.get("category", "")), []).append(value)
    return content | {
        "mean": mean,
        "low": max(1.0, low),
        "high": min(10.0, high),
        "by_turn": {name: fmean(found) for name, found in by_turn.items()},
        "by_category": {name: fmean(found) for name, found in sorted(by_category.items()) if name},
    }


def _flagged(items: Sequence[Example], settings: Settings) -> set[tuple[str, str]]:
    """The items that share a run of words with what the model has learnt from."""
    if not settings.learnt_from:
        return set()
    hits = touched([item.meta[ASKED] for item in items], _learnt(settings.learnt_from), n=settings.overlap)
    return {(item.task, item.id) for item, hit in zip(items, hits, strict=True) if hit}


def _learnt(paths: Iterable[str]) -> Iterator[str]:
    """All texts of runs' lessons, or of files of any layout."""
    for path in paths:
        run = (Path(path) / "recipe.yaml").is_file()
        source = str(finished_steps(Path(path), "erase")[0] / "lessons.parquet") if run else path
        for file in find_sources(source, Path()):
            for row in read_rows(file):
                yield from _texts(row.fields)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _together(settings: Settings, model: str, found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Everything that the report shows."""
    first = {
        name: next(iter(content["conditions"].values())) for name, content in found.items() if "conditions" in content
    }
    means = {name: content["scores"]["_macro"]["mean"] for name, content in first.items()}
    known = [mean for mean in means.values() if mean is not None]
    six = [means.get(name) for name in ORCA2_SIX]
    return {
        "model": model,
        "date": datetime.now(UTC).date().isoformat(),
        "seed": settings.seed,
        "shots": settings.shots,
        "limit": settings.limit,
        "learnt_from": list(settings.learnt_from),
        "overlap": settings.overlap,
        "systems": list(settings.systems),
        "macro": fmean(known) if known else None,
        "orca2_six": fmean([mean for mean in six if mean is not None]) if None not in six else None,
        "benchmarks": dict(found),
        **provenance(),
    }


def system_message(text: str) -> str:
    """A system message as the command line has it: ``@FILE``, the name of a generic one (``cautious``), or the words themselves.

    Raises:
        ConfigError: The file cannot be read.
    """
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{text[1:]}: cannot be read as a system message: {error}") from error
    return generic_messages().get(text, text)
