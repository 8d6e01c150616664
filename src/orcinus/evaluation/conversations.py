"""Evaluate a model on conversations: ask turn by turn, and let a judge rate every answer.

question 1 ──► answer 1, question 2 ──► answer 2 …      each answer ──judge──► rating 1 … 10
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from orcinus.core import stats
from orcinus.core.types import Example, Judged, Message, Messages, Request
from orcinus.evaluation.benchmark_scores import RatingScore
from orcinus.evaluation.conditions import (
    STEP,
    BenchmarkSettings,
    Condition,
    conditions_of,
    requests_under,
)
from orcinus.runs import layout
from orcinus.runs.context import StepContext
from orcinus.tasks.benchmarks.reading import BenchmarkItems
from orcinus.tasks.benchmarks.specs import Benchmark
from orcinus.verifiers.judge import Judge, rate
from orcinus.verifiers.measure import measure

LOWEST, HIGHEST = 1.0, 10.0
"""Bounds of a rating."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One question of a conversation, with everything said before it."""

    condition: Condition
    number: int
    """From 1."""
    request: Request

    @property
    def example(self) -> Example:
        return self.request.example

    @property
    def messages(self) -> Messages:
        """The conversation so far, the question last."""
        return self.request.messages


async def rate_conversations(
    benchmark: Benchmark, items: BenchmarkItems, settings: BenchmarkSettings, context: StepContext
) -> dict[str, RatingScore]:
    """Hold the conversations of a benchmark under every condition, and rate the answers.

    Args:
        benchmark: A benchmark whose answers are rated.
        items: Its first questions, with the further ones in ``meta.turns``.
        settings: How the model is asked.
        context: With the completers ``model`` and ``judge``.

    Returns:
        The ratings by name of the condition.
    """
    answered = await _hold_conversations(benchmark, items, settings, context)
    replies = [
        (turn, judged)
        for turn, judged in answered
        if judged.attempt.finish != "error" and judged.attempt.text.strip()
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
    ratings = await rate([(_shown(turn), judged.attempt.text) for turn, judged in replies], judge)
    rated = [(turn, rating.value) for (turn, _), rating in zip(replies, ratings, strict=True)]
    return {
        condition.name: _score_ratings(
            condition,
            [(turn, value) for turn, value in rated if turn.condition == condition],
            turns=sum(turn.condition == condition for turn, _ in answered),
        )
        for condition in conditions_of(items, settings)
    }


async def _hold_conversations(
    benchmark: Benchmark, items: BenchmarkItems, settings: BenchmarkSettings, context: StepContext
) -> list[tuple[_Turn, Judged]]:
    """Ask all conversations turn by turn; a conversation ends where a call fails."""
    sampling = settings.sampling_of(benchmark)
    turns = [
        _Turn(condition=condition, number=1, request=request)
        for condition in conditions_of(items, settings)
        for request in requests_under(condition, items, settings, sampling)
    ]
    answered: list[tuple[_Turn, Judged]] = []
    while turns:
        number = turns[0].number
        judged = await measure(
            [turn.request for turn in turns],
            context.completer("model"),
            context.out / layout.attempts_of_turn(benchmark.name, number),
            context,
            step=STEP,
            what=f"{benchmark.name}, turn {number}",
            total=len(turns),
        )
        pairs = list(zip(turns, judged, strict=True))
        answered += pairs
        turns = [_next_turn(turn, item) for turn, item in pairs if _continues(turn, item)]
    return answered


def _continues(turn: _Turn, judged: Judged) -> bool:
    further = turn.example.meta.get("turns", ())
    return judged.attempt.finish != "error" and turn.number <= len(further)


def _next_turn(turn: _Turn, judged: Judged) -> _Turn:
    answer = Message(role="assistant", content=judged.attempt.text)
    question = Message(role="user", content=turn.example.meta["turns"][turn.number - 1])
    messages = (*turn.messages, answer, question)
    return replace(turn, number=turn.number + 1, request=replace(turn.request, messages=messages))


def _shown(turn: _Turn) -> Example:
    """Return what the judge sees: the conversation before the answer, and the turn's reference."""
    shown = [message for message in turn.messages if message.role != "system"]
    if len(shown) == 1:
        prompt = shown[0].content
    else:
        names = {"user": "USER", "assistant": "ASSISTANT"}
        prompt = "\n\n".join(
            f"{names.get(message.role, message.role)}: {message.content}" for message in shown
        )
    references = turn.example.meta.get("references") or []
    reference = references[turn.number - 1] if len(references) >= turn.number else None
    return replace(turn.example, prompt=prompt, reference=reference or None)


def _score_ratings(
    condition: Condition, rated: Sequence[tuple[_Turn, float | None]], *, turns: int
) -> RatingScore:
    """Average the ratings under one condition; the turns of one conversation are one cluster."""
    known = [(turn, value) for turn, value in rated if value is not None]
    by_turn: dict[str, list[float]] = {}
    by_category: dict[str, list[float]] = {}
    for turn, value in known:
        by_turn.setdefault(str(turn.number), []).append(value)
        by_category.setdefault(str(turn.example.meta.get("category", "")), []).append(value)
    mean = low = high = None
    if known:
        values = [value for _, value in known]
        mean, low, high = stats.clustered_interval(values, [turn.example.id for turn, _ in known])
        low, high = max(LOWEST, low), min(HIGHEST, high)
    return RatingScore(
        layout=condition.layout,
        system=condition.system,
        n=len(rated),
        n_none=len(rated) - len(known),
        unanswered=turns - len(rated),
        mean=mean,
        low=low,
        high=high,
        by_turn={name: fmean(found) for name, found in by_turn.items()},
        by_category={name: fmean(found) for name, found in sorted(by_category.items()) if name},
    )
