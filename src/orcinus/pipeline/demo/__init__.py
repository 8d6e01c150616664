"""The recipes of ``orcinus demo``, their teacher, and a student of 0.7 million parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from orcinus.pipeline.demo.smollm2 import fetch
from orcinus.pipeline.demo.teacher import assistant as assistant
from orcinus.pipeline.demo.teacher import teacher as teacher


@contextmanager
def recipe_path(
    student: Literal["tiny", "smollm2"] = "tiny", runs: Path = Path("runs")
) -> Iterator[Path]:
    """Give the demo's recipe as a file, with the student beside it.

    Args:
        student: ``tiny`` comes with the package; ``smollm2`` is downloaded once.
        runs: Folder of the runs; a downloaded student is kept in ``.smollm2`` there.

    Raises:
        ConfigError: The student cannot be downloaded.
    """
    if student == "smollm2":
        yield fetch(runs / ".smollm2")
        return
    with as_file(files("orcinus.pipeline.demo")) as folder:
        yield folder / "demo.yaml"
