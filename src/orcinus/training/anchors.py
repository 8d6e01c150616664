"""Make the anchors of the objective ``anchored``, and compare lessons with them by their tokens.

    probe split of the tasks ──►  anchors.parquet  ──BM25──►  one number a lesson

An anchor is a question of the probe split with its right answer, under the erased message. The
probe split is never taught, and it is part of no score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orcinus.core.draw import draw
from orcinus.core.errors import StepError
from orcinus.core.types import Lesson
from orcinus.models.local.chat_format import Chat
from orcinus.runs import tables
from orcinus.strategies.prompts import conversation
from orcinus.training.batches import collate
from orcinus.training.objectives.anchored import Anchors, scale_of
from orcinus.training.objectives.interface import Objective
from orcinus.training.tokens import TokenizedLessons

F64 = npt.NDArray[np.float64]
SAMPLED = 64
"""Lessons whose likeness gives the scale of the others, when the anchors are read anew."""
SATURATION, LENGTH = 1.2, 0.75
"""BM25's k1 and b, at the values that Lucene uses."""


def write_anchors(anchors: Anchors, examples: Path, system: str, seed: int, path: Path) -> None:
    """Write the anchors as lessons.

    Args:
        anchors: Which.
        examples: The table of the step ``sample``.
        system: The erased message.
        seed: Of the draw.
        path: The table to write.

    Raises:
        StepError: A task has no question with a right answer in the probe split.
    """
    pool = [
        example
        for example in tables.read_examples(examples, "probe")
        if example.task in anchors.tasks and example.reference is not None
    ]
    if missing := sorted(set(anchors.tasks) - {example.task for example in pool}):
        raise StepError(
            f"train.objective: anchors.tasks: {missing[0]!r} has no question with a right answer "
            "in the probe split; name another task, or raise sample.probe"
        )
    chosen = draw(pool, lambda example: (str(seed), example.task, example.id), anchors.count)
    with tables.TableWriter(path, tables.LESSONS) as writer:
        for example in chosen:
            reference = example.reference
            answer = reference if isinstance(reference, str) else " ".join(reference or ())
            lesson = Lesson(
                id=f"{example.task}/{example.id}",
                example_id=example.id,
                task=example.task,
                strategy="",
                messages=conversation(system, example),
                completion=f"The answer is {answer}.",
                reasoning=None,
                teacher="",
                attempt_id="",
                erased="generic",
            )
            writer.write(tables.lesson_row(lesson))


def with_anchors(
    lessons: TokenizedLessons, objective: Objective, chat: Chat, anchors: Path, seed: int
) -> tuple[TokenizedLessons, Objective]:
    """Return the lessons with their likeness, and the objective with the anchors.

    Args:
        lessons: As the student's tokens.
        objective: ``anchored``.
        chat: The student's chat format.
        anchors: The table that ``write_anchors`` wrote.
        seed: Of the lessons that give the scale.
    """
    tokens = [
        chat.lesson(one.messages, one.completion, one.reasoning)
        for one in tables.read_lessons(anchors)
    ]
    settings = objective.settings
    if settings.get("signal", "hidden") == "bm25":
        likeness = bm25(lessons, [np.array(ids, np.uint32) for ids, _ in tokens])
        evidence = {**lessons.evidence, "likeness": likeness.astype(np.float32)}
        given: Mapping[str, Any] = scale_of(likeness.tolist(), **settings)
        return replace(lessons, evidence=evidence), replace(objective, given=given)
    drawn = np.random.default_rng(seed).permutation(len(lessons))[:SAMPLED]
    sample = [lessons.lesson(number) for number in drawn]
    nothing = np.full(len(lessons), np.nan, np.float32)
    return (
        replace(lessons, evidence={**lessons.evidence, "likeness": nothing}),
        replace(objective, given={"anchors": _batch(tokens), "sample": _batch(sample)}),
    )


def _batch(lessons: Sequence[tuple[Any, int]]) -> dict[str, Any]:
    rows = [
        {
            "tokens": np.asarray(tokens, np.int64),
            "units": [(prompt, len(tokens) - prompt)],
            "weights": [1.0],
        }
        for tokens, prompt in lessons
    ]
    return collate(rows)


def bm25(lessons: TokenizedLessons, anchors: Sequence[npt.NDArray[np.uint32]]) -> F64:
    """Return the mean BM25 score (lessons,) of each lesson for the anchors as queries.

    1 is the mean score of an anchor for itself. Frequencies are those of the lessons.
    """
    count = len(lessons)
    size = 1 + max(
        int(lessons.tokens.max()) if len(lessons.tokens) else 0, *(int(a.max()) for a in anchors)
    )
    documents = np.zeros(size)
    for number in range(count):
        documents[np.unique(lessons.lesson(number)[0])] += 1
    rarity = np.log1p((count - documents + 0.5) / (documents + 0.5))
    length = float(lessons.lengths.mean())
    queries = np.zeros(size)
    for anchor in anchors:
        queries[np.unique(anchor)] += 1 / len(anchors)

    def score(tokens: npt.NDArray[np.uint32], weights: F64) -> float:
        terms, found = np.unique(tokens, return_counts=True)
        room = SATURATION * (1 - LENGTH + LENGTH * len(tokens) / length)
        values = rarity[terms] * found * (SATURATION + 1) / (found + room)
        return float(values @ weights[terms])

    scores = np.array([score(lessons.lesson(number)[0], queries) for number in range(count)])
    own = np.mean([score(one, _presence(one, size)) for one in anchors])
    return scores / own if own > 0 else scores


def _presence(tokens: npt.NDArray[np.uint32], size: int) -> F64:
    """Return 1 for each token that occurs, else 0."""
    found = np.zeros(size)
    found[tokens] = 1
    return found
