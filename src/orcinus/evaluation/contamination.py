"""Flag benchmark items that a training file contains."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orcinus.core.types import Example
from orcinus.evaluation.conditions import Settings
from orcinus.runs import layout
from orcinus.runs.folders import finished_steps
from orcinus.tasks.benchmarks.reading import ASKED
from orcinus.tasks.duplicates.overlap import touched
from orcinus.tasks.files.rows import read_rows
from orcinus.tasks.files.sources import find_sources


def _flagged(items: Sequence[Example], settings: Settings) -> set[tuple[str, str]]:
    """The items that share a run of words with what the model has learnt from."""
    if not settings.learnt_from:
        return set()
    hits = touched(
        [item.meta[ASKED] for item in items], _learnt(settings.learnt_from), n=settings.overlap
    )
    return {(item.task, item.id) for item, hit in zip(items, hits, strict=True) if hit}


def _learnt(paths: Iterable[str]) -> Iterator[str]:
    """All texts of runs' lessons, or of files of any layout."""
    for path in paths:
        run = (Path(path) / layout.RECIPE).is_file()
        source = str(finished_steps(Path(path), "erase")[0] / layout.LESSONS) if run else path
        for file in find_sources(source, Path()):
            for row in read_rows(file):
                yield from _texts(row.fields)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
