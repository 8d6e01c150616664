"""Read a Parquet file in parts, each of which a worker process can read by itself.

    part = FilePart(path="sums.parquet", group=0, first=8192, rows=8192, before=0, reading=…)
    part.examples(strict)  →  SourcedExample(…) of row 8,193, …

A worker imports this module and no verifiers, which take most of a second.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from orcinus.core.records import quick_init
from orcinus.core.types import Example
from orcinus.tasks.config import Layout
from orcinus.tasks.files.columns import advice
from orcinus.tasks.files.drafts import NoPrompt, RowDraft, Unusable, names_of
from orcinus.tasks.files.examples import Defaults, build
from orcinus.tasks.files.layouts import (
    Columns,
    columns_read,
    drafts_of,
    layout_of,
    mapped,
)
from orcinus.tasks.files.rows import ROWS_PER_BATCH, Report, Row, read_parquet_rows

ROWS_PER_PART = 64 * ROWS_PER_BATCH
"""Rows that a worker gets at once: 8,192 take a third of a second."""


@quick_init
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

    def unused(self, columns: Columns) -> list[str]:
        """Return the columns of the row that are not empty and that nothing came from."""
        parts = columns_read(self.row.fields, self.layout, self.draft, columns)
        used = {column for columns in parts.values() for column in columns}
        inside = {column.partition(".")[0] for column in used}
        return [
            str(name)
            for name, value in self.row.fields.items()
            if value not in (None, "", []) and name not in used and name not in inside
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the rows of one file become examples."""

    columns: Columns
    """The recipe's mapping."""
    layout: Layout
    """The layout of the first row that fits one."""
    defaults: Defaults
    answered: bool
    """True: a row's own answer is kept, and a row without one is refused."""
    first: SourcedExample
    """The first example of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """Some rows of a row group of a local Parquet file, and how they are read."""

    path: str
    group: int
    """The number of the row group."""
    first: int
    """The first row in the group."""
    rows: int
    before: int
    """Rows of the file before the group."""
    reading: Reading

    def __str__(self) -> str:
        start = self.before + self.first + 1
        return f"rows {start:,} to {start + self.rows - 1:,} of {self.path}"

    def examples(self, report: Report) -> Iterator[SourcedExample]:
        """Yield the examples in order.

        Args:
            report: Called for each row that cannot be used.

        Raises:
            DataError: The file cannot be read, or ``report`` raised.
        """
        rows = read_parquet_rows(
            self.path,
            self.group,
            first=self.first,
            rows=self.rows,
            before=self.before,
            report=report,
        )
        reading = self.reading
        drafts = drafts_in(rows, reading.columns, report, known=reading.layout, fitted=True)
        return examples_in(drafts, self.path, reading.defaults, report, answered=reading.answered)


def examples_in(
    drafts: Iterable[tuple[Row, Layout, RowDraft]],
    source: str,
    defaults: Defaults,
    report: Report,
    *,
    answered: bool,
) -> Iterator[SourcedExample]:
    """Yield the examples of a file's drafts; one that cannot be used is reported."""
    for row, layout, draft in drafts:
        try:
            example = build(draft, defaults)
            if answered:
                example = _with_answer(draft, example)
        except Unusable as error:
            report(f"{row.where}: {error}")
        else:
            yield SourcedExample(
                source=source, row=row, layout=layout, draft=draft, example=example
            )


def drafts_in(
    rows: Iterable[Row],
    columns: Columns,
    report: Report,
    *,
    known: Layout | None,
    fitted: bool = False,
) -> Iterator[tuple[Row, Layout, RowDraft]]:
    """Yield each row's draft, read in the layout of the first row that fits one.

    Args:
        rows: Of one file.
        columns: The recipe's mapping.
        report: Called for each row without a draft.
        known: The layout, where it is known.
        fitted: True where an earlier row of the file fits it.
    """
    for row in rows:
        layout = known or layout_of(row.fields)
        try:
            drafts = drafts_of(mapped(row.fields, columns), layout)
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
