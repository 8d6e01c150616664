"""Sampling: the pool's examples are told apart into probe, teach and held-out, evaluation items removed first.

    tasks ──► duplicates out ──► what overlaps with evaluation out ──► no more than is wanted ──► hash of (task, prompt)
                                                                                                  ──► probe | teach | held_out

The split of an example depends on its own text alone: adding rows to a file moves no other row from one split to another. Where not all
is wanted (``tasks/mixing.py``), the examples pass twice: once to see what there is, then to take of it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from orcinus.core.errors import DataError, StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.protocols import Executor
from orcinus.core.types import Example, Split
from orcinus.runs import layout, tables
from orcinus.runs.context import StepContext
from orcinus.tasks.duplicates.near import originals_of
from orcinus.tasks.duplicates.ngrams import I64, normal
from orcinus.tasks.duplicates.overlap import Overlap
from orcinus.tasks.duplicates.seen import SeenHashes, hash_of
from orcinus.tasks.files.records import Skipped
from orcinus.tasks.mixing import LARGEST, Mixer, Mixture

VERSION = 3

Opened = tuple[str, Callable[[], Iterator[Example]], str]
"""A source's name for messages, its examples, and ``pool``, ``evaluation`` or ``retention``."""


class SampleConfig(Mixture):
    """How the pool is split, and how much of it is taken: of a task's probe and held-out parts the same share as of what is taught."""

    collections: Mapping[str, Mixture] = Field(default_factory=dict)
    """Collections with ``per_task``, ``total`` and ``temperature`` of their own, by name (``meta.collection``): Orca took ``{cot: {}, niv2:
    {per_task: 300}, flan2021: {total: 2500000}, t0: {total: 2000000}, dialog: {total: 0}}``."""
    probe: float = Field(default=0.2, ge=0, le=1)
    """Share of each task that the student is measured on."""
    held_out: float = Field(default=0.2, ge=0, le=1)
    """Share of each task that is kept for evaluation; the rest is taught."""
    ngram: int | None = Field(default=13, ge=3)
    """A pool example that shares a run of so many words with an evaluation item is removed; None compares whole texts only."""
    fuzzy_overlap: float | None = Field(default=None, gt=0, le=1)
    """A pool example that has such a share of an evaluation item's runs of three words is removed too, e.g. 0.6: copies with words changed, left
    out or put in, and the same question with other numbers. None does not look for them."""
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


async def sample(
    config: SampleConfig, opened: Sequence[Opened], context: StepContext
) -> dict[str, Any]:
    """Read the tasks, and write ``examples.parquet`` with every example's split, and ``dropped.parquet``.

    Returns:
        Counts of examples by task and split, and of what was dropped by filter with the first reason of each.

    Raises:
        DataError: A file or a row cannot be used; says where and what to do.
        StepError: Nothing is left to teach.
    """
    context.progress.start("sample", None)
    unseen: list[tuple[Example, Split]] = [
        (example, "held_out" if role == "evaluation" else "retention")
        for _, examples, role in opened
        if role != "pool"
        for example in examples()
    ]
    evaluation = [example for example, _ in unseen]
    overlap = Overlap(
        ((f"{example.task}/{example.id}", example.prompt) for example in evaluation),
        n=config.ngram,
        fuzzy=config.fuzzy_overlap,
    )
    counts: dict[str, Counter[str]] = {}
    dropped: Counter[str] = Counter()
    first: dict[str, str] = {}
    with (
        tables.TableWriter(context.out / layout.EXAMPLES, tables.EXAMPLES) as kept,
        tables.TableWriter(context.out / layout.DROPPED, tables.DROPS) as drops,
    ):

        def keep(example: Example, split: Split) -> None:
            kept.write(tables.example_row(example, split))
            counts.setdefault(example.task, Counter())[split] += 1
            context.progress.advance()

        def drop(example: Example, name: str, reason: str) -> None:
            dropped[name] += 1
            first.setdefault(name, reason)
            drops.write(
                tables.drop_row(
                    tables.Drop(
                        attempt_id="",
                        example_id=example.id,
                        task=example.task,
                        filter=name,
                        reason=reason,
                    )
                )
            )

        seen, ids = SeenHashes(), SeenHashes()
        for example, split in unseen:
            if seen.add(_content(example)):
                _refuse_twin(ids, example)
                keep(example, split)
            else:
                drop(example, "duplicate", "the same question stands earlier in the evaluation")
        for example in _pool(
            config, opened, evaluation, seen, overlap, drop, context.seed, context.runtime.executor
        ):
            _refuse_twin(ids, example)
            keep(example, split_of(example, config, context.seed))
        skipped: Counter[str] = Counter()
        for name, rows in _skipped(opened):
            skipped[name] += rows.count
            for reason in rows.reasons():
                drops.write(tables.drop_row(_unusable(name, reason)))
    if not any(count["teach"] for count in counts.values()):
        raise StepError("nothing is left to teach; see dropped.parquet in the sample step's folder")
    return {
        "tasks": {task: dict(count) for task, count in sorted(counts.items())},
        "dropped": dict(dropped),
        "for_example": first,
        "skipped": dict(skipped),
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
    seed: int,
    executor: Executor,
) -> Iterator[Example]:
    """The pool's examples without duplicates, without what evaluation asks, and no more than are wanted."""
    usable = _usable(config, opened, evaluation, seen, overlap, drop, executor)
    if config.takes_all and all(mixture.takes_all for mixture in config.collections.values()):
        yield from (example for example, keep in usable if keep)
        return
    quotas = _Quotas(config, seed)
    kept = (
        bytearray()
    )  # one byte an example: what was found out in the first pass is not found out again
    for example, keep in usable:
        kept.append(keep)
        if keep:
            quotas.count(example)
    quotas.settle()
    for example, was_kept in zip(_all(opened), kept, strict=True):
        if was_kept and quotas.takes(example):
            yield example
        elif was_kept:
            drop(example, "quota", "more than is wanted of its task")


def _usable(
    config: SampleConfig,
    opened: Sequence[Opened],
    evaluation: Sequence[Example],
    seen: SeenHashes,
    overlap: Overlap,
    drop: Callable[[Example, str, str], None],
    executor: Executor,
) -> Iterator[tuple[Example, bool]]:
    """Each example of the pool, and whether it can be used; those that cannot are dropped."""
    near = _Near(config.near_duplicates, evaluation, opened, executor)
    for example, overlaps in overlap.mark(
        _all(opened), lambda item: item.prompt, executor=executor
    ):
        repeated = near.repeated(example)
        reason = None
        if not seen.add(_content(example)):
            reason = ("duplicate", "the same question stands earlier")
        elif overlaps is not None:
            reason = ("evaluation", overlaps)
        elif repeated is not None:
            reason = repeated
        else:
            near.keep(example)
        if reason is not None:
            drop(example, *reason)
        yield example, reason is None


class _Quotas:
    """Which examples are taken, each collection that has a mixture of its own apart from the others."""

    def __init__(self, config: SampleConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self._mixers = {
            name: Mixer(mixture, seed=seed)
            for name, mixture in {"": config, **config.collections}.items()
        }
        self._limits: dict[str, dict[str, int]] = {}

    def count(self, example: Example) -> None:
        """Take note of one example; the quotas are of what is taught."""
        if split_of(example, self._config, self._seed) == "teach":
            self._mixers[self._collection(example)].add(example.task, self._key(example))

    def settle(self) -> None:
        """All examples are counted."""
        self._limits = {name: mixer.limits() for name, mixer in self._mixers.items()}

    def takes(self, example: Example) -> bool:
        """Whether ``example`` is taken."""
        collection = self._collection(example)
        nothing_taught = -1 if self._mixture(collection).total == 0 else LARGEST
        return self._key(example) <= self._limits[collection].get(example.task, nothing_taught)

    def _collection(self, example: Example) -> str:
        name = str(example.meta.get("collection", ""))
        return name if name in self._config.collections else ""

    def _mixture(self, collection: str) -> Mixture:
        return self._config.collections.get(collection, self._config)

    def _key(self, example: Example) -> int:
        return hash_of("quota", str(self._seed), example.task, normal(example.prompt))


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


def _content(example: Example) -> int:
    return hash_of(normal(example.prompt))


def _refuse_twin(ids: SeenHashes, example: Example) -> None:
    if not ids.add(hash_of(example.task, example.id)):
        raise DataError(
            f"task {example.task!r}: the id {example.id!r} names two different questions; give one of the files another name:"
        )


def _skipped(opened: Sequence[Opened]) -> list[tuple[str, Skipped]]:
    """The rows that were left out because they could not be used, where the recipe allows that, each after its source's name."""
    found = ((name, getattr(examples, "skipped", None)) for name, examples, _ in opened)
    return [(name, skipped) for name, skipped in found if skipped is not None and skipped.count]


def _unusable(source: str, reason: str) -> tables.Drop:
    """What ``dropped.parquet`` says of a row that never became an example."""
    return tables.Drop(attempt_id="", example_id="", task=source, filter="unusable", reason=reason)
