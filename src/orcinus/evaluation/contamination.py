"""Find benchmark items that a model's training data contains."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orcinus.core.types import Example
from orcinus.runs import layout
from orcinus.runs.folders import finished_steps
from orcinus.tasks.benchmarks.reading import ASKED
from orcinus.tasks.duplicates.overlap import touched
from orcinus.tasks.files.rows import read_rows
from orcinus.tasks.files.sources import find_sources


def find_contaminated(
    items: Sequence[Example], training_data: Sequence[str], *, overlap: int
) -> set[tuple[str, str]]:
    """Return (task, id) of the items that share ``overlap`` words in a row with training data.

    Args:
        items: Benchmark items.
        training_data: Folders of runs, whose lessons are read, or data files of any layout.
        overlap: Number of consecutive words.
    """
    if not training_data:
        return set()
    hits = touched([item.meta[ASKED] for item in items], _read_texts(training_data), n=overlap)
    return {(item.task, item.id) for item, hit in zip(items, hits, strict=True) if hit}


def _read_texts(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        is_run = (Path(path) / layout.RECIPE).is_file()
        source = str(finished_steps(Path(path), "erase")[0] / layout.LESSONS) if is_run else path
        for file in find_sources(source, Path()):
            for row in read_rows(file):
                yield from _texts_in(row.fields)


def _texts_in(value: Any) -> Iterator[str]:
    """Yield every text in nested mappings and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)
