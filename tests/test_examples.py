"""The examples run as they are, offline, and print what their first comment shows."""

import os
import re
import runpy
from pathlib import Path

import pytest
from tests import warm

EXAMPLES = Path(__file__).parents[1] / "examples"
SLOW = {"run_a_recipe", "your_own_objective"}
"""Scripts that train a student: about half a minute each."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [], id=path.stem)
        for path in sorted(EXAMPLES.glob("*.py"))
    ],
)
def test_an_example_prints_what_it_shows(path: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = warm.run([], tmp_path, environment, script=path)
    assert done.returncode == 0, done.stderr
    shown = runpy.run_path(str(path))["__doc__"].partition("It prints:")[2]
    assert shape(shown) == shape(done.stdout)


def shape(text: str) -> list[str]:
    """Return the words of a text; every number is replaced, for it may differ between machines."""
    return re.sub(r"\d+", "0", text).split()


def test_examples_use_the_public_names_only() -> None:
    for path in EXAMPLES.glob("*.py"):
        for module in re.findall(
            r"^(?:from|import) (orcinus[\w.]*)", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            assert module in ("orcinus", "orcinus.training.objectives.interface"), path.name
