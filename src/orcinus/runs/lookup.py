"""Find what a run knows under an id: an example, an attempt or a lesson.

look_up(runs/sums, "3f2a91")  →  the lesson with its history, or the attempt, or the example
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from orcinus.core.errors import ConfigError
from orcinus.core.types import Example, Judged
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps
from orcinus.runs.lineage import (
    Event,
    Lineage,
    find_events,
    find_example,
    find_lessons,
    trace_lesson,
)

MAX_ATTEMPTS = 20
"""Attempts listed for one example: every strategy of a probe and every arm of an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The records of a run under one id."""

    kind: str
    """``lesson``, ``attempt`` or ``example``."""
    lesson: Lineage | None = None
    example: Example | None = None
    written: tuple[Judged, ...] = ()
    """The calls that wrote and checked an authored question, in their order."""
    attempts: tuple[Judged, ...] = ()
    """The attempt, or the attempts at the example."""
    events: tuple[Event, ...] = ()
    """What the steps did with the example or the trace, in their order."""
    lessons: tuple[str, ...] = ()
    """Ids of the lessons made from the attempt."""


def look_up(run_dir: Path, identity: str | None) -> Found:
    """Return what ``run_dir`` knows under an id, or under the beginning of one.

    An example whose whole id is given comes first; then lessons, attempts, and examples by the
    beginning of their ids.

    Args:
        run_dir: The run's folder.
        identity: The id; None is the first lesson.

    Raises:
        ConfigError: Nothing has such an id, or several lessons or attempts have.
    """
    if identity is None:
        return Found(kind="lesson", lesson=trace_lesson(run_dir))
    if examples := list(_examples(run_dir, identity, whole=True)):
        return _example(run_dir, examples, identity)
    if _has_lesson(run_dir, identity):
        return Found(kind="lesson", lesson=trace_lesson(run_dir, identity))
    attempts = {judged.attempt.id: judged for judged in _attempts(run_dir, "id", identity)}
    written = {j.attempt.id: j for j in _attempts(run_dir, "id", identity, authors=True)}
    if len(written) == 1 and not attempts:
        return Found(kind="attempt", written=tuple(written.values()))
    attempts |= written
    if len(attempts) > 1:
        raise ConfigError(
            f"{len(attempts)} attempts have ids that start with {identity!r}; give more of it"
        )
    if attempts:
        [judged] = attempts.values()
        return _attempt(run_dir, judged)
    return _example(run_dir, list(_examples(run_dir, identity, whole=False)), identity)


def _example(run_dir: Path, examples: list[Example], identity: str) -> Found:
    """Return the events of the examples, and the attempts where there is one example only.

    A question that ``author`` dropped is no example of the run: it has calls and events alone.
    """
    events = find_events(run_dir, identity)
    if any(event.example == identity for event in events):
        events = tuple(event for event in events if event.example == identity)
        examples = [example for example in examples if example.id == identity]
    keys = {(event.task, event.example) for event in events}
    if len(examples) > 1 or len(keys) > 1:
        return Found(kind="example", events=events)
    [(task, example_id)] = keys

    def attempts_at(*, authors: bool) -> list[Judged]:
        found = _attempts(run_dir, "example_id", example_id, authors=authors)
        return [
            judged
            for judged in found
            if (judged.attempt.task, judged.attempt.example_id) == (task, example_id)
        ]

    return Found(
        kind="example",
        example=examples[0] if examples else None,
        written=tuple(attempts_at(authors=True)),
        attempts=tuple(attempts_at(authors=False)[:MAX_ATTEMPTS]),
        events=events,
    )


def _attempt(run_dir: Path, judged: Judged) -> Found:
    attempt = judged.attempt
    made = find_lessons(run_dir, attempt.id)
    try:
        events = find_events(run_dir, attempt.id)
    except ConfigError:  # a student's attempt: no step decides about it
        events = ()
    return Found(
        kind="attempt",
        example=find_example(run_dir, attempt.task, attempt.example_id),
        attempts=(judged,),
        events=events,
        lessons=made,
    )


def _examples(run_dir: Path, identity: str, *, whole: bool) -> Iterator[Example]:
    sampled = finished_steps(run_dir, "sample")[0]
    matches = pc.equal if whole else pc.starts_with
    path = sampled / layout.EXAMPLES
    for row in tables.rows_where(path, "id", lambda ids: matches(ids, identity)):
        yield tables.example_of(row)


def _has_lesson(run_dir: Path, identity: str) -> bool:
    for done in run_dir.glob("erase*-*/_done"):
        path = done.parent / layout.LESSONS
        if any(tables.rows_where(path, "id", lambda ids: pc.starts_with(ids, identity), ["id"])):
            return True
    return False


def _attempts(
    run_dir: Path, column: str, beginning: str, *, authors: bool = False
) -> Iterator[Judged]:
    """Yield the judged attempts of finished steps whose ``column`` starts with ``beginning``.

    Either those of the step that has models write questions (``authors``), or all others.
    """
    for done in sorted(run_dir.glob(f"*/{layout.DONE}")):
        if done.parent.name.startswith("author-") is not authors:
            continue
        for path in sorted(done.parent.glob("attempts*.parquet")):
            rows = tables.rows_where(path, column, lambda ids: pc.starts_with(ids, beginning))
            yield from map(tables.judged_of, rows)
