"""Choose, for each group of examples, the strategy that suits the student (Orca 2, section 3).

    the probe's judged attempts                ──believe──►  accuracies, shrunk towards all groups'
    sums: direct 31 %, step_by_step 69 %       ──best──►     sums → step_by_step
    the chosen strategy on fresh examples      ──student──►  its accuracy without the winner's luck

The choice rests on shrunk means (see ``contest.py``), and is then measured again on examples that
had no part in it. Where the probe cannot tell, trial students decide: see ``trial.py``.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from orcinus.core import registry, stats
from orcinus.core.draw import draw_by_group
from orcinus.core.errors import ConfigError, StepError
from orcinus.core.protocols import Asked
from orcinus.core.types import Assignment, Example, Judged, Request, Strategy
from orcinus.runs import layout, tables
from orcinus.runs.assigned import GROUPS
from orcinus.runs.context import Asking, Size, StepContext
from orcinus.strategies.config import AssignConfig, ProbeConfig
from orcinus.strategies.contest import (
    FIXED_BY,
    assignment_of,
    draw_position,
    floor_of,
    hold_contests,
    hold_trials,
)
from orcinus.strategies.evidence import Measurements, evidence_of, proxy_of
from orcinus.strategies.groups import (
    ProbeResults,
    by_group,
    examples_of,
    find_groups,
)
from orcinus.strategies.library import by_name
from orcinus.strategies.probe import probe_examples, probe_questions
from orcinus.strategies.prompts import longest, requests_for, size_of
from orcinus.strategies.pseudo_labels import (
    Key,
    key_of,
    label_by_agreement,
    label_by_teacher,
)
from orcinus.strategies.trial_results import TrialResults
from orcinus.verifiers.measure import measure

NAMED = 6
"""Groups whose names stand in a note; more would not fit a line."""
T = TypeVar("T", bound=Asked)


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
        context: With the inputs ``sample``, ``probe`` where the student was asked, and ``trial``
            where trial students were.

    Returns:
        ``groups``, their number; ``chosen``, groups by strategy; ``unlearnable``, groups under the
        floor; ``learned``, groups for which trial students decided; ``unclear``, groups in which
        nothing tells the strategies apart.

    Raises:
        ConfigError: A strategy is named that the recipe does not have.
        StepError: The probe has no usable attempt.
    """
    step = _Step(config=config, strategies=strategies, probe=probe, context=context)
    step.check_names()
    found = ProbeResults.read(context)
    trials = TrialResults.read(context.inputs.get("trial"))
    if config.asks_probe and not found.judged:
        raise StepError(
            "the probe has no answer to choose by; delete the probe step's folder to ask again"
        )
    group_of = find_groups(config, found, context)
    choosing, fresh_answers = _split_answers(trials)
    prompted = by_group(
        await _add_pseudo_labels(step, found.examples, found.judged), found.examples, group_of
    )
    learned = by_group(
        await _add_pseudo_labels(step, found.examples, choosing), found.examples, group_of
    )
    assignments: list[Assignment] = []
    usual, doubtful = strategies[0].name, set(prompted)
    if not prompted and not learned:
        assignments = _assign_without_answers(step, group_of)
    elif config.chooser is not None:
        measured = Measurements.from_attempts(prompted, step.names)
        assignments = [_ask_chooser(config.chooser, group, measured) for group in prompted]
        usual = step.names[measured.overall]
    else:
        seen, names = found.examples, step.names
        held = hold_contests(config, prompted, seen, names, context.seed) if prompted else []
        held += hold_trials(config, learned, seen, trials.final, names) if learned else []
        contests = {contest.group: contest for contest in held}  # of two, the trials decide
        usual = step.names[held[-1].overall]
        doubtful = {contest.group for contest in held if contest.is_near(floor_of(config, contest))}
        assignments = [
            assignment_of(config, contest, prompted.get(group, ()), learned.get(group, ()))
            for group, contest in sorted(contests.items())
        ]
    fresh = _draw_fresh(step, group_of, probed=found.asked.keys())
    fresh = {group: items for group, items in fresh.items() if group in doubtful}
    assignments = await _confirm(step, assignments, fresh)
    again = by_group(fresh_answers, found.examples, group_of)
    assignments = [_add_trial_score(item, again.get(item.group, ())) for item in assignments]
    assignments += _assign_unprobed(step, assignments, group_of, usual)
    _write(step, assignments, group_of)
    used = [assignment.strategy or "none" for assignment in assignments]
    _note_choice(assignments, context)
    return {
        "groups": len(assignments),
        "chosen": {name: used.count(name) for name in dict.fromkeys(used)},
        "unlearnable": sum(not assignment.learnable for assignment in assignments),
        "learned": sum(assignment.measure == "learned" for assignment in assignments),
        "unclear": sum(not assignment.told for assignment in assignments),
    }


def _note_choice(assignments: Sequence[Assignment], context: StepContext) -> None:
    """Say which groups got each strategy; of many groups, how many."""
    groups: dict[str, list[str]] = {}
    for assignment in assignments:
        groups.setdefault(assignment.strategy or "none", []).append(assignment.group)
    for strategy, names in groups.items():
        of = ", ".join(names) if len(names) <= NAMED else f"{len(names):,} groups"
        context.progress.note(f"chosen: {strategy} for {of}")


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
    bound = longest(strategies)

    def fresh(examples: Mapping[str, list[T]]) -> Iterator[tuple[T, Strategy]]:
        for items in examples.values():
            count = min(len(items) // 2, probe.reserve, config.confirm)
            yield from ((example, bound) for example in items[len(items) - count :])

    def listed() -> Iterator[Request]:
        yield from step.requests(fresh(probe_examples(context)))

    def size() -> Size:
        return size_of(fresh(probe_questions(context)), probe.sampling, seed=context.seed)

    askings: list[Asking] = []
    if config.asks_probe:
        askings.append(Asking(role=config.whose, requests=listed(), exact=False, size=size))
    if config.proxy == "teacher":
        examples = probe_examples(context)
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
            probed = [examples[key] for key in dict.fromkeys(map(key_of, judged))]
            asked = list(step.label_requests(probed))
            if not asked:
                return list(judged)
            what = "ask the teacher for pseudo-labels"
            teacher = await step.ask("teacher", asked, layout.PSEUDO_LABELS, what)
            return label_by_teacher(judged, examples, teacher)
        case "none":
            return list(judged)


def _split_answers(trials: TrialResults) -> tuple[list[Judged], list[Judged]]:
    """Split the trial students' answers: those that choose, and those that measure again."""
    fresh = set(trials.fresh)
    replied = [item for item in trials.answers if item.attempt.finish != "error"]
    return (
        [item for item in replied if key_of(item) not in fresh],
        [item for item in replied if key_of(item) in fresh],
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
    unused = (e for e in examples_of(step.context, "probe") if (e.task, e.id) not in probed)
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
        if item.strategy is not None and item.measure != "learned":
            pairs = [(example, known[item.strategy]) for example in fresh.get(item.group, ())]
            asked += step.requests(pairs)
            groups += [item.group] * (len(asked) - len(groups))
    if not asked or not step.config.asks_probe:
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


def _add_trial_score(assignment: Assignment, replies: Sequence[Judged]) -> Assignment:
    """Add the chosen trial student's score on the examples that had no part in the choice."""
    mine = [item for item in replies if item.attempt.strategy == assignment.strategy]
    if assignment.measure != "learned" or not mine:
        return assignment
    return _add_confirmation(assignment, mine)


def _assign_without_answers(step: _Step, group_of: Callable[[Example], str]) -> list[Assignment]:
    """Assign the strategy that the recipe fixes, or its only one, without asking any model."""
    config, names = step.config, step.names
    groups = sorted(set(map(group_of, examples_of(step.context))))
    return [
        Assignment(
            group=group,
            strategy=names[draw_position(step.context.seed, group, len(names))]
            if config.fixed == "random"
            else config.fixed or names[0],
            evidence=(),
            runner_up=None,
            p_value=None,
            reason=FIXED_BY.get(config.fixed, "fixed by the recipe")
            if config.fixed
            else "the only strategy",
        )
        for group in groups
    ]


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
        for group in sorted(set(map(group_of, examples_of(step.context))) - probed)
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
        for example in examples_of(step.context):
            row = {"task": example.task, "example_id": example.id, "group": group_of(example)}
            writer.write(row)
