"""Choose, for each group of examples, the strategy that suits the student (Orca 2, section 3).

    the probe's judged attempts                ──believe──►  accuracies, shrunk towards all groups'
    sums: direct 31 %, step_by_step 69 %       ──best──►     sums → step_by_step
    the chosen strategy on fresh examples      ──student──►  its accuracy without the winner's luck

The winner of many noisy means looks better than it is. So the choice rests on shrunk means (see
``choosing.py``), and is then confirmed on examples that had no part in it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from orcinus.core import registry, stats
from orcinus.core.config import Config
from orcinus.core.draw import draw_by_group
from orcinus.core.errors import ConfigError, StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Assignment, Example, Judged, Request, Split, Strategy
from orcinus.runs import layout, tables
from orcinus.runs.assigned import GROUPS
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.choosing import Array, best
from orcinus.strategies.clusters import grouping
from orcinus.strategies.evidence import Measurements, evidence_of, paired_p, proxy_of
from orcinus.strategies.library import by_name
from orcinus.strategies.probe import ProbeConfig, probe_examples
from orcinus.strategies.prompts import longest, requests_for
from orcinus.strategies.pseudo_labels import (
    MEANING,
    Key,
    key_of,
    label_by_agreement,
    label_by_teacher,
)
from orcinus.verifiers.measure import measure

VERSION = 1
IDENTITY_OF_REMOVED_KEYS: Mapping[str, Any] = {
    "each": SamplingConfig(samples=4, temperature=0.7).model_dump(mode="json"),
    "sure": 0.8,
}
"""The defaults of the keys that only the removed ``by: example`` read. They stay in the fingerprint
of the step, so that runs finished before stay valid and no student is trained again."""


class AssignConfig(Config):
    """How a strategy is chosen."""

    by: Literal["task", "category", "cluster"] = "task"
    """The unit that gets a strategy of its own: a task, each ``meta.category`` of a task, or each
    cluster of questions with similar words, whatever their task."""
    clusters: int | None = Field(default=None, ge=1)
    """Number of clusters. None takes the number that separates best, with at least twice
    ``smallest`` probe examples in a cluster on average."""
    margin: float = Field(default=0.01, ge=0, le=1)
    """Accuracy given up for a cheaper strategy: strategies within it count as tied."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """A group is not yet learnable when its best strategy is believed to be under this accuracy."""
    below_floor: str = "best"
    """How such a group is taught: with its ``best`` strategy anyway, not at all (``skip``), or with
    the strategy of this name."""
    whose: Literal["student", "teacher"] = "student"
    """Which model is probed: the student, as in Orca 2, or for comparison the teacher, whose best
    strategies may differ."""
    fixed: str | None = None
    """For comparisons: one strategy for all groups, ``random`` for one drawn for each group, or
    ``longest`` for the one under which most is written, right or wrong."""
    chooser: str | None = None
    """Your own rule: a function that returns the Assignment of a group, given its judged attempts.
    The name of a registered one, or ``module:function``. ``margin``, ``floor`` and
    ``below_floor`` are then not used."""
    confirm: int = Field(default=10, ge=0)
    """Fresh probe examples of each group on which the chosen strategy is measured again; 0 skips
    this."""
    proxy: Literal["agreement", "teacher", "none"] = "agreement"
    """The pseudo-label where a task has no references. agreement: the answer that most of the
    student's attempts give; teacher: the teacher's answer, which costs calls; none: every attempt
    counts as wrong, which leaves the cheapest strategy. (A task with ``verifier: judge`` asks a
    judge instead.)"""
    smallest: int = Field(default=5, ge=1)
    """Probe examples that a category or cluster needs to be a group; smaller ones stay with their
    task."""

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
    def _chooser_exists(cls, value: str | None) -> str | None:
        if value is not None:
            registry.find("chooser", value, {})
        return value

    @model_validator(mode="after")
    def _refuse_two_choosers(self) -> "AssignConfig":
        if self.chooser is not None and self.fixed is not None:
            raise ValueError("chooser and fixed exclude each other: set one of them")
        return self


async def assign(
    config: AssignConfig,
    strategies: tuple[Strategy, ...],
    probe: ProbeConfig,
    context: StepContext,
) -> dict[str, Any]:
    """Choose each group's strategy and write ``assignments.parquet``.

    Where groups are finer than tasks, ``groups.parquet`` gets the group of each example.

    Args:
        config: How to choose.
        strategies: The recipe's strategies.
        probe: How the student was probed, so that it is asked in the same way again.
        context: With the inputs ``sample`` and ``probe``.

    Returns:
        ``groups``, their number; ``chosen``, groups by strategy; ``unlearnable``, groups under the
        floor.

    Raises:
        ConfigError: A strategy is named that the recipe does not have.
        StepError: The probe has no usable attempt.
    """
    step = _Step(config=config, strategies=strategies, probe=probe, context=context)
    step.check_names()
    examples, judged = step.read_probe()
    judged = await _add_pseudo_labels(step, examples, judged)
    group_of = grouping(
        examples.values(),
        step.examples,
        by=config.by,
        count=config.clusters,
        smallest=config.smallest,
        seed=context.seed,
    )
    attempts: dict[str, list[Judged]] = {}
    for item in judged:
        attempts.setdefault(group_of(examples[key_of(item)]), []).append(item)
    measured = Measurements.from_attempts(dict(sorted(attempts.items())), step.names)
    if config.chooser is None:
        contests = _hold_contests(config, measured, context.seed)
        assignments = [_assignment(config, contest) for contest in contests]
    else:
        assignments = [_ask_chooser(config.chooser, group, measured) for group in measured.attempts]
    fresh = _draw_fresh(step, group_of, probed=examples.keys())
    assignments = await _confirm(step, assignments, fresh)
    assignments += _assign_unprobed(step, assignments, group_of, step.names[measured.overall])
    _write(step, assignments, group_of)
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
    """List the calls that confirm the choice, and those to a teacher that gives pseudo-labels.

    The arguments are those of ``assign``. The numbers are upper bounds: only after the probe is it
    known what is chosen and which of the probe's examples are left to confirm it.
    """
    step = _Step(config=config, strategies=strategies, probe=probe, context=context)
    examples, bound = probe_examples(context), longest(strategies)
    fresh = (
        (example, bound)
        for items in examples.values()
        for example in items[len(items) - min(len(items) // 2, probe.reserve, config.confirm) :]
    )
    askings = [Asking(role=config.whose, requests=step.requests(fresh), exact=False)]
    if config.proxy == "teacher":
        probed = (example for items in examples.values() for example in items)
        askings.append(Asking(role="teacher", requests=step.label_requests(probed), exact=False))
    return askings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The arguments of the step, and what its parts read and ask."""

    config: AssignConfig
    strategies: tuple[Strategy, ...]
    probe: ProbeConfig
    context: StepContext

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(strategy.name for strategy in self.strategies)

    def check_names(self) -> None:
        for key, value, words in (
            ("fixed", self.config.fixed, (None, "random", "longest")),
            ("below_floor", self.config.below_floor, ("best", "skip")),
        ):
            if value not in (*self.names, *words):
                raise ConfigError(
                    f"assign.{key} is {value!r}, which is none of the recipe's strategies: "
                    f"{', '.join(self.names)}"
                )

    def examples(self, split: Split | None = None) -> Iterator[Example]:
        """Read the examples of a split; of all splits for None."""
        return tables.read_examples(self.context.inputs["sample"] / layout.EXAMPLES, split)

    def read_probe(self) -> tuple[dict[Key, Example], list[Judged]]:
        """Read the probe's attempts that got a reply, and the examples they answer."""
        path = self.context.inputs["probe"] / layout.ATTEMPTS
        judged = [item for item in tables.read_judged(path) if item.attempt.finish != "error"]
        if not judged:
            raise StepError("the probe has no answer to choose by")
        asked = set(map(key_of, judged))
        examples = {key: e for e in self.examples() if (key := (e.task, e.id)) in asked}
        return examples, judged

    def requests(self, pairs: Iterable[tuple[Example, Strategy]]) -> Iterator[Request]:
        """Yield the requests that ask each example under its strategy, as the probe did."""
        for example, strategy in pairs:
            yield from requests_for(example, strategy, self.probe.sampling, seed=self.context.seed)

    def label_requests(self, probed: Iterable[Example]) -> Iterator[Request]:
        """Yield one request for each question without a reference, under the costliest strategy."""
        costliest = max(self.strategies, key=lambda strategy: strategy.cost_rank)
        once = self.probe.sampling.model_copy(update={"samples": 1, "temperature": 0.0})
        for example in probed:
            if example.reference is None:
                yield from requests_for(example, costliest, once, seed=self.context.seed)

    async def ask(self, role: str, asked: Sequence[Request], file: str, what: str) -> list[Judged]:
        """Ask the model of ``role``, judge the replies and save them in ``file``."""
        return await measure(
            asked,
            self.context.completer(role),
            self.context.out / file,
            self.context,
            step="assign",
            what=what,
            total=len(asked),
        )


async def _add_pseudo_labels(
    step: _Step, examples: Mapping[Key, Example], judged: Sequence[Judged]
) -> list[Judged]:
    """Judge the attempts at questions without a reference, as ``assign.proxy`` says."""
    match step.config.proxy:
        case "agreement":
            return label_by_agreement(judged, examples)
        case "teacher":
            probed = (examples[key] for key in dict.fromkeys(map(key_of, judged)))
            asked = list(step.label_requests(probed))
            if not asked:
                return list(judged)
            what = "ask the teacher for pseudo-labels"
            teacher = await step.ask("teacher", asked, layout.PSEUDO_LABELS, what)
            return label_by_teacher(judged, examples, teacher)
        case "none":
            return list(judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contest:
    """The strategies of one group as the probe measured them, and the one that was chosen.

    Strategies are positions 0 … S - 1 in ``names``.
    """

    group: str
    attempts: Sequence[Judged]
    names: tuple[str, ...]
    believed: Array
    """(S,) believed accuracies. One that was not asked here has what other groups predict."""
    counts: NDArray[np.int64]
    """(S,) examples that were asked."""
    chosen: int
    overall: int
    """The strategy that is best over all groups."""

    @property
    def measured(self) -> Array:
        """(S,) believed accuracies; -1 for a strategy that was not asked in this group."""
        return np.where(self.counts > 0, self.believed, -1.0)

    @property
    def ranked(self) -> list[int]:
        """All strategies: the chosen one, then the others from the best to the worst."""
        means = self.measured
        return sorted(range(len(means)), key=lambda s: (s != self.chosen, -means[s]))

    @property
    def rivals(self) -> list[int]:
        """The other strategies that were asked in this group, the best first."""
        return [s for s in self.ranked if s != self.chosen and self.counts[s] > 0]

    @property
    def opponent(self) -> int | None:
        """The rival to test against: the best over all groups, or else the best in this group."""
        if self.overall in self.rivals:
            return self.overall
        return self.rivals[0] if self.rivals else None


def _hold_contests(config: AssignConfig, measured: Measurements, seed: int) -> list[_Contest]:
    chosen = _choose(config, measured, seed)
    return [
        _Contest(
            group=group,
            attempts=attempts,
            names=measured.names,
            believed=measured.belief.mean[g],
            counts=measured.belief.counts[g],
            chosen=int(chosen[g]),
            overall=measured.overall,
        )
        for g, (group, attempts) in enumerate(measured.attempts.items())
    ]


def _choose(config: AssignConfig, measured: Measurements, seed: int) -> NDArray[np.int64]:
    """Choose each group's strategy: (G,) positions."""
    groups, tokens = measured.belief.groups, measured.tokens
    match config.fixed:
        case None:
            return best(measured.belief, tokens, margin=config.margin)
        case "random":
            drawn = [stable_fraction("random strategy", str(seed), group) for group in groups]
            return np.array([int(fraction * len(measured.names)) for fraction in drawn])
        case "longest":
            longest_written: NDArray[np.int64] = np.where(np.isfinite(tokens), tokens, -1.0).argmax(
                1
            )
            return longest_written
        case name:
            return np.full(len(groups), measured.names.index(name))


def _assignment(config: AssignConfig, contest: _Contest) -> Assignment:
    """Turn a contest into the group's assignment, the chosen strategy's evidence first."""
    names, opponent = contest.names, contest.opponent
    learnable = bool(contest.measured[contest.chosen] >= config.floor)
    strategy: str | None = names[contest.chosen]
    if not learnable and config.below_floor != "best":
        strategy = None if config.below_floor == "skip" else config.below_floor
    p_value = None
    if opponent is not None:
        p_value = paired_p(contest.attempts, names[contest.chosen], names[opponent])
    return Assignment(
        group=contest.group,
        strategy=strategy,
        evidence=evidence_of(contest.attempts, [names[s] for s in contest.ranked]),
        runner_up=names[contest.rivals[0]] if contest.rivals else None,
        p_value=p_value,
        reason=_reason(config, contest, learnable),
        learnable=learnable,
        proxy=proxy_of(contest.attempts),
    )


def _reason(config: AssignConfig, contest: _Contest, learnable: bool) -> str:
    """Say in a sentence why the strategy was chosen."""
    if config.fixed is not None:
        fixed_by = {"random": "drawn at random", "longest": "the one under which most is written"}
        return fixed_by.get(config.fixed, "fixed by the recipe")
    names, chosen, overall = contest.names, contest.chosen, contest.overall
    what = MEANING.get(proxy_of(contest.attempts) or "", "accuracy")
    believed = (
        f"believed {what} {contest.believed[chosen]:.0%} from {contest.counts[chosen]} examples"
    )
    if not learnable:
        instead = {"best": "taught with its best strategy anyway", "skip": "left out"}.get(
            config.below_floor, f"taught with {config.below_floor}"
        )
        return f"{believed}, under the floor of {config.floor:.0%}: not yet learnable, {instead}"
    highest = int(contest.measured.argmax())
    if chosen != highest:
        return f"{believed}, within {config.margin:.0%} of {names[highest]} and cheaper"
    if not contest.rivals:
        return f"{believed}; the only strategy"
    if chosen == overall:
        return f"{believed}; also the best over all groups"
    return (
        f"{believed}, against {contest.believed[overall]:.0%} with {names[overall]}, "
        "the best over all groups"
    )


def _ask_chooser(chooser: str, group: str, measured: Measurements) -> Assignment:
    """Let the user's rule choose, and add our evidence."""
    attempts, names = measured.attempts[group], measured.names
    chosen: object = registry.find("chooser", chooser, {})(attempts)
    if not isinstance(chosen, Assignment) or chosen.strategy not in (*names, None):
        gave = repr(chosen.strategy if isinstance(chosen, Assignment) else chosen)
        raise ConfigError(
            f"assign.chooser: {chooser} gave {gave:.60} for {group!r}; it must give an Assignment "
            f"of one of {', '.join(names)}, or of None to leave the group out"
        )
    evidence = evidence_of(attempts, sorted(names, key=lambda name: name != chosen.strategy))
    return replace(chosen, group=group, evidence=evidence, proxy=proxy_of(attempts))


def _draw_fresh(
    step: _Step, group_of: Callable[[Example], str], *, probed: Collection[Key]
) -> dict[str, list[Example]]:
    """Draw each group's probe examples that had no part in choosing, up to ``assign.confirm``."""
    unused = (e for e in step.examples("probe") if (e.task, e.id) not in probed)
    return draw_by_group(unused, "probe", group_of, step.config.confirm)


async def _confirm(
    step: _Step, assignments: Sequence[Assignment], fresh: Mapping[str, Sequence[Example]]
) -> list[Assignment]:
    """Ask each group's ``fresh`` examples under its strategy; add the score to its evidence."""
    known = by_name(step.strategies)
    asked: list[Request] = []
    groups: list[str] = []
    """The group of each request."""
    for item in assignments:
        if item.strategy is not None:
            pairs = [(example, known[item.strategy]) for example in fresh.get(item.group, ())]
            asked += step.requests(pairs)
            groups += [item.group] * (len(asked) - len(groups))
    if not asked:
        return list(assignments)
    what = "confirm the choice"
    replies = await step.ask(step.config.whose, asked, layout.CONFIRMATION, what)
    by_group: dict[str, list[Judged]] = {}
    for group, judged in zip(groups, replies, strict=True):
        by_group.setdefault(group, []).append(judged)
    return [_add_confirmation(item, by_group.get(item.group)) for item in assignments]


def _add_confirmation(assignment: Assignment, replies: Sequence[Judged] | None) -> Assignment:
    score = None if replies is None else stats.score(replies)
    evidence = tuple(
        replace(item, held_out=score) if item.strategy == assignment.strategy else item
        for item in assignment.evidence
    )
    return replace(assignment, evidence=evidence)


def _assign_unprobed(
    step: _Step,
    assignments: Sequence[Assignment],
    group_of: Callable[[Example], str],
    strategy: str,
) -> list[Assignment]:
    """Assign ``strategy`` to the groups that have no probe example."""
    probed = {assignment.group for assignment in assignments}
    return [
        Assignment(
            group=group,
            strategy=strategy,
            evidence=(),
            runner_up=None,
            p_value=None,
            reason="never probed: the strategy that is best over all groups",
        )
        for group in sorted(set(map(group_of, step.examples())) - probed)
    ]


def _write(
    step: _Step, assignments: Iterable[Assignment], group_of: Callable[[Example], str]
) -> None:
    out = step.context.out
    with tables.TableWriter(out / layout.ASSIGNMENTS, tables.ASSIGNMENTS) as writer:
        for assignment in assignments:
            writer.write(tables.assignment_row(assignment))
    if step.config.by == "task":
        return
    with tables.TableWriter(out / layout.GROUPS, GROUPS) as writer:
        for example in step.examples():
            row = {"task": example.task, "example_id": example.id, "group": group_of(example)}
            writer.write(row)
