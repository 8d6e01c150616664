"""Diagnose a finished run: which lessons the student still fails, why, and what to do next.

    sample of lessons ──ask again, prompt erased──► answers of the student before training and
    after each stage ──verdicts, losses──► causes (causes.py) ──► at most three pieces of advice

Lessons are drawn by hash, so that a larger sample contains a smaller one. Calls go through the
ledger, so that a second diagnosis makes only new ones. Held-out answers are the evaluation's.
"""

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.sampling import JudgingConfig
from orcinus.core.stats.ridge import Explained, explained
from orcinus.core.types import Example, Judged, Lesson
from orcinus.evaluation.diagnosis.advice import Training, advise
from orcinus.evaluation.diagnosis.causes import Accuracy, RunFacts, Style, TaughtLesson, explain
from orcinus.evaluation.diagnosis.contradictions import Claim, Rival, rivals_of
from orcinus.evaluation.diagnosis.difficulty import Key, levels_of, still_falling, trend_p_value
from orcinus.evaluation.diagnosis.faults import find_faults
from orcinus.evaluation.diagnosis.outcomes import Pair, is_failure, is_right, may_be_guessing
from orcinus.evaluation.diagnosis.run import (
    EvaluatedRun,
    draw_lessons,
    open_run,
    read_assigned,
    read_held_out,
    read_last_losses,
    read_near_duplicates,
    read_taught_examples,
    read_traces,
    stage_names,
)
from orcinus.evaluation.diagnosis.tables import (
    Checkpoint,
    Diagnosis,
    count_causes,
    count_outcomes,
    score_slices,
    summarize_changes,
)
from orcinus.evaluation.diagnosis.variety import describe_variety
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.open import open_completer
from orcinus.models.roles import Models, Roles, student_config
from orcinus.runs import layout
from orcinus.runs.budget import BudgetConfig
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.folders import locked, summary_of
from orcinus.runs.ledger import Ledger
from orcinus.strategies.prompts import erased_strategy, requests_for
from orcinus.verifiers.measure import measure

if TYPE_CHECKING:
    from orcinus.training.lesson_loss import LessonLoss

DEFAULT_LESSONS = 200
"""Lessons to ask again, unless a number is given."""
FOLDER = "diagnosis"
"""Folder of the attempts within the run's folder."""
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisRequest:
    """A run to diagnose, with what its recipe says about models and spending."""

    run_dir: Path
    roles: Roles
    bases: tuple[Path, ...]
    """Folders that a relative path of the untrained student may start from, tried in this order."""
    budget: BudgetConfig
    judging: JudgingConfig | None
    """None when the recipe has no judge."""
    command: str
    """Command that runs the recipe again, for advice."""
    lessons: int = DEFAULT_LESSONS
    """Lessons to ask again, at most."""


async def diagnose(request: DiagnosisRequest, runtime: Runtime, progress: Progress) -> Diagnosis:
    """Ask the students of a run their lessons again, and explain the failures.

    Args:
        request: The run.
        runtime: Where and how fast.
        progress: Receives the progress.

    Raises:
        ConfigError: The run has not been evaluated.
        MissingExtraError: torch or transformers is not installed.
        OrcinusError: As ``attempt_all``; the ledger keeps what was asked.
    """
    if any(find_spec(package) is None for package in ("torch", "transformers")):
        raise MissingExtraError("diagnosing a student", "train")
    run = open_run(request.run_dir)
    with locked(request.run_dir), Ledger(runtime.ledger_path, note=progress.note) as ledger:
        return await _diagnose(request, run, runtime, progress, ledger)


async def _diagnose(
    request: DiagnosisRequest,
    run: EvaluatedRun,
    runtime: Runtime,
    progress: Progress,
    ledger: Ledger,
) -> Diagnosis:
    progress.start("read lessons", None)
    drawn, total = draw_lessons(run, request.lessons)
    examples = read_taught_examples(run, {(lesson.task, lesson.example_id) for lesson in drawn})
    asked = [examples[lesson.task, lesson.example_id] for lesson in drawn]
    students, notes = _students(request, run)
    async with aclosing(Models(request.roles, runtime, progress.note)) as models:
        context = StepContext(
            out=run.folder / FOLDER,
            inputs=run.inputs,
            run=run.folder.name,
            seed=run.seed,
            ledger=ledger,
            runtime=runtime,
            progress=progress,
            completer=models.open,
            budget=request.budget.open(ledger, run.folder.name),
            judging=request.judging,
        )
        attempts = await _ask_students(run, asked, students, context)
    held_out = read_held_out(run)
    losses = await asyncio.to_thread(
        _measure_losses, run, drawn, students, runtime.device, progress
    )
    levels = levels_of([*asked, *(example for example, _ in held_out.get("after", []))])
    lessons = _taught_lessons(run, list(zip(drawn, asked, strict=True)), attempts, losses, levels)
    facts = _run_facts(run, lessons, held_out.get("after", []), levels)
    failures = [explain(item, facts) for item in lessons if is_failure(item.example, item.last)]
    by_arm = {arm: list(zip(asked, judged, strict=True)) for arm, judged in attempts.items()}
    variety = await asyncio.to_thread(describe_variety, run.erased / layout.LESSONS)
    compared = {"before": by_arm.get("before", []), "after": by_arm[list(students)[-1]]}
    return Diagnosis(
        run=run.folder.name,
        lessons=total,
        asked=len(drawn),
        failed=len(failures),
        notes=(
            *notes,
            *summarize_changes(compared, held_out),
            *([] if variety is None else [variety]),
        ),
        errors=(*count_outcomes("lessons", by_arm), *count_outcomes("held out", held_out)),
        slices=(
            *score_slices("lessons", compared, _taught_strategies(lessons)),
            *score_slices("held out", held_out, _assigned_strategies(run, held_out)),
        ),
        causes=count_causes(failures),
        checkpoints=tuple(_measure_checkpoints(losses)),
        success_in_state=_read_success(lessons, list(losses.values())[-1], seed=run.seed),
        advice=tuple(advise(_training(request, run), failures, lessons, facts)),
        failures=tuple(failures),
        faults=tuple(find_faults(held_out.get("after", []), by_arm[list(students)[-1]])),
    )


def _students(
    request: DiagnosisRequest, run: EvaluatedRun
) -> tuple[dict[str, LocalConfig], list[str]]:
    """Return the students by arm in the order of training, and a note when one is missing."""
    folder = run.inputs["train"]
    trained = student_config(request.roles, folder)
    stages = {
        name: trained.model_copy(update={"path": str((folder / layout.stage(number)).resolve())})
        for number, name in enumerate(stage_names(run.train), 1)
    }
    before = _untrained_student(request, run)
    if before is not None:
        return {"before": before, **stages}, []
    return stages, [
        "The untrained student was not found, so forgetting of what it knew before training "
        "cannot be detected; give the recipe's file instead of the run."
    ]


def _untrained_student(request: DiagnosisRequest, run: EvaluatedRun) -> LocalConfig | None:
    """Return the student before training, if it is found and has not changed since."""
    if "student" in run.inputs:
        return student_config(request.roles, run.inputs["student"])
    identity = summary_of(run.inputs["train"])["config"]["model"]["model"]
    for base in request.bases:
        try:
            config = student_config(replace(request.roles, base=base), None)
            if local_identity(config, base) == identity:
                return config
        except ConfigError:
            continue  # no model there; try the next folder
    return None


async def _ask_students(
    run: EvaluatedRun,
    examples: Sequence[Example],
    students: Mapping[str, LocalConfig],
    context: StepContext,
) -> dict[str, list[Judged]]:
    """Ask every student each question once under the erased message; return attempts by arm."""
    erased = erased_strategy(run.settings["generic"])
    runtime = context.runtime
    found = {}
    for number, (arm, config) in enumerate(students.items()):
        requests = (
            request
            for example in examples
            for request in requests_for(example, erased, run.sampling, seed=run.seed)
        )
        # One student at a time: all of them together may not fit into memory.
        completer = open_completer(
            config,
            base=Path(),
            device=runtime.device,
            secrets=runtime.secrets,
            note=context.progress.note,
        )
        try:
            found[arm] = await measure(
                requests,
                completer,
                context.out / layout.attempts(number),
                context,
                step="diagnose",
                what=f"diagnose {arm}",
                total=len(examples),
            )
        finally:
            await completer.aclose()
    return found


_Losses = Mapping[str, Sequence["LessonLoss"]]
"""By arm, losses of the drawn lessons in their order; without ``before`` where the untrained
student was not found."""


def _measure_losses(
    run: EvaluatedRun,
    lessons: Sequence[Lesson],
    students: Mapping[str, LocalConfig],
    device: str,
    progress: Progress,
) -> _Losses:
    from orcinus.training.lesson_loss import lesson_losses

    progress.start("losses", None)
    length = run.train.context_length
    return {
        arm: lesson_losses(student, lessons, context=length, device=device)
        for arm, student in students.items()
    }


def _measure_checkpoints(losses: _Losses) -> Iterator[Checkpoint]:
    """Yield what the losses say of each checkpoint."""
    from orcinus.training.hesitation import add_up

    for arm, found in losses.items():
        measured = [item for item in found if item.loss is not None]
        if not measured:
            continue
        total = add_up(item.hesitation for item in measured if item.hesitation is not None)
        tokens = sum(item.response_tokens for item in measured)
        yield Checkpoint(
            arm=arm,
            lessons=len(measured),
            loss=sum((item.loss or 0.0) * item.response_tokens for item in measured) / tokens,
            he_snr=total.he_snr,
            hesitant=total.hesitant,
            tokens=total.tokens,
            loss_there=total.loss,
        )


def _read_success(
    lessons: Sequence[TaughtLesson], losses: Sequence["LessonLoss"], *, seed: int
) -> Explained | None:
    """Return how well the trained student's success is read off its state before it answers."""
    rows = [
        (loss.state, float(is_right(item.last)), item.lesson)
        for item, loss in zip(lessons, losses, strict=True)
        if loss.state is not None and item.last.attempt.finish != "error"
    ]
    if not rows:
        return None
    states, right, taught = zip(*rows, strict=True)
    questions = [f"{lesson.task}/{lesson.example_id}" for lesson in taught]
    return explained(states, right, questions, [lesson.task for lesson in taught], seed=seed)


def _taught_lessons(
    run: EvaluatedRun,
    drawn: Sequence[tuple[Lesson, Example]],
    attempts: Mapping[str, Sequence[Judged]],
    losses: _Losses,
    levels: Mapping[Key, int],
) -> list[TaughtLesson]:
    """Put together what is known about each drawn lesson."""
    assigned = read_assigned(run)
    wanted = {lesson.attempt_id for lesson, _ in drawn}
    traces = {trace.id: trace for trace in read_traces(run) if trace.id in wanted}
    rivals = _find_rivals(run, [lesson for lesson, _ in drawn])
    last = list(losses.values())[-1]
    found = []
    for i, (lesson, example) in enumerate(drawn):
        trace, after = traces[lesson.attempt_id], last[i]
        key = (lesson.task, lesson.example_id)
        found.append(
            TaughtLesson(
                lesson=lesson,
                example=example,
                value=lesson.meta.get("value"),
                answer=trace.answer,
                style=trace.style,
                group=assigned.groups.get(key, lesson.task),
                level=levels[key],
                attempts={arm: judged[i] for arm, judged in attempts.items()},
                used=any(stage.takes(lesson) for stage in run.train.stages),
                tokens=after.tokens,
                response_tokens=after.response_tokens,
                fits=after.tokens <= run.train.context_length or run.train.too_long != "drop",
                loss_before=losses["before"][i].loss if "before" in losses else None,
                loss_after=after.loss,
                rivals=rivals.get(lesson.id, ()),
            )
        )
    return found


def _find_rivals(run: EvaluatedRun, lessons: Sequence[Lesson]) -> dict[str, tuple[Rival, ...]]:
    """Find the lessons of the whole run that teach other answers to the same questions."""
    groups = read_near_duplicates(run, lessons)
    questions = [question for group in groups for question in group]
    examples = read_taught_examples(run, {(q.task, q.example_id) for q in questions})
    wanted = {question.attempt_id for question in questions}
    answers = {trace.id: trace.answer for trace in read_traces(run) if trace.id in wanted}
    found: dict[str, tuple[Rival, ...]] = {}
    for group in groups:
        found |= rivals_of(
            Claim(
                lesson=question.lesson,
                question=question.question,
                answer=answers.get(question.attempt_id),
                value=question.value,
                reference=examples[question.task, question.example_id].reference,
            )
            for question in group
        )
    return found


def _run_facts(
    run: EvaluatedRun,
    lessons: Sequence[TaughtLesson],
    held_out: Sequence[Pair],
    levels: Mapping[Key, int],
) -> RunFacts:
    """Put together what is known about the whole run; ``held_out`` are attempts after training."""
    assigned = read_assigned(run)
    styles: dict[str, Counter[Style]] = {}
    for trace in read_traces(run):
        group = assigned.groups.get((trace.task, trace.example_id), trace.task)
        styles.setdefault(group, Counter())[trace.style] += 1
    answered = [(item.example, item.last) for item in lessons] + list(held_out)
    outcomes = [(e.task, levels[e.task, e.id], is_right(judged)) for e, judged in answered]
    by_arm: dict[tuple[str, str], list[Pair]] = {}
    for item in lessons:
        for arm, judged in item.attempts.items():
            by_arm.setdefault((arm, item.lesson.task), []).append((item.example, judged))
    return RunFacts(
        styles=styles,
        right_by_style=_accuracies(((i.group, i.style), is_right(i.last)) for i in lessons),
        right_by_level=_accuracies(((task, level), right) for task, level, right in outcomes),
        trend={
            task: trend_p_value(
                [level for t, level, _ in outcomes if t == task],
                [right for t, _, right in outcomes if t == task],
            )
            for task in {task for task, _, _ in outcomes}
        },
        guessed=frozenset(key for key, pairs in by_arm.items() if may_be_guessing(pairs)),
        loss_falling=still_falling(read_last_losses(run)),
        max_tokens=int(run.settings["sampling"]["max_tokens"]),
    )


def _accuracies(items: Iterable[tuple[K, bool]]) -> dict[K, Accuracy]:
    found: dict[K, Accuracy] = {}
    for key, right in items:
        so_far = found.get(key, Accuracy())
        found[key] = Accuracy(so_far.right + right, so_far.n + 1)
    return found


def _taught_strategies(lessons: Sequence[TaughtLesson]) -> dict[Key, str]:
    return {(item.lesson.task, item.lesson.example_id): item.lesson.strategy for item in lessons}


def _assigned_strategies(
    run: EvaluatedRun, held_out: Mapping[str, Sequence[Pair]]
) -> dict[Key, str]:
    assigned = read_assigned(run)
    return {
        (example.task, example.id): assigned.strategy_of(example.task, example.id) or "none"
        for example, _ in held_out.get("after", [])
    }


def _training(request: DiagnosisRequest, run: EvaluatedRun) -> Training:
    stages = summary_of(run.inputs["train"])["summary"]["stages"].values()
    return Training(
        run=run.folder.name,
        command=request.command,
        config=run.train,
        optimizer_steps=sum(stage["optimizer_steps"] for stage in stages),
    )
