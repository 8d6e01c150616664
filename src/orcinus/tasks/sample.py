"""Split the pool into probe, teach and held-out sets, after removing evaluation items.

    tasks ──► duplicates out ──► overlap with evaluation out ──► at most the quotas
                                     ──► hash of (task, prompt) ──► probe | teach | held_out

The split of an example depends on its own text alone: adding rows to a file moves no other row
from one split to another. Quotas (``tasks/mixing.py``) need a second pass over the pool: the first
counts what can be used, the second takes some of it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

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
    """The shares of the splits, and how much of the pool is taken.

    A quota counts the examples that are taught. Of a task's probe and held-out sets the same share
    is taken as of its taught examples.
    """

    collections: Mapping[str, Mixture] = Field(default_factory=dict)
    """Collections with their own ``per_task``, ``total`` and ``temperature``, by name
    (``meta.collection``). Orca took
    ``{cot: {}, niv2: {per_task: 300}, flan2021: {total: 2500000}, t0: {total: 2000000}}``."""
    probe: float = Field(default=0.2, ge=0, le=1)
    """Share of each task that the student is measured on."""
    held_out: float = Field(default=0.2, ge=0, le=1)
    """Share of each task that is kept for evaluation; the rest is taught."""
    ngram: int | None = Field(default=13, ge=3)
    """Remove a pool example that shares a run of this many words with an evaluation item; None
    compares whole texts only."""
    fuzzy_overlap: float | None = Field(default=None, gt=0, le=1)
    """Also remove a pool example that has this share of an evaluation item's runs of three words,
    e.g. 0.6. This finds copies with words changed, left out or put in, and the same question with
    other numbers. None turns it off."""
    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    """Remove a question this similar to an earlier one or to an evaluation item (share of runs of
    five words in common, e.g. 0.8). Meant for collections of texts: questions made from one
    template are all similar to each other. None removes equal questions only."""

    @model_validator(mode="after")
    def _something_is_left_to_teach(self) -> "SampleConfig":
        if self.probe + self.held_out >= 1:
            raise ValueError(
                f"probe {self.probe} and held_out {self.held_out} leave nothing to teach; "
                "their sum must be below 1"
            )
        return self


async def sample(
    config: SampleConfig, opened: Sequence[Opened], context: StepContext
) -> dict[str, Any]:
    """Write ``examples.parquet``, every example with its split, and ``dropped.parquet``.

    Returns:
        Counts of examples by task and split, counts of dropped examples by filter with the first
        reason of each, and counts of unusable rows by source.

    Raises:
        DataError: A file or a row cannot be used; says where and what to do.
        StepError: Nothing is left to teach.
    """
    context.progress.start("sample", None)
    counts: dict[str, Counter[Split]] = {}
    dropped: Counter[str] = Counter()
    first_reasons: dict[str, str] = {}
    ids = SeenHashes()
    with (
        tables.TableWriter(context.out / layout.EXAMPLES, tables.EXAMPLES) as kept,
        tables.TableWriter(context.out / layout.DROPPED, tables.DROPS) as drops,
    ):
        pool = Pool(config, opened, seed=context.seed, executor=context.runtime.executor)
        for example, outcome in pool.decisions():
            if isinstance(outcome, Removal):
                dropped[outcome.filter] += 1
                first_reasons.setdefault(outcome.filter, outcome.reason)
                drops.write(_row_of_removal(example.id, example.task, outcome))
                continue
            _refuse_reused_id(ids, example)
            kept.write(tables.example_row(example, outcome))
            counts.setdefault(example.task, Counter())[outcome] += 1
            context.progress.advance()
        skipped: Counter[str] = Counter()
        for source, rows in _skipped_rows(opened):
            skipped[source] += rows.count
            for reason in rows.reasons():
                drops.write(_row_of_removal("", source, Removal("unusable", reason)))
    if not any(count["teach"] for count in counts.values()):
        raise StepError("nothing is left to teach; see dropped.parquet in the sample step's folder")
    return {
        "tasks": {task: dict(count) for task, count in sorted(counts.items())},
        "dropped": dict(dropped),
        "for_example": first_reasons,
        "skipped": dict(skipped),
    }


def split_of(example: Example, config: SampleConfig, seed: int) -> Split:
    """Return the split of a pool example, from a hash of its text."""
    fraction = stable_fraction("split", str(seed), example.task, normal(example.prompt))
    if fraction < config.probe:
        return "probe"
    return "held_out" if fraction < config.probe + config.held_out else "teach"


class Removal(NamedTuple):
    """Why an example is dropped."""

    filter: str
    reason: str


Decision = tuple[Example, Split | Removal]
"""An example, and the split that it gets or the reason why it is dropped."""


class Pool:
    """The examples of all sources, each with its split or the reason why it is dropped.

    Evaluation and retention items are held in memory. The pool itself is streamed: once to find
    near duplicates if they are asked for, once to compare, and once more if there are quotas.
    """

    def __init__(
        self, config: SampleConfig, opened: Sequence[Opened], *, seed: int, executor: Executor
    ) -> None:
        """Remember the sources; they are read by ``decisions``.

        Args:
            config: What is kept.
            opened: The sources, in order; each is opened afresh for every pass.
            seed: Another seed splits and draws anew.
            executor: Where texts are compared.
        """
        self._config, self._seed, self._executor = config, seed, executor
        self._opened = opened

    def decisions(self) -> Iterator[Decision]:
        """Yield every example exactly once, evaluation and retention items first.

        With quotas, the first pass over the pool yields what is dropped for other reasons, and the
        second one the rest.
        """
        seen = SeenHashes()
        unseen = []
        for example, split in self._unseen():
            unseen.append(example)
            yield example, split if seen.add(_content_hash(example)) else _ASKED_BEFORE
        compared = self._compare(unseen, seen)
        if self._takes_all:
            for example, removal in compared:
                yield example, removal or self._split(example)
            return
        quotas = _Quotas(self._config, self._seed)
        usable = bytearray()  # 1 byte an example spares the second pass all comparisons
        for example, removal in compared:
            usable.append(removal is None)
            if removal is None:
                quotas.count(example)
            else:
                yield example, removal
        is_taken = quotas.settle()
        for example, is_usable in zip(self._examples(), usable, strict=True):
            if is_usable:
                yield example, self._split(example) if is_taken(example) else _OVER_QUOTA

    def _unseen(self) -> Iterator[tuple[Example, Split]]:
        for _, examples, role in self._opened:
            if role != "pool":
                split: Split = "held_out" if role == "evaluation" else "retention"
                yield from ((example, split) for example in examples())

    def _examples(self) -> Iterator[Example]:
        for _, examples, role in self._opened:
            if role == "pool":
                yield from examples()

    @property
    def _takes_all(self) -> bool:
        mixtures = (self._config, *self._config.collections.values())
        return all(mixture.takes_all for mixture in mixtures)

    def _split(self, example: Example) -> Split:
        return split_of(example, self._config, self._seed)

    def _compare(
        self, unseen: Sequence[Example], seen: SeenHashes
    ) -> Iterator[tuple[Example, Removal | None]]:
        """Yield each pool example with the reason to drop it, if it repeats another text.

        Args:
            unseen: The evaluation and retention items.
            seen: The hashes of their texts; those of the pool are added.
        """
        overlap = Overlap(
            ((_name_of(item), item.prompt) for item in unseen),
            n=self._config.ngram,
            fuzzy=self._config.fuzzy_overlap,
        )
        groups = self._near_groups(unseen)
        first_kept: dict[int, str] = {}
        marked = overlap.mark(
            self._examples(), lambda example: example.prompt, executor=self._executor
        )
        for place, (example, shared) in enumerate(marked, len(unseen)):
            group = _ALONE if groups is None else int(groups[place])
            removal = None
            if not seen.add(_content_hash(example)):
                removal = _STANDS_EARLIER
            elif shared is not None:
                removal = Removal("evaluation", shared)
            elif group == _ALONE:
                pass
            elif group < len(unseen):
                reason = f"is nearly the evaluation item {_name_of(unseen[group])}"
                removal = Removal("evaluation", reason)
            elif group in first_kept:
                removal = Removal("near_duplicate", f"is nearly {first_kept[group]}")
            else:
                first_kept[group] = _name_of(example)
            yield example, removal

    def _near_groups(self, unseen: Sequence[Example]) -> I64 | None:
        """Return for each text, ``unseen`` before the pool, the first text of its near duplicates.

        ``_ALONE`` where a text has none; None if near duplicates are not asked for.
        """
        if self._config.near_duplicates is None:
            return None
        originals = originals_of(
            (example.prompt for example in chain(unseen, self._examples())),
            similarity=self._config.near_duplicates,
            executor=self._executor,
        )
        sizes = np.bincount(originals, minlength=1)
        originals[sizes[originals] == 1] = _ALONE
        return originals


_ASKED_BEFORE = Removal("duplicate", "the same question stands earlier in the evaluation")
_STANDS_EARLIER = Removal("duplicate", "the same question stands earlier")
_OVER_QUOTA = Removal("quota", "more than is wanted of its task")
_ALONE = -1


class _Quotas:
    """The examples that may be taken, counted by task; a collection of its own is counted apart."""

    def __init__(self, config: SampleConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self._mixtures: dict[str, Mixture] = {"": config, **config.collections}
        self._mixers = {name: Mixer(mixture, seed=seed) for name, mixture in self._mixtures.items()}

    def count(self, example: Example) -> None:
        """Count one example; only those that would be taught fill a quota."""
        if split_of(example, self._config, self._seed) == "teach":
            self._mixers[self._collection(example)].add(example.task, self._key(example))

    def settle(self) -> Callable[[Example], bool]:
        """Return the function that says whether an example is taken, given those counted so far."""
        limits = {name: mixer.limits() for name, mixer in self._mixers.items()}

        def is_taken(example: Example) -> bool:
            collection = self._collection(example)
            uncounted = -1 if self._mixtures[collection].total == 0 else LARGEST
            return self._key(example) <= limits[collection].get(example.task, uncounted)

        return is_taken

    def _collection(self, example: Example) -> str:
        name = str(example.meta.get("collection", ""))
        return name if name in self._config.collections else ""

    def _key(self, example: Example) -> int:
        return hash_of("quota", str(self._seed), example.task, normal(example.prompt))


def _content_hash(example: Example) -> int:
    return hash_of(normal(example.prompt))


def _name_of(example: Example) -> str:
    return f"{example.task}/{example.id}"


def _refuse_reused_id(ids: SeenHashes, example: Example) -> None:
    if not ids.add(hash_of(example.task, example.id)):
        raise DataError(
            f"task {example.task!r}: the id {example.id!r} names two different questions; "
            "give one of the files another name:"
        )


def _skipped_rows(opened: Iterable[Opened]) -> Iterator[tuple[str, Skipped]]:
    """Yield the rows that a source left out because they were unusable, after its name."""
    for name, examples, _ in opened:
        skipped = getattr(examples, "skipped", None)
        if skipped is not None and skipped.count:
            yield name, skipped


def _row_of_removal(example_id: str, task: str, removal: Removal) -> dict[str, Any]:
    name, reason = removal
    row = tables.Drop(attempt_id="", example_id=example_id, task=task, filter=name, reason=reason)
    return tables.drop_row(row)
