"""Read tasks from files: your own rows, and public data sets in their own layouts.

    {"question": "What is 17 + 25?", "answer": "42"}
    Example(id="b2…", task="sums", prompt="What is 17 + 25?", answer_type="number", reference="42")

A problem with a row is reported in one line: file, line number and what to do. ``Example.prompt``
is the complete text that a model is shown: options that are missing from it are added as ``(A) …``
lines.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orcinus.core.errors import DataError, OrcinusError, one_line
from orcinus.core.types import Example
from orcinus.core.urls import shown
from orcinus.tasks.config import MAX_CHOICES, Layout, RecordsConfig
from orcinus.tasks.duplicates.seen import SeenHashes, hash_of
from orcinus.tasks.files.drafts import RowDraft
from orcinus.tasks.files.examples import (
    Defaults,
    first_index_of,
    infer_answer_type,
    reference_text,
)
from orcinus.tasks.files.hub import read_hub
from orcinus.tasks.files.parts import (
    ROWS_PER_PART,
    FilePart,
    Reading,
    SourcedExample,
    drafts_in,
    examples_in,
)
from orcinus.tasks.files.rows import Report, Row, read_rows, strict
from orcinus.tasks.files.sources import find_sources, format_of, is_hub

_ROWS_TO_INFER_FROM = 64
"""Rows at the start of a file from which the answer type is inferred."""
_MAX_LISTED = 1000
"""Unusable rows that are listed one by one; further ones are only counted."""
_FIRST_USES_LOOKED_UP = 3
"""Repeated ids for which the first use is looked up. Each look-up reads the files again."""


class Skipped:
    """A ``Report`` that counts the rows that were skipped, and goes on."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[str] = []
        """Why rows were skipped, for the first thousand of them."""

    def __call__(self, message: str) -> None:
        """Count one row."""
        self.count += 1
        if len(self.lines) < _MAX_LISTED:
            self.lines.append(one_line(message))

    def reasons(self) -> list[str]:
        """Return the reason for each row; after a thousand, how many more there are."""
        more = self.count - len(self.lines)
        return self.lines + ([f"{more:,} more rows cannot be used"] if more else [])

    def refuse_all(self, path: str) -> DataError:
        """Return the error for a source without a usable row."""
        first = (
            f"none of its {self.count:,} rows can be used; the first one: {self.lines[0]}"
            if self.lines
            else "no rows"
        )
        return DataError(f"{shown(path)}: {first}")


class Records:
    """The examples of one configured task; call it for a fresh pass."""

    def __init__(self, config: RecordsConfig, base: Path) -> None:
        self._config = config
        self._base = base
        self.skipped = Skipped()
        """The rows skipped by the latest pass."""
        self.unused: Sequence[str] = ()
        """The columns of the first row that no part of an example came from."""
        self._is_empty = True
        """True until the pass has its first example."""

    def __call__(self) -> Iterator[Example]:
        """Yield all examples in the files' order.

        Raises:
            ConfigError: There is no such file.
            DataError: A row or a file cannot be used, or there is no usable row.
        """
        report = self._begin()
        for read in read_with_sources(self._config, self._base, report):
            self._note_first(read)
            yield read.example
        self._end()

    def in_parts(self) -> "PartedRows | None":
        """Begin a pass whose parts can be read apart; None where rows are read in order alone."""
        config = self._config
        if is_hub(config.path) or config.limit is not None or config.choices == "auto":
            return None
        return PartedRows(
            config, self._base, self._begin(), note_first=self._note_first, end=self._end
        )

    def rows_in_parts(self) -> int:
        """Return the number of rows that parts of local Parquet files have."""
        if is_hub(self._config.path) or self._config.limit is not None:
            return 0
        with suppress(OrcinusError, OSError, pa.ArrowException):  # reported where it is read
            return sum(
                pq.read_metadata(source).num_rows
                for source in find_sources(self._config.path, self._base)
                if "://" not in source and format_of(source) == "parquet"
            )
        return 0

    def _begin(self) -> Report:
        """Begin a pass; return what is called for each unusable row."""
        self.skipped, self._is_empty = Skipped(), True
        return self.skipped if self._config.skip_bad else strict

    def _note_first(self, read: SourcedExample) -> None:
        """Note the columns that the pass's first example does not use."""
        if self._is_empty:
            self._is_empty, self.unused = False, read.unused(self._config.columns)

    def _end(self) -> None:
        """End a pass.

        Raises:
            DataError: It had no example.
        """
        if self._is_empty:
            raise self.skipped.refuse_all(self._config.path)


class PartedRows:
    """One pass over a task's files in parts, of which some can be read by other processes."""

    def __init__(
        self,
        config: RecordsConfig,
        base: Path,
        report: Report,
        *,
        note_first: Callable[[SourcedExample], None],
        end: Callable[[], None],
    ) -> None:
        self._config, self._base, self._report = config, base, report
        self._note_first, self._end = note_first, end
        self._ids = _UniqueIds(config, base, report)

    def __iter__(self) -> Iterator[FilePart | str]:
        """Yield the parts in order; a text is a file that is read in order, by ``read``.

        Raises:
            ConfigError: There is no such file.
        """
        for source in find_sources(self._config.path, self._base):
            parts = _parts_of(self._config, source)
            yield from parts or (source,)

    def read(self, part: FilePart | str | None) -> Iterator[Example]:
        """Yield the examples of a part, after those of all parts before it; None ends the pass.

        Raises:
            DataError: A row or the file cannot be used, or no row of the pass could.
        """
        if part is None:
            self._end()
            return
        if isinstance(part, FilePart):
            reads = part.examples(self._report)
        else:
            rows = read_rows(part, self._report)
            reads = _file_examples(self._config, part, rows, self._report)
        for read in self._ids.check(reads):
            self._note_first(read)
            yield read.example

    def accept(self, part: FilePart, ids: Sequence[int], reports: Sequence[str]) -> bool:
        """Take a part that was read elsewhere; False where an id of it was used before.

        Args:
            part: The part, after all parts before it.
            ids: Hashes of the tasks and ids of the rows that have an id.
            reports: What is wrong with rows that cannot be used.

        Raises:
            DataError: There is such a row, and it is not to be skipped.
        """
        if not self._ids.add_all(ids):
            return False
        for message in reports:
            self._report(message)
        self._note_first(part.reading.first)
        return True


def read_task(config: RecordsConfig, base: Path, report: Report | None = None) -> Iterator[Example]:
    """Yield the examples of ``config`` in a stable order, read as a stream.

    Args:
        config: Where they are and how they are laid out.
        base: Where a relative path starts.
        report: Called for each unusable row; None stops at the first one, unless ``skip_bad`` is
        set.

    Raises:
        ConfigError: There is no such file.
        DataError: A row or a file cannot be used; says file, line and what to do.
    """
    if report is None:
        report = Skipped() if config.skip_bad else strict
    return (read.example for read in read_with_sources(config, base, report))


def read_with_sources(
    config: RecordsConfig, base: Path, report: Report
) -> Iterator[SourcedExample]:
    """Yield the examples as ``read_task`` does, each with its row and how that was understood."""
    if config.choices == "auto":
        config = config.model_copy(update={"choices": _labels_in(config, base)})
    unique = _UniqueIds(config, base, report)
    return islice(unique.check(_examples(config, base, report)), config.limit)


def _labels_in(config: RecordsConfig, base: Path) -> tuple[str, ...]:
    """Return the different labels of the rows, numbers by size and others by the alphabet.

    Raises:
        DataError: There are fewer than two labels, or too many.
    """
    skipped = Skipped()
    found: dict[str, None] = {}
    for _, rows in _sources(config, base, skipped):
        for _, _, draft in _drafts(config, rows, skipped):
            if draft.reference not in (None, "", []):
                found[reference_text(draft.reference, "exact")] = None
            if len(found) > MAX_CHOICES:
                raise DataError(
                    f"{shown(config.path)}: choices: auto found more than {MAX_CHOICES} labels, "
                    f"such as {next(iter(found))!r:.60}; only labels can be options: name their "
                    "column with columns: {reference: …}, or list the options"
                )
    if len(found) < 2:
        labels = ", ".join(map(repr, found)) or "none"
        raise DataError(
            f"{shown(config.path)}: choices: auto needs two labels or more and found {labels}; "
            "name the column of the labels with columns: {reference: …}"
        )
    if all(label.lstrip("-").isdecimal() for label in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found, key=lambda label: (label.casefold(), label)))


class _UniqueIds:
    """The ids of a task's rows so far. Rows without an id are identified by their content."""

    def __init__(self, config: RecordsConfig, base: Path, report: Report) -> None:
        self._config, self._base, self._report = config, base, report
        self._seen = SeenHashes()
        self._repeats = 0

    def add_all(self, hashes: Sequence[int]) -> bool:
        """Add the hashes of ids; where one was used before, add none and return False."""
        if len(set(hashes)) < len(hashes) or any(one in self._seen for one in hashes):
            return False
        for one in hashes:
            self._seen.add(one)
        return True

    def check(self, reads: Iterable[SourcedExample]) -> Iterator[SourcedExample]:
        """Yield the examples, but report a row whose id was used before."""
        for read in reads:
            example = read.example
            if read.draft.id is None or self._seen.add(hash_of(example.task, example.id)):
                yield read
                continue
            self._repeats += 1
            looked_up = self._repeats <= _FIRST_USES_LOOKED_UP
            before = f" ({_first_use(self._config, self._base, example)})" if looked_up else ""
            self._report(
                f"{read.row.where}: the id {example.id!r:.60} was used before in task "
                f"{example.task!r:.60}{before}; make ids unique or leave them out"
            )


def _first_use(config: RecordsConfig, base: Path, repeated: Example) -> str:
    for read in _examples(config, base, Skipped()):
        if (read.example.task, read.example.id) == (repeated.task, repeated.id):
            return read.row.where
    return "in a skipped row"


def _examples(config: RecordsConfig, base: Path, report: Report) -> Iterator[SourcedExample]:
    for source, rows in _sources(config, base, report):
        yield from _file_examples(config, source, rows, report)


def _sources(
    config: RecordsConfig, base: Path, report: Report
) -> Iterator[tuple[str, Iterator[Row]]]:
    """Yield each file with its rows."""
    if is_hub(config.path):
        yield config.path, read_hub(config.path)
        return
    for source in find_sources(config.path, base):
        yield source, read_rows(source, report)


def _file_examples(
    config: RecordsConfig, source: str, rows: Iterator[Row], report: Report
) -> Iterator[SourcedExample]:
    """Yield the examples of one file."""
    drafts = _drafts(config, rows, report)
    first = list(islice(drafts, _ROWS_TO_INFER_FROM))
    if first:
        defaults = _defaults_of(config, first[0][0].stem, [draft for _, _, draft in first])
        every = chain(first, drafts)
        yield from examples_in(every, source, defaults, report, answered=config.answered)


def _drafts(
    config: RecordsConfig, rows: Iterator[Row], report: Report
) -> Iterator[tuple[Row, Layout, RowDraft]]:
    """Yield each row's draft."""
    return drafts_in(
        rows, config.columns, report, known=config.layout or ("plain" if config.columns else None)
    )


def _defaults_of(config: RecordsConfig, stem: str, first: Sequence[RowDraft]) -> Defaults:
    """Return the settings of a file's rows, from the recipe and its first rows."""
    choices = config.choices if isinstance(config.choices, tuple) else None
    inferred = infer_answer_type(first) if choices is None else "choice"
    shared = {key: getattr(config, key) for key in ("licence", "collection", "verifier")}
    return Defaults(
        task=config.name or stem,
        answer_type=config.answer_type or inferred,
        own_task=config.name is None,
        prompt_layout=config.prompt_layout,
        unlabelled=config.unlabelled,
        forced_type=config.answer_type is not None or choices is not None,
        choices=choices,
        instruction=config.instruction,
        first_index=first_index_of(first, choices),
        meta={key: value for key, value in shared.items() if value is not None},
    )


def _parts_of(config: RecordsConfig, source: str) -> list[FilePart]:
    """Return the parts of a local Parquet file; none where it is another file.

    None either where one of its first rows cannot be used: what is reported of it, and the layout
    of the rows after it, are found by reading the file in order.
    """
    if "://" in source or format_of(source) != "parquet":
        return []
    try:
        first = list(islice(_drafts(config, read_rows(source), strict), _ROWS_TO_INFER_FROM))
        if not first:
            return []
        row, layout, _ = first[0]
        defaults = _defaults_of(config, row.stem, [draft for _, _, draft in first])
        examples = examples_in(first, source, defaults, strict, answered=config.answered)
        first_example, *_ = list(examples)
        with pq.ParquetFile(source, pre_buffer=False) as file:
            groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    except (OSError, OrcinusError, pa.ArrowException):
        return []  # it is reported where the file is read
    reading = Reading(
        columns=config.columns,
        layout=layout,
        defaults=defaults,
        answered=config.answered,
        first=first_example,
    )
    return [
        FilePart(
            path=source,
            group=group,
            first=start,
            rows=min(ROWS_PER_PART, rows - start),
            before=sum(groups[:group]),
            reading=reading,
        )
        for group, rows in enumerate(groups)
        for start in range(0, rows, ROWS_PER_PART)
    ]
