"""Evaluate a student: before and after training, its baselines and its teacher, on the same items.

    held_out × {before, answer_only, after, teacher} ──► attempts-ARM.parquet, scores.json

Students are asked under the erased (generic) message, as they were trained. The arm ``prompted``
is the untrained student under the strategy that the probe found best for it: the most it can do
without training. Differences are paired by item: exact McNemar test (randomised signs when there
are several samples per item), bootstrap interval, Holm's correction over the tasks.

Only ``before`` and ``after`` answer the ``retention:`` tasks, which are part of no other score:
see ``retention.py``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from orcinus.core import stats
from orcinus.core.config import Config
from orcinus.core.draw import draw_by_group
from orcinus.core.errors import StepError
from orcinus.core.protocols import Completer
from orcinus.core.results import ArmScore, Comparison, RetentionScore, Scores
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Example, Judged, Request, Split, Strategy
from orcinus.evaluation.comparisons import compare_items, correct_for_number
from orcinus.evaluation.decide import decide
from orcinus.evaluation.decisions import DecideConfig
from orcinus.evaluation.pairwise import PairwiseConfig, judge_pairs, pairwise_requests
from orcinus.evaluation.retention import compare_retention
from orcinus.evaluation.scores import score_arm, write_scores
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.prompts import chosen_strategy, erased_strategy, requests_for
from orcinus.verifiers.measure import measure

VERSION = 2
Arm = Literal["before", "prompted", "answer_only", "after", "teacher"]
PROMPTED: tuple[Arm, ...] = ("prompted", "teacher")
"""Arms that are asked under the assigned strategy; the others under the erased message."""
RETENTION_ARMS: tuple[Arm, Arm] = ("before", "after")
"""Arms that are asked the retention tasks."""


class EvaluateConfig(Config):
    """The arms to compare, and how many questions to ask them."""

    arms: tuple[Arm, ...] = ("before", "prompted", "answer_only", "after", "teacher")
    """before: the untrained student; prompted: the same under its best strategy;
    answer_only: trained on bare answers; after: trained on explanations;
    teacher: under the assigned strategy."""
    per_task: int | None = Field(default=None, ge=1)
    """Questions of each held-out and retention task, drawn by hash; None asks all."""
    sampling: SamplingConfig = SamplingConfig()
    """How the models write. Greedy by default, as in Orca 2."""
    decide: DecideConfig | None = None
    """How several samples of the student become one answer, and the cost of that, in every arm but
    the teacher's. None only counts how often one, any or most of the samples are right."""
    # Excluded when None, so that the step keeps the fingerprint it had before this key existed.
    pairwise: PairwiseConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Have the judge compare the answers of ``after`` with those of other arms, in both orders.
    None does not."""

    @model_validator(mode="after")
    def _check_samples(self) -> "EvaluateConfig":
        if self.decide is not None:
            self.decide.sampling(self.sampling)
        return self

    @model_validator(mode="after")
    def _check_pairwise(self) -> "EvaluateConfig":
        if self.pairwise is not None:
            self.pairwise.check(self.arms)
        return self

    def sampling_of(self, arm: Arm) -> SamplingConfig:
        """Return the sampling of an arm's model."""
        return (
            self.sampling
            if self.decide is None or arm == "teacher"
            else self.decide.sampling(self.sampling)
        )


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
    known = {(example.task, example.id): example for example in examples}
    judged: dict[str, list[Judged]] = {}
    arms: dict[str, ArmScore] = {}
    for arm in config.arms:
        requests = list(_requests(arm, examples, config, strategies, generic, context))
        completer = _completer(arm, context)
        judged[arm] = await measure(
            requests,
            completer,
            context.out / layout.attempts(arm),
            context,
            step="evaluate",
            what=f"evaluate {arm}",
            total=len(requests),
        )
        decided = (
            await decide(
                config.decide,
                config.sampling_of(arm),
                requests,
                judged[arm],
                completer,
                context,
                step="evaluate",
                name=arm,
            )
            if config.decide is not None and arm != "teacher"
            else ()
        )
        arms[arm] = score_arm(
            judged[arm], known, decided=decided, has_judge=context.judging is not None
        )
    watched = list(chosen(config, context, "retention"))
    pairwise = (
        ()
        if config.pairwise is None
        else await judge_pairs(config.pairwise, examples, judged, context)
    )
    scores = Scores(
        arms=arms,
        comparisons=tuple(_compare_arms(judged, seed=context.seed)),
        retention=await _retention(watched, config, strategies, generic, context)
        if watched
        else (),
        pairwise=tuple(pairwise),
    )
    write_scores(context.out, scores)
    return {
        "items": len(examples),
        "macro": {arm: found.accuracy.macro.mean for arm, found in arms.items()},
        "micro": {arm: found.accuracy.micro.mean for arm, found in arms.items()},
    }


async def _retention(
    examples: Sequence[Example],
    config: EvaluateConfig,
    strategies: tuple[Strategy, ...],
    generic: str,
    context: StepContext,
) -> tuple[RetentionScore, ...]:
    """Ask the student the retention questions before and after training, and compare."""
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
    return compare_retention(examples, before, after, seed=context.seed)


def chosen(
    config: EvaluateConfig, context: StepContext, split: Split = "held_out"
) -> Iterator[Example]:
    """Yield the questions of a split to ask: of each task those with the smallest hashes."""
    examples = tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, split)
    for of_task in draw_by_group(
        examples, "evaluate", lambda example: example.task, config.per_task
    ).values():
        yield from of_task


def requests(
    config: EvaluateConfig, strategies: tuple[Strategy, ...], generic: str, context: StepContext
) -> list[Asking]:
    """List the calls that ``evaluate`` would make, an entry for each arm and one for the judge.

    Tree search is not included: its calls depend on the replies.

    Args:
        config: As for ``evaluate``.
        strategies: As for ``evaluate``.
        generic: As for ``evaluate``.
        context: With the input ``sample``, and ``assign`` once there is one. Before, the arms that
            are prompted count as asked under the longest strategy.
    """
    arms: list[tuple[Arm, Split]] = [(arm, "held_out") for arm in config.arms]
    arms += [(arm, "retention") for arm in RETENTION_ARMS]
    askings = [
        Asking(
            role="teacher" if arm == "teacher" else "student",
            requests=_requests(
                arm, chosen(config, context, split), config, strategies, generic, context
            ),
            exact=arm in PROMPTED and "assign" in context.inputs,
        )
        for arm, split in arms
    ]
    if config.pairwise is not None:
        compared = pairwise_requests(
            config.pairwise,
            chosen(config, context),
            config.arms,
            config.sampling.max_tokens,
            context,
        )
        askings.append(Asking(role="judge", requests=compared, exact=False))
    return askings


def _requests(
    arm: Arm,
    examples: Iterable[Example],
    config: EvaluateConfig,
    strategies: tuple[Strategy, ...],
    generic: str,
    context: StepContext,
) -> Iterator[Request]:
    erased = erased_strategy(generic)
    assigned = (
        chosen_strategy(strategies, context.inputs.get("assign")) if arm in PROMPTED else None
    )
    for example in examples:
        strategy = assigned(example) if assigned is not None else None
        yield from requests_for(
            example, strategy or erased, config.sampling_of(arm), seed=context.seed
        )


def _completer(arm: Arm, context: StepContext) -> Completer:
    if arm == "teacher":
        return context.completer("teacher")
    if arm in ("before", "prompted"):
        return context.completer("student")
    trained = context.inputs["train" if arm == "after" else "train_answer_only"]
    return context.completer("student", trained)


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
