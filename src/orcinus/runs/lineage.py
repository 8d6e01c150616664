"""Trace a lesson back to its example, probe, assignment and the teacher's attempt.

    trace_lesson(runs/sums, "3f2a91").trace.attempt.text  →  the teacher's explanation

Only the rows of the one example are read, and nothing is computed again.
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
    "probe": "in the probe that chooses the strategy",
    "held_out": "held out",
    "retention": "asked before and after training, to measure losses",
    "lecture": "learned as a text",
}
"""The event of ``sample``, by split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The history of one lesson."""

    lesson: Lesson
    example: Example
    probe: tuple[Judged, ...]
    """The student's own attempts at this example; empty unless it is in the probe split."""
    assignment: Assignment | None
    trace: Judged
    siblings: tuple[Judged, ...]
    """The teacher's other traces of the same example."""
    drops: tuple[tables.Drop, ...]
    """Traces of the example that curation dropped."""
    rehearsal: tuple[Judged, ...] = ()
    """The student's answers to the example under the erased message, before it learned."""


def trace_lesson(run_dir: Path, lesson_id: str | None = None) -> Lineage:
    """Return the history of a lesson.

    Args:
        run_dir: The run's folder.
        lesson_id: The start of the lesson's id; None takes the first lesson.

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
            f"no lesson of {run_dir} has an id that starts with {lesson_id!r}; ids are in "
            f"erase-*/{layout.LESSONS}"
        )
    if len(distinct) > 1:
        raise ConfigError(
            f"{len(distinct)} lessons have ids that start with {lesson_id!r}; give more of it"
        )
    folder, row = found[0]
    lesson = _weighed(run_dir, tables.lesson_of(row))
    inputs = _inputs_of(folder)
    curate = inputs["curate_assistant" if lesson.meta.get("role") == "assistant" else "curate"]
    curated = _inputs_of(curate)
    taught = _inputs_of(curated["teach"])
    assigned = _inputs_of(taught["assign"])
    traces = list(_judged(curated["teach"] / layout.ATTEMPTS, lesson))
    rehearsal: tuple[Judged, ...] = ()
    if "rehearse" in inputs:
        rehearsal = tuple(_judged(inputs["rehearse"] / layout.ATTEMPTS, lesson))
    shown = rehearsal if lesson.meta.get("role") == "self" else traces
    assignments = Assigned.read(taught["assign"])
    return Lineage(
        lesson=lesson,
        example=_read_example(inputs["sample"], lesson.task, lesson.example_id),
        probe=tuple(_judged(assigned["probe"] / layout.ATTEMPTS, lesson)),
        assignment=assignments.assignment_of(lesson.task, lesson.example_id),
        trace=next(judged for judged in shown if judged.attempt.id == lesson.attempt_id),
        siblings=tuple(judged for judged in traces if judged.attempt.id != lesson.attempt_id),
        drops=tuple(
            tables.Drop(**row)
            for row in _rows_of_example(
                curate / layout.DROPS, lesson.task, lesson.example_id, "example_id"
            )
        ),
        rehearsal=rehearsal,
    )


def _weighed(run_dir: Path, lesson: Lesson) -> Lesson:
    """Return the lesson as the step ``weigh`` left it, with its measured boundaries, if it did."""
    done = sorted(run_dir.glob(f"weigh-*/{layout.DONE}"))
    for folder in (path.parent for path in done):
        for row in _rows(folder / layout.LESSONS, "id", lesson.id):
            return tables.lesson_of(row)
    return lesson


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step's handling of an example or a trace."""

    step: str
    task: str
    example: str
    trace: str
    """Id of the teacher's attempt; empty when the event concerns the example."""
    what: str


def find_events(run_dir: Path, identity: str) -> tuple[Event, ...]:
    """Return what a run did with an example or a teacher's attempt, in the order of the steps.

    Args:
        run_dir: The run's folder.
        identity: The start of an example's or an attempt's id.

    Raises:
        ConfigError: The run has no such id.
    """
    events: list[Event] = []
    for folder in _latest(run_dir, "author"):
        for column in ("example_id", "attempt_id"):
            events += _drop_events(folder / layout.DROPPED, "author", column, identity)
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
        events += _curation_events(run_dir, column, identity)
    if not events:
        raise ConfigError(
            f"{run_dir}: neither an example nor a trace has an id that starts with {identity!r}"
        )
    return tuple(dict.fromkeys(events))


def find_trace_events(run_dir: Path, attempt_id: str) -> tuple[Event, ...]:
    """Return what curation did with a teacher's attempt; empty for any other attempt."""
    return tuple(_curation_events(run_dir, "attempt_id", attempt_id))


def _curation_events(run_dir: Path, column: str, identity: str) -> Iterator[Event]:
    """Yield what the latest curation did with traces whose ``column`` starts with ``identity``."""
    for folder in (*_latest(run_dir, "curate-assistant"), *_latest(run_dir, "curate")):
        yield from _drop_events(folder / layout.DROPS, "curate", column, identity)
        known_by = column if column == "example_id" else "id"
        # Without the texts, which are most of a row.
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


def find_example(run_dir: Path, task: str, example_id: str) -> Example:
    """Return an example of the run.

    Raises:
        ConfigError: The run has no such example.
    """
    return _read_example(finished_steps(run_dir, "sample")[0], task, example_id)


def find_lessons(run_dir: Path, attempt_id: str) -> tuple[str, ...]:
    """Return the ids of the lessons made from a teacher's attempt; empty before ``erase``."""
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
    """Return the latest finished step of a name, or nothing."""
    try:
        return finished_steps(run_dir, name)[:1]
    except ConfigError:
        return []


def _inputs_of(folder: Path) -> dict[str, Path]:
    return {role: folder.parent / name for role, name in summary_of(folder)["inputs"].items()}


def _read_example(sampled: Path, task: str, example_id: str) -> Example:
    for row in _rows_of_example(sampled / layout.EXAMPLES, task, example_id, "id"):
        return tables.example_of(row)
    raise ConfigError(f"{sampled}: there is no example {task}/{example_id}")


def _rows(
    path: Path, column: str, prefix: str, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    yield from tables.rows_where(path, column, lambda ids: pc.starts_with(ids, prefix), columns)


def _rows_of_example(
    path: Path, task: str, example_id: str, id_column: str
) -> Iterator[dict[str, Any]]:
    for row in tables.rows_where(path, id_column, lambda ids: pc.equal(ids, example_id)):
        if row["task"] == task:
            yield row


def _judged(path: Path, lesson: Lesson) -> Iterator[Judged]:
    yield from map(
        tables.judged_of, _rows_of_example(path, lesson.task, lesson.example_id, "example_id")
    )
