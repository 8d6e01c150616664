"""Show how task files are understood, before any model is asked: ``orcinus tasks inspect PATH``.

inspect_task(RecordsConfig(path="sums.jsonl"), Path())
Inspection(readings=(…layout, columns…), tasks=(…counts, lengths…), problems=("…",), …)
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from statistics import median

from orcinus.core.types import Example
from orcinus.core.urls import shown
from orcinus.tasks.config import Layout, RecordsConfig
from orcinus.tasks.duplicates.ngrams import normal
from orcinus.tasks.files.columns import Guess, as_yaml, guess
from orcinus.tasks.files.layouts import columns_read
from orcinus.tasks.files.parts import SourcedExample
from orcinus.tasks.files.records import Skipped, read_with_sources

SHOWN_EXAMPLES = 10
"""Examples that are shown, of all tasks together."""
CANARY = "canary GUID"
"""BIG-bench marks its files with it: they are test data, not meant for training."""
MAX_LABELS = 12
"""Different references up to which a task looks like a classification."""
FEW = 30
"""Examples. With fewer, the probe and held-out sets of a task are too small to say anything."""


@dataclass(slots=True)
class TaskSummary:
    """Counts and lengths of one task."""

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
        """Characters of the prompt of median length."""
        return round(median(self.lengths)) if self.lengths else 0

    @property
    def prompt_longest(self) -> int:
        """Characters of the longest prompt."""
        return max(self.lengths, default=0)

    @property
    def options(self) -> str:
        """Fewest and most options to choose from, e.g. ``4`` or ``3–5``."""
        sizes = sorted(self.numbers_of_options)
        return "" if not sizes else str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"


@dataclass(slots=True, kw_only=True)
class FileReading:
    """The reading of some files, all in one layout and from the same columns."""

    layout: Layout
    files: list[str]
    rows: int = 0
    columns: dict[str, Counter[str]] = field(default_factory=dict)
    """For each part of an example the columns it came from, and in how many rows they were used."""
    seen: Counter[str] = field(default_factory=Counter)
    """All columns, and in how many rows they are not empty."""
    guessed: Guess = field(default_factory=dict)
    """Unused columns that look like a part that is missing."""

    @property
    def unused(self) -> list[str]:
        """The columns that were not used."""
        used = {column for columns in self.columns.values() for column in columns}
        inside = {column.partition(".")[0] for column in used}
        return [column for column in self.seen if column not in used and column not in inside]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The contents of task files, and what looks wrong."""

    readings: tuple[FileReading, ...]
    """How the files were understood; files that were read alike stand together."""
    tasks: tuple[TaskSummary, ...]
    examples: tuple[Example, ...]
    """The first of each task, then the second of each, … up to ten."""
    rows: int
    """Rows in the files: the examples and ``unusable``."""
    unusable: int
    """Rows that cannot be used."""
    unusable_rows: tuple[str, ...]
    """File, row and reason, for the first thousand of them."""
    problems: tuple[str, ...]


def inspect_task(config: RecordsConfig, base: Path) -> Inspection:
    """Read a task as a recipe would, but list what is wrong instead of stopping.

    Args:
        config: The task, as in a recipe.
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
        _add_row(reading, read, config)
        seen[normal(example.whole_prompt)] += 1
        canary += CANARY in example.prompt
    if not tasks:
        raise skipped.refuse_all(config.path)
    readings = _merged(files.values())
    problems = [problem for reading in readings for problem in _overlooked(reading)]
    twins = sum(count - 1 for count in seen.values())
    if twins:
        problems.append(f"{twins:,} questions are repeated; sample keeps the first of each")
    if canary:
        problems.append(
            f"{canary:,} prompts hold a canary string: their authors ask you not to train on them"
        )
    problems += [problem for task in tasks.values() for problem in _suspicions(task)]
    return Inspection(
        readings=readings,
        tasks=tuple(tasks.values()),
        examples=_first_in_turn(first),
        rows=sum(task.count for task in tasks.values()) + skipped.count,
        unusable=skipped.count,
        unusable_rows=tuple(skipped.lines),
        problems=tuple(problems),
    )


def _add_row(reading: FileReading, read: SourcedExample, config: RecordsConfig) -> None:
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


def _merged(files: Iterable[FileReading]) -> tuple[FileReading, ...]:
    """Merge the files that were read in the same layout from the same columns."""
    merged: dict[str, FileReading] = {}
    for reading in files:
        key = repr(
            (
                reading.layout,
                {part: sorted(columns) for part, columns in reading.columns.items()},
                sorted(reading.unused),
            )
        )
        whole = merged.setdefault(
            key, FileReading(layout=reading.layout, files=[], guessed=reading.guessed)
        )
        whole.files += reading.files
        whole.rows += reading.rows
        whole.seen += reading.seen
        for part, columns in reading.columns.items():
            whole.columns.setdefault(part, Counter()).update(columns)
    return tuple(merged.values())


def _overlooked(reading: FileReading) -> Iterator[str]:
    """Point out unused columns that look like a missing part."""
    for part, columns in reading.guessed.items():
        names = ", ".join([columns] if isinstance(columns, str) else columns)
        yield (
            f"{reading.files[0]}: no {part} found; the unused {names} looks like it. If so, write "
            f"beside the task's path: {as_yaml({part: columns})}"
        )


def _first_in_turn(first: Mapping[str, Sequence[Example]]) -> tuple[Example, ...]:
    """Return the tasks' first examples, then their second ones, up to the number shown."""
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
    """Point out what is possible but rarely intended."""
    labelled = task.answer_types["exact"] + task.answer_types["number"]
    if task.count >= FEW and labelled == task.count and 1 < len(task.references) <= MAX_LABELS:
        labels = ", ".join(sorted(task.references)[:6])
        yield (
            f"{task.name}: {task.count:,} references, only {len(task.references)} different "
            f"({labels}): a classification? If so, write beside the task's path: "
            '`choices: auto, instruction: "Which of these fits the text?"`'
        )
    if task.count < FEW:
        yield (
            f"{task.name}: only {task.count} examples; its probe and held-out sets will say little"
        )
    answer, times = task.references.most_common(1)[0] if task.references else ("", 0)
    if task.answer_types["choice"] and task.count >= FEW and times == task.count:
        yield (
            f"{task.name}: the right option is {answer} in every row; shuffle the options, or a "
            f"model that always says {answer} looks perfect"
        )
    if task.count >= FEW and 0.9 * task.count < times < task.count:
        yield (
            f"{task.name}: {times / task.count:.0%} of the references are {answer!r}; "
            "compare accuracies with that share"
        )
