"""Sampling: the pool's examples are told apart into probe, teach and held-out, evaluation items removed first.

    tasks ──► duplicates out ──► what overlaps with evaluation out ──► hash of (task, prompt) ──► probe | teach | held_out

The split of an example depends on its own text alone: adding rows to a file moves no other row.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from orcinus.config import Config
from orcinus.curation.near import originals_of
from orcinus.curation.overlap import Overlap
from orcinus.curation.text import I64, normal
from orcinus.errors import DataError, StepError
from orcinus.fingerprint import stable_fraction
from orcinus.protocols import Executor
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
    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    """A question that is so similar to an earlier one (share of runs of five words, e.g. 0.8) or to an evaluation item is removed. For
    collections of texts: questions made from one template are all near each other. None removes equal ones only."""

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
        for example in _pool(config, opened, evaluation, seen, overlap, drop, context.runtime.executor):
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
    evaluation: Sequence[Example],
    seen: SeenHashes,
    overlap: Overlap,
    drop: Callable[[Example, str, str], None],
    executor: Executor,
) -> Iterator[Example]:
    """The pool's examples without duplicates, without what evaluation asks, and no more than are wanted."""
    limits = _limits(config, opened) if config.per_task is not None else {}
    near = _Near(config.near_duplicates, evaluation, opened, executor)
    for example, overlaps in overlap.mark(_all(opened), lambda item: item.prompt, executor=executor):
        repeated = near.repeated(example)
        if not seen.add(_content(example)):
            drop(example, "duplicate", "the same question stands earlier")
        elif overlaps:
            drop(example, "evaluation", "overlaps with an evaluation item")
        elif repeated is not None:
            drop(example, *repeated)
        elif _rank(example) > limits.get(example.task, 1.0):
            drop(example, "quota", f"more than the {config.per_task} wanted of the task")
        else:
            near.keep(example)
            yield example


def _all(opened: Sequence[Opened]) -> Iterator[Example]:
    for _, examples, role in opened:
        if role == "pool":
            yield from examples()


class _Near:
    """Which examples of the pool, asked for one after the other, nearly repeat what is kept or evaluated."""

    def __init__(
        self,
        similarity: float | None,
        evaluation: Sequence[Example],
        opened: Sequence[Opened],
        executor: Executor,
    ) -> None:
        self._evaluation = evaluation
        self._next = len(evaluation)
        self._group = -1
        self._kept: dict[int, str] = {}
        self._originals: I64 | None = None
        if similarity is not None:
            prompts = (example.prompt for example in chain(evaluation, _all(opened)))
            self._originals = originals_of(prompts, similarity=similarity, executor=executor)
            sizes = np.bincount(self._originals, minlength=1)
            self._alone = sizes[self._originals] == 1

    def repeated(self, example: Example) -> tuple[str, str] | None:
        """The reason to drop ``example``, the next one of the pool, if there is one."""
        if self._originals is None:
            return None
        place = self._next
        self._next += 1
        self._group = -1 if self._alone[place] else int(self._originals[place])
        if self._group < 0:
            return None
        if self._group < len(self._evaluation):
            item = self._evaluation[self._group]
            return "evaluation", f"is nearly the evaluation item {item.task}/{item.id}"
        first = self._kept.get(self._group)
        return None if first is None else ("near_duplicate", f"is nearly {first}")

    def keep(self, example: Example) -> None:
        """``example``, the last one asked for, is kept."""
        if self._group >= 0:
            self._kept[self._group] = f"{example.task}/{example.id}"


def _limits(config: SampleConfig, opened: Sequence[Opened]) -> dict[str, float]:
    """By task the hash fraction up to which examples are kept."""
    ranks: dict[str, list[float]] = {}
    for example in _all(opened):
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
