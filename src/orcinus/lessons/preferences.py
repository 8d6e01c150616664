"""Pair each right lesson with a wrong answer to its question, for preference optimisation.

    "17 + 25 = 42. The answer is 42."      a right lesson, of attempt 5f2c…
    "17 + 25 = 32. The answer is 32."      a wrong answer to the same question, attempt 81aa…
    ──►  (the lesson, the same lesson with the wrong answer in its place)

Both sides name their attempts in the ledger. A rejected answer ended by itself and was judged
wrong: an answer that was cut off, or could not be judged, is no example of a mistake.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Judged, Lesson
from orcinus.runs import tables
from orcinus.tasks.duplicates.ngrams import U64
from orcinus.tasks.duplicates.seen import hash_of

AT_ONCE = 4096
"""Lessons. Their wrong answers are looked up together, so that few parts of a table are read."""

Split = Callable[[Judged], tuple[str | None, str]]
"""Splits an answer into its separate reasoning and its visible text, as lessons are laid out."""


def preference_pairs(
    lessons: Path, attempts: Sequence[Path], split: Split
) -> Iterator[tuple[Lesson, Lesson]]:
    """Yield each right lesson that has a wrong answer, and the lesson with that answer.

    The second one has the first one's id, messages and origin, so that filters take both or none.

    Args:
        lessons: The table of lessons.
        attempts: Tables of judged attempts at their questions. The first one that has a wrong
            answer to a question gives it; which of several, the lesson's id decides.
        split: Lays out the wrong answer like a lesson.
    """
    sources = [_WrongAnswers(path) for path in attempts]
    right = (one for one in tables.read_lessons(lessons) if one.meta.get("value") == 1.0)
    while batch := list(islice(right, AT_ONCE)):
        for source, found in zip(sources, _choose(batch, sources), strict=True):
            answers = source.read(found.values())
            for lesson in batch:
                if lesson.id in found:
                    yield lesson, _with_answer(lesson, answers[found[lesson.id]], split)


def _choose(lessons: Sequence[Lesson], sources: Sequence["_WrongAnswers"]) -> list[dict[str, int]]:
    """Return for each source the rows of the wrong answers chosen from it, by lesson id."""
    chosen: list[dict[str, int]] = [{} for _ in sources]
    for lesson in lessons:
        for source, found in zip(sources, chosen, strict=True):
            rows = source.rows_of(lesson)
            if len(rows):
                drawn = stable_fraction("rejected", lesson.id) * len(rows)
                found[lesson.id] = int(rows[int(drawn)])
                break
    return chosen


def _with_answer(lesson: Lesson, judged: Judged, split: Split) -> Lesson:
    reasoning, completion = split(judged)
    return replace(
        lesson,
        completion=completion,
        reasoning=reasoning,
        attempt_id=judged.attempt.id,
        meta={**lesson.meta, "value": judged.verdict.value},
    )


class _WrongAnswers:
    """Rows of the wrong answers in one table of attempts, by question; 16 bytes each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = tables.read_rows(path, ["task", "example_id", "value", "finish"])
        wrong = [
            (hash_of(row["task"], row["example_id"]), number)
            for number, row in enumerate(rows)
            if row["value"] == 0 and row["finish"] == "stop"
        ]
        pairs = np.array(sorted(wrong), np.uint64).reshape(-1, 2)
        self._hashes: U64 = np.ascontiguousarray(pairs[:, 0])
        self._rows: U64 = np.ascontiguousarray(pairs[:, 1])

    def rows_of(self, lesson: Lesson) -> U64:
        """Return the rows of the wrong answers to a lesson's question."""
        wanted = np.uint64(hash_of(lesson.task, lesson.example_id))
        first, last = (self._hashes.searchsorted(wanted, side) for side in ("left", "right"))
        return self._rows[first:last]

    def read(self, rows: Iterable[int]) -> dict[int, Judged]:
        """Return the answers in these rows, by row."""
        numbers = sorted(set(rows))
        found = tables.rows_at(self._path, numbers)
        return {number: tables.judged_of(row) for number, row in zip(numbers, found, strict=True)}
