"""Patch what a student lacks: one round of lessons about the parts of the chains that it fails.

    run ─diagnose─► faults of half of the chains ─► new questions about those parts, and as many
    taught before ─► a stage ─► before and after, also on the half that nobody looked at (ProDa)

The recipe teaches parts of documents (``levels: [concept, relation]`` under ``tasks:``) and tests
chains (``levels: [chain]`` under ``evaluation:``). The paper starts again from the base student;
here the trained student goes on, so that the two are compared on the same chains.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orcinus.core import stats
from orcinus.core.draw import draw
from orcinus.core.errors import ConfigError
from orcinus.core.files import write_atomically
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Example, Judged, Score
from orcinus.evaluation.diagnosis.faults import Fault, part_of
from orcinus.evaluation.diagnosis.run import open_run, read_taught_examples
from orcinus.pipeline.diagnose import diagnose_run
from orcinus.pipeline.recipe import Recipe, reason_for_a_judge
from orcinus.pipeline.run import run_recipe
from orcinus.pipeline.self_improvement import trained_student
from orcinus.runs import layout, tables
from orcinus.runs.context import Progress, Runtime
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.strategies.config import AssignConfig
from orcinus.tasks.authored.config import AuthoredConfig
from orcinus.tasks.config import RecordsConfig
from orcinus.training.config import StageConfig

PER_PART = 4
"""New questions about each part, as in the paper."""
LESSONS = 1_000
"""Lessons that the student is asked again, at most, to see which parts it knows."""
LOOKED_AT = 0.5
"""Share of the chains whose faults are patched. The others measure the patch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A set of chains before and after the patch."""

    chains: str
    """``not looked at``, or ``patched``: those whose faults were patched."""
    before: Score
    after: Score
    compared: stats.Compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """The result of a patch."""

    run: str
    """Name of the patched run."""
    gaps: int
    """Chains that were failed because a part is not known."""
    breaks: int
    """Chains that were failed although the parts are known."""
    parts: tuple[str, ...]
    """What was taught again."""
    lessons: int
    """New lessons about it."""
    replayed: int
    """Lessons of before about other parts."""
    measured: tuple[Measured, ...]


async def patch(
    recipe: Recipe, recipe_path: Path, runtime: Runtime, progress: Progress
) -> Patch | None:
    """Run a recipe, diagnose its student, and teach it what it lacks.

    Args:
        recipe: The recipe.
        recipe_path: Its file; the recipe's relative paths start in its folder.
        runtime: Where and how fast.
        progress: Receives how far it is.

    Returns:
        None if the student fails none of the chains that are looked at. Else the result is also
        written to ``NAME-patched.json`` and ``.md`` in the workspace.

    Raises:
        ConfigError: The recipe does not teach parts of the documents that its evaluation is about.
        OrcinusError: A step cannot be done. What is done is kept; the same call resumes.
    """
    corpora = find_corpora(recipe)
    base = recipe_path.resolve().parent
    run_dir = await run_recipe(recipe, recipe_path, runtime, progress, until="evaluate")
    found = await diagnose_run(recipe_path, run_dir, runtime, progress, lessons=LESSONS)
    faults = [f for f in found.faults if f.task in corpora and is_looked_at(f.task, f.example)]
    if not faults:
        return None
    progress.note(f"patch: {len(faults):,} chains failed; the patch is a run of its own")
    made = _patched(recipe, faults, corpora, run_dir, runtime.workspace)
    patched = await run_recipe(made, None, runtime, progress, base=base, until="evaluate")
    result = _read(patched, faults, corpora)
    stem = runtime.workspace / f"{recipe.name}-patched"
    write_atomically(stem.with_suffix(".json"), orjson.dumps(result, option=orjson.OPT_INDENT_2))
    write_atomically(stem.with_suffix(".md"), markdown(result).encode())
    return result


def is_looked_at(task: str, example: str) -> bool:
    """Return True if the faults of this chain are patched, where it is failed."""
    return stable_fraction("patch", task, example) < LOOKED_AT


def find_corpora(recipe: Recipe) -> dict[str, str]:
    """Return the documents of each task under ``evaluation:`` that asks about chains.

    Raises:
        ConfigError: There is none, or no task teaches parts of its documents.
    """
    found = {
        task.name: str(task.authored.corpus)
        for task in recipe.evaluation
        if isinstance(task, AuthoredConfig) and "chain" in task.authored.levels
    }
    taught = {task.authored.corpus for task in _taught_parts(recipe)}
    lacking = next((corpus for corpus in found.values() if corpus not in taught), None)
    if found and lacking is None:
        return found
    which = "documents" if lacking is None else lacking
    raise ConfigError(
        f"{recipe.name}: --patch needs lessons about parts of {which} and a test of chains: an "
        "authored task with corpus: and levels: [concept, relation] under tasks:, and one with "
        "the same corpus: and levels: [chain] under evaluation:"
    )


def _taught_parts(recipe: Recipe) -> list[AuthoredConfig]:
    authored = (task for task in recipe.tasks if isinstance(task, AuthoredConfig))
    return [task for task in authored if task.authored.levels]


def _patched(
    recipe: Recipe,
    faults: Sequence[Fault],
    corpora: Mapping[str, str],
    run_dir: Path,
    workspace: Path,
) -> Recipe:
    """Return the recipe of the patch, whose student is the trained one."""
    new = list(new_tasks(recipe, faults, corpora))
    parts = {part.casefold() for task in new for part in task.authored.only}
    wanted = sum(task.authored.count for task in new)
    replay, strategy = _read_lessons(run_dir, parts, wanted)
    last = recipe.train.stages[-1]
    kept = {"epochs", "learning_rate", "schedule", "warmup"}
    stage = StageConfig(name="patch", **last.model_dump(include=kept))
    named = {item if isinstance(item, str) else item.name for item in recipe.strategies}
    made = recipe.model_copy(
        update={
            "name": f"{recipe.name}-patch",
            "tasks": (*new, *write_replay(workspace / f"{recipe.name}-replay", replay)),
            "student": trained_student(run_dir, recipe.student),
            "sample": recipe.sample.model_copy(update={"probe": 0.0, "held_out": 0.0}),
            # What was chosen for the parts is taught again; nothing is left to be probed.
            "assign": AssignConfig(fixed=strategy if strategy in named else sorted(named)[0]),
            "skills": None,
            "select": None,
            "assistant": None,
            "train": recipe.train.model_copy(update={"stages": (stage,)}),
            "evaluate": recipe.evaluate.model_copy(update={"arms": ("before", "after")}),
            "arms": {},
        }
    )
    asked = {name for task in made.authored_tasks for name in task.authored.models}
    models = {name: model for name, model in recipe.models.items() if name in asked}
    judge = recipe.judge if reason_for_a_judge(made) else None
    return Recipe.model_validate({**dict(made), "models": models, "judge": judge})


def new_tasks(
    recipe: Recipe, faults: Sequence[Fault], corpora: Mapping[str, str]
) -> Iterator[AuthoredConfig]:
    """Yield for each set of documents a task about the parts of it that the student lacks."""
    by_corpus: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for fault in faults:
        by_corpus[corpora[fault.task]] |= dict.fromkeys(fault.parts)
    for task in _taught_parts(recipe):
        if parts := tuple(by_corpus.pop(str(task.authored.corpus), ())):
            changed = {
                "levels": ("concept", "relation"),
                "only": parts,
                "count": PER_PART * len(parts),
                "seed": task.authored.seed + 1,
            }
            authored = task.authored.model_copy(update=changed)
            yield task.model_copy(update={"name": f"{task.name}-patch", "authored": authored})


def _read_lessons(run_dir: Path, parts: set[str], wanted: int) -> tuple[list[Example], str]:
    """Return taught questions about none of the parts, and the strategy of most lessons."""
    run = open_run(run_dir)
    rows = list(tables.read_rows(run.erased / layout.LESSONS, ["task", "example_id", "strategy"]))
    taught = read_taught_examples(run, {(row["task"], row["example_id"]) for row in rows})
    others = (example for example in taught.values() if can_be_replayed(example, parts))
    strategies: Counter[str] = Counter()
    for row in rows:
        example = taught.get((row["task"], row["example_id"]))  # None for a lecture
        if example is not None and part_of(example):
            strategies[row["strategy"]] += 1
    [(strategy, _)] = strategies.most_common(1)
    return draw(others, lambda example: ("replay", example.task, example.id), wanted), strategy


def can_be_replayed(example: Example, parts: set[str]) -> bool:
    """Return True for a question with an answer, without turns before it, about other parts."""
    plain = example.reference is not None and not example.history
    return plain and not _named(example) & parts


def _named(example: Example) -> set[str]:
    """Return the part that a question is about, and the relations that it names."""
    named = {str(name).casefold() for name in example.meta.get("relations", ())}
    part = part_of(example)
    return named if part is None else {part, *named}


def write_replay(stem: Path, examples: Iterable[Example]) -> Iterator[RecordsConfig]:
    """Write questions that were taught before, by answer type, and yield their tasks."""
    by_type: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for e in examples:
        row = {"id": f"{e.task}-{e.id}", "question": e.prompt, "answer": e.reference}
        by_type[e.answer_type].append(row | ({"choices": e.choices} if e.choices else {}))
    for answer_type, rows in by_type.items():
        path = stem.with_name(f"{stem.name}-{answer_type}.jsonl").resolve()
        write_atomically(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))
        yield RecordsConfig.model_validate(
            {"path": str(path), "name": f"replay-{answer_type}", "answer_type": answer_type}
        )


def _read(run_dir: Path, faults: Sequence[Fault], corpora: Mapping[str, str]) -> Patch:
    evaluated = finished_steps(run_dir, "evaluate")[0]
    asked = {
        arm: {
            (judged.attempt.task, judged.attempt.example_id): judged
            for judged in tables.read_judged(evaluated / layout.attempts(arm))
            if judged.attempt.task in corpora and judged.attempt.sample == 0
        }
        for arm in ("before", "after")
    }
    kept = summary_of(finished_steps(run_dir, "curate")[0])["summary"]["tasks"]
    replayed = sum(count for task, count in kept.items() if task.startswith("replay-"))
    return Patch(
        run=run_dir.name,
        gaps=sum(fault.kind == "concept gap" for fault in faults),
        breaks=sum(fault.kind == "reasoning break" for fault in faults),
        parts=tuple(dict.fromkeys(part for fault in faults for part in fault.parts)),
        lessons=sum(kept.values()) - replayed,
        replayed=replayed,
        measured=tuple(_measure(asked)),
    )


def _measure(asked: Mapping[str, Mapping[tuple[str, str], Judged]]) -> Iterator[Measured]:
    shared = sorted(asked["before"].keys() & asked["after"].keys())
    for name, looked_at in (("not looked at", False), ("patched", True)):
        keys = [key for key in shared if is_looked_at(*key) == looked_at]
        if not keys:
            continue
        before, after = ([asked[arm][key] for key in keys] for arm in ("before", "after"))
        yield Measured(
            chains=name,
            before=stats.score(before),
            after=stats.score(after),
            compared=stats.compare(
                [judged.verdict.value or 0.0 for judged in after],
                [judged.verdict.value or 0.0 for judged in before],
                seed=0,
            ),
        )


def markdown(found: Patch) -> str:
    """Return the patch as a Markdown page."""
    from orcinus.core.printing import markdown_text
    from orcinus.reports.words import chance, percent, points

    parts = markdown_text("; ".join(found.parts))
    lines = [
        f"{found.gaps:,} chains were failed for a concept gap and {found.breaks:,} for a reasoning "
        f"break. {found.lessons:,} new lessons about {len(found.parts):,} parts were learned, and "
        f"{found.replayed:,} of before again.",
        "",
        "| chains | before | after | difference | 95 % interval | n | p |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.chains} | {percent(row.before.mean)} | {percent(row.after.mean)} "
        f"| {points(row.compared.difference)} "
        f"| {points(row.compared.low)} … {points(row.compared.high)} | {row.compared.n:,} "
        f"| {chance(row.compared.p_value)} |"
        for row in found.measured
    ]
    warning = "The patched chains chose the lessons, so only the others measure what was gained."
    return "\n".join([*lines, "", warning, "", f"Parts: {parts}", ""])
