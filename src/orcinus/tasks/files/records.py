"""Read tasks from files: your own rows, and public data sets in their own layouts.

    {"question": "What is 17 + 25?", "answer": "42"}
    Example(id="b2…", task="sums", prompt="What is 17 + 25?", answer_type="number", reference="42")

A problem with a row is reported in one line: file, line number and what to do. ``Example.prompt``
is the complete text that a model is shown: options that are missing from it are added as ``(A) …``
lines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from orcinus.core.errors import DataError, one_line
from orcinus.core.types import Example
from orcinus.core.urls import shown
from orcinus.tasks.config import MAX_CHOICES, Layout, RecordsConfig
from orcinus.tasks.duplicates.seen import SeenHashes, hash_of
from orcinus.tasks.files.columns import advice
from orcinus.tasks.files.drafts import NoPrompt, RowDraft, Unusable, names_of
from orcinus.tasks.files.examples import (
    Defaults,
    build,
    first_index_of,
    infer_answer_type,
    reference_text,
)
from orcinus.tasks.files.hub import read_hub
from orcinus.tasks.files.layouts import columns_read, drafts_of, layout_of, mapped
from orcinus.tasks.files.rows import Report, Row, read_rows, strict
from orcinus.tasks.files.sources import find_sources, is_hub

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

    def __call__(self) -> Iterator[Example]:
        """Yield all examples in the files' order.

        Raises:
            ConfigError: There is no such file.
            DataError: A row or a file cannot be used, or there is no usable row.
        """
        self.skipped = Skipped()
        reads = read_with_sources(
            self._config, self._base, self.skipped if self._config.skip_bad else strict
        )
        first = next(reads, None)
        if first is None:
            raise self.skipped.refuse_all(self._config.path)
        self.unused = first.unused(self._config)
        yield first.example
        for read in reads:
            yield read.example


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedExample:
    """An example with its row, and how the row was understood."""

    source: str
    """The file or URL."""
    row: Row
    layout: Layout
    """The layout in which the row was read."""
    draft: RowDraft
    example: Example

    def unused(self, config: RecordsConfig) -> list[str]:
        """Return the columns of the row that are not empty and that nothing came from."""
        parts = columns_read(self.row.fields, self.layout, self.draft, config.columns)
        used = {column for columns in parts.values() for column in columns}
        inside = {column.partition(".")[0] for column in used}
        return [
            str(name)
            for name, value in self.row.fields.items()
            if value not in (None, "", []) and name not in used and name not in inside
        ]


def read_with_sources(
    config: RecordsConfig, base: Path, report: Report
) -> Iterator[SourcedExample]:
    """Yield the examples as ``read_task`` does, each with its row and how that was understood."""
    if config.choices == "auto":
        config = config.model_copy(update={"choices": _labels_in(config, base)})
    return islice(_with_unique_ids(config, base, report), config.limit)


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


def _with_answer(draft: RowDraft, example: Example) -> Example:
    """Return ``example`` with the answer of its row in ``meta``.

    A long text that is both answer and reference is no use as a reference, and is left out.

    Raises:
        Unusable: There is no answer.
    """
    if not draft.response or not draft.response.strip():
        raise Unusable(
            "no answer to take as a trace", "name its column with columns: {response: …}"
        )
    same = example.answer_type == "free" and example.reference == draft.response.strip()
    return replace(
        example,
        reference=None if same else example.reference,
        meta={**example.meta, "response": draft.response, "system": draft.system or ""},
    )


def _with_unique_ids(config: RecordsConfig, base: Path, report: Report) -> Iterator[SourcedExample]:
    """Yield the examples, but report a row whose id was used before.

    Rows without an id are identified by their content.
    """
    seen = SeenHashes()
    repeats = 0
    for read in _examples(config, base, report):
        example = read.example
        if read.draft.id is None or seen.add(hash_of(example.task, example.id)):
            yield read
            continue
        repeats += 1
        looked_up = repeats <= _FIRST_USES_LOOKED_UP
        before = f" ({_first_use(config, base, example)})" if looked_up else ""
        report(
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
    drafts = _drafts(config, rows, report)
    first = list(islice(drafts, _ROWS_TO_INFER_FROM))
    if not first:
        return
    known = [draft for _, _, draft in first]
    choices = config.choices if isinstance(config.choices, tuple) else None
    inferred = infer_answer_type(known) if choices is None else "choice"
    answer_type = config.answer_type or inferred
    shared = {key: getattr(config, key) for key in ("licence", "collection", "verifier")}
    defaults = Defaults(
        task=config.name or first[0][0].stem,
        answer_type=answer_type,
        own_task=config.name is None,
        prompt_layout=config.prompt_layout,
        unlabelled=config.unlabelled,
        forced_type=config.answer_type is not None or choices is not None,
        choices=choices,
        instruction=config.instruction,
        first_index=first_index_of(known, choices),
        meta={key: value for key, value in shared.items() if value is not None},
    )
    for row, layout, draft in chain(first, drafts):
        try:
            example = build(draft, defaults)
            if config.answered:
                example = _with_answer(draft, example)
        except Unusable as error:
            report(f"{row.where}: {error}")
        else:
            yield SourcedExample(
                source=source, row=row, layout=layout, draft=draft, example=example
            )


def _drafts(
    config: RecordsConfig, rows: Iterator[Row], report: Report
) -> Iterator[tuple[Row, Layout, RowDraft]]:
    """Yield each row's draft, read in the layout of the first row that fits one."""
    known: Layout | None = config.layout or ("plain" if config.columns else None)
    fitted = False
    for row in rows:
        layout = known or layout_of(row.fields)
        try:
            drafts = drafts_of(mapped(row.fields, config.columns), layout)
        except NoPrompt as error:
            report(f"{row.where}: {error}" + ("" if fitted else f"; {advice(row.fields)}"))
        except Unusable as error:
            report(f"{row.where}: {error}")
        except KeyError as error:
            report(
                f"{row.where}: no column {error} as the layout {layout!r} needs, there are: "
                f"{names_of(row.fields)}; set layout: or columns: in the recipe"
            )
        else:
            known, fitted = layout, True
            yield from ((row, layout, draft) for draft in drafts)
