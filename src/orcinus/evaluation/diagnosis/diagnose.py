"""Diagnosis of a finished run: which lessons the student still fails, why, and what to do next.

    a sample of its lessons ──asked again, erased──► before, each stage ──verdict, loss──► causes.py ──► at most three pieces of advice

The lessons are drawn by a hash, so that a larger sample holds the smaller one; what is asked goes through the ledger and is asked once.
The held-out answers are those of the evaluation. The training step itself is not touched.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.files import write_atomically
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Example, Judged, Lesson
from orcinus.evaluation.diagnosis import causes
from orcinus.evaluation.diagnosis.advice import NEARLY_THE_SAME, Training, advise, stage_names
from orcinus.evaluation.diagnosis.causes import Claim, Surroundings, Taught
from orcinus.evaluation.diagnosis.tables import (
    Diagnosis,
    Key,
    Pair,
    cause_counts,
    errors_of,
    in_words,
    slices_of,
)
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.open import open_completer
from orcinus.models.roles import Models, student_config
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.reports.diagnosis import markdown
from orcinus.runs import layout, tables
from orcinus.runs.assigned import Assigned
from orcinus.runs.budget import Budget
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.folders import finished_steps, locked, summary_of
from orcinus.runs.ledger import Ledger
from orcinus.strategies.prompts import erased_strategy, requests_for
from orcinus.tasks.duplicates.near import originals_of
from orcinus.training.config import TrainConfig
from orcinus.verifiers.measure import measure

DEFAULT_LESSONS = 200
FOLDER = "diagnosis"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The folders and settings of the run's latest evaluation."""

    folder: Path
    recipe: Recipe
    base: Path | None
    """The recipe's own folder; None where only the run is known."""
    command: str
    """That goes on with the recipe."""
    evaluated: Path
    inputs: Mapping[str, Path]
    settings: Mapping[str, Any]
    """Of the evaluation."""
    train: TrainConfig
    erased: Path
    kept: tuple[Path, ...]
    """Tables of the traces that the lessons were made of."""

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])


async def diagnose(
    source: Path,
    run_dir: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    lessons: int = DEFAULT_LESSONS,
) -> Diagnosis:
    """Ask the students of a run their own lessons again, and say what went wrong.

    Args:
        source: The recipe's file, or the run's folder, from which an untrained student in a relative path may not be found.
        run_dir: The run's folder.
        runtime: Where and how fast.
        progress: Is told how far it is.
        lessons: How many are asked, at most.

    Raises:
        ConfigError: The run has not been evaluated yet.
        OrcinusError: As ``run_recipe``; what was asked is kept.
    """
    if any(find_spec(package) is None for package in ("torch", "transformers")):
        raise MissingExtraError("diagnosing a student", "train")
    run = _open_run(source, run_dir)
    with locked(run_dir), Ledger(runtime.ledger_path) as ledger:
        found = await _diagnose(run, runtime, progress, ledger, lessons)
    content = orjson.dumps(found, option=orjson.OPT_INDENT_2)
    write_atomically(run_dir / layout.DIAGNOSIS, content)
    write_atomically(run_dir / layout.DIAGNOSIS_PAGE, markdown(found).encode())
    return found


def _open_run(source: Path, run_dir: Path) -> _Run:
    evaluated = finished_steps(run_dir, "evaluate")[0]
    record = summary_of(evaluated)
    inputs = {role: run_dir / name for role, name in record["inputs"].items()}
    trained = summary_of(inputs["train"])
    settings = {
        key: value for key, value in trained["config"].items() if key in TrainConfig.model_fields
    }
    train = TrainConfig.model_validate(settings)
    for choice in trained["summary"].get("mix", ()):
        train = train.with_share(choice["number"] - 1, choice["share"])
    erased = run_dir / trained["inputs"]["erase"]
    read = summary_of(erased)["inputs"]
    is_recipe = source.is_file()
    return _Run(
        folder=run_dir,
        recipe=load_recipe(source if is_recipe else run_dir / layout.RECIPE),
        base=source.resolve().parent if is_recipe else None,
        command=f"orcinus run {source if is_recipe else 'RECIPE'}",
        evaluated=evaluated,
        inputs=inputs,
        settings=record["config"],
        train=train,
        erased=erased,
        kept=tuple(
            run_dir / read[role] / layout.KEPT
            for role in ("curate_assistant", "curate")
            if role in read
        ),
    )


async def _diagnose(
    run: _Run, runtime: Runtime, progress: Progress, ledger: Ledger, wanted: int
) -> Diagnosis:
    progress.start("read lessons", None)
    sample, total = _drawn(run, wanted)
    examples = _examples(run, {(lesson.task, lesson.example_id) for lesson in sample})
    pairs = [(lesson, examples[lesson.task, lesson.example_id]) for lesson in sample]
    students, notes = _students(run)
    attempts = await _asked(
        run, runtime, progress, ledger, [example for _, example in pairs], students
    )
    held_out = _held_out(run)
    taught = _evidence(run, pairs, attempts)
    taught = await asyncio.to_thread(_with_losses, run, taught, students, runtime.device, progress)
    taught = _with_rivals(run, taught)
    taught = _with_levels(taught, held_out.get("after", []))
    around = _surroundings(run, taught, held_out)
    failures = [
        causes.explain(item, around) for item in taught if causes.fails(item.example, item.last)
    ]
    by_arm = {
        arm: [(e, a) for (_, e), a in zip(pairs, judged, strict=True)]
        for arm, judged in attempts.items()
    }
    last = list(students)[-1]
    shown = {"before": by_arm.get("before", []), "after": by_arm[last]}
    ways = {(item.lesson.task, item.lesson.example_id): item.lesson.strategy for item in taught}
    assigned = Assigned.read(run.inputs["assign"])
    held_out_ways = {
        (e.task, e.id): assigned.strategy_of(e.task, e.id) or "none"
        for e, _ in held_out.get("after", [])
    }
    notes += in_words(shown, held_out)
    return Diagnosis(
        run=run.folder.name,
        lessons=total,
        asked=len(sample),
        failed=len(failures),
        notes=tuple(notes),
        errors=(*errors_of("lessons", by_arm), *errors_of("held out", held_out)),
        slices=(
            *slices_of("lessons", shown, ways),
            *slices_of("held out", held_out, held_out_ways),
        ),
        causes=cause_counts(failures),
        advice=tuple(advise(_training(run), failures, taught, around)),
        failures=tuple(failures),
    )


def _drawn(run: _Run, wanted: int) -> tuple[list[Lesson], int]:
    """The lessons with the smallest hashes, one of each question, and how many there are; few-shot ones are left out."""
    ranks: dict[Key, tuple[float, str]] = {}
    total = 0
    for row in tables.read_rows(run.erased / layout.LESSONS, ["id", "task", "example_id", "meta"]):
        total += 1
        if orjson.loads(row["meta"]).get("shots"):
            continue
        key = (row["task"], row["example_id"])
        rank = (stable_fraction("diagnose", *key), row["id"])
        ranks[key] = min(rank, ranks.get(key, rank))
    chosen = {identity for _, identity in sorted(ranks.values())[:wanted]}
    lessons = [
        lesson for lesson in tables.read_lessons(run.erased / layout.LESSONS) if lesson.id in chosen
    ]
    return list({lesson.id: lesson for lesson in lessons}.values()), total


def _examples(run: _Run, keys: set[Key]) -> dict[Key, Example]:
    path = run.inputs["sample"] / layout.EXAMPLES
    return {
        (e.task, e.id): e for e in tables.read_examples(path, "teach") if (e.task, e.id) in keys
    }


def _students(run: _Run) -> tuple[dict[str, LocalConfig], list[str]]:
    """The students by arm, in the order of training, and a note where the untrained one is not found."""
    folder, notes = run.inputs["train"], []
    trained = student_config(run.recipe.roles(Path()), folder)
    stages = {
        name: trained.model_copy(update={"path": str((folder / layout.stage(number)).resolve())})
        for number, name in enumerate(stage_names(run.train), 1)
    }
    before = _untrained(run)
    if before is None:
        notes.append(
            "The untrained student was not found and not asked, so that nothing is known of forgetting what came before training; "
            "give the recipe's file in place of the run."
        )
    return ({"before": before} if before else {}) | stages, notes


def _untrained(run: _Run) -> LocalConfig | None:
    """The student before training, if it is where the recipe says and still the same."""
    if "student" in run.inputs:
        return student_config(run.recipe.roles(Path()), run.inputs["student"])
    identity = summary_of(run.inputs["train"])["config"]["model"]["model"]
    for base in (run.base,) if run.base is not None else (Path(), run.folder):
        try:
            config = student_config(run.recipe.roles(base), None)
            if local_identity(config, base) == identity:
                return config
        except ConfigError:
            continue
    return None


async def _asked(
    run: _Run,
    runtime: Runtime,
    progress: Progress,
    ledger: Ledger,
    examples: Sequence[Example],
    students: Mapping[str, LocalConfig],
) -> dict[str, list[Judged]]:
    """Every student's attempts at the examples under the erased message, once each."""
    sampling = SamplingConfig.model_validate({**run.settings["sampling"], "samples": 1})
    erased = erased_strategy(run.settings["generic"])
    models = Models(run.recipe.roles(run.base or Path()), runtime)
    recipe = run.recipe
    context = StepContext(
        out=run.folder / FOLDER,
        inputs=run.inputs,
        run=run.folder.name,
        seed=run.seed,
        ledger=ledger,
        runtime=runtime,
        progress=progress,
        completer=models.open,
        budget=Budget(
            usd=recipe.budget.usd, tokens=recipe.budget.tokens, ledger=ledger, run=run.folder.name
        ),
        judging=recipe.judging if recipe.judge is not None else None,
    )
    found = {}
    try:
        for number, (arm, config) in enumerate(students.items()):
            completer = open_completer(
                config, base=Path(), device=runtime.device, secrets=runtime.secrets
            )
            try:
                found[arm] = await measure(
                    (
                        r
                        for example in examples
                        for r in requests_for(example, erased, sampling, seed=run.seed)
                    ),
                    completer,
                    context.out / layout.attempts(number),
                    context,
                    step="diagnose",
                    what=f"diagnose {arm}",
                    total=len(examples),
                )
            finally:
                await completer.aclose()
    finally:
        await models.aclose()
    return found


def _held_out(run: _Run) -> dict[str, list[Pair]]:
    """The evaluation's attempts before and after, one of each question."""
    path = run.inputs["sample"] / layout.EXAMPLES
    known = {(e.task, e.id): e for e in tables.read_examples(path, "held_out")}
    return {
        arm: [
            (known[j.attempt.task, j.attempt.example_id], j)
            for j in tables.read_judged(table)
            if j.attempt.sample == 0
        ]
        for arm in ("before", "after")
        if (table := run.evaluated / layout.attempts(arm)).exists()
    }


def _evidence(
    run: _Run, pairs: Sequence[tuple[Lesson, Example]], attempts: Mapping[str, Sequence[Judged]]
) -> list[Taught]:
    assigned = Assigned.read(run.inputs["assign"])
    wanted = {lesson.attempt_id for lesson, _ in pairs}
    traces = {row["id"]: row for row in _kept(run) if row["id"] in wanted}
    return [
        Taught(
            lesson=lesson,
            example=example,
            value=lesson.meta.get("value"),
            answer=traces[lesson.attempt_id]["answer"],
            way=_way(traces[lesson.attempt_id]),
            group=assigned.groups.get((lesson.task, lesson.example_id), lesson.task),
            level=0,
            attempts={arm: judged[i] for arm, judged in attempts.items()},
            taken=any(stage.takes(lesson) for stage in run.train.stages),
        )
        for i, (lesson, example) in enumerate(pairs)
    ]


def _kept(run: _Run) -> Iterator[dict[str, Any]]:
    """Of every trace that became a lesson what the rules need."""
    columns = ["id", "task", "example_id", "strategy", "answer", "reason", "verifier"]
    for path in run.kept:
        yield from tables.read_rows(path, columns)


def _way(trace: Mapping[str, Any]) -> tuple[str, str]:
    return trace["strategy"], "a judge finds it" if trace["verifier"].startswith(
        "judge@"
    ) else trace["reason"]


def _with_losses(
    run: _Run,
    taught: Sequence[Taught],
    students: Mapping[str, LocalConfig],
    device: str,
    progress: Progress,
) -> list[Taught]:
    """The lessons with their losses before and after training."""
    from orcinus.training.lesson_loss import lesson_losses

    progress.start("losses", None)
    lessons, context = [item.lesson for item in taught], run.train.context_length
    after = lesson_losses(list(students.values())[-1], lessons, context=context, device=device)
    before = (
        lesson_losses(students["before"], lessons, context=context, device=device)
        if "before" in students
        else None
    )
    drops = run.train.too_long == "drop"
    return [
        replace(
            item,
            tokens=after[i].tokens,
            response_tokens=after[i].response_tokens,
            fits=after[i].tokens <= context or not drops,
            loss_after=after[i].loss,
            loss_before=before[i].loss if before is not None else None,
        )
        for i, item in enumerate(taught)
    ]


def _with_rivals(run: _Run, taught: Sequence[Taught]) -> list[Taught]:
    """The lessons with those, among all of the run, that teach another answer to the same question."""
    rows = list(_grouped(run.erased / layout.LESSONS, {item.lesson.id for item in taught}))
    examples = _examples(run, {(row["task"], row["example_id"]) for _, row in rows})
    wanted = {row["attempt_id"] for _, row in rows}
    answers = {trace["id"]: trace["answer"] for trace in _kept(run) if trace["id"] in wanted}
    groups: dict[int, list[Claim]] = {}
    for group, row in rows:
        claim = Claim(
            lesson=row["id"],
            question=row["messages"][-1]["content"],
            answer=answers.get(row["attempt_id"]),
            value=orjson.loads(row["meta"]).get("value"),
            reference=examples[row["task"], row["example_id"]].reference,
        )
        groups.setdefault(group, []).append(claim)
    found = {
        lesson: others
        for claims in groups.values()
        for lesson, others in causes.rivals(claims).items()
    }
    return [replace(item, rivals=found.get(item.lesson.id, ())) for item in taught]


def _grouped(path: Path, wanted: set[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lessons whose questions are nearly those of the wanted ones, these included, with the numbers of their groups."""
    columns = ["id", "task", "example_id", "attempt_id", "messages", "meta"]
    groups = originals_of(
        (row["messages"][-1]["content"] for row in tables.read_rows(path, columns)),
        similarity=NEARLY_THE_SAME,
    )
    ours = {
        int(groups[i])
        for i, row in enumerate(tables.read_rows(path, ["id"]))
        if row["id"] in wanted
    }
    shared = ours & set(np.flatnonzero(np.bincount(groups, minlength=1) > 1).tolist())
    for i, row in enumerate(tables.read_rows(path, columns)):
        if int(groups[i]) in shared:
            yield int(groups[i]), row


def _with_levels(taught: Sequence[Taught], held_out: Sequence[Pair]) -> list[Taught]:
    """The lessons with their difficulty among those of their task and its held-out questions."""
    levels = _levels([item.example for item in taught] + [example for example, _ in held_out])
    return [
        replace(item, level=levels[item.lesson.task, item.lesson.example_id]) for item in taught
    ]


def _levels(examples: Sequence[Example]) -> dict[Key, int]:
    """By question its level among its task: by ``meta.difficulty`` where all have one, else by length."""
    by_task: dict[str, list[Example]] = {}
    for example in examples:
        by_task.setdefault(example.task, []).append(example)
    found: dict[Key, int] = {}
    for items in by_task.values():
        difficulties = [causes.difficulty_of(example) for example in items]
        known = [value for value in difficulties if value is not None]
        values = (
            known if len(known) == len(items) else [float(len(example.prompt)) for example in items]
        )
        for example, level in zip(items, causes.levels(values)[0], strict=True):
            found[example.task, example.id] = level
    return found


def _surroundings(
    run: _Run, taught: Sequence[Taught], held_out: Mapping[str, Sequence[Pair]]
) -> Surroundings:
    assigned = Assigned.read(run.inputs["assign"])
    ways: dict[str, Counter[tuple[str, str]]] = {}
    for row in _kept(run):
        group = assigned.groups.get((row["task"], row["example_id"]), row["task"])
        ways.setdefault(group, Counter())[_way(row)] += 1
    after = [(item.example, item.last) for item in taught] + list(held_out.get("after", ()))
    levels = _levels([example for example, _ in after])
    outcomes = [(e.task, levels[e.task, e.id], j.verdict.value == 1.0) for e, j in after]
    tasks = sorted({task for task, _, _ in outcomes})
    return Surroundings(
        ways=ways,
        right_by_way=_shares(
            ((item.group, item.way), item.last.verdict.value == 1.0) for item in taught
        ),
        right_by_level=_shares(((task, level), right) for task, level, right in outcomes),
        trend={
            task: causes.falls(
                [le for t, le, _ in outcomes if t == task], [r for t, _, r in outcomes if t == task]
            )
            for task in tasks
        },
        lucky=frozenset(_lucky(taught)),
        falling=causes.is_falling(_losses(run)),
        max_tokens=int(run.settings["sampling"]["max_tokens"]),
    )


def _shares(items: Iterable[tuple[Any, bool]]) -> dict[Any, tuple[int, int]]:
    found: dict[Any, tuple[int, int]] = {}
    for key, right in items:
        so_far, n = found.get(key, (0, 0))
        found[key] = so_far + right, n + 1
    return found


def _lucky(taught: Sequence[Taught]) -> Iterator[tuple[str, str]]:
    """(arm, task) where being right may be a guess."""
    by_arm: dict[tuple[str, str], list[Pair]] = {}
    for item in taught:
        for arm, judged in item.attempts.items():
            by_arm.setdefault((arm, item.lesson.task), []).append((item.example, judged))
    yield from (key for key, pairs in by_arm.items() if causes.is_lucky(pairs))


def _losses(run: _Run) -> list[float]:
    """The losses of the last stage by optimizer step."""
    path = run.inputs["train"] / layout.LOSS
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    last = run.train.stages[-1].name
    by_step = {row["optimizer_step"]: row["loss"] for row in rows if row["stage"] == last}
    return [by_step[step] for step in sorted(by_step)]


def _training(run: _Run) -> Training:
    stages = summary_of(run.inputs["train"])["summary"]["stages"].values()
    return Training(
        run=run.folder.name,
        command=run.command,
        config=run.train,
        optimizer_steps=sum(stage["optimizer_steps"] for stage in stages),
    )
