"""Probing: the student answers the probe examples under every strategy, and every answer is judged.

    probe examples × strategies × k samples ──student──► attempts.parquet

Every strategy gets the same examples, so that strategies can be compared pair by pair (Orca 2 says only that the choice was
"guided by the performance of Orca"; how to measure it is ours).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from orcinus.asking import SamplingConfig, requests_for
from orcinus.attempts import attempt_all
from orcinus.config import Config
from orcinus.errors import StepError
from orcinus.fingerprint import stable_fraction
from orcinus.runtime import StepContext
from orcinus.store import tables
from orcinus.types import Example, Request, Strategy
from orcinus.verifiers import by_answer_type

VERSION = 1


class ProbeConfig(Config):
    """How the student is measured."""

    per_task: int | None = Field(default=50, ge=1)
    """Probe examples of a task that are asked, chosen by a hash; None asks all."""
    sampling: SamplingConfig = SamplingConfig()
    """How the student writes, and how many answers to each question."""


async def probe(config: ProbeConfig, strategies: tuple[Strategy, ...], context: StepContext) -> dict[str, Any]:
    """Ask the student, and write its judged attempts to ``attempts.parquet``.

    Returns:
        ``attempts`` and ``errors``; ``accuracy``: by strategy over all tasks.

    Raises:
        StepError: There is no probe example, or the student answered none.
    """
    examples = list(_chosen(config, context))
    if not examples:
        raise StepError("no probe example; raise sample.probe, or add examples to the tasks")
    requests = list(_requests(examples, strategies, config, context.seed))
    context.progress.start("probe the student", len(requests))
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    errors, first_error = 0, None
    with tables.TableWriter(context.out / "attempts.parquet", tables.JUDGED) as writer:
        async for judged in attempt_all(
            requests,
            context.completer("student"),
            ledger=context.ledger,
            verify=by_answer_type,
            run=context.run,
            step="probe",
            concurrency=context.runtime.concurrency,
            budget=context.budget,
        ):
            writer.write(tables.judged_row(judged))
            context.progress.advance(cost_usd=judged.attempt.cost_usd, recalled=judged.recalled)
            if judged.attempt.finish == "error":
                errors, first_error = errors + 1, first_error or judged.attempt.error
                continue
            asked[judged.attempt.strategy] += 1
            right[judged.attempt.strategy] += judged.verdict.value == 1.0
        if not asked:
            raise StepError(f"the student answered none of {len(requests)} requests; the first error: {first_error}")
    accuracy = {strategy.name: right[strategy.name] / max(1, asked[strategy.name]) for strategy in strategies}
    return {"attempts": len(requests), "errors": errors, "accuracy": accuracy}


def _chosen(config: ProbeConfig, context: StepContext) -> Iterator[Example]:
    """Of each task the probe examples with the smallest hash, whatever their order."""
    by_task: dict[str, list[Example]] = {}
    for example in tables.read_examples(context.inputs["sample"] / "examples.parquet", "probe"):
        by_task.setdefault(example.task, []).append(example)
    for task in sorted(by_task):
        ordered = sorted(by_task[task], key=lambda item: (stable_fraction("probe", item.task, item.id), item.id))
        yield from ordered[: config.per_task]


def _requests(
    examples: list[Example], strategies: tuple[Strategy, ...], config: ProbeConfig, seed: int
) -> Iterator[Request]:
    for strategy in strategies:
        for example in examples:
            if not strategy.answer_types or example.answer_type in strategy.answer_types:
                yield from requests_for(example, strategy, config.sampling, seed=seed)
