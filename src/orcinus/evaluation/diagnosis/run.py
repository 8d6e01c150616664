"""Read what diagnosis needs from the folders of an evaluated run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from orcinus.core.draw import draw
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import LECTURE, Example, Lesson
from orcinus.evaluation.diagnosis.causes import Style
from orcinus.evaluation.diagnosis.contradictions import NEAR_DUPLICATE
from orcinus.evaluation.diagnosis.difficulty import Key
from orcinus.evaluation.diagnosis.outcomes import Pair
from orcinus.runs import layout, tables
from orcinus.runs.assigned import Assigned
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.runs.losses import read_losses
from orcinus.tasks.duplicates.near import originals_of
from orcinus.training.config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedRun:
    """Folders and settings of a run's latest evaluation."""

    folder: Path
    evaluated: Path
    """Folder of the evaluation step."""
    inputs: Mapping[str, Path]
    """Folders of its inputs by role."""
    settings: Mapping[str, Any]
    """Configuration of the evaluation."""
    train: TrainConfig
    """With the shares that trials chose."""
    erased: Path
    """Folder of the lessons."""
    kept: tuple[Path, ...]
    """Tables of the traces that the lessons were made of."""

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.settings["seed"])

    @property
    def sampling(self) -> SamplingConfig:
        """Sampling of the evaluation, with a single answer per question."""
        return SamplingConfig.model_validate({**self.settings["sampling"], "samples": 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtQuestion:
    """The question of a lesson, without its response."""

    lesson: str
    """Id of the lesson."""
    task: str
    example_id: str
    attempt_id: str
    question: str
    value: float | None
    """Verdict on the lesson."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A teacher's attempt that lessons were made of, without its text."""

    id: str
    task: str
    example_id: str
    answer: str | None
    style: Style


def open_run(run_dir: Path) -> EvaluatedRun:
    """Open a run by its latest evaluation.

    Raises:
        ConfigError: The run has not been evaluated.
    """
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
    return EvaluatedRun(
        folder=run_dir,
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


def stage_names(train: TrainConfig) -> list[str]:
    """Return the stages' names, numbered where one is taken twice or is ``before``."""
    names = [stage.name for stage in train.stages]
    return [
        f"{n} {i}" if names.count(n) > 1 or n == "before" else n for i, n in enumerate(names, 1)
    ]


def draw_lessons(run: EvaluatedRun, wanted: int) -> tuple[list[Lesson], int]:
    """Draw lessons by hash, one per question.

    Those that show demonstrations, the student's own answers and lectures are left out.

    Returns:
        At most ``wanted`` lessons, and the number of all lessons. A larger draw contains a
        smaller one.
    """
    path = run.erased / layout.LESSONS
    lesson_of: dict[Key, str] = {}
    total = 0
    for row in tables.read_rows(path, ["id", "task", "example_id", "erased", "meta"]):
        total += 1
        meta = orjson.loads(row["meta"])
        if meta.get("shots") or meta.get("role") == "self" or row["erased"] == LECTURE:
            continue
        key = (row["task"], row["example_id"])
        lesson_of[key] = min(row["id"], lesson_of.get(key, row["id"]))
    drawn = {lesson_of[key] for key in draw(lesson_of, lambda key: ("diagnose", *key), wanted)}
    lessons = [lesson for lesson in tables.read_lessons(path) if lesson.id in drawn]
    return list({lesson.id: lesson for lesson in lessons}.values()), total


def read_taught_examples(run: EvaluatedRun, keys: set[Key]) -> dict[Key, Example]:
    """Read the examples behind lessons."""
    path = run.inputs["sample"] / layout.EXAMPLES
    return {
        (e.task, e.id): e for e in tables.read_examples(path, "teach") if (e.task, e.id) in keys
    }


def read_traces(run: EvaluatedRun) -> Iterator[Trace]:
    """Read every trace that became a lesson."""
    columns = ["id", "task", "example_id", "strategy", "answer", "reason", "verifier"]
    for path in run.kept:
        for row in tables.read_rows(path, columns):
            judged = row["verifier"].startswith("judge@")
            yield Trace(
                id=row["id"],
                task=row["task"],
                example_id=row["example_id"],
                answer=row["answer"],
                style=Style(row["strategy"], "a judge" if judged else row["reason"]),
            )


def read_held_out(run: EvaluatedRun) -> dict[str, list[Pair]]:
    """Read the evaluation's attempts before and after training, one per question."""
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


def read_assigned(run: EvaluatedRun) -> Assigned:
    """Read the strategies that were assigned to the groups."""
    return Assigned.read(run.inputs["assign"])


def read_last_losses(run: EvaluatedRun) -> list[float]:
    """Read the losses of the last stage, in the order of the optimizer steps."""
    last = run.train.stages[-1].name
    rows = read_losses(run.inputs["train"] / layout.LOSS)
    return [row["loss"] for row in rows if row["stage"] == last]


def _question_of(row: Mapping[str, Any]) -> str:
    """Return the question of a lesson; "" of a lecture, which has none."""
    return str(row["messages"][-1]["content"]) if row["messages"] else ""


def read_near_duplicates(
    run: EvaluatedRun, lessons: Sequence[Lesson]
) -> list[list[TaughtQuestion]]:
    """Read, of all lessons of the run, those whose questions nearly equal those of ``lessons``.

    Returns:
        A list for each group of two or more near-duplicate questions, ``lessons`` included.
    """
    path = run.erased / layout.LESSONS
    groups = originals_of(
        (_question_of(row) for row in tables.read_rows(path, ["messages"])),
        similarity=NEAR_DUPLICATE,
    )
    wanted = {lesson.id for lesson in lessons}
    ids = enumerate(tables.read_rows(path, ["id"]))
    ours = {int(groups[i]) for i, row in ids if row["id"] in wanted}
    shared = ours & set(np.flatnonzero(np.bincount(groups, minlength=1) > 1).tolist())
    found: dict[int, list[TaughtQuestion]] = {}
    columns = ["id", "task", "example_id", "attempt_id", "messages", "meta"]
    for i, row in enumerate(tables.read_rows(path, columns)):
        if int(groups[i]) in shared:
            question = TaughtQuestion(
                lesson=row["id"],
                task=row["task"],
                example_id=row["example_id"],
                attempt_id=row["attempt_id"],
                question=_question_of(row),
                value=orjson.loads(row["meta"]).get("value"),
            )
            found.setdefault(int(groups[i]), []).append(question)
    return list(found.values())
