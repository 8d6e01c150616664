"""Have the teacher write instructions for single groups, and keep those that help the student.

    right and wrong answers of a group  ──teacher──►  an instruction
    fresh examples, with and without it  ──student──►  12 repairs, 3 regressions  ──►  kept

An instruction is kept when its repairs less its regressions are at least 3, and at least 5 % of the
right answers, and luck alone explains them badly (SkillGen, arXiv:2605.10999). A refused draft is
revised, and tested on other examples.

Orca 2 wrote 126 such procedures by hand. Here a draft competes with the strategy that was measured
to be the group's best, pair by pair, on examples that had no part in writing it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from orcinus.core import stats
from orcinus.core.draw import draw
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Assignment, Evidence, Example, Judged, Request, Strategy
from orcinus.runs import layout, tables
from orcinus.runs.assigned import Assigned
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.config import SkillsConfig
from orcinus.strategies.library import answer_cue, by_name, skill_texts
from orcinus.strategies.prompts import conversation, longest, requests_for
from orcinus.strategies.pseudo_labels import Key, key_of
from orcinus.strategies.skill_front import (
    MOST_TRIED,
    Candidate,
    best_of,
    candidates_paid_by,
    pair_to_merge,
    parent_of,
)
from orcinus.verifiers.measure import measure

SHOWN = 1200
"""Characters of a question or an answer that the teacher is shown: enough for a worked solution."""
LONGEST = 2000
"""Characters of an instruction. A longer one is an essay and not a procedure."""
FEWEST_FRESH = 10
"""Fresh examples that a group needs for another round. With fewer, even a good draft rarely
passes."""
_DRAFT = "draft"
"""Name of the strategy under which a draft is tested."""
_TAGGED = re.compile(r"<instruction>(.*?)</instruction>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An instruction and the result of its test: a row of ``skills.json``."""

    group: str
    round: int
    system: str
    """The instruction."""
    instead_of: str
    """Name of the strategy that it was compared with."""
    n: int
    """Fresh examples that were answered with and without it."""
    right_before: int
    """Examples that were right without it."""
    repairs: int
    """Examples that were wrong without it and right with it."""
    regressions: int
    """Examples that were right without it and wrong with it."""
    p_value: float
    accepted: bool


@dataclass(slots=True, kw_only=True)
class _Group:
    """A group on its way through the rounds."""

    assignment: Assignment
    old: Strategy
    cases: list[tuple[Example, Judged]]
    """The probe's answers under the old strategy."""
    fresh: list[Example]
    """Examples that no step has asked yet; each test takes the first ones away."""
    drafts: list[Draft] = field(default_factory=list)
    flips: list[tuple[Example, Judged, bool]] = field(default_factory=list)
    """Answers under the last draft that differ from the old strategy's; True marks a repair."""
    answers: list[Judged] = field(default_factory=list)
    """All answers under the last draft."""

    @property
    def is_done(self) -> bool:
        """True once a draft was accepted."""
        return bool(self.drafts) and self.drafts[-1].accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """A draft of one round that is about to be tested."""

    round: int
    group: _Group
    instruction: str
    examples: Sequence[Example]

    @property
    def strategies(self) -> tuple[Strategy, Strategy]:
        """The group's strategy, and the draft."""
        return self.group.old, Strategy(name=_DRAFT, system=f"{self.instruction} {answer_cue()}")


async def skills(
    config: SkillsConfig,
    strategies: tuple[Strategy, ...],
    sampling: SamplingConfig,
    context: StepContext,
) -> dict[str, Any]:
    """Write and test instructions; save ``skills.json``, and the assignments with those that help.

    Args:
        config: How.
        strategies: The recipe's strategies.
        sampling: How the student was asked in the probe, so that it is asked in the same way again.
        context: With the inputs ``sample``, ``probe`` and ``assign``.

    Returns:
        ``drafts`` and ``accepted``, their numbers; ``repairs`` and ``regressions`` of the accepted
        ones; and what ``assign`` returns.
    """
    assigned = Assigned.read(context.inputs["assign"])
    groups = _open_groups(config, strategies, assigned, context)
    if config.growth == "front":
        trials = await _grow(config, groups, sampling, context)
        await _test_drafts(config, trials, sampling, context)
    for number in range(1, config.rounds + 1) if config.growth == "revise" else ():
        left = [g for g in groups if not g.is_done and len(g.fresh) >= FEWEST_FRESH]
        trials = await _write_drafts(config, left, number, context)
        await _test_drafts(config, trials, sampling, context)
    drafts = [draft for group in groups for draft in group.drafts]
    (context.out / layout.SKILLS).write_bytes(orjson.dumps(drafts, option=orjson.OPT_INDENT_2))
    better = {group.assignment.group: _assignment(group) for group in groups if group.is_done}
    final = [better.get(name, assignment) for name, assignment in assigned.by_group.items()]
    with tables.TableWriter(context.out / layout.ASSIGNMENTS, tables.ASSIGNMENTS) as writer:
        for assignment in final:
            writer.write(tables.assignment_row(assignment))
    if assigned.groups:
        (context.out / layout.GROUPS).write_bytes(
            (context.inputs["assign"] / layout.GROUPS).read_bytes()
        )
    kept = [draft for draft in drafts if draft.accepted]
    used = [assignment.strategy or "none" for assignment in final]
    return {
        "drafts": len(drafts),
        "accepted": len(kept),
        "repairs": sum(draft.repairs for draft in kept),
        "regressions": sum(draft.regressions for draft in kept),
        "groups": len(final),
        "chosen": {name: used.count(name) for name in dict.fromkeys(used)},
        "unlearnable": sum(not assignment.learnable for assignment in final),
    }


def requests(
    config: SkillsConfig,
    strategies: tuple[Strategy, ...],
    sampling: SamplingConfig,
    context: StepContext,
) -> list[Asking]:
    """List the calls of the tests: an upper bound, as if every task went through all rounds.

    The arguments are those of ``skills``. The drafts, a few calls to the teacher, are not listed:
    their prompts show what the probe finds.
    """
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach"):
        if len(by_task[example.task]) < config.test * config.rounds:
            by_task[example.task].append(example)
    bound = longest(strategies)
    tested = (
        request
        for examples in by_task.values()
        for request in _test_requests(examples, (bound, bound), sampling, context.seed)
    )
    return [Asking(role="student", requests=tested, exact=False)]


def read_skills(folder: Path) -> tuple[Strategy, ...]:
    """Return the strategies that a ``skills`` step accepted; none for another step's folder."""
    path = folder / layout.SKILLS
    drafts = [Draft(**row) for row in orjson.loads(path.read_bytes())] if path.exists() else []
    return tuple(_strategy(draft) for draft in drafts if draft.accepted)


def _strategy(draft: Draft) -> Strategy:
    return Strategy(
        name=f"skill for {draft.group}",
        system=f"{draft.system} {answer_cue()}",
        source="written by the teacher from the student's right and wrong answers",
    )


def _open_groups(
    config: SkillsConfig, strategies: Sequence[Strategy], assigned: Assigned, context: StepContext
) -> list[_Group]:
    """Return the groups that could do better, with their probed answers and fresh examples."""
    known = by_name(strategies)
    examples: dict[Key, Example] = {}
    pool: list[Example] = []
    for split in ("probe", "teach"):
        found = list(tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, split))
        examples |= {(example.task, example.id): example for example in found}
        pool += draw(found, lambda example: ("skills", example.task, example.id))
    cases: dict[str, list[tuple[Example, Judged]]] = {}
    seen: set[Key] = set()
    for judged in tables.read_judged(context.inputs["probe"] / layout.ATTEMPTS):
        key = key_of(judged)
        seen.add(key)
        assignment = assigned.assignment_of(*key)
        if (
            assignment is not None
            and judged.attempt.strategy == assignment.strategy
            and judged.verdict.value is not None
        ):
            cases.setdefault(assignment.group, []).append((examples[key], judged))
    confirmed = context.inputs["assign"] / layout.CONFIRMATION
    if confirmed.exists():
        seen.update(map(key_of, tables.read_judged(confirmed)))
    fresh: dict[str, list[Example]] = {}
    for example in pool:
        assignment = assigned.assignment_of(example.task, example.id)
        is_fresh = (example.task, example.id) not in seen
        if assignment is not None and is_fresh and example.reference is not None:
            fresh.setdefault(assignment.group, []).append(example)
    return [
        _Group(assignment=a, old=known[a.strategy], cases=cases[group], fresh=fresh.get(group, []))
        for group, a in assigned.by_group.items()
        if a.strategy is not None
        and a.evidence
        and group in cases
        and (a.evidence[0].score.mean or 0.0) < config.below
        and any(judged.verdict.value != 1.0 for _, judged in cases[group])
    ]


async def _write_drafts(
    config: SkillsConfig, groups: Sequence[_Group], number: int, context: StepContext
) -> list[_Trial]:
    """Ask the teacher for an instruction for each group; skip a group for which it gives none."""
    prompts = [(group, _prompt(config, group)) for group in groups]
    written = await _write_instructions(config, prompts, number, "round", context)
    return [
        _trial_of(config, group, number, instruction)
        for group, instruction in zip(groups, written, strict=True)
        if instruction is not None
    ]


async def _write_instructions(
    config: SkillsConfig,
    prompts: Sequence[tuple[_Group, str]],
    number: int,
    turn: str,
    context: StepContext,
) -> list[str | None]:
    """Ask the teacher for an instruction for each prompt; None where it gives none."""
    replies = await measure(
        [_asks_for_skill(config, group, number, prompt, context) for group, prompt in prompts],
        context.completer("teacher"),
        context.out / layout.skills_written(number),
        context,
        step="skills",
        what=f"write skills, {turn} {number}",
        total=len(prompts),
    )
    return [instruction_in(reply.attempt.text) for reply in replies]


def _trial_of(config: SkillsConfig, group: _Group, number: int, instruction: str) -> _Trial:
    """Return the trial of an instruction, which uses up fresh examples of its group."""
    examples, group.fresh = group.fresh[: config.test], group.fresh[config.test :]
    return _Trial(round=number, group=group, instruction=instruction, examples=examples)


def instruction_in(text: str) -> str | None:
    """Return the instruction between its tags; None where there is none, or it is too long."""
    found = _TAGGED.findall(text)
    instruction = " ".join(found[-1].split()) if found else ""
    return instruction if 0 < len(instruction) <= LONGEST else None


def _prompt(config: SkillsConfig, group: _Group) -> str:
    """Write the teacher's prompt: for a first draft, or to revise the last one."""
    texts = skill_texts()
    if group.drafts:
        parts = [
            texts["revise"],
            f"Old instruction: {group.old.system}",
            f"Your instruction: {group.drafts[-1].system}",
        ]
        for repaired, title in ((True, "Now right"), (False, "Now wrong")):
            shown = [(e, j) for e, j, repair in group.flips if repair is repaired][: config.shown]
            parts += [_case(title, example, judged) for example, judged in shown]
        return "\n\n".join(parts)
    parts = [texts["draft"], f"Instruction: {group.old.system}"]
    for right, title in ((True, "Right"), (False, "Wrong")):
        shown = [(e, j) for e, j in group.cases if (j.verdict.value == 1.0) is right][
            : config.shown
        ]
        parts += [_case(title, example, judged) for example, judged in shown]
    return "\n\n".join(parts)


def _case(title: str, example: Example, judged: Judged) -> str:
    reference = (
        example.reference
        if isinstance(example.reference, str)
        else " ".join(example.reference or ())
    )
    return (
        f"--- {title}\n"
        f"Question: {example.prompt[:SHOWN]}\n"
        f"The model's answer: {judged.attempt.text[:SHOWN]}\n"
        f"Right answer: {reference[:SHOWN]}"
    )


async def _grow(
    config: SkillsConfig,
    groups: Sequence[_Group],
    sampling: SamplingConfig,
    context: StepContext,
) -> list[_Trial]:
    """Grow instructions for each group on its probed examples; return the best ones for a test.

    Candidates of all groups are written and tried together, a generation at a time.
    """
    grown = [_Growth(config, group) for group in groups if len(group.fresh) >= FEWEST_FRESH]
    for number in range(1, max((growth.affordable for growth in grown), default=0) + 1):
        growing = [growth for growth in grown if number <= growth.affordable]
        prompts = [(growth.group, growth.prompt(number)) for growth in growing]
        written = await _write_instructions(config, prompts, number, "generation", context)
        tried = [
            (growth, instruction)
            for growth, instruction in zip(growing, written, strict=True)
            if instruction is not None
        ]
        asked = [
            request
            for growth, instruction in tried
            for example, _ in growth.first.answers
            for request in requests_for(
                example,
                Strategy(name=_DRAFT, system=f"{instruction} {answer_cue()}"),
                sampling.model_copy(update={"samples": 1}),
                seed=context.seed,
            )
        ]
        answers = iter(
            await measure(
                asked,
                context.completer("student"),
                context.out / layout.skills_tried(number),
                context,
                step="skills",
                what=f"try skills, generation {number}",
                total=len(asked),
            )
        )
        for growth, instruction in tried:
            growth.add(instruction, answers)
    return [
        _trial_of(config, growth.group, 1, best.system)
        for growth in grown
        if (best := best_of(growth.candidates)) is not growth.first
    ]


class _Growth:
    """The candidates of one group; the first is its old strategy."""

    def __init__(self, config: SkillsConfig, group: _Group) -> None:
        self._config, self.group = config, group
        once = {(e.task, e.id): (e, judged) for e, judged in reversed(group.cases)}
        tried = tuple(once.values())[: min(MOST_TRIED, config.test)]
        self.first = Candidate(system=group.old.system, answers=tried)
        self.candidates = [self.first]
        self.affordable = candidates_paid_by(
            test=config.test, rounds=config.rounds, tried=len(tried)
        )

    def add(self, instruction: str, answers: Iterator[Judged]) -> None:
        """Take the candidate's answers from the front of ``answers``."""
        mine = tuple((example, next(answers)) for example, _ in self.first.answers)
        self.candidates.append(Candidate(system=instruction, answers=mine))

    def prompt(self, number: int) -> str:
        """Write the teacher's prompt for candidate ``number``: every third one is a merge."""
        texts, right = skill_texts(), [candidate.right for candidate in self.candidates]
        pair = pair_to_merge(right) if number % 3 == 0 else None
        if pair is not None:
            parts = [texts["merge"]]
            for mine, other in (pair, pair[::-1]):
                parts.append(f"Instruction: {self.candidates[mine].system}")
                parts += self._cases(mine, "Right only with this one", unlike=right[other])
            return "\n\n".join(parts)
        mine = parent_of(right, self.group.assignment.group, str(number))
        parts = [texts["change"], f"Instruction: {self.candidates[mine].system}"]
        return "\n\n".join([*parts, *self._cases(mine, "Right"), *self._cases(mine, "Wrong")])

    def _cases(self, number: int, title: str, unlike: Sequence[bool] = ()) -> Iterator[str]:
        """Yield cases of a candidate; wrong ones with the verifier's reason."""
        wrong, shown = title == "Wrong", 0
        for place, (example, judged) in enumerate(self.candidates[number].answers):
            is_right = judged.verdict.value == 1.0
            if is_right is wrong or (unlike and unlike[place]) or shown == self._config.shown:
                continue
            shown += 1
            why = f"\nWhy it counts as wrong: {judged.verdict.reason[:SHOWN]}" if wrong else ""
            yield _case(title, example, judged) + why


def _asks_for_skill(
    config: SkillsConfig, group: _Group, number: int, prompt: str, context: StepContext
) -> Request:
    """Return the request for an instruction."""
    texts = skill_texts()
    example = Example(
        id=f"{group.assignment.group}/{number}", task="skills", prompt=prompt, answer_type="free"
    )
    return Request(
        example=example,
        strategy="write a skill",
        messages=conversation(f"{texts['system']} {texts['form']}", example),
        sampling=config.sampling.sampling(0, context.seed),
    )


async def _test_drafts(
    config: SkillsConfig,
    trials: Sequence[_Trial],
    sampling: SamplingConfig,
    context: StepContext,
) -> None:
    """Ask the student each trial's examples with and without the draft, and record the results."""
    asked = [
        request
        for trial in trials
        for request in _test_requests(trial.examples, trial.strategies, sampling, context.seed)
    ]
    if not asked:
        return
    number = trials[0].round
    answered = await measure(
        asked,
        context.completer("student"),
        context.out / layout.skills_tested(number),
        context,
        step="skills",
        what=f"test skills, round {number}",
        total=len(asked),
    )
    by_example: dict[Key, list[Judged]] = defaultdict(list)
    for judged in answered:
        by_example[key_of(judged)].append(judged)
    for trial in trials:
        _record_test(config, trial, by_example)


def _test_requests(
    examples: Iterable[Example],
    pair: tuple[Strategy, Strategy],
    sampling: SamplingConfig,
    seed: int,
) -> Iterator[Request]:
    """Yield the requests that ask each example under both strategies of a ``pair``."""
    for example in examples:
        for strategy in pair:
            yield from requests_for(example, strategy, sampling, seed=seed)


def _record_test(
    config: SkillsConfig, trial: _Trial, answered: Mapping[Key, Sequence[Judged]]
) -> None:
    """Compare a draft with the group's strategy pair by pair, and append it to the group's drafts.

    An example counts as right when at least half of its samples are.
    """
    group = trial.group
    group.flips, group.answers = [], []
    n = right_before = repairs = regressions = 0
    for example in trial.examples:
        items = answered[example.task, example.id]
        if any(item.attempt.finish == "error" for item in items):
            continue
        new = [item for item in items if item.attempt.strategy == _DRAFT]
        old = [item for item in items if item.attempt.strategy != _DRAFT]
        after, before = _is_right(new), _is_right(old)
        n += 1
        right_before += before
        group.answers += new
        if after != before:
            repairs += after
            regressions += before
            group.flips.append((example, new[0], after))
    luck = stats.binomial_at_least(repairs, repairs + regressions)
    net = repairs - regressions
    accepted = net >= config.net and net >= config.relative * right_before and luck <= config.luck
    group.drafts.append(
        Draft(
            group=group.assignment.group,
            round=trial.round,
            system=trial.instruction,
            instead_of=group.old.name,
            n=n,
            right_before=right_before,
            repairs=repairs,
            regressions=regressions,
            p_value=luck,
            accepted=accepted,
        )
    )


def _is_right(items: Sequence[Judged]) -> bool:
    return sum(item.verdict.value or 0.0 for item in items) >= len(items) / 2


def _assignment(group: _Group) -> Assignment:
    """Assign the accepted instruction to its group.

    Its score is that of the test it was accepted on, which flatters it a little.
    """
    draft = group.drafts[-1]
    tokens = sum(item.attempt.usage.tokens_out for item in group.answers)
    evidence = Evidence(
        strategy=_strategy(draft).name,
        score=stats.score(group.answers),
        tokens_out=tokens / max(1, len(group.answers)),
    )
    return replace(
        group.assignment,
        strategy=_strategy(draft).name,
        evidence=(evidence, *group.assignment.evidence),
        runner_up=draft.instead_of,
        p_value=draft.p_value,
        reason=f"an instruction of its own: {draft.repairs} repairs and {draft.regressions} "
        f"regressions against {draft.instead_of} on {draft.n} fresh examples",
    )
