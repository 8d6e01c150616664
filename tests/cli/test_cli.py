"""The command line as a newcomer meets it."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus

HEAVY = ("torch", "transformers", "pyarrow", "scipy", "numpy")


def test_help_waits_for_nothing_heavy() -> None:
    code = f"import sys, orcinus.cli.app; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["ablate", "improve"])
def test_flags_of_the_executor_reach_the_command(command: str, tmp_path: Path) -> None:
    write_recipe(tmp_path / "r.yaml")
    for flags, says in (
        (["--executor", "abacus"], "abacus"),
        (["--replicas", "2"], "--replicas 2 needs a Ray cluster: add --executor ray"),
    ):
        done = orcinus(command, "r.yaml", *flags, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert says in done.stderr
