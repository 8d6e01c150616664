"""The recipe that ``orcinus demo`` runs, its teacher, and its student of 0.7 million parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from orcinus.pipeline.demo.teacher import assistant as assistant
from orcinus.pipeline.demo.teacher import teacher as teacher


@contextmanager
def recipe_path() -> Iterator[Path]:
    """Give the demo's recipe as a file, with the student's folder beside it."""
    with as_file(files("orcinus.pipeline.demo")) as folder:
        yield folder / "demo.yaml"
