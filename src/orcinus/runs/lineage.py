"""Where a lesson came from: from the row the student learnt back to the example, the probe, the choice and the teacher.

Each step's folder is read once, and only the rows of the one example; nothing is recomputed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from orcinus.core.errors import ConfigError
from orcinus.core.types import Assignment, Example, Judged, Lesson
from orcinus.runs import layout, tables
from orcinus.runs.assigned import Assigned
from orcinus.runs.folders import finished_steps, summary_of

_SPLITS = {
    "teach": "taught",
    "probe": "asked of the student to choose by",
    "held_out": "held out",
    "retention": "asked before and after, to see what training costs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Everything that led to one lesson."""

    lesson: Lesson
    example: Example
    probe: tuple[Judged, ...]
    """The student's own attempts at this example; empty when it was not a probe example, as is usual."""
    assignment: Assignment | None
    trace: Judged
    siblings: tuple[Judged, ...]
    """The teacher's other traces of the same example."""
    drops: tuple[tables.Drop, ...]
    """What curation said of those that were left out."""


def trace_lesson(run_dir: Path, lesson_id: str | None = None) -> Lineage:
    """The history of the lesson whose id starts with ``lesson_id``; of the first lesson when it is None.

    Raises:
        ConfigError: No lesson, or more than one, has such an id.
    """
    erased = finished_steps(run_dir, "erase")
    erased += [path.parent for path in sorted(run_dir.glob(f"erase-answer_only-*/{layout.DONE}"))]
    if lesson_id is None:
        lesson_id = next(tables.read_lessons(erased[0] / layout.LESSONS)).id
    found = [
        (folder, row)
        for folder in erased
        for row in _rows(folder / layout.LESSONS, "id", lesson_id)
    ]
    distinct = {row["id"] for _, row in found}
    if not distinct:
        raise ConfigError(
            f"no lesson of {run_dir} has an id that starts with {lesson_id!r}; ids stand in erase-*/lessons.parquet"
        )
    if len(distinct) > 1:
        raise ConfigError(
            f"{len(distinct)} lessons have ids that start with {lesson_id!r}; give more of it"
        )
    folder, row = found[0]
    lesson = tables.lesson_of(row)
    inputs = _inputs_of(folder)
    curate = inputs["curate_assistant" if lesson.meta.get("role") == "assistant" else "curate"]
    curated = _inputs_of(curate)
    taught = _inputs_of(curated["teach"])
    assigned = _inputs_of(taught["assign"])
    traces = list(_judged(curated["teach"] / layout.ATTEMPTS, lesson))
    assignments = Assigned.read(taught["assign"])
    return Lineage(
        lesson=lesson,
        example=_example(inputs["sample"], lesson.task, lesson.example_id),
        probe=tuple(_judged(assigned["probe"] / layout.ATTEMPTS, lesson)),
        assignment=assignments.assignment_of(lesson.task, lesson.example_id),
        trace=next(judged for judged in traces if judged.attempt.id == lesson.attempt_id),
        siblings=tuple(judged for judged in traces if judged.attempt.id != lesson.attempt_id),
        drops=tuple(
            tables.Drop(**row)
            for row in _of_example(
                curate / layout.DROPS, lesson.task, lesson.example_id, "example_id"
            )
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What one step did with an example or a trace."""

    step: str
    task: str
    example: str
    trace: str
    """Id of the teacher's attempt; empty where the whole example is meant."""
    what: str


def fate(run_dir: Path, identity: str) -> tuple[Event, ...]:
    """What a run did with an example or a teacher's attempt, in the order of the steps.

    Args:
        run_dir: The run's folder.
        identity: The start of an example's or an attempt's id.

    Raises:
        ConfigError: The run knows no such id.
    """
    events: list[Event] = []
    sampled = finished_steps(run_dir, "sample")[0]
    for row in _rows(sampled / layout.EXAMPLES, "id", identity):
        what = _SPLITS[row["split"]]
        events.append(
            Event(step="sample", task=row["task"], example=row["id"], trace="", what=what)
        )
    events += _drop_events(sampled / layout.DROPPED, "sample", "example_id", identity)
    for folder in _latest(run_dir, "select"):
        events += _drop_events(folder / layout.DROPPED, "select", "example_id", identity)
    for column in ("example_id", "attempt_id"):
        events += _curated(run_dir, column, identity)
    if not events:
        raise ConfigError(
            f"{run_dir}: neither an example nor a trace has an id that starts with {identity!r}"
        )
    return tuple(dict.fromkeys(events))


def fate_of_trace(run_dir: Path, attempt_id: str) -> tuple[Event, ...]:
    """What curation did with a teacher's attempt; empty before there was one, and for any other attempt."""
    return tuple(_curated(run_dir, "attempt_id", attempt_id))


def _curated(run_dir: Path, column: str, identity: str) -> Iterator[Event]:
    """What the latest curation, of the assistant's and of the teacher's traces, said of those whose ``column`` starts with ``identity``."""
    for folder in (*_latest(run_dir, "curate-assistant"), *_latest(run_dir, "curate")):
        yield from _drop_events(folder / layout.DROPS, "curate", column, identity)
        known_by = column if column == "example_id" else "id"
        # A trace's texts are most of its row and are not asked for here.
        for row in _rows(
            folder / layout.KEPT,
            known_by,
            identity,
            ["id", "task", "example_id", "strategy", "value"],
        ):
            what = f"kept: {row['strategy']}, verdict {row['value']}"
            yield Event(
                step="curate",
                task=row["task"],
                example=row["example_id"],
                trace=row["id"],
                what=what,
            )


def _drop_events(path: Path, step: str, column: str, identity: str) -> Iterator[Event]:
    for row in _rows(path, column, identity):
        drop = tables.Drop(**row)
        yield Event(
            step=step,
            task=drop.task,
            example=drop.example_id,
            trace=drop.attempt_id,
            what=f"left out by {drop.filter}: {drop.reason}",
        )


def example_of(run_dir: Path, task: str, example_id: str) -> Example:
    """The example that an attempt of the run was made at.

    Raises:
        ConfigError: The run has no such example.
    """
    return _example(finished_steps(run_dir, "sample")[0], task, example_id)


def lessons_of(run_dir: Path, attempt_id: str) -> tuple[str, ...]:
    """Ids of the lessons that were made of a teacher's attempt; empty before the run has made lessons."""
    found: list[str] = []
    for done in sorted(run_dir.glob(f"erase*-*/{layout.DONE}")):
        path = done.parent / layout.LESSONS
        found += [
            row["id"]
            for row in tables.rows_where(
                path, "attempt_id", lambda ids: pc.equal(ids, attempt_id), ["id"]
            )
        ]
    return tuple(dict.fromkeys(found))


def _latest(run_dir: Path, name: str) -> list[Path]:
    """The latest finished step called ``name``, if there is one."""
    try:
        return finished_steps(run_dir, name)[:1]
    except ConfigError:
        return []


def _inputs_of(folder: Path) -> dict[str, Path]:
    return {role: folder.parent / name for role, name in summary_of(folder)["inputs"].items()}


def _example(sampled: Path, task: str, example_id: str) -> Example:
    for row in _of_example(sampled / layout.EXAMPLES, task, example_id, "id"):
        return tables.example_of(row)
    raise ConfigError(f"{sampled}: there is no example {task}/{example_id}")


def _rows(
    path: Path, column: str, prefix: str, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    yield from tables.rows_where(path, column, lambda ids: pc.starts_with(ids, prefix), columns)


def _of_example(path: Path, task: str, example_id: str, id_column: str) -> Iterator[dict[str, Any]]:
    for row in tables.rows_where(path, id_column, lambda ids: pc.equal(ids, example_id)):
        if row["task"] == task:
            yield row


def _judged(path: Path, lesson: Lesson) -> Iterator[Judged]:
    yield from map(
        tables.judged_of, _of_example(path, lesson.task, lesson.example_id, "example_id")
    )
