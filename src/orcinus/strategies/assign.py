"""Choosing: for each group of examples the strategy that suits the student (Orca 2, section 3).

    probe's attempts ──believe──► accuracies, shrunk towards what all groups show ──► assignments.parquet
    the chosen strategy on fresh probe examples ──student──► what it is really worth

The winner of many noisy means looks better than it is. So the choice is made on shrunk means (see ``choosing.py``), and then
measured again on examples that had no part in it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from orcinus.core import registry, stats
from orcinus.core.config import Config
from orcinus.core.draw import first_by_hash
from orcinus.core.errors import ConfigError, StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Assignment, Example, Judged, Request, Score, Split, Strategy
from orcinus.runs import layout, tables
from orcinus.runs.assigned import GROUPS
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.choosing import Array, Belief, believe, best
from orcinus.strategies.clusters import grouping
from orcinus.strategies.evidence import evidence_of, outcomes, paired_p, proxy_of, written
from orcinus.strategies.library import by_name
from orcinus.strategies.probe import ProbeConfig, probe_examples
from orcinus.strategies.prompts import longest, requests_for
from orcinus.strategies.pseudo_labels import AGREEMENT, TEACHER, by_agreement, by_teacher
from orcinus.verifiers.measure import measure

VERSION = 1
IDENTITY_OF_REMOVED_KEYS: Mapping[str, Any] = {
    "each": SamplingConfig(samples=4, temperature=0.7).model_dump(mode="json"),
    "sure": 0.8,
}
"""The defaults of the keys that only the removed ``by: example`` read. They stay in the fingerprint of
the step, so that runs finished before stay valid and no student is trained again."""


class AssignConfig(Config):
    """How a strategy is chosen."""

    by: Literal["task", "category", "cluster"] = "task"
    """What gets a strategy of its own: a task, each ``meta.category`` of a task, or each cluster of
    questions with similar words, whatever their task."""
    clusters: int | None = Field(default=None, ge=1)
    """How many clusters; None takes the number that separates best, with at least ``smallest`` probe examples in each on average."""
    margin: float = Field(default=0.01, ge=0, le=1)
    """Accuracy that is given up for a cheaper strategy: within it strategies are tied."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """A group whose best strategy is believed to be under it is not yet learnable."""
    below_floor: str = "best"
    """What such a group is taught with: ``best`` (its own best all the same), ``skip`` (nothing), or the name of a strategy."""
    whose: Literal["student", "teacher"] = "student"
    """Who is probed: the student, as Orca 2 says, or for comparison the teacher, whose best strategies need not be the student's."""
    fixed: str | None = None
    """One strategy for all groups, ``random`` for one drawn for each, or ``longest`` for the one under which most is written, without
    regard to what is right: for comparisons."""
    chooser: str | None = None
    """A rule of yours in place of ours, given a group's judged attempts: registered as ``choosers.NAME`` in the entry-point group ``orcinus``,
    or ``package.module:function``. ``margin``, ``floor`` and ``below_floor`` are then its own business."""
    confirm: int = Field(default=10, ge=0)
    """Fresh probe examples of a group on which the chosen strategy is measured again; 0 leaves it out."""
    proxy: Literal["agreement", "teacher", "none"] = "agreement"
    """What counts as right where a task has no references: the answer that most of the student's attempts come to, or the teacher's,
    which is then asked the probed questions. With ``none`` such tasks are chosen for as if all attempts were wrong, which leaves the
    cheapest strategy. (A task's ``verifier: judge`` asks a judge instead.)"""
    smallest: int = Field(default=5, ge=1)
    """Probe examples that a category or cluster needs to be a group; those of smaller ones stay with their task."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_single_examples(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and (
            value.get("by") == "example" or IDENTITY_OF_REMOVED_KEYS.keys() & value.keys()
        ):
            raise ValueError(
                "`by: example` was removed, and its keys `each` and `sure` with it; "
                "use `by: cluster` or `by: category`"
            )
        return value

    @field_validator("chooser")
    @classmethod
    def _chooser_is_there(cls, value: str | None) -> str | None:
        if value is not None:
            registry.choosers.named(value)
        return value

    @model_validator(mode="after")
    def _one_way_of_choosing(self) -> "AssignConfig":
        if self.chooser is not None and self.fixed is not None:
            raise ValueError(
                "chooser and fixed exclude each other: the one chooses, the other does not"
            )
        return self


async def assign(
    config: AssignConfig,
    strategies: tuple[Strategy, ...],
    probe: ProbeConfig,
    context: StepContext,
) -> dict[str, Any]:
    """Choose, and write ``assignments.parquet``, with ``groups.parquet`` where groups are finer than tasks.

    Args:
        config: How to choose.
        strategies: The recipe's.
        probe: How the student was probed, to ask it alike again.
        context: With inputs ``sample`` and ``probe``.

    Returns:
        ``groups``: how many; ``chosen``: groups by strategy; ``unlearnable``: groups under the floor.

    Raises:
        ConfigError: A strategy is named that the recipe does not have.
        StepError: There is no usable attempt.
    """
    _check(config, strategies)
    judged = [
        item
        for item in tables.read_judged(context.inputs["probe"] / layout.ATTEMPTS)
        if item.attempt.finish != "error"
    ]
    if not judged:
        raise StepError("the probe has no answer to choose by")
    asked = {(item.attempt.task, item.attempt.example_id) for item in judged}
    by_key = {(e.task, e.id): e for e in _examples(context) if (e.task, e.id) in asked}
    if config.proxy == "agreement":
        judged = by_agreement(judged, by_key)
    elif config.proxy == "teacher":
        judged = by_teacher(
            judged, by_key, await _teachers(judged, by_key, strategies, probe.sampling, context)
        )
    group_of = grouping(
        by_key.values(),
        lambda: _examples(context),
        by=config.by,
        count=config.clusters,
        smallest=config.smallest,
        seed=context.seed,
    )
    by_group: dict[str, list[Judged]] = {}
    for item in judged:
        by_group.setdefault(
            group_of(by_key[item.attempt.task, item.attempt.example_id]), []
        ).append(item)
    by_group = dict(sorted(by_group.items()))
    names = [strategy.name for strategy in strategies]
    belief = believe({group: outcomes(items, names) for group, items in by_group.items()})
    costs = written(by_group, names)
    if config.chooser is not None:
        assignments = [
            _chosen_by(config.chooser, group, items, names) for group, items in by_group.items()
        ]
    else:
        chosen = _choose(config, belief, costs, names, context.seed)
        assignments = [
            _assignment(config, belief, costs, names, g, chosen, items)
            for g, items in enumerate(by_group.values())
        ]
    assignments = await _confirmed(
        config, assignments, strategies, probe.sampling, group_of, by_group, context
    )
    assignments += _unprobed(_examples(context), group_of, assignments, names[_winner(belief)])
    with tables.TableWriter(context.out / layout.ASSIGNMENTS, tables.ASSIGNMENTS) as writer:
        for assignment in assignments:
            writer.write(tables.assignment_row(assignment))
    if config.by != "task":  # groups are finer than tasks
        with tables.TableWriter(context.out / layout.GROUPS, GROUPS) as writer:
            for example in _examples(context):
                row = {"task": example.task, "example_id": example.id, "group": group_of(example)}
                writer.write(row)
    used = [assignment.strategy or "none" for assignment in assignments]
    return {
        "groups": len(assignments),
        "chosen": {name: used.count(name) for name in dict.fromkeys(used)},
        "unlearnable": sum(not assignment.learnable for assignment in assignments),
    }


def requests(
    config: AssignConfig,
    strategies: tuple[Strategy, ...],
    probe: ProbeConfig,
    context: StepContext,
) -> list[Asking]:
    """List the calls that confirm the choice, and those to a teacher that stands in for references.

    The arguments are those of ``assign``. The calls are upper bounds: what is chosen, and which of the
    probe's examples are left to confirm it, is known only after the probe.
    """
    examples, bound = probe_examples(context), longest(strategies)
    fresh = (
        (example, bound)
        for items in examples.values()
        for example in items[len(items) - min(len(items) // 2, probe.reserve, config.confirm) :]
    )
    confirming = _requests_of(fresh, probe.sampling, context.seed)
    askings = [Asking(role=config.whose, requests=confirming, exact=False)]
    if config.proxy == "teacher":
        probed = (example for items in examples.values() for example in items)
        asked = _teacher_requests(probed, strategies, probe.sampling, context.seed)
        askings.append(Asking(role="teacher", requests=asked, exact=False))
    return askings


def _requests_of(
    pairs: Iterable[tuple[Example, Strategy]], sampling: SamplingConfig, seed: int
) -> Iterator[Request]:
    for example, strategy in pairs:
        yield from requests_for(example, strategy, sampling, seed=seed)


def _teacher_requests(
    probed: Iterable[Example], strategies: Sequence[Strategy], sampling: SamplingConfig, seed: int
) -> Iterator[Request]:
    """Yield one request for each probed question without a reference, under the most thorough strategy."""
    thorough = max(strategies, key=lambda strategy: strategy.cost_rank)
    once = sampling.model_copy(update={"samples": 1, "temperature": 0.0})
    open_questions = ((example, thorough) for example in probed if example.reference is None)
    return _requests_of(open_questions, once, seed)


async def _teachers(
    judged: Sequence[Judged],
    examples: Mapping[tuple[str, str], Example],
    strategies: Sequence[Strategy],
    sampling: SamplingConfig,
    context: StepContext,
) -> list[Judged]:
    """The teacher's answers to the probed questions that have no reference, under the most thorough strategy."""
    probed = dict.fromkeys((item.attempt.task, item.attempt.example_id) for item in judged)
    asked = list(
        _teacher_requests((examples[key] for key in probed), strategies, sampling, context.seed)
    )
    if not asked:
        return []
    return await measure(
        asked,
        context.completer("teacher"),
        context.out / layout.PSEUDO_LABELS,
        context,
        step="assign",
        what="ask the teacher what is right",
        total=len(asked),
    )


def _check(config: AssignConfig, strategies: Sequence[Strategy]) -> None:
    known = [strategy.name for strategy in strategies]
    for key, value, also in (
        ("fixed", config.fixed, [None, "random", "longest"]),
        ("below_floor", config.below_floor, ["best", "skip"]),
    ):
        if value not in [*known, *also]:
            raise ConfigError(
                f"assign.{key} is {value!r}, which is none of the recipe's strategies: {', '.join(known)}"
            )


def _examples(context: StepContext, split: Split | None = None) -> Iterator[Example]:
    return tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, split)


def _winner(belief: Belief) -> int:
    """The strategy that is best over all groups, of those that were asked in the most groups."""
    reach = (belief.counts > 0).sum(0)
    return int(np.where(reach == reach.max(), belief.mean.mean(0), -1.0).argmax())


def _choose(
    config: AssignConfig, belief: Belief, costs: Array, names: Sequence[str], seed: int
) -> NDArray[np.int64]:
    if config.fixed == "random":
        drawn = [stable_fraction("random strategy", str(seed), group) for group in belief.groups]
        return np.array([int(fraction * len(names)) for fraction in drawn])
    if config.fixed == "longest":
        longest: NDArray[np.int64] = np.where(np.isfinite(costs), costs, -1.0).argmax(1)
        return longest
    if config.fixed is not None:
        return np.full(len(belief.groups), names.index(config.fixed))
    return best(belief, costs, margin=config.margin)


def _chosen_by(
    chooser: str, group: str, items: Sequence[Judged], names: Sequence[str]
) -> Assignment:
    """What the user's rule chose, with our evidence."""
    chosen: object = registry.choosers.named(chooser)(items)
    if not isinstance(chosen, Assignment) or chosen.strategy not in [*names, None]:
        gave = repr(chosen.strategy if isinstance(chosen, Assignment) else chosen)
        raise ConfigError(
            f"assign.chooser: {chooser} gave {gave:.60} for {group!r}; it must give an Assignment of one of {', '.join(names)}, or of None to leave the group out"
        )
    evidence = evidence_of(items, sorted(names, key=lambda name: name != chosen.strategy))
    return replace(chosen, group=group, evidence=evidence, proxy=proxy_of(items))


def _assignment(
    config: AssignConfig,
    belief: Belief,
    costs: Array,
    names: Sequence[str],
    g: int,
    chosen: NDArray[np.int64],
    items: Sequence[Judged],
) -> Assignment:
    """The assignment of group ``g`` with its evidence, the chosen strategy first."""
    mine = int(chosen[g])
    means = np.where(belief.counts[g] > 0, belief.mean[g], -1.0)
    order = sorted(range(len(names)), key=lambda s: (s != mine, -means[s]))
    asked = [s for s in order if belief.counts[g, s] > 0]
    rivals = [s for s in asked if s != mine]
    against = _winner(belief) if _winner(belief) in rivals else (rivals[0] if rivals else None)
    learnable = bool(means[mine] >= config.floor)
    strategy: str | None = names[mine]
    if not learnable and config.below_floor != "best":
        strategy = None if config.below_floor == "skip" else config.below_floor
    proxy = proxy_of(items)
    return Assignment(
        group=belief.groups[g],
        strategy=strategy,
        evidence=evidence_of(items, [names[s] for s in order]),
        runner_up=names[rivals[0]] if rivals else None,
        p_value=None if against is None else paired_p(items, names[mine], names[against]),
        reason=_reason(config, belief, names, g, mine, learnable, against, proxy),
        learnable=learnable,
        proxy=proxy,
    )


def _reason(
    config: AssignConfig,
    belief: Belief,
    names: Sequence[str],
    g: int,
    mine: int,
    learnable: bool,
    against: int | None,
    proxy: str | None,
) -> str:
    if config.fixed is not None:
        fixed_by = {"random": "drawn at random", "longest": "the one under which most is written"}
        return fixed_by.get(config.fixed, "fixed by the recipe")
    words = {AGREEMENT: "agreement with the majority", TEACHER: "agreement with the teacher"}
    word = words.get(proxy or "", "accuracy")
    believed = f"believed {word} {belief.mean[g, mine]:.0%} from {belief.counts[g, mine]} examples"
    top = int(np.where(belief.counts[g] > 0, belief.mean[g], -1.0).argmax())
    if not learnable:
        what = {"best": "taught with its best all the same", "skip": "left out"}.get(
            config.below_floor, f"taught with {config.below_floor}"
        )
        return f"{believed}, under the floor of {config.floor:.0%}: not yet learnable, {what}"
    if mine != top:
        return f"{believed}, within {config.margin:.0%} of {names[top]} and cheaper"
    if against is None:
        return f"{believed}; the only strategy"
    winner = _winner(belief)
    if mine == winner:
        return f"{believed}; also the best over all groups"
    return f"{believed}, against {belief.mean[g, winner]:.0%} with {names[winner]}, the best over all groups"


async def _confirmed(
    config: AssignConfig,
    assignments: Sequence[Assignment],
    strategies: Sequence[Strategy],
    sampling: SamplingConfig,
    group_of: Callable[[Example], str],
    by_group: Mapping[str, Sequence[Judged]],
    context: StepContext,
) -> list[Assignment]:
    """The assignments with the chosen strategy measured again on probe examples that had no part in choosing."""
    used = {(i.attempt.task, i.attempt.example_id) for items in by_group.values() for i in items}
    unused = (
        example for example in _examples(context, "probe") if (example.task, example.id) not in used
    )
    fresh = first_by_hash(unused, "probe", group_of, config.confirm)
    known = by_name(strategies)
    pairs = (
        (example, known[assignment.strategy])
        for assignment in assignments
        if assignment.strategy is not None
        for example in fresh.get(assignment.group, [])
    )
    asked = list(_requests_of(pairs, sampling, context.seed))
    if not asked:
        return list(assignments)
    found = await measure(
        asked,
        context.completer(config.whose),
        context.out / layout.CONFIRMATION,
        context,
        step="assign",
        what="confirm the choice",
        total=len(asked),
    )
    again: dict[str, list[Judged]] = {}
    for request, judged in zip(asked, found, strict=True):
        again.setdefault(group_of(request.example), []).append(judged)
    scores = {group: stats.score(items) for group, items in again.items()}
    return [_with_held_out(assignment, scores.get(assignment.group)) for assignment in assignments]


def _with_held_out(assignment: Assignment, score: Score | None) -> Assignment:
    evidence = tuple(
        replace(item, held_out=score) if item.strategy == assignment.strategy else item
        for item in assignment.evidence
    )
    return replace(assignment, evidence=evidence)


def _unprobed(
    examples: Iterable[Example],
    group_of: Callable[[Example], str],
    assignments: Sequence[Assignment],
    winner: str,
) -> list[Assignment]:
    """Groups that have no probe example get the strategy that is best over all."""
    known = {assignment.group for assignment in assignments}
    left = sorted(set(map(group_of, examples)) - known)
    return [
        Assignment(
            group=group,
            strategy=winner,
            evidence=(),
            runner_up=None,
            p_value=None,
            reason="never probed: the strategy that is best over all groups",
        )
        for group in left
    ]
