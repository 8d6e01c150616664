"""Ask and rate benchmarks of several turns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from orcinus.core import stats
from orcinus.core.types import Example, Judged, Message, Request, Strategy
from orcinus.evaluation.benchmark_scores import RatingScore
from orcinus.evaluation.conditions import STEP, Condition, Settings, _conditions, _sampling
from orcinus.runs import layout
from orcinus.runs.context import StepContext
from orcinus.strategies.prompts import requests_for
from orcinus.tasks.benchmarks.reading import BenchmarkItems
from orcinus.tasks.benchmarks.specs import Benchmark
from orcinus.verifiers.judge import Judge, rate
from orcinus.verifiers.measure import measure


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One answer of a conversation."""

    example: Example
    condition: Condition
    sample: int
    before: tuple[Message, ...]
    """What was said until then, the question last."""
    turn: int


async def _rated(
    benchmark: Benchmark, read: BenchmarkItems, settings: Settings, context: StepContext
) -> dict[str, RatingScore]:
    """Conversations, turn after turn, each answer rated by the judge with the conversation before it."""
    sampling = _sampling(benchmark, settings)
    open_turns = [
        _Turn(
            example=request.example,
            condition=condition,
            sample=request.sample,
            before=tuple(request.messages),
            turn=1,
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
            context.out / layout.attempts_of_turn(benchmark.name, number),
            context,
            step=STEP,
            what=f"{benchmark.name}, turn {number}",
            total=len(requests),
        )
        pairs = list(zip(open_turns, replies, strict=True))
        answered += pairs
        open_turns = [_next(turn, reply) for turn, reply in pairs if _goes_on(turn, reply)]
        number += 1
    said = [
        (turn, reply)
        for turn, reply in answered
        if reply.attempt.finish != "error" and reply.attempt.text.strip()
    ]
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
        condition.name: _rating_score(
            condition,
            [row for row in rows if row[0].condition == condition],
            answers=sum(turn.condition == condition for turn, _ in answered),
        )
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
        prompt = "\n\n".join(
            f"{names.get(message.role, message.role)}: {message.content}" for message in shown
        )
    references = turn.example.meta.get("references") or []
    reference = references[turn.turn - 1] if len(references) >= turn.turn else None
    return replace(turn.example, prompt=prompt, reference=reference or None)


def _rating_score(
    condition: Condition, rows: Sequence[tuple[_Turn, float | None]], *, answers: int
) -> RatingScore:
    """Average the ratings of a condition; the turns of one conversation are one cluster."""
    known = [(turn, value) for turn, value in rows if value is not None]
    by_turn: dict[str, list[float]] = {}
    by_category: dict[str, list[float]] = {}
    for turn, value in known:
        by_turn.setdefault(str(turn.turn), []).append(value)
        by_category.setdefault(str(turn.example.meta.get("category", "")), []).append(value)
    mean = low = high = None
    if known:
        values = [value for _, value in known]
        mean, low, high = stats.clustered_interval(values, [turn.example.id for turn, _ in known])
        low, high = max(1.0, low), min(10.0, high)
    return RatingScore(
        layout=condition.layout,
        system=condition.system,
        n=len(rows),
        n_none=len(rows) - len(known),
        unanswered=answers - len(rows),
        mean=mean,
        low=low,
        high=high,
        by_turn={name: fmean(found) for name, found in by_turn.items()},
        by_category={name: fmean(found) for name, found in sorted(by_category.items()) if name},
    )
