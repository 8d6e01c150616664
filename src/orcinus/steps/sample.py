"""Sampling: the pool's examples are told apart into probe, teach and held-out, evaluation items removed first.

    tasks ──► duplicates out ──► what overlaps with evaluation out ──► hash of (task, prompt) ──► probe | teach | held_out

The split of an example depends on its own text alone: adding rows to a file moves no other row.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from orcinus.config import Config
from orcinus.curation.overlap import Overlap
from orcinus.curation.text import normal
from orcinus.errors import DataError, StepError
from orcinus.fingerprint import stable_fraction
from orcinus.runtime import StepContext
from orcinus.store import tables
from orcinus.tasks.seen import SeenHashes, hash_of
from orcinus.types import Example, Split

VERSION = 1

Opened = tuple[str, Callable[[], Iterator[Example]], str]
"""A source's name for messages, its examples, and ``pool`` or ``evaluation``."""


class SampleConfig(Config):
    """How the pool is split."""

    probe: float = Field(default=0.2, ge=0, le=1)
    """Share of each task that the student is measured on."""
    held_out: float = Field(default=0.2, ge=0, le=1)
    """Share of each task that is kept for evaluation; the rest is taught."""
    per_task: int | None = Field(default=None, ge=1)
    """At most so many examples of a task are taught, chosen by a hash; None takes all."""
    ngram: int | None = Field(default=13, ge=3)
    """A pool example that shares a run of so many words with an evaluation item is removed; None compares whole texts only."""

    @model_validator(mode="after")
    def _something_is_left_to_teach(self) -> "SampleConfig":
        if self.probe + self.held_out >= 1:
            raise ValueError(
                f"probe {self.probe} and held_out {self.held_out} leave nothing to teach; their sum must be below 1"
            )
        return self


async def sample(config: SampleConfig, opened: Sequence[Opened], context: StepContext) -> dict[str, Any]:
    """Read the tasks, and write ``examples.parquet`` with every example's split, and ``dropped.parquet``.

    Returns:
        Counts of examples by task and split, and of what was dropped by reason.

    Raises:
        DataError: A file or a row cannot be used; says where and what to do.
        StepError: Nothing is left to teach.
    """
    context.progress.start("sample", None)
    evaluation = [example for _, examples, role in opened if role == "evaluation" for example in examples()]
    overlap = Overlap((example.prompt for example in evaluation), n=config.ngram)
    counts: dict[str, Counter[str]] = {}
    dropped: Counter[str] = Counter()
    with (
        tables.TableWriter(context.out / "examples.parquet", tables.EXAMPLES) as kept,
        tables.TableWriter(context.out / "dropped.parquet", tables.DROPS) as drops,
    ):

        def keep(example: Example, split: Split) -> None:
            kept.write(tables.example_row(example, split))
            counts.setdefault(example.task, Counter())[split] += 1
            context.progress.advance()

        def drop(example: Example, name: str, reason: str) -> None:
            dropped[name] += 1
            drops.write(
                tables.drop_row(
                    tables.Drop(attempt_id="", example_id=example.id, task=example.task, filter=name, reason=reason)
                )
            )

        seen, ids = SeenHashes(), SeenHashes()
        for example in evaluation:
            if seen.add(_content(example)):
                _refuse_twin(ids, example)
                keep(example, "held_out")
            else:
                drop(example, "duplicate", "the same question stands earlier in the evaluation")
        for example in _pool(config, opened, seen, overlap, drop):
            _refuse_twin(ids, example)
            keep(example, split_of(example, config, context.seed))
    if not any(count["teach"] for count in counts.values()):
        raise StepError("nothing is left to teach; see dropped.parquet in the sample step's folder")
    return {
        "tasks": {task: dict(count) for task, count in sorted(counts.items())},
        "dropped": dict(dropped),
        "skipped": _skipped(opened),
    }


def split_of(example: Example, config: SampleConfig, seed: int) -> Split:
    """The split of a pool example, from a hash of its text."""
    fraction = stable_fraction("split", str(seed), example.task, normal(example.prompt))
    if fraction < config.probe:
        return "probe"
    return "held_out" if fraction < config.probe + config.held_out else "teach"


def _pool(
    config: SampleConfig,
    opened: Sequence[Opened],
    seen: SeenHashes,
    overlap: Overlap,
    drop: Callable[[Example, str, str], None],
) -> Iterator[Example]:
    """The pool's examples without duplicates, without what evaluation asks, and no more than are wanted."""
    limits = _limits(config, opened) if config.per_task is not None else {}
    for _, examples, role in opened:
        if role != "pool":
            continue
        for example, overlaps in overlap.mark(examples(), lambda item: item.prompt):
            if not seen.add(_content(example)):
                drop(example, "duplicate", "the same question stands earlier")
            elif overlaps:
                drop(example, "evaluation", "overlaps with an evaluation item")
            elif _rank(example) > limits.get(example.task, 1.0):
                drop(example, "quota", f"more than the {config.per_task} wanted of the task")
            else:
                yield example


def _limits(config: SampleConfig, opened: Sequence[Opened]) -> dict[str, float]:
    """By task the hash fraction up to which examples are kept."""
    ranks: dict[str, list[float]] = {}
    for _, examples, role in opened:
        if role == "pool":
            for example in examples():
                ranks.setdefault(example.task, []).append(_rank(example))
    wanted = round((config.per_task or 0) / (1 - config.probe - config.held_out))
    return {
        task: float(np.partition(values, wanted - 1)[wanted - 1])
        for task, values in ranks.items()
        if len(values) > wanted
    }


def _rank(example: Example) -> float:
    return stable_fraction("quota", example.task, normal(example.prompt))


def _content(example: Example) -> int:
    return hash_of(normal(example.prompt))


def _refuse_twin(ids: SeenHashes, example: Example) -> None:
    if not ids.add(hash_of(example.task, example.id)):
        raise DataError(
            f"task {example.task!r}: the id {example.id!r} names two different questions; give one of the files another name:"
        )


def _skipped(opened: Sequence[Opened]) -> dict[str, int]:
    """By source the rows that were left out because they could not be used, where the recipe allows that."""
    return {
        name: skipped.count
        for name, examples, _ in opened
        if (skipped := getattr(examples, "skipped", None)) is not None and skipped.count
    }
