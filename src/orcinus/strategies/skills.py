"""Skills: instructions that a teacher writes for one kind of question, kept only where they help the student (SkillGen, arXiv:2605.10999).

    assignments ─► right and wrong answers of a group ──teacher──► instruction ──student, with and without, fresh examples──►
    repairs − regressions ≥ 3 and ≥ 5 %, and not by luck?  ── yes ─► the group's strategy      ── no ─► revised, tested on others

Orca 2 wrote 126 such procedures by hand. Here a draft has to beat the strategy that was measured to be the group's best, pair by
pair, on examples that had no part in writing it; every test uses examples of its own.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

from orcinus.core import stats
from orcinus.core.config import Config
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Assignment, Evidence, Example, Judged, Request, Strategy
from orcinus.runs import layout, tables
from orcinus.runs.assigned import Assigned
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.library import answer_cue, by_name, skill_texts
from orcinus.strategies.prompts import conversation, longest, requests_for
from orcinus.verifiers.measure import measure

VERSION = 1
SHOWN = 1200
"""Characters of a question or an answer that the teacher is shown."""
LONGEST = 2000
"""Characters of an instruction; a longer one is no procedure any more."""
_TAGGED = re.compile(r"<instruction>(.*?)</instruction>", re.DOTALL | re.IGNORECASE)


class SkillsConfig(Config):
    """How instructions are written and tested."""

    below: float = Field(default=0.9, gt=0, le=1)
    """Only groups whose strategy is right less often than this."""
    shown: int = Field(default=6, ge=1)
    """Right and wrong answers of each kind that the teacher is shown."""
    test: int = Field(default=60, ge=10)
    """Fresh examples of a group on which a draft is compared with the group's strategy."""
    rounds: int = Field(default=2, ge=1)
    """Drafts of a group at most: a refused one is revised, and tested on further examples."""
    net: int = Field(default=3, ge=1)
    """Repairs less regressions that a draft needs."""
    relative: float = Field(default=0.05, ge=0)
    """The same as a share of what the group's strategy gets right."""
    luck: float = Field(default=0.1, gt=0, le=1)
    """Chance of at least so uneven a split if the draft changed nothing (one-sided sign test), at most. Where 12 of 60
    answers differ, 19 % of the drafts that change nothing would pass without it, and 7 % do with it."""
    sampling: SamplingConfig = SamplingConfig(max_tokens=600)
    """How the teacher writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An instruction, and how it did."""

    group: str
    round: int
    system: str
    instead_of: str
    n: int
    """Fresh examples that were answered with and without it."""
    right_before: int
    repairs: int
    regressions: int
    p_value: float
    accepted: bool


@dataclass(slots=True, kw_only=True)
class _Group:
    """A group on its way through the rounds."""

    assignment: Assignment
    old: Strategy
    cases: list[tuple[Example, Judged]]
    """Answers under the old strategy in the probe."""
    fresh: list[Example]
    drafts: list[Draft] = field(default_factory=list)
    flips: list[tuple[Example, Judged, bool]] = field(default_factory=list)
    """Answers under the last draft where it differs from the old strategy, and whether it is a repair."""
    score: list[Judged] = field(default_factory=list)


async def skills(
    config: SkillsConfig,
    strategies: tuple[Strategy, ...],
    sampling: SamplingConfig,
    context: StepContext,
) -> dict[str, Any]:
    """Have instructions written and tested; write ``assignments.parquet`` anew with those that help, and ``skills.json``.

    Args:
        config: How.
        strategies: The recipe's.
        sampling: How the student was asked in the probe, to ask it alike.
        context: With inputs ``sample``, ``probe`` and ``assign``.

    Returns:
        ``drafts`` and ``accepted``: how many; ``repairs`` and ``regressions`` of those accepted; and what ``assign`` says.
    """
    assigned = Assigned.read(context.inputs["assign"])
    groups = _groups(config, strategies, assigned, context)
    for number in range(1, config.rounds + 1):
        open_groups = [
            g for g in groups if not (g.drafts and g.drafts[-1].accepted) and len(g.fresh) >= 10
        ]
        systems = await _write(config, open_groups, number, context)
        await _test(config, open_groups, systems, number, sampling, context)
    drafts = [draft for group in groups for draft in group.drafts]
    (context.out / layout.SKILLS).write_bytes(orjson.dumps(drafts, option=orjson.OPT_INDENT_2))
    better = {
        group.assignment.group: _assignment(group)
        for group in groups
        if group.drafts and group.drafts[-1].accepted
    }
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
    """List the calls of the tests: at most, as if every task went through all rounds.

    The arguments are those of ``skills``. The drafts, a few calls to the teacher, are not listed: their
    prompts show what the probe finds.
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
    """The strategies that a finished ``skills`` step accepted; none where the folder is another step's."""
    path = folder / layout.SKILLS
    drafts = [Draft(**row) for row in orjson.loads(path.read_bytes())] if path.exists() else []
    return tuple(_strategy(draft) for draft in drafts if draft.accepted)


def _strategy(draft: Draft) -> Strategy:
    return Strategy(
        name=f"skill for {draft.group}",
        system=f"{draft.system} {answer_cue()}",
        source="written by the teacher from the student's right and wrong answers",
    )


def _groups(
    config: SkillsConfig, strategies: Sequence[Strategy], assigned: Assigned, context: StepContext
) -> list[_Group]:
    """The groups that could do better, with what the probe showed and examples nobody has asked about yet."""
    known = by_name(strategies)
    examples: dict[tuple[str, str], Example] = {}
    pool: list[Example] = []
    for split in ("probe", "teach"):
        found = list(tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, split))
        examples |= {(example.task, example.id): example for example in found}
        pool += sorted(found, key=lambda e: (stable_fraction("skills", e.task, e.id), e.id))
    cases: dict[str, list[tuple[Example, Judged]]] = {}
    seen: set[tuple[str, str]] = set()
    confirmed = context.inputs["assign"] / layout.CONFIRMATION
    for judged in tables.read_judged(context.inputs["probe"] / layout.ATTEMPTS):
        key = judged.attempt.task, judged.attempt.example_id
        seen.add(key)
        assignment = assigned.assignment_of(*key)
        if (
            assignment is not None
            and judged.attempt.strategy == assignment.strategy
            and judged.verdict.value is not None
        ):
            cases.setdefault(assignment.group, []).append((examples[key], judged))
    for judged in tables.read_judged(confirmed) if confirmed.exists() else ():
        seen.add((judged.attempt.task, judged.attempt.example_id))
    fresh: dict[str, list[Example]] = {}
    for example in pool:
        assignment = assigned.assignment_of(example.task, example.id)
        if (
            assignment is not None
            and (example.task, example.id) not in seen
            and example.reference is not None
        ):
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


async def _write(
    config: SkillsConfig, groups: Sequence[_Group], number: int, context: StepContext
) -> list[str | None]:
    """The instruction of each group in this round; None where the teacher gave none."""
    texts = skill_texts()
    requests = []
    for group in groups:
        example = Example(
            id=f"{group.assignment.group}/{number}",
            task="skills",
            prompt=_prompt(config, group),
            answer_type="free",
        )
        system = f"{texts['system']} {texts['form']}"
        requests.append(
            Request(
                example=example,
                strategy="write a skill",
                messages=conversation(system, example),
                sampling=config.sampling.sampling(0, context.seed),
            )
        )
    written = await measure(
        requests,
        context.completer("teacher"),
        context.out / layout.skills_written(number),
        context,
        step="skills",
        what=f"write skills, round {number}",
        total=len(requests),
    )
    return [instruction_in(judged.attempt.text) for judged in written]


def instruction_in(text: str) -> str | None:
    """The instruction between its tags; None where there is none, or one too long to be followed."""
    found = _TAGGED.findall(text)
    instruction = " ".join(found[-1].split()) if found else ""
    return instruction if 0 < len(instruction) <= LONGEST else None


def _prompt(config: SkillsConfig, group: _Group) -> str:
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
        f"--- {title}\nQuestion: {example.prompt[:SHOWN]}\nThe model's answer: {judged.attempt.text[:SHOWN]}\n"
        f"Right answer: {reference[:SHOWN]}"
    )


async def _test(
    config: SkillsConfig,
    groups: Sequence[_Group],
    systems: Sequence[str | None],
    number: int,
    sampling: SamplingConfig,
    context: StepContext,
) -> None:
    """Ask the student the next fresh examples of each group with and without its draft, and note what came of it."""
    tried: list[tuple[_Group, Strategy, list[Example]]] = []
    for group, system in zip(groups, systems, strict=True):
        if system is not None:
            examples, group.fresh = group.fresh[: config.test], group.fresh[config.test :]
            tried.append(
                (group, Strategy(name="draft", system=f"{system} {answer_cue()}"), examples)
            )

    asked = (
        request
        for group, draft, examples in tried
        for request in _test_requests(examples, (group.old, draft), sampling, context.seed)
    )
    total = 2 * sampling.samples * sum(len(examples) for _, _, examples in tried)
    if not total:
        return
    answered = await measure(
        asked,
        context.completer("student"),
        context.out / layout.skills_tested(number),
        context,
        step="skills",
        what=f"test skills, round {number}",
        total=total,
    )
    by_example: dict[tuple[str, str], list[Judged]] = {}
    for judged in answered:
        by_example.setdefault((judged.attempt.task, judged.attempt.example_id), []).append(judged)
    for group, draft, examples in tried:
        _note(
            config,
            group,
            draft.system.removesuffix(answer_cue()).strip(),
            number,
            examples,
            by_example,
        )


def _test_requests(
    examples: Iterable[Example],
    pair: tuple[Strategy, Strategy],
    sampling: SamplingConfig,
    seed: int,
) -> Iterator[Request]:
    """Yield the requests that put each example under both strategies of a ``pair``."""
    for example in examples:
        for strategy in pair:
            yield from requests_for(example, strategy, sampling, seed=seed)


def _note(
    config: SkillsConfig,
    group: _Group,
    system: str,
    number: int,
    examples: Iterable[Example],
    answered: Mapping[tuple[str, str], Sequence[Judged]],
) -> None:
    """Compare pair by pair; an example counts as right from one half of its samples on."""
    group.flips, group.score = [], []
    n = right_before = repairs = regressions = 0
    for example in examples:
        items = answered[example.task, example.id]
        if any(item.attempt.finish == "error" for item in items):
            continue
        new = [item for item in items if item.attempt.strategy == "draft"]
        old = [item for item in items if item.attempt.strategy != "draft"]
        after, before = _right(new), _right(old)
        n += 1
        right_before += before
        group.score += new
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
            round=number,
            system=system,
            instead_of=group.old.name,
            n=n,
            right_before=right_before,
            repairs=repairs,
            regressions=regressions,
            p_value=luck,
            accepted=accepted,
        )
    )


def _right(items: Sequence[Judged]) -> bool:
    return sum(item.verdict.value or 0.0 for item in items) >= len(items) / 2


def _assignment(group: _Group) -> Assignment:
    """The group's assignment with its skill: measured on the examples that it was accepted on, which flatters it a little."""
    draft = group.drafts[-1]
    tokens = sum(item.attempt.usage.tokens_out for item in group.score) / max(1, len(group.score))
    evidence = Evidence(
        strategy=_strategy(draft).name, score=stats.score(group.score), tokens_out=tokens
    )
    return replace(
        group.assignment,
        strategy=_strategy(draft).name,
        evidence=(evidence, *group.assignment.evidence),
        runner_up=draft.instead_of,
        p_value=draft.p_value,
        reason=f"an instruction of its own: {draft.repairs} repairs and {draft.regressions} regressions against "
        f"{draft.instead_of} on {draft.n} fresh examples",
    )
