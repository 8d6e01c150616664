"""Split the pool into probe, teach and held-out sets, after removing evaluation items.

    tasks ──► duplicates out ──► overlap with evaluation out ──► probe | teach | held_out
                                                            ──► at most the quotas

The sources are read once. What can be used is written down, and once all of it is known each
example gets its split (``tasks/splits.py``).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from orcinus.core.collector import relax_garbage_collection
from orcinus.core.errors import DataError, StepError
from orcinus.core.protocols import Executor
from orcinus.core.types import LECTURE, Example, Split
from orcinus.runs import layout, tables
from orcinus.runs.columns import array_of, numbers_of
from orcinus.runs.context import StepContext
from orcinus.runs.executors.local import LOCAL, warm_up
from orcinus.runs.row_groups import ROWS_FOR_WORKERS
from orcinus.tasks.config import SampleConfig
from orcinus.tasks.duplicates.near import originals_of
from orcinus.tasks.duplicates.ngrams import I64, normal
from orcinus.tasks.duplicates.overlap import Overlap, batched
from orcinus.tasks.duplicates.seen import SeenHashes, hash_of
from orcinus.tasks.files.parts import FilePart
from orcinus.tasks.files.records import Records, Skipped
from orcinus.tasks.prepared import Prepared, Preparer, add_facts, original_of, texts_of
from orcinus.tasks.splits import NAMES, OVER_QUOTA, Codes, SplitDraws, Splits
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
    known = _Facts(facts)

    def drop(example_id: str, task: str, removal: Removal) -> None:
        dropped[removal.filter] += 1
        first_reasons.setdefault(removal.filter, removal.reason)
        drops.write(_row_of_removal(example_id, task, removal))

    with (
        relax_garbage_collection(),
        tables.TableWriter(context.out / layout.EXAMPLES, tables.EXAMPLES) as kept,
        tables.TableWriter(context.out / layout.DROPPED, tables.DROPS) as drops,
        tables.ScratchRows(context.out / layout.USABLE, tables.EXAMPLES) as pool,
        tables.ScratchRows(context.out / layout.TEXTS, tables.EXAMPLES) as lectures,
    ):
        questions = Pool(config, opened, context.runtime.executor)
        for example, outcome in questions.unseen():
            example = known.add_to(example)
            if isinstance(outcome, Removal):
                drop(example.id, example.task, outcome)
                continue
            _refuse_reused_id(ids, hash_of(example.task, example.id), example.task, example.id)
            if example.answer_type == "program":
                require_sandbox()  # before anything is paid for answers without a verdict
            kept.write(tables.example_row(example, outcome))
            counts.setdefault(example.task, Counter())[outcome] += 1
            context.progress.advance()
        for found, removals in questions.pool(splits.draws, tuple(facts)):
            await asyncio.sleep(0)  # here Ctrl-C ends the step
            known.add_counts(found)
            names, tasks = _columns(found.rows, "id", "task")
            usable_rows, lecture_rows = [], []
            for place, identity in enumerate(found.names):
                if (removal := removals.get(place)) is not None:
                    drop(names[place], tasks[place], removal)
                    continue
                _refuse_reused_id(ids, identity, tasks[place], names[place])
                if place in found.programs:
                    require_sandbox()
                if place in found.lectures:
                    # It has no question that could be probed or tested.
                    lecture_rows.append(place)
                    counts.setdefault(tasks[place], Counter())[LECTURE] += 1
                else:
                    usable_rows.append(place)
                    splits.add_drawn(found.drawn[place])
            pool.write_rows(_rows_at(found.rows, usable_rows))
            lectures.write_rows(_rows_at(found.rows, lecture_rows))
            context.progress.advance(len(usable_rows) + len(lecture_rows))
        for taken, over_quota in _divided(pool, splits.settle()):
            kept.write_batch(taken)
            found_in = Counter(zip(*_columns(taken, "task", "split"), strict=True))
            for (task, split), count in found_in.items():
                counts.setdefault(task, Counter())[split] += count
            for example_id, task in zip(*_columns(over_quota, "id", "task"), strict=True):
                drop(example_id, task, _OVER_QUOTA)
        for batch in lectures.read_batches():
            kept.write_batch(_in_split(batch, LECTURE))
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


def _rows_at(rows: pa.Table, places: Sequence[int]) -> pa.Table:
    """Return the rows at some places, in ascending order."""
    return rows if len(places) == len(rows) else rows.take(array_of(places, pa.int64()))


def _in_split(batch: pa.RecordBatch, split: Split) -> pa.RecordBatch:
    """Return examples with their split."""
    column = tables.EXAMPLES.get_field_index("split")
    names = array_of([split] * len(batch), pa.string())
    return batch.set_column(column, tables.EXAMPLES.field(column), names)


def _divided(
    usable: tables.ScratchRows, codes: Codes
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Yield the usable examples in order: those taken, with their split, and those over quota."""
    names = array_of([*NAMES, None], pa.string())
    column = tables.EXAMPLES.get_field_index("split")
    start = 0
    for batch in usable.read_batches():
        of_batch = codes[start : start + len(batch)]
        start += len(batch)
        split = names.take(numbers_of(of_batch))
        is_taken = of_batch != OVER_QUOTA
        whole = batch.set_column(column, tables.EXAMPLES.field(column), split)
        yield whole.filter(numbers_of(is_taken)), batch.filter(numbers_of(~is_taken))


def _columns(batch: pa.RecordBatch | pa.Table, *names: str) -> list[list[Any]]:
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
        text = normal(example.whole_prompt) if self._columns else ""
        return add_facts(example, self._columns, text, self._found, self._shown)

    def add_counts(self, prepared: Prepared) -> None:
        """Count the facts of examples that have them already."""
        self._found.update(prepared.found)
        self._shown.update(prepared.shown)

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


_Accept = Callable[[Sequence[int], Sequence[str]], bool]
_Piece = tuple[FilePart | None, Callable[[], Iterator[Example]], _Accept]
"""A part of a file or None; what reads it here; and what takes it if it was read elsewhere."""


class Pool:
    """The examples of all sources, with the reason why one is dropped.

    Evaluation and retention items are held in memory. The pool itself is streamed: once to find
    near duplicates if they are asked for, and once to compare.
    """

    def __init__(self, config: SampleConfig, opened: Sequence[Opened], executor: Executor) -> None:
        """Remember the sources.

        Args:
            config: What is kept.
            opened: The sources, in order; each is opened afresh for every pass.
            executor: Where the pool is read and texts are compared.
        """
        self._config, self._opened, self._executor = config, opened, executor
        self._unseen: list[Example] = []
        self._seen = SeenHashes()

    def unseen(self) -> Iterator[tuple[Example, Split | Removal]]:
        """Yield the evaluation and retention items, each with its split or why it is dropped."""
        self._unseen, self._seen = [], SeenHashes()
        for _, examples, role in self._opened:
            if role == "pool":
                continue
            split: Split = "held_out" if role == "evaluation" else "retention"
            for example in examples():
                self._unseen.append(example)
                is_new = self._seen.add(hash_of(normal(example.whole_prompt)))
                yield example, split if is_new else _ASKED_BEFORE
        for example in self._unseen:  # the original of a copy is as well known as its copy
            if (original := original_of(example)) is not None:
                self._seen.add(hash_of(normal(original)))

    def pool(
        self, draws: SplitDraws, facts: tuple[str, ...] = ()
    ) -> Iterator[tuple[Prepared, Mapping[int, Removal]]]:
        """Yield the examples of the pool in batches, with the reasons to drop some by place.

        All of ``unseen`` must be read before.

        Args:
            draws: What draws their splits.
            facts: Columns that the judge is shown.
        """
        if self._rows_in_parts() >= ROWS_FOR_WORKERS:
            warm_up(self._executor, Preparer.__module__)
        overlap = Overlap(
            ((_name_of(item), text) for item in self._unseen for text in texts_of(item)),
            n=self._config.ngram,
            fuzzy=self._config.fuzzy_overlap,
        )
        groups = self._near_groups()
        preparer = Preparer(overlap=overlap, draws=draws, facts=facts)
        first_kept: dict[int, str] = {}
        start = len(self._unseen)
        for prepared in self._prepared(preparer):
            end = start + len(prepared.contents)
            of_batch = None if groups is None else groups[start:end].tolist()
            yield prepared, self._removals(prepared, of_batch, first_kept)
            start = end

    def _removals(
        self, found: Prepared, groups: Sequence[int] | None, first_kept: dict[int, str]
    ) -> dict[int, Removal]:
        """Return why examples of a batch are dropped, by place.

        Args:
            found: The batch.
            groups: The first text of each example's near duplicates, as in ``_near_groups``.
            first_kept: The first example of each group that was kept; the batch's are added.
        """
        removals: dict[int, Removal] = {}
        for place, content in enumerate(found.contents):
            group = _ALONE if groups is None else groups[place]
            original = found.originals.get(place)
            is_known = original is not None and not self._seen.add(original)
            if not self._seen.add(content) or is_known:
                removals[place] = _STANDS_EARLIER
            elif place in found.overlaps:
                removals[place] = Removal("evaluation", found.overlaps[place])
            elif group == _ALONE:
                pass
            elif group < len(self._unseen):
                reason = f"is nearly the evaluation item {_name_of(self._unseen[group])}"
                removals[place] = Removal("evaluation", reason)
            elif group in first_kept:
                removals[place] = Removal("near_duplicate", f"is nearly {first_kept[group]}")
            else:
                [row] = found.rows.slice(place, 1).select(["task", "id"]).to_pylist()
                first_kept[group] = f"{row['task']}/{row['id']}"
        return removals

    def _prepared(self, preparer: Preparer) -> Iterator[Prepared]:
        """Yield all examples of the pool in batches, prepared.

        Workers read the parts of local Parquet files. Other sources are read here, and so are parts
        with an id that was used before.
        """
        waiting = deque[_Piece]()

        def parts() -> Iterator[FilePart | None]:
            for piece in self._pieces():
                waiting.append(piece)
                yield piece[0]

        is_worth_it = self._rows_in_parts() >= ROWS_FOR_WORKERS
        executor = self._executor if is_worth_it else LOCAL
        for found in executor.map(preparer.read, parts(), processes=is_worth_it):
            _, read, accept = waiting.popleft()
            if found is not None and accept(found.own, found.reports):
                yield found
                continue
            for batch in batched(read(), tables.ROWS_PER_BATCH):
                yield preparer.prepare(batch)

    def _rows_in_parts(self) -> int:
        """Return the number of the pool's rows that workers can read."""
        sources = (examples for _, examples, role in self._opened if role == "pool")
        return sum(one.rows_in_parts() for one in sources if isinstance(one, Records))

    def _pieces(self) -> Iterator[_Piece]:
        """Yield the parts of the pool's sources in order; what only this process reads is None."""
        for _, examples, role in self._opened:
            if role != "pool":
                continue
            rows = examples.in_parts() if isinstance(examples, Records) else None
            if rows is None:
                yield None, examples, _refuse_all
                continue
            for part in rows:
                read = partial(rows.read, part)
                if isinstance(part, FilePart):
                    yield part, read, partial(rows.accept, part)
                else:
                    yield None, read, _refuse_all
            yield None, partial(rows.read, None), _refuse_all

    def _examples(self) -> Iterator[Example]:
        for _, examples, role in self._opened:
            if role == "pool":
                yield from examples()

    def _near_groups(self) -> I64 | None:
        """Return for each text, the unseen before the pool, the first text of its near duplicates.

        ``_ALONE`` where a text has none; None if near duplicates are not asked for.
        """
        if self._config.near_duplicates is None:
            return None
        originals = originals_of(
            (example.whole_prompt for example in chain(self._unseen, self._examples())),
            similarity=self._config.near_duplicates,
            executor=self._executor,
        )
        sizes = np.bincount(originals, minlength=1)
        originals[sizes[originals] == 1] = _ALONE
        return originals


def _refuse_all(_: Sequence[int], __: Sequence[str]) -> bool:
    """Take nothing that was read elsewhere."""
    return False


_ASKED_BEFORE = Removal("duplicate", "the same question stands earlier in the evaluation")
_STANDS_EARLIER = Removal("duplicate", "the same question stands earlier")
_OVER_QUOTA = Removal("quota", "more than is wanted of its task")
_ALONE = -1


def _name_of(example: Example) -> str:
    return f"{example.task}/{example.id}"


def _refuse_reused_id(ids: SeenHashes, identity: int, task: str, name: str) -> None:
    if not ids.add(identity):
        raise DataError(
            f"task {task!r}: the id {name!r} names two different questions; "
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
