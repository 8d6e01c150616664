"""Split the pool into probe, teach and held-out sets, after removing evaluation items.

    tasks ──► duplicates out ──► overlap with evaluation out ──► probe | teach | held_out
                                                            ──► at most the quotas

The sources are read once. What can be used is written down, and once all of it is known each
example gets its split (``tasks/splits.py``).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from orcinus.core.errors import DataError, StepError
from orcinus.core.protocols import Executor
from orcinus.core.types import LECTURE, Example, Split
from orcinus.runs import layout, tables
from orcinus.runs.columns import array_of, numbers_of
from orcinus.runs.context import StepContext
from orcinus.tasks.config import SampleConfig
from orcinus.tasks.duplicates.near import originals_of
from orcinus.tasks.duplicates.ngrams import I64, normal
from orcinus.tasks.duplicates.overlap import Overlap
from orcinus.tasks.duplicates.seen import SeenHashes, hash_of
from orcinus.tasks.files.records import Skipped
from orcinus.tasks.perturbed import ORIGINAL
from orcinus.tasks.splits import NAMES, OVER_QUOTA, Codes, Splits
from orcinus.verifiers.judge_prompts import FACTS
from orcinus.verifiers.sandbox import require_sandbox

FEW_HELD_OUT = 20
"""Held-out questions of a task below which a note says so: with 20 the 95 % interval of the
task's own score is about 20 points to each side."""

Opened = tuple[str, Callable[[], Iterator[Example]], str]
"""A source's name for messages, its examples, and ``pool``, ``evaluation`` or ``retention``."""


async def sample(
    config: SampleConfig,
    opened: Sequence[Opened],
    context: StepContext,
    *,
    facts: Sequence[str] = (),
) -> dict[str, Any]:
    """Write ``examples.parquet``, every example with its split, and ``dropped.parquet``.

    Args:
        config: The shares, and what is dropped.
        opened: The sources.
        context: The step's context.
        facts: Columns that the judge is shown (``judging.facts``).

    Returns:
        Counts of examples by task and split, counts of dropped examples by filter with the first
        reason of each, and counts of unusable rows by source.

    Raises:
        DataError: A file or a row cannot be used; says where and what to do.
        MissingExtraError: The answers are programs, and there is no sandbox to run them.
        StepError: Nothing is left to teach.
    """
    context.progress.start("sample", None)
    counts: dict[str, Counter[Split]] = {}
    dropped: Counter[str] = Counter()
    first_reasons: dict[str, str] = {}
    ids = SeenHashes()
    mixtures = {"": config, **config.collections}
    splits = Splits(
        probe=config.probe, held_out=config.held_out, mixtures=mixtures, seed=context.seed
    )
    usable, texts = context.out / layout.USABLE, context.out / layout.TEXTS
    known = _Facts(facts)

    def drop(example_id: str, task: str, removal: Removal) -> None:
        dropped[removal.filter] += 1
        first_reasons.setdefault(removal.filter, removal.reason)
        drops.write(_row_of_removal(example_id, task, removal))

    with (
        tables.TableWriter(context.out / layout.EXAMPLES, tables.EXAMPLES) as kept,
        tables.TableWriter(context.out / layout.DROPPED, tables.DROPS) as drops,
    ):
        with (
            tables.TableWriter(usable, tables.EXAMPLES) as pool,
            tables.TableWriter(texts, tables.EXAMPLES) as lectures,
        ):
            for found, outcome in Pool(config, opened, context.runtime.executor).decisions():
                example = known.add_to(found)
                if isinstance(outcome, Removal):
                    drop(example.id, example.task, outcome)
                    continue
                _refuse_reused_id(ids, example)
                if example.answer_type == "program":
                    require_sandbox()  # before anything is paid for answers without a verdict
                if outcome is None and LECTURE in example.meta:
                    # It has no question that could be probed or tested.
                    lectures.write(tables.example_row(example, LECTURE))
                    counts.setdefault(example.task, Counter())[LECTURE] += 1
                elif outcome is None:
                    splits.add(example)
                    pool.write(tables.example_row(example, "teach"))
                else:
                    kept.write(tables.example_row(example, outcome))
                    counts.setdefault(example.task, Counter())[outcome] += 1
                context.progress.advance()
        for taken, over_quota in _divided(usable, splits.settle()):
            kept.write_batch(taken)
            for task, split in zip(*_columns(taken, "task", "split"), strict=True):
                counts.setdefault(task, Counter())[split] += 1
            for example_id, task in zip(*_columns(over_quota, "id", "task"), strict=True):
                drop(example_id, task, _OVER_QUOTA)
        for batch in tables.read_batches(texts):
            kept.write_batch(batch)
        usable.unlink()
        texts.unlink()
        skipped: Counter[str] = Counter()
        for source, rows in _skipped_rows(opened):
            skipped[source] += rows.count
            for reason in rows.reasons():
                drops.write(_row_of_removal("", source, Removal("unusable", reason)))
    known.check(context.progress.note)
    if not any(count["teach"] for count in counts.values()):
        raise StepError("nothing is left to teach; see dropped.parquet in the sample step's folder")
    for name, examples, _ in opened:
        if unused := getattr(examples, "unused", ()):
            context.progress.note(f"{name}: columns not used: {', '.join(unused)}")
    for line in _few_held_out(counts) if config.held_out else ():
        context.progress.note(line)
    return {
        "tasks": {task: dict(count) for task, count in sorted(counts.items())},
        "dropped": dict(dropped),
        "for_example": first_reasons,
        "skipped": dict(skipped),
    }


def _divided(usable: Path, codes: Codes) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Yield the usable examples in order: those taken, with their split, and those over quota."""
    names = array_of([*NAMES, None], pa.string())
    column = tables.EXAMPLES.get_field_index("split")
    start = 0
    for batch in tables.read_batches(usable):
        of_batch = codes[start : start + len(batch)]
        start += len(batch)
        split = names.take(numbers_of(of_batch))
        is_taken = of_batch != OVER_QUOTA
        whole = batch.set_column(column, tables.EXAMPLES.field(column), split)
        yield whole.filter(numbers_of(is_taken)), batch.filter(numbers_of(~is_taken))


def _columns(batch: pa.RecordBatch, *names: str) -> list[list[Any]]:
    return [batch.column(name).to_pylist() for name in names]


def _few_held_out(counts: Mapping[str, Counter[Split]]) -> Iterator[str]:
    """Yield a warning where tasks have so few held-out questions that their scores say little."""
    few = {
        task: count["held_out"]
        for task, count in sorted(counts.items())
        if count["teach"] and count["held_out"] < FEW_HELD_OUT
    }
    if few:
        shown = ", ".join(f"{task} ({count})" for task, count in islice(few.items(), 3))
        more = f" and {len(few) - 3} more" if len(few) > 3 else ""
        yield (
            f"few held-out questions for {shown}{more}: a task's own score is rough below "
            f"{FEW_HELD_OUT}; raise sample.held_out or add questions"
        )


class _Facts:
    """The columns that the judge is shown, and whether the rows have them."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._found: Counter[str] = Counter()
        self._shown: Counter[str] = Counter()
        """Questions whose text holds the words of a fact, by column."""

    def add_to(self, example: Example) -> Example:
        """Return an example whose facts are where the judge finds them."""
        given = {
            name: str(value)
            for name in self._columns
            if (value := example.meta.get(name)) not in (None, "")
        }
        if not given:
            return example
        self._found.update(list(given))
        shown = normal(example.whole_prompt)
        self._shown.update(name for name, text in given.items() if normal(text) in shown)
        return replace(example, meta={**example.meta, FACTS: given})

    def check(self, note: Callable[[str], None]) -> None:
        """Fail if no row has a column, and note if questions hold their facts.

        Raises:
            DataError: Says how a column is kept.
        """
        for name in self._columns:
            if not self._found[name]:
                raise DataError(
                    f"judging.facts: no row has the column {name!r}; keep it with "
                    f"columns: {{meta: [{name}]}} of its task"
                )
            if self._shown[name]:
                note(
                    f"judging.facts: {self._shown[name]:,} questions hold the words of their "
                    f"{name!r}: the student sees them too"
                )


class Removal(NamedTuple):
    """Why an example is dropped."""

    filter: str
    reason: str


Decision = tuple[Example, Split | Removal | None]
"""An example, and its split (None: it is of the pool and usable), or why it is dropped."""


class Pool:
    """The examples of all sources, with the reason why one is dropped.

    Evaluation and retention items are held in memory. The pool itself is streamed: once to find
    near duplicates if they are asked for, and once to compare.
    """

    def __init__(self, config: SampleConfig, opened: Sequence[Opened], executor: Executor) -> None:
        """Remember the sources; they are read by ``decisions``.

        Args:
            config: What is kept.
            opened: The sources, in order; each is opened afresh for every pass.
            executor: Where texts are compared.
        """
        self._config, self._opened, self._executor = config, opened, executor

    def decisions(self) -> Iterator[Decision]:
        """Yield every example exactly once, evaluation and retention items first."""
        seen = SeenHashes()
        unseen = []
        for example, split in self._unseen():
            unseen.append(example)
            yield example, split if seen.add(_content_hash(example)) else _ASKED_BEFORE
        for example in unseen:  # the original of a perturbed item is as well known as its copy
            if (original := _original_of(example)) is not None:
                seen.add(hash_of(normal(original)))
        yield from self._compare(unseen, seen)

    def _unseen(self) -> Iterator[tuple[Example, Split]]:
        for _, examples, role in self._opened:
            if role != "pool":
                split: Split = "held_out" if role == "evaluation" else "retention"
                yield from ((example, split) for example in examples())

    def _examples(self) -> Iterator[Example]:
        for _, examples, role in self._opened:
            if role == "pool":
                yield from examples()

    def _compare(
        self, unseen: Sequence[Example], seen: SeenHashes
    ) -> Iterator[tuple[Example, Removal | None]]:
        """Yield each pool example with the reason to drop it, if it repeats another text.

        Args:
            unseen: The evaluation and retention items.
            seen: The hashes of their texts; those of the pool are added.
        """
        overlap = Overlap(
            ((_name_of(item), text) for item in unseen for text in _texts_of(item)),
            n=self._config.ngram,
            fuzzy=self._config.fuzzy_overlap,
        )
        groups = self._near_groups(unseen)
        first_kept: dict[int, str] = {}
        marked = overlap.mark(
            self._examples(), lambda item: "\n\n".join(_texts_of(item)), executor=self._executor
        )
        for place, (example, shared) in enumerate(marked, len(unseen)):
            group = _ALONE if groups is None else int(groups[place])
            removal = None
            original = _original_of(example)
            is_known = original is not None and not seen.add(hash_of(normal(original)))
            if not seen.add(_content_hash(example)) or is_known:
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
            (example.whole_prompt for example in chain(unseen, self._examples())),
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


def _original_of(example: Example) -> str | None:
    """Return the text of the item that a perturbed example is a copy of."""
    original = example.meta.get(ORIGINAL)
    return original if isinstance(original, str) else None


def _texts_of(example: Example) -> tuple[str, ...]:
    """Return the text of an example, and that of its original where it is a copy."""
    original = _original_of(example)
    return (example.whole_prompt,) if original is None else (example.whole_prompt, original)


def _content_hash(example: Example) -> int:
    return hash_of(normal(example.whole_prompt))


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
