"""Ask the student the probe examples under every strategy, and judge every answer.

    wave 1     25 examples of each task × all strategies      ──student──►  attempts.parquet
    wave 2 …    8 more examples of the tasks whose choice is still open

All strategies of a wave get the same examples, so that they can be compared pair by pair. With
``adaptive``, a strategy that has almost no chance left is not asked again for a task, and a task
whose choice is clear leaves its calls to the others (successive elimination). Orca 2 says only that
the choice was "guided by the performance of Orca"; this way of measuring it is ours.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from orcinus.core.draw import draw_by_group
from orcinus.core.errors import StepError
from orcinus.core.protocols import Asked
from orcinus.core.types import Example, Judged, Request, Strategy
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, Size, StepContext
from orcinus.runs.questions import Question, last_change, read_questions
from orcinus.strategies.choosing import Array, believe, next_wave
from orcinus.strategies.config import ProbeConfig
from orcinus.strategies.prompts import requests_for, size_of, suits
from orcinus.verifiers.judge import judged_attempts

Role = Literal["student", "teacher"]
T = TypeVar("T", bound=Asked)


async def probe(
    config: ProbeConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    role: Role = "student",
    asked: bool = True,
) -> dict[str, Any]:
    """Ask the model and write its judged attempts to ``attempts.parquet``.

    Args:
        config: What is asked, and how.
        strategies: The recipe's strategies.
        context: With the input ``sample``.
        role: Which model: the student, or for comparison the teacher.
        asked: False writes an empty table, where the answers would have no part in the choice.

    Returns:
        ``attempts`` and ``errors``, their numbers; ``accuracy``, by strategy over all answers;
        ``saved``, the calls that asking every task the same would have made in addition.

    Raises:
        StepError: There is no probe example, or the model answered none.
    """
    if not asked:
        with tables.TableWriter(context.out / layout.ATTEMPTS, tables.JUDGED):
            return {"attempts": 0, "errors": 0, "saved": 0, "accuracy": {}}
    examples = probe_examples(context)
    if not examples:
        raise StepError("no probe example; raise sample.probe, or add examples to the tasks")
    waves = _Waves(config, strategies, examples, context.seed)
    context.progress.start(f"probe the {role}", waves.expected_calls())
    first_error: str | None = None
    with tables.TableWriter(context.out / layout.ATTEMPTS, tables.JUDGED) as writer:
        while asked_now := waves.next():
            requests = list(_requests(asked_now, config, context.seed))
            async for judged in judged_attempts(
                requests, context.completer(role), context, step="probe"
            ):
                writer.write(tables.judged_row(judged))
                waves.take(judged)
                context.progress.advance(cost_usd=judged.attempt.cost_usd, recalled=judged.recalled)
                first_error = first_error or judged.attempt.error
        if not waves.answered.total():
            raise StepError(
                f"the {role} answered none of {waves.errors} requests; "
                f"the first error: {first_error}"
            )
    return {
        "attempts": waves.answered.total() + waves.errors,
        "errors": waves.errors,
        "saved": waves.saved(),
        "accuracy": {
            s.name: waves.right[s.name] / max(1, waves.answered[s.name]) for s in strategies
        },
    }


def requests(
    config: ProbeConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    role: Role = "student",
) -> list[Asking]:
    """List the calls of the probe; an adaptive probe makes at most this number.

    The arguments are those of ``probe``.
    """

    def asked(examples: Mapping[str, list[T]]) -> Iterator[tuple[T, Strategy]]:
        return _Waves(config, strategies, examples, context.seed).evenly()

    def listed() -> Iterator[Request]:
        yield from _requests(asked(probe_examples(context)), config, context.seed)

    def size() -> Size:
        return size_of(asked(probe_questions(context)), config.sampling, seed=context.seed)

    exact = not is_adaptive(config, strategies)
    return [Asking(role=role, requests=listed(), exact=exact, size=size)]


def is_adaptive(config: ProbeConfig, strategies: Sequence[Strategy]) -> bool:
    """Return whether verdicts decide what is asked next."""
    return config.adaptive and config.per_task is not None and len(strategies) > 1


def _requests(
    asked: Iterable[tuple[Example, Strategy]], config: ProbeConfig, seed: int
) -> Iterator[Request]:
    for example, strategy in asked:
        yield from requests_for(example, strategy, config.sampling, seed=seed)


def probe_examples(context: StepContext) -> dict[str, list[Example]]:
    """Return the probe examples of each task, in the order of their hashes."""
    return order_probe(tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "probe"))


def probe_questions(context: StepContext) -> Mapping[str, list[Question]]:
    """Return the probe examples of each task without their texts, in the order of their hashes."""
    path = context.inputs["sample"] / layout.EXAMPLES
    return _probe_questions(path, *last_change(path))


@lru_cache(1)
def _probe_questions(path: Path, changed_ns: int, size: int) -> Mapping[str, list[Question]]:
    """Keep them for the next step that is planned; the table is known by its last change."""
    return order_probe(read_questions(path, "probe"))


def order_probe(examples: Iterable[T]) -> dict[str, list[T]]:
    """Return probe examples by task, in the order of their hashes."""
    return draw_by_group(examples, "probe", lambda example: example.task, None)


class _Waves(Generic[T]):
    """What each wave asks, one after another, given the verdicts so far."""

    def __init__(
        self,
        config: ProbeConfig,
        strategies: Sequence[Strategy],
        examples: Mapping[str, list[T]],
        seed: int,
    ) -> None:
        self.right: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.errors = 0
        self._config, self._strategies, self._seed = config, strategies, seed
        self._examples = {
            task: items[: max(len(items) // 2, len(items) - config.reserve)]
            for task, items in examples.items()
        }
        self._rows = {strategy.name: s for s, strategy in enumerate(strategies)}
        self._columns = {
            (task, item.id): i
            for task, items in self._examples.items()
            for i, item in enumerate(items)
        }
        self._sums = {
            task: np.zeros((len(strategies), len(items))) for task, items in self._examples.items()
        }
        self._counts = {
            task: np.zeros((len(strategies), len(items))) for task, items in self._examples.items()
        }
        self._reached = dict.fromkeys(self._examples, 0)
        self._budget = self.expected_calls()
        self._started = False
        self._adaptive = is_adaptive(config, strategies)

    def expected_calls(self) -> int:
        """Return the number of calls that ask every task the same; waves never make more."""
        return self._config.sampling.samples * sum(
            suits(strategy, example)
            for items in self._examples.values()
            for example in items[: self._config.per_task]
            for strategy in self._strategies
        )

    def saved(self) -> int:
        """Return how many of the expected calls were not needed."""
        return self._budget

    def evenly(self) -> Iterator[tuple[T, Strategy]]:
        """Yield what asks every task the same."""
        return self._ask_all(self._config.per_task)

    def next(self) -> list[tuple[T, Strategy]]:
        """Return what the next wave asks; an empty list after the last one."""
        if not self._started:
            self._started = True
            limit = self._config.per_task
            return list(self._ask_all(max(1, limit // 2) if self._adaptive and limit else limit))
        if not self._adaptive:
            return []
        wave = next_wave(
            believe(self._outcomes()),
            budget=self._budget // self._config.sampling.samples,
            size=self._config.wave,
            room={task: len(items) - self._reached[task] for task, items in self._examples.items()},
            hopeless=self._config.hopeless,
            seed=self._seed,
        )
        return [
            pair
            for task, running in wave.strategies.items()
            for pair in self._ask(task, running, self._config.wave)
        ]

    def _ask_all(self, count: int | None) -> Iterator[tuple[T, Strategy]]:
        all_strategies = tuple(range(len(self._strategies)))
        for task in self._examples:
            yield from self._ask(task, all_strategies, count)

    def _ask(
        self, task: str, running: Sequence[int], count: int | None
    ) -> Iterator[tuple[T, Strategy]]:
        start = self._reached[task]
        chosen = self._examples[task][start : None if count is None else start + count]
        self._reached[task] += len(chosen)
        for s in running:
            for example in chosen:
                if suits(self._strategies[s], example):
                    self._budget -= self._config.sampling.samples
                    yield example, self._strategies[s]

    def take(self, judged: Judged) -> None:
        """Count one verdict."""
        attempt = judged.attempt
        if attempt.finish == "error":
            self.errors += 1
            return
        self.answered[attempt.strategy] += 1
        self.right[attempt.strategy] += judged.verdict.value == 1.0
        at = self._rows[attempt.strategy], self._columns[attempt.task, attempt.example_id]
        self._sums[attempt.task][at] += judged.verdict.value or 0.0
        self._counts[attempt.task][at] += 1

    def _outcomes(self) -> dict[str, Array]:
        return {
            task: np.divide(
                sums,
                self._counts[task],
                out=np.full(sums.shape, np.nan),
                where=self._counts[task] > 0,
            )
            for task, sums in self._sums.items()
        }
