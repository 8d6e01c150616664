"""Give numbers to the parts of a lesson's text, which an objective turns into weights of tokens.

    erase/lessons.parquet ──student──► which of the teacher's steps help? ──► lessons.parquet

``validity`` (VCRD): at a few boundaries between steps the student proposes the next step, and then
continues after the teacher's step and after its own. The more often the teacher's step leads to
a right end, compared with the student's own, the more it weighs:

    w = min(1, max(least, σ(beta (v_teacher − v_student))))     v: share of right continuations

Both the formula and the measure are ours; of the paper only the abstract could be read. The
measure says what helps this student, not what is true.
"""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from orcinus.core.draw import draw
from orcinus.core.errors import StepError
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.text_steps import steps_in, texts_of
from orcinus.core.types import Example, Judged, Lesson, Request
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.prompts import conversation
from orcinus.training.config import WeighConfig
from orcinus.verifiers.beginnings import (
    Beginning,
    continuations,
    require_continuing,
    worth_of,
)

WINDOW = 256
"""Lessons whose beginnings are continued together."""
MOST_HOPELESS = 0.8
"""Highest share of boundaries at which no continuation of either side is right. Above it all
weights are nearly equal, and the step would only cost."""


@dataclass(slots=True, kw_only=True)
class Boundary:
    """A place in a lesson's text where the student would have gone on by itself."""

    step: int
    """Number of the teacher's step behind it, from 0."""
    before: str
    """The text up to it."""
    teacher: str
    """The teacher's step."""
    student: str = ""
    """The student's own step."""
    of_teacher: list[Judged] = field(default_factory=list)
    """The answers that go on from the teacher's step."""
    of_student: list[Judged] = field(default_factory=list)
    """The answers that go on from the student's own."""

    @property
    def worths(self) -> tuple[float, float] | None:
        """The worth of the teacher's step and of the student's; None where no answer came."""
        teacher, student = worth_of(self.of_teacher), worth_of(self.of_student)
        return None if teacher is None or student is None else (teacher, student)


def step_weight(teacher: float, student: float, *, beta: float, least: float) -> float:
    """Return the weight of a teacher's step of worth ``teacher``, beside the student's own."""
    return min(1.0, max(least, 1 / (1 + math.exp(-beta * (teacher - student)))))


async def weigh(config: WeighConfig, context: StepContext) -> dict[str, Any]:
    """Measure steps of the lessons of ``erase``, and write ``lessons.parquet`` with their weights.

    Args:
        config: How.
        context: With the inputs ``erase`` and ``sample``.

    Returns:
        ``lessons``, ``boundaries``, ``weight`` (the mean) and ``hopeless``, the share of boundaries
        with no right continuation on either side.

    Raises:
        ConfigError: The student cannot continue a partial reply.
        StepError: No lesson has two steps, or too many boundaries are hopeless.
    """
    student = context.completer("student")
    require_continuing(student, "weigh")
    path = context.inputs["erase"] / layout.LESSONS
    examples = {
        (example.task, example.id): example
        for example in tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach")
    }
    calls = 1 + 2 * config.sampling.samples
    count = sum(1 for _ in tables.read_rows(path, ["id"]))
    context.progress.start("weigh", count * config.boundaries * calls)
    worths: list[tuple[float, float]] = []
    with (
        tables.TableWriter(context.out / layout.ATTEMPTS, tables.JUDGED) as attempts,
        tables.TableWriter(context.out / layout.LESSONS, tables.LESSONS) as writer,
    ):
        iterator = tables.read_lessons(path)
        while lessons := list(islice(iterator, WINDOW)):
            found = [boundaries_of(lesson, config, context.seed) for lesson in lessons]
            asked = [examples[lesson.task, lesson.example_id] for lesson in lessons]
            await _measure(lessons, asked, found, student, config, context)
            for lesson, boundaries in zip(lessons, found, strict=True):
                for boundary in boundaries:
                    for judged in (*boundary.of_teacher, *boundary.of_student):
                        attempts.write(tables.judged_row(judged))
                worths += [pair for item in boundaries if (pair := item.worths) is not None]
                writer.write(tables.lesson_row(weighed(lesson, boundaries, config)))
            check_worths(worths, config)  # after each window, before more is spent
    for name in (layout.PAIRS, layout.LABELS):
        if (table := context.inputs["erase"] / name).exists():
            shutil.copyfile(table, context.out / name)
    weights = [step_weight(*pair, beta=config.beta, least=config.least) for pair in worths]
    return {
        "lessons": count,
        "boundaries": len(worths),
        "weight": round(math.fsum(weights) / len(weights), 4),
        "hopeless": round(_hopeless(worths), 4),
    }


def requests(config: WeighConfig, system: str, context: StepContext) -> list[Asking]:
    """List the student's calls: an upper bound, before there are lessons."""

    def ask_all() -> Iterator[Request]:
        proposal = config.sampling.model_copy(update={"samples": 1})
        for example in tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach"):
            beginning = Beginning(example=example, messages=conversation(system, example), text="")
            for _ in range(config.boundaries):
                yield from beginning.requests(proposal, seed=context.seed)
                for _ in ("teacher", "student"):
                    yield from beginning.requests(config.sampling, seed=context.seed)

    return [Asking(role="student", requests=ask_all(), exact=False)]


def boundaries_of(lesson: Lesson, config: WeighConfig, seed: int) -> list[Boundary]:
    """Return the boundaries of a lesson that are measured, in their order.

    The last step is not measured: nothing is left to continue behind it.
    """
    text = lesson.completion
    steps = steps_in(text, config.separator)
    drawn = draw(
        list(range(len(steps) - 1)),
        lambda number: (str(seed), lesson.id, str(number)),
        config.boundaries,
    )
    return [
        Boundary(
            step=number,
            before=text[: steps[number].start],
            teacher=text[steps[number].start : steps[number].stop],
        )
        for number in sorted(drawn)
    ]


async def _measure(
    lessons: Sequence[Lesson],
    examples: Sequence[Example],
    found: Sequence[Sequence[Boundary]],
    student: Completer,
    config: WeighConfig,
    context: StepContext,
) -> None:
    """Let the student propose a step at each boundary, and continue from both sides."""
    flat = [
        (lesson, example, boundary)
        for lesson, example, boundaries in zip(lessons, examples, found, strict=True)
        for boundary in boundaries
    ]

    async def go_on(texts: Sequence[str], sampling: SamplingConfig) -> list[list[Judged]]:
        beginnings = [
            Beginning(example=example, messages=lesson.messages, text=text)
            for (lesson, example, _), text in zip(flat, texts, strict=True)
        ]
        return await continuations(beginnings, student, context, step="weigh", sampling=sampling)

    one = config.sampling.model_copy(update={"samples": 1})
    proposals = await go_on([boundary.before for _, _, boundary in flat], one)
    for (_, _, boundary), answers in zip(flat, proposals, strict=True):
        written = answers[0].attempt.text if answers else ""
        boundary.student = own_step(written, boundary, config)
    on_teachers = await go_on([b.before + b.teacher for _, _, b in flat], config.sampling)
    on_own = await go_on([b.before + b.student for _, _, b in flat], config.sampling)
    for (_, _, boundary), teacher, own in zip(flat, on_teachers, on_own, strict=True):
        boundary.of_teacher, boundary.of_student = teacher, own


def own_step(written: str, boundary: Boundary, config: WeighConfig) -> str:
    """Return the first step that the student wrote behind a boundary, cut like the teacher's."""
    before = boundary.before
    own = written[len(before.strip()) :] if written.startswith(before.strip()) else written
    own = own.lstrip() if before[-1:].isspace() else own
    steps = steps_in(own, config.separator or _separator_of(boundary))
    return texts_of(own, steps)[0] if steps else ""


def _separator_of(boundary: Boundary) -> str | None:
    """Return what the teacher's step ends with: a line break, or the mark before its blank."""
    text = boundary.teacher
    if "\n" in text[len(text.rstrip()) :]:
        return "\n\n" if text.endswith("\n\n") else "\n"
    return text.rstrip()[-1:] + " " if text.endswith(" ") else None


def weighed(lesson: Lesson, found: Sequence[Boundary], config: WeighConfig) -> Lesson:
    """Return the lesson with the weight of each step in ``meta.validity``, and the evidence.

    Args:
        lesson: The lesson. Without a measured boundary all its steps weigh as one that is worth as
            much as the student's own.
        found: Its measured boundaries.
        config: How worths become weights.
    """
    measured = {
        boundary.step: step_weight(*worths, beta=config.beta, least=config.least)
        for boundary in found
        if (worths := boundary.worths) is not None
    }
    alike = step_weight(0.5, 0.5, beta=config.beta, least=config.least)
    rest = math.fsum(measured.values()) / len(measured) if measured else alike
    steps = texts_of(lesson.completion, steps_in(lesson.completion, config.separator))
    reasoning = [lesson.reasoning] if lesson.reasoning else []
    parts = {
        "bytes": [len(text.encode()) for text in (*reasoning, *steps)],
        "values": [
            *(rest for _ in reasoning),
            *(measured.get(number, rest) for number in range(len(steps))),
        ],
        "rest": rest,
    }
    evidence = [
        {
            "step": boundary.step,
            "teacher": boundary.teacher,
            "student": boundary.student,
            "teacher_right": [item.verdict.value for item in boundary.of_teacher],
            "student_right": [item.verdict.value for item in boundary.of_student],
            "weight": measured.get(boundary.step),
        }
        for boundary in found
    ]
    return replace(lesson, meta={**lesson.meta, "validity": parts, "boundaries": evidence})


def _hopeless(worths: Sequence[tuple[float, float]]) -> float:
    """Return the share of boundaries with no right continuation on either side."""
    return sum(teacher == own == 0 for teacher, own in worths) / len(worths)


def check_worths(worths: Sequence[tuple[float, float]], config: WeighConfig) -> None:
    """Raise StepError where the measurements tell nothing."""
    if not worths:
        raise StepError(
            "weigh: no lesson has two steps of which the student continued one; set "
            "weigh.separator, or leave weigh out"
        )
    if (share := _hopeless(worths)) > MOST_HOPELESS:
        raise StepError(
            f"weigh: at {share:.0%} of {len(worths)} boundaries no continuation is right, with the "
            "teacher's step or the student's own, so their worth cannot be told apart; raise "
            f"weigh.sampling.samples (now {config.sampling.samples}), take easier tasks, or leave "
            "weigh out"
        )
