"""Evaluate a student: before and after training, its baselines and its teacher, on the same items.

    held_out × {before, answer_only, after, teacher} ──► attempts-ARM.parquet, scores.json

Students are asked under the erased (generic) message, as they were trained. The arm ``prompted``
is the untrained student under the strategy that the probe found best for it: the best it can do
without training. Differences are paired by item: exact McNemar test (randomised signs when there
are several samples per item), bootstrap interval, Holm's correction over the tasks.

Only ``before`` and ``after`` answer the ``retention:`` tasks, which are part of no other score:
see ``retention.py``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from orcinus.core import stats
from orcinus.core.draw import draw_by_group
from orcinus.core.errors import StepError
from orcinus.core.protocols import Asked, Completer
from orcinus.core.results import (
    ArmScore,
    Comparison,
    DecisionScore,
    RetentionScore,
    Scores,
    WinRate,
)
from orcinus.core.types import Example, Judged, Request, Split, Strategy
from orcinus.evaluation.comparisons import compare_items, correct_for_number
from orcinus.evaluation.config import Arm, EvaluateConfig
from orcinus.evaluation.decide import decide
from orcinus.evaluation.pairwise import judge_pairs, pairwise_requests
from orcinus.evaluation.retention import compare_retention
from orcinus.evaluation.scores import score_arm, write_scores
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, Size, StepContext
from orcinus.runs.questions import read_alike, read_questions
from orcinus.strategies.prompts import (
    chosen_strategy,
    erased_strategy,
    reads_ids,
    requests_for,
    size_of,
)
from orcinus.verifiers.measure import measure

T = TypeVar("T", bound=Asked)
PROMPTED: tuple[Arm, ...] = ("prompted", "after_prompted", "teacher")
"""Arms that are asked under the assigned strategy; the others under the erased message."""
RETENTION_ARMS: tuple[Arm, Arm] = ("before", "after")
"""Arms that are asked the retention tasks."""


async def evaluate(
    config: EvaluateConfig, strategies: tuple[Strategy, ...], generic: str, context: StepContext
) -> dict[str, Any]:
    """Ask every arm the held-out questions, compare them, and write ``scores.json``.

    Args:
        config: The arms to compare.
        strategies: The recipe's strategies, for the arms that are prompted with one.
        generic: The erased system message that students are asked under.
        context: With inputs ``sample``, ``assign`` and, for the trained arms, ``train`` and
            ``train_answer_only``.

    Returns:
        The number of items, and by arm the mean of tasks and the mean over all items.

    Raises:
        StepError: There is no held-out question.
    """
    examples = list(chosen(config, context))
    if not examples:
        raise StepError(
            "no held-out example to evaluate on; raise sample.held_out or add tasks under "
            "evaluation:"
        )
    asker = _Asker(config=config, strategies=strategies, generic=generic, context=context)
    judged: dict[str, list[Judged]] = {}
    arms: dict[str, ArmScore] = {}
    for arm in config.arms:
        judged[arm] = await asker.ask(
            arm, examples, context.out / layout.attempts(arm), f"evaluate {arm}"
        )
        arms[arm] = await _score(arm, examples, judged[arm], asker)
    pairwise: Sequence[WinRate] = ()
    if config.pairwise is not None:
        pairwise = await judge_pairs(config.pairwise, examples, judged, context)
    scores = Scores(
        arms=arms,
        comparisons=tuple(_compare_arms(judged, seed=context.seed)),
        retention=await _score_retention(asker),
        pairwise=tuple(pairwise),
    )
    write_scores(context.out, scores)
    return {
        "items": len(examples),
        "macro": {arm: found.accuracy.macro.mean for arm, found in arms.items()},
        "micro": {arm: found.accuracy.micro.mean for arm, found in arms.items()},
    }


def requests(
    config: EvaluateConfig, strategies: tuple[Strategy, ...], generic: str, context: StepContext
) -> list[Asking]:
    """List the calls that ``evaluate`` would make, an entry for each arm and one for the judge.

    Tree search is not included: its calls depend on the replies.

    Args:
        config: As for ``evaluate``.
        strategies: As for ``evaluate``.
        generic: As for ``evaluate``.
        context: With the input ``sample``, and ``assign`` once there is one. Before that, the
            prompted arms count as asked under the longest strategy.
    """
    asker = _Asker(config=config, strategies=strategies, generic=generic, context=context)
    size = cache(asker.size)
    arms: list[tuple[Arm, Split]] = [(arm, "held_out") for arm in config.arms]
    arms += [(arm, "retention") for arm in RETENTION_ARMS]
    askings = [
        Asking(
            role="teacher" if arm == "teacher" else "student",
            requests=asker.listed(arm, split),
            exact=arm in PROMPTED and "assign" in context.inputs,
            size=partial(size, asker.first_asked_alike(arm), split),
        )
        for arm, split in arms
    ]
    if config.pairwise is not None:
        compared = pairwise_requests(
            config.pairwise,
            list(chosen(config, context)),
            config.arms,
            config.sampling.max_tokens,
            context,
        )
        askings.append(Asking(role="judge", requests=compared, exact=False))
    return askings


def chosen(
    config: EvaluateConfig, context: StepContext, split: Split = "held_out"
) -> Iterator[Example]:
    """Yield the questions of a split to ask: of each task those with the smallest hashes."""
    return _draw(config, tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, split))


def _draw(config: EvaluateConfig, examples: Iterable[T]) -> Iterator[T]:
    for of_task in draw_by_group(
        examples, "evaluate", lambda example: example.task, config.per_task
    ).values():
        yield from of_task


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asker:
    """Asks the arms of one evaluation; the fields are the arguments of ``evaluate``."""

    config: EvaluateConfig
    strategies: tuple[Strategy, ...]
    generic: str
    context: StepContext

    def requests(self, arm: Arm, examples: Iterable[Example]) -> Iterator[Request]:
        """Yield the requests to an arm's model, the samples of one question in a row."""
        sampling = self.config.sampling_of(arm)
        for example, strategy in self._pairs(arm, examples):
            yield from requests_for(example, strategy, sampling, seed=self.context.seed)

    def listed(self, arm: Arm, split: Split) -> Iterator[Request]:
        """Yield the requests about a split, which is read when the first one is wanted."""
        yield from self.requests(arm, chosen(self.config, self.context, split))

    def first_asked_alike(self, arm: Arm) -> Arm:
        """Return the first arm that is asked what ``arm`` is, perhaps of another model."""
        sampling = self.config.sampling_of(arm)
        return next(
            other
            for other in (*self.config.arms, arm)
            if (other in PROMPTED) == (arm in PROMPTED)
            and self.config.sampling_of(other) == sampling
        )

    def size(self, arm: Arm, split: Split) -> Size:
        """Return the size of the requests about a split."""
        path = self.context.inputs["sample"] / layout.EXAMPLES
        if self.config.per_task is not None:
            questions = _draw(self.config, read_questions(path, split))
        elif arm in PROMPTED and reads_ids(self.strategies, self.context.inputs.get("assign")):
            questions = read_questions(path, split)
        else:
            questions = read_alike(path, split)
        pairs = self._pairs(arm, questions)
        return size_of(pairs, self.config.sampling_of(arm), seed=self.context.seed)

    def _pairs(self, arm: Arm, examples: Iterable[T]) -> Iterator[tuple[T, Strategy]]:
        """Yield each example with the strategy under which an arm's model is asked."""
        erased, assigned = erased_strategy(self.generic), None
        if arm in PROMPTED:
            assigned = chosen_strategy(self.strategies, self.context.inputs.get("assign"))
        for example in examples:
            strategy = assigned(example) if assigned is not None else None
            yield example, strategy or erased

    def completer(self, arm: Arm) -> Completer:
        """Open an arm's model."""
        if arm == "teacher":
            return self.context.completer("teacher")
        if arm in ("before", "prompted"):
            return self.context.completer("student")
        role = "train_answer_only" if arm == "answer_only" else "train"
        trained = self.context.inputs[role]
        return self.context.completer("student", trained)

    async def ask(
        self, arm: Arm, examples: Sequence[Example], path: Path, what: str
    ) -> list[Judged]:
        """Ask an arm's model the questions, judge its answers and write them to ``path``."""
        return await measure(
            self.requests(arm, examples),
            self.completer(arm),
            path,
            self.context,
            step="evaluate",
            what=what,
            total=len(examples) * self.config.sampling_of(arm).samples,
        )


async def _score(
    arm: Arm, examples: Sequence[Example], judged: Sequence[Judged], asker: _Asker
) -> ArmScore:
    """Score the answers of an arm, and those chosen among its samples by ``decide``."""
    config, context = asker.config, asker.context
    decided: Sequence[DecisionScore] = ()
    if config.decide is not None and arm != "teacher":
        decided = await decide(
            config.decide,
            config.sampling_of(arm),
            list(asker.requests(arm, examples)),
            judged,
            asker.completer(arm),
            context,
            step="evaluate",
            name=arm,
        )
    known = {(example.task, example.id): example for example in examples}
    return score_arm(judged, known, decided=decided, has_judge=context.judging is not None)


async def _score_retention(asker: _Asker) -> tuple[RetentionScore, ...]:
    """Ask the student the retention questions before and after training, and compare."""
    examples = list(chosen(asker.config, asker.context, "retention"))
    if not examples:
        return ()
    before, after = [
        await asker.ask(
            arm, examples, asker.context.out / layout.retention(arm), f"retention {arm}"
        )
        for arm in RETENTION_ARMS
    ]
    return compare_retention(examples, before, after, seed=asker.context.seed)


def _compare_arms(judged: Mapping[str, Sequence[Judged]], *, seed: int) -> Iterator[Comparison]:
    """Compare ``after`` with every other arm: over all tasks, then task by task."""
    if "after" not in judged:
        return
    after = stats.item_means(judged["after"])
    for arm in judged:
        if arm == "after":
            continue
        other = stats.item_means(judged[arm])
        tasks = sorted({task for task, _ in after.keys() & other.keys()})
        together, *by_task = (
            compare_items("after", arm, after, other, task=task, seed=seed)
            for task in (None, *tasks)
        )
        if together is not None:
            yield together
        yield from correct_for_number([row for row in by_task if row is not None])
