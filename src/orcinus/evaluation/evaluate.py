"""Evaluation: the student before and after, its baselines and its teacher on the same held-out items, paired.

    held_out × {before, answer_only, after, teacher} ──► attempts-ARM.parquet, scores.json

Students are asked under the erased (generic) message, as they were trained; the arm ``prompted`` is the untrained student
under the strategy that was measured to suit it best, the strongest thing it can do without training. Differences are
paired by item: exact McNemar test (with several samples an item, randomisation of signs), bootstrap interval, Holm's correction over
all comparisons of a kind.

Tasks under ``retention:`` are asked of the student before and after alone, and stand in no score of the others: see ``retention.py``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import orjson
from pydantic import Field, model_validator

from orcinus.core import stats
from orcinus.core.config import Config
from orcinus.core.draw import first_by_hash
from orcinus.core.errors import StepError
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Example, Judged, Request, Split, Strategy
from orcinus.evaluation.decide import decide
from orcinus.evaluation.decisions import DecideConfig
from orcinus.evaluation.retention import compare_retention
from orcinus.evaluation.scores import scores_by_rule, scores_by_task
from orcinus.runs import layout, tables
from orcinus.runs.assigned import Assigned
from orcinus.runs.context import StepContext
from orcinus.strategies.library import by_name
from orcinus.strategies.prompts import erased_strategy, requests_for
from orcinus.verifiers.judge import given_by_judge
from orcinus.verifiers.measure import measure

VERSION = 2
Arm = Literal["before", "prompted", "answer_only", "after", "teacher"]
RETENTION_ARMS: tuple[Arm, Arm] = ("before", "after")


class EvaluateConfig(Config):
    """What is compared, and on how much."""

    arms: tuple[Arm, ...] = ("before", "prompted", "answer_only", "after", "teacher")
    """before: the untrained student; prompted: the same under its best strategy; answer_only: trained on bare answers;
    after: trained on explanations; teacher: under the assigned strategy."""
    per_task: int | None = Field(default=None, ge=1)
    """Held-out items of a task that are asked, and retention items likewise, chosen by a hash; None asks all."""
    sampling: SamplingConfig = SamplingConfig()
    """How the models write. Greedy by default, as in Orca 2."""
    decide: DecideConfig | None = None
    """How several tries of the student at a question become one answer, and what that costs, in every arm but the teacher's. None only counts
    how often one, any or most of the samples are right."""

    @model_validator(mode="after")
    def _there_is_something_to_decide(self) -> "EvaluateConfig":
        if self.decide is not None:
            self.decide.sampling(self.sampling)
        return self

    def sampling_of(self, arm: Arm) -> SamplingConfig:
        """How an arm's model writes."""
        return (
            self.sampling
            if self.decide is None or arm == "teacher"
            else self.decide.sampling(self.sampling)
        )


async def evaluate(
    config: EvaluateConfig, strategies: tuple[Strategy, ...], generic: str, context: StepContext
) -> dict[str, Any]:
    """Ask every arm the held-out items, and compare.

    Args:
        config: What to compare.
        strategies: The recipe's strategies, for the arms that are prompted with one.
        generic: The erased system message that students are asked under.
        context: With inputs ``sample``, ``assign`` and, for the trained arms, ``train`` and ``train_answer_only``.

    Raises:
        StepError: There is no held-out item.
    """
    examples = list(chosen(config, context))
    if not examples:
        raise StepError(
            "no held-out example to evaluate on; raise sample.held_out or add tasks under evaluation:"
        )
    outcomes: dict[Arm, list[Judged]] = {}
    decided: dict[Arm, list[dict[str, Any]]] = {}
    for arm in config.arms:
        requests = list(_requests(arm, examples, config, strategies, generic, context))
        completer = _completer(arm, context)
        outcomes[arm] = await measure(
            requests,
            completer,
            context.out / layout.attempts(arm),
            context,
            step="evaluate",
            what=f"evaluate {arm}",
            total=len(requests),
        )
        if config.decide is not None and arm != "teacher":
            sampling, answered = config.sampling_of(arm), outcomes[arm]
            rows = await decide(
                config.decide,
                sampling,
                requests,
                answered,
                completer,
                context,
                step="evaluate",
                name=arm,
            )
            decided[arm] = [asdict(row) for row in rows]
    scores = {arm: scores_by_task(judged) for arm, judged in outcomes.items()}
    comparisons = _comparisons(outcomes, seed=context.seed)
    together = {
        arm: asdict(found)
        for arm, judged in outcomes.items()
        if (found := stats.score_samples(judged))
    }
    rules = {
        arm: scores_by_rule(judged, {(e.task, e.id): e for e in examples})
        for arm, judged in outcomes.items()
    }
    content = {
        "arms": scores,
        "comparisons": comparisons,
        "samples": together,
        "decided": decided,
        "rules": rules,
    }
    if context.judging is not None:
        counts = {arm: given_by_judge(judged) for arm, judged in outcomes.items()}
        content["judge"] = {
            arm: {"given": given, "in_vain": in_vain} for arm, (given, in_vain) in counts.items()
        }
    if watched := list(chosen(config, context, "retention")):
        content["retention"] = await _retention(watched, config, strategies, generic, context)
    (context.out / layout.SCORES).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return {
        "items": len(examples),
        "macro": {arm: scores[arm]["_macro"]["mean"] for arm in config.arms},
        "micro": {arm: scores[arm]["_micro"]["mean"] for arm in config.arms},
    }


async def _retention(
    examples: Sequence[Example],
    config: EvaluateConfig,
    strategies: tuple[Strategy, ...],
    generic: str,
    context: StepContext,
) -> list[dict[str, Any]]:
    """What training cost on the tasks that must not suffer."""
    before, after = [
        await measure(
            _requests(arm, examples, config, strategies, generic, context),
            _completer(arm, context),
            context.out / layout.retention(arm),
            context,
            step="evaluate",
            what=f"retention {arm}",
            total=len(examples) * config.sampling.samples,
        )
        for arm in RETENTION_ARMS
    ]
    return [asdict(row) for row in compare_retention(examples, before, after, seed=context.seed)]


def chosen(
    config: EvaluateConfig, context: StepContext, split: Split = "held_out"
) -> Iterator[Example]:
    """The items of a split that are asked: of each task those with the smallest hash, whatever their order."""
    examples = tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, split)
    for of_task in first_by_hash(
        examples, "evaluate", lambda example: example.task, config.per_task
    ).values():
        yield from of_task


def _requests(
    arm: Arm,
    examples: Sequence[Example],
    config: EvaluateConfig,
    strategies: tuple[Strategy, ...],
    generic: str,
    context: StepContext,
) -> Iterator[Request]:
    erased = erased_strategy(generic)
    known = by_name(strategies)
    assigned = Assigned.read(context.inputs["assign"]) if arm in ("prompted", "teacher") else None
    for example in examples:
        name = assigned.strategy_of(example.task, example.id) if assigned else None
        yield from requests_for(
            example, known[name] if name else erased, config.sampling_of(arm), seed=context.seed
        )


def _completer(arm: Arm, context: StepContext) -> Completer:
    if arm == "teacher":
        return context.completer("teacher")
    if arm in ("before", "prompted"):
        return context.completer("student")
    trained = context.inputs["train" if arm == "after" else "train_answer_only"]
    return context.completer("student", trained)


def _comparisons(outcomes: Mapping[Arm, Sequence[Judged]], *, seed: int) -> list[dict[str, Any]]:
    """``after`` against every other arm, over all items and by task, paired by item."""
    if "after" not in outcomes:
        return []
    rows = []
    for arm in outcomes:
        if arm != "after":
            rows += _compared(outcomes["after"], outcomes[arm], arm, seed)
    return rows


def _compared(
    after: Sequence[Judged], other: Sequence[Judged], arm: Arm, seed: int
) -> list[dict[str, Any]]:
    first, second = stats.item_means(after), stats.item_means(other)
    pairs = [
        (task, value, second[task, item])
        for (task, item), value in first.items()
        if (task, item) in second
    ]
    tasks = sorted({task for task, _, _ in pairs})
    rows = [_paired(None, "after", arm, [(a, b) for _, a, b in pairs], seed)] if pairs else []
    by_task = [
        _paired(task, "after", arm, [(a, b) for t, a, b in pairs if t == task], seed)
        for task in tasks
    ]
    corrected = stats.holm([row["p_value"] for row in by_task])
    return rows + [row | {"p_holm": float(p)} for row, p in zip(by_task, corrected, strict=True)]


def _paired(
    task: str | None, a: str, b: str, pairs: list[tuple[float, float]], seed: int
) -> dict[str, Any]:
    found = stats.compare(*zip(*pairs, strict=True), seed=seed)
    return {"a": a, "b": b, "task": task, **asdict(found), "p_holm": found.p_value}
