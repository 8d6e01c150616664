"""Ask the teacher to explain the ``teach`` split, each example under its group's strategy.

    sums → step_by_step   ×   "What is 17 + 25?"   ──teacher──►   a trace, judged by the reference

Sampling k > 1 explanations of an example gives curation something to choose from.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from orcinus.core.errors import StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.protocols import Asked, Verifier
from orcinus.core.types import (
    LECTURE,
    Attempt,
    Example,
    Judged,
    Request,
    Sampling,
    Strategy,
    Verdict,
)
from orcinus.lessons.config import Role, TeachConfig
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, Size, StepContext
from orcinus.runs.executors.local import has_workers
from orcinus.runs.questions import read_alike, read_questions
from orcinus.runs.row_groups import ROWS_FOR_WORKERS
from orcinus.strategies.prompts import chosen_strategy, reads_ids, requests_for, size_of
from orcinus.verifiers.judge import judged_attempts

T = TypeVar("T", bound=Asked)


async def teach(
    config: TeachConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    role: Role = "teacher",
    booked_as: str = "teach",
) -> dict[str, Any]:
    """Ask the teacher, or its assistant, and write its judged traces to ``attempts.parquet``.

    Args:
        config: How the teacher is asked.
        strategies: The recipe's strategies, and the skills that were written for it.
        context: With the inputs ``sample`` and ``assign``.
        role: Which of the two is asked.
        booked_as: The step under which the calls are booked.

    Returns:
        ``attempts``, their number, and of these ``right``, ``wrong``, ``unjudged`` and ``errors``;
        ``lectures``, the number of authored texts that stand behind them.

    Raises:
        StepError: No example has a strategy, or every call failed.
        BudgetError: The budget is used up. Paid replies are in the ledger; the next run resumes
            there.
    """
    strategy_of = chosen_strategy(strategies, context.inputs["assign"])
    total = _size(config, strategies, context).calls
    if total == 0:
        raise StepError(
            "no example of the teach split has a strategy: "
            "see assignments.parquet in the assign step's folder"
        )
    context.progress.start("teach" if role == "teacher" else "teach with the assistant", total)
    counts: Counter[str] = Counter()
    first_error = None
    with tables.TableWriter(context.out / layout.ATTEMPTS, tables.JUDGED) as writer:
        asked = _requests(config, strategy_of, context)
        traces = _traces(asked, total, strategies, context, role=role, booked_as=booked_as)
        async for judged in traces:
            writer.write(tables.judged_row(judged))
            first_error = first_error or judged.attempt.error
            counts["error" if judged.attempt.finish == "error" else str(judged.verdict.value)] += 1
        if counts["error"] == total:
            raise StepError(
                f"the {role} answered none of {total} requests; the first error: {first_error}"
            )
        lectures = 0
        for judged in _lectures(context) if role == "teacher" else ():
            writer.write(tables.judged_row(judged))
            lectures += 1
    return {
        **({"lectures": lectures} if lectures else {}),
        "attempts": total,
        "right": counts["1.0"],
        "wrong": counts["0.0"],
        "unjudged": counts["None"],
        "errors": counts["error"],
    }


async def _traces(
    requests: Iterable[Request],
    total: int,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    role: Role,
    booked_as: str,
) -> AsyncIterator[Judged]:
    """Yield the judged traces in order, and report progress as replies come.

    Workers judge where there are many and no judge is asked.
    """

    async def replies(by_rules: Verifier | None = None) -> AsyncIterator[Judged]:
        async for judged in judged_attempts(
            requests, context.completer(role), context, step=booked_as, by_rules=by_rules
        ):
            judged = judged.instead or judged
            context.progress.advance(cost_usd=judged.attempt.cost_usd, recalled=judged.recalled)
            yield judged

    executor = context.runtime.executor
    if context.judging is not None or total < ROWS_FOR_WORKERS or not has_workers(executor):
        async for judged in replies():
            yield judged
        return
    at_once = [
        name
        for strategy in strategies
        if strategy.fallback is not None
        for name in (strategy.name, strategy.fallback.name)
    ]
    from orcinus.verifiers.in_workers import JudgingInWorkers  # here, as a plan judges nothing

    workers = JudgingInWorkers(executor, at_once=at_once)
    async for judged in workers.judged(replies(workers.verify)):
        yield judged


def requests(
    config: TeachConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    role: Role = "teacher",
) -> list[Asking]:
    """List the calls to the teacher, or to its assistant.

    The arguments are those of ``teach``. Before there is an assignment, every example is listed
    under the strategy with the longest message.
    """
    assign = context.inputs.get("assign")
    strategy_of = chosen_strategy(strategies, assign)

    asked = _requests(config, strategy_of, context)
    size = partial(_size, config, strategies, context)
    return [Asking(role=role, requests=asked, exact=assign is not None, size=size)]


def _lectures(context: StepContext) -> Iterator[Judged]:
    """Yield the lectures that an author wrote as traces. They are paid for already."""
    for example in tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, LECTURE):
        made = example.meta["authored"]
        attempt = Attempt(
            id=made["attempt"],
            example_id=example.id,
            task=example.task,
            strategy=LECTURE,
            model=made["by"],
            messages=(),
            sampling=Sampling(),
            sample=0,
            text=example.prompt,
            finish="stop",
        )
        verdict = Verdict(
            attempt_id=attempt.id, verifier=LECTURE, value=None, answer=None, reason="a lecture"
        )
        yield Judged(attempt=attempt, verdict=verdict)


def draw_examples(config: TeachConfig, context: StepContext) -> Iterator[Example]:
    """Yield the examples that are asked.

    A smaller share is part of a larger one, so the teacher explains what its assistant explained
    too.
    """
    examples = tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach")
    return _draw(config, examples, context.seed)


def _draw(config: TeachConfig, examples: Iterable[T], seed: int) -> Iterator[T]:
    for example in examples:
        if (
            config.share == 1
            or stable_fraction("teach", str(seed), example.task, example.id) < config.share
        ):
            yield example


def _pairs(
    config: TeachConfig,
    examples: Iterable[T],
    strategy_of: Callable[[T], Strategy | None],
    seed: int,
) -> Iterator[tuple[T, Strategy]]:
    """Yield the examples that are asked, each with its strategy."""
    for example in _draw(config, examples, seed):
        strategy = strategy_of(example)
        if strategy is not None:
            yield example, strategy


def _size(config: TeachConfig, strategies: tuple[Strategy, ...], context: StepContext) -> Size:
    """Return the size of the requests, which are not made for that."""
    assign = context.inputs.get("assign")
    ids_matter = config.share < 1 or reads_ids(strategies, assign)
    read = read_questions if ids_matter else read_alike
    questions = read(context.inputs["sample"] / layout.EXAMPLES, "teach")
    pairs = _pairs(config, questions, chosen_strategy(strategies, assign), context.seed)
    return size_of(pairs, config.sampling, seed=context.seed)


def _requests(
    config: TeachConfig, strategy_of: Callable[[Example], Strategy | None], context: StepContext
) -> Iterator[Request]:
    examples = tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach")
    for example, strategy in _pairs(config, examples, strategy_of, context.seed):
        yield from requests_for(example, strategy, config.sampling, seed=context.seed)
