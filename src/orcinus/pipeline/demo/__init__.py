"""The embedded default: a recipe over short tasks with a base student that is shipped in this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from orcinus.pipeline.demo.teacher import assistant as assistant
from orcinus.pipeline.demo.teacher import teacher as teacher


@contextmanager
def recipe_path() -> Iterator[Path]:
    """The demo's recipe as a file, its student's folder beside it."""
    with as_file(files("orcinus.pipeline.demo")) as folder:
        yield folder / "demo.yaml"
