"""What was understood of task files, before anything is asked: ``orcinus tasks inspect PATH``."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from statistics import median

from orcinus.core.types import Example
from orcinus.tasks.duplicates.ngrams import normal
from orcinus.tasks.files.columns import Guess, as_yaml, guess
from orcinus.tasks.files.layouts import Layout, columns_read
from orcinus.tasks.files.records import RecordsConfig, Skipped, SourcedExample, read_with_sources
from orcinus.tasks.files.sources import shown

SHOWN_EXAMPLES = 10
CANARY = "canary GUID"
"""BIG-bench marks its files with it: whoever trains on them must know."""
FEW = 30
"""With fewer examples a task cannot be split into probe, teach and held-out parts that say anything."""


@dataclass(slots=True)
class TaskSummary:
    """One task of the files."""

    name: str
    count: int = 0
    answer_types: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)
    """Characters of each prompt."""
    numbers_of_options: Counter[int] = field(default_factory=Counter)
    references: Counter[str] = field(default_factory=Counter)
    without_reference: int = 0

    @property
    def prompt_median(self) -> int:
        """Characters of the middle prompt."""
        return round(median(self.lengths)) if self.lengths else 0

    @property
    def prompt_longest(self) -> int:
        """Characters of the longest prompt."""
        return max(self.lengths, default=0)

    @property
    def options(self) -> str:
        """How many options there are to choose from."""
        sizes = sorted(self.numbers_of_options)
        return "" if not sizes else str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"


@dataclass(slots=True, kw_only=True)
class FileReading:
    """How some files were read: all of them in one layout, from the same columns."""

    layout: Layout
    files: list[str]
    rows: int = 0
    columns: dict[str, Counter[str]] = field(default_factory=dict)
    """For each part of an example the columns it came from, with the rows in which they held something."""
    seen: Counter[str] = field(default_factory=Counter)
    """All columns, with the rows in which they hold something."""
    guessed: Guess = field(default_factory=dict)
    """What unused columns look like, of the parts that no column gave."""

    @property
    def unused(self) -> list[str]:
        """The columns of which nothing was taken."""
        used = {column for columns in self.columns.values() for column in columns}
        inside = {column.partition(".")[0] for column in used}
        return [column for column in self.seen if column not in used and column not in inside]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What there is, and what looks wrong."""

    readings: tuple[FileReading, ...]
    """How the files were understood; those that were read alike together."""
    tasks: tuple[TaskSummary, ...]
    examples: tuple[Example, ...]
    """The first of each task, and where there are few tasks further ones, up to ten."""
    rows: int
    """Rows in the files: the examples and ``unusable``."""
    unusable: int
    """Rows that make no example."""
    unusable_rows: tuple[str, ...]
    """File, row and what is wrong, of the first thousand of them."""
    problems: tuple[str, ...]


def inspect_task(config: RecordsConfig, base: Path) -> Inspection:
    """Read a task as a recipe would, listing what is wrong in place of stopping.

    Args:
        config: The task, as a recipe has it.
        base: Where a relative path starts.

    Raises:
        ConfigError: There is no such file.
        DataError: A file as a whole cannot be read, or no row at all can be used.
    """
    skipped = Skipped()
    tasks: dict[str, TaskSummary] = {}
    first: dict[str, list[Example]] = {}
    files: dict[tuple[str, str], FileReading] = {}
    seen: Counter[str] = Counter()
    canary = 0
    for read in read_with_sources(config, base, skipped):
        example = read.example
        if len(start := first.setdefault(example.task, [])) < SHOWN_EXAMPLES:
            start.append(example)
        _count(tasks.setdefault(example.task, TaskSummary(example.task)), example)
        reading = files.setdefault(
            (read.source, read.layout), FileReading(layout=read.layout, files=[shown(read.source)])
        )
        _note(reading, read, config)
        seen[normal(example.prompt)] += 1
        canary += CANARY in example.prompt
    if not tasks:
        raise skipped.refuse_all(config.path)
    readings = _alike(files.values())
    problems = [problem for reading in readings for problem in _overlooked(reading)]
    twins = sum(count - 1 for count in seen.values())
    if twins:
        problems.append(f"{twins:,} questions stand more than once; sample keeps the first of each")
    if canary:
        problems.append(
            f"{canary:,} prompts hold a canary string: their authors ask that nobody trains on them"
        )
    problems += [problem for task in tasks.values() for problem in _suspicions(task)]
    return Inspection(
        readings=readings,
        tasks=tuple(tasks.values()),
        examples=_shown(first),
        rows=sum(task.count for task in tasks.values()) + skipped.count,
        unusable=skipped.count,
        unusable_rows=tuple(skipped.lines),
        problems=tuple(problems),
    )


def _note(reading: FileReading, read: SourcedExample, config: RecordsConfig) -> None:
    parts = columns_read(read.row.fields, read.layout, read.draft, config.columns)
    for part, columns in parts.items():
        reading.columns.setdefault(part, Counter()).update(columns)
    reading.seen.update(
        str(name) for name, value in read.row.fields.items() if value not in (None, "", [])
    )
    if not reading.rows:
        used = {column for columns in parts.values() for column in columns}
        left = {name: value for name, value in read.row.fields.items() if name not in used}
        reading.guessed = guess(
            left, [part for part in ("choices", "reference") if part not in parts]
        )
    reading.rows += 1


def _alike(files: Iterable[FileReading]) -> tuple[FileReading, ...]:
    """Files that were read from the same columns in the same layout become one FileReading."""
    found: dict[str, FileReading] = {}
    for one in files:
        key = repr(
            (
                one.layout,
                {part: sorted(columns) for part, columns in one.columns.items()},
                sorted(one.unused),
            )
        )
        whole = found.setdefault(key, FileReading(layout=one.layout, files=[], guessed=one.guessed))
        whole.files += one.files
        whole.rows += one.rows
        whole.seen += one.seen
        for part, columns in one.columns.items():
            whole.columns.setdefault(part, Counter()).update(columns)
    return tuple(found.values())


def _overlooked(reading: FileReading) -> Iterator[str]:
    """Columns that were not used though they look like what is missing."""
    for part, columns in reading.guessed.items():
        names = ", ".join([columns] if isinstance(columns, str) else columns)
        yield (
            f"{reading.files[0]}: no {part}, but {names} looks like it and is not used; if it is, write beside the task's path: "
            + as_yaml({part: columns})
        )


def _shown(first: Mapping[str, Sequence[Example]]) -> tuple[Example, ...]:
    """Examples of all tasks in turn, the tasks' first ones before their second ones."""
    turns = zip_longest(*first.values())
    return tuple(
        islice(
            (example for turn in turns for example in turn if example is not None), SHOWN_EXAMPLES
        )
    )


def _count(summary: TaskSummary, example: Example) -> None:
    summary.count += 1
    summary.answer_types[example.answer_type] += 1
    summary.lengths.append(len(example.prompt))
    if example.choices is not None:
        summary.numbers_of_options[len(example.choices)] += 1
    if example.reference is None:
        summary.without_reference += 1
    else:
        summary.references[str(example.reference)] += 1


def _suspicions(task: TaskSummary) -> Iterator[str]:
    """What is possible but seldom meant."""
    if task.count < FEW:
        yield f"{task.name}: only {task.count} examples; a probe and a held-out part of it will say little"
    answer, times = task.references.most_common(1)[0] if task.references else ("", 0)
    if task.answer_types["choice"] and task.count >= FEW and times == task.count:
        yield f"{task.name}: the right option is {answer} in every row; shuffle the options, or a model that always says {answer} looks perfect"
    if task.count >= FEW and 0.9 * task.count < times < task.count:
        yield f"{task.name}: {times / task.count:.0%} of the references are {answer!r}; accuracy must be read against that"
