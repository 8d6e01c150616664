"""Two finished runs whose teacher writes scripts, and a server for them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import made_once, write_recipe
from tests.pipeline.test_run import orcinus

ROOT = Path(__file__).parents[3]
TEACHER = {"kind": "function", "function": "tests.reports.viewer.hostile:teacher"}


def run_to_end(folder: Path, name: str, *, epochs: int = 1) -> None:
    stages = [{"name": "one", "epochs": epochs, "learning_rate": 0.003}]
    train = {"context_length": 256, "batch_tokens": 512, "stages": stages}
    recipe = write_recipe(
        folder / f"{name}.yaml",
        name=name,
        teacher=TEACHER,
        train=train,
        curate={"keep": "all", "filters": []},
    )
    done = orcinus("run", recipe, cwd=folder, variables={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"})
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="package")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``runs/small`` and ``runs/longer``, which share their held-out questions."""
    for package in ("duckdb", "starlette", "uvicorn"):
        pytest.importorskip(package, reason="needs the extra view")

    def make(folder: Path) -> None:
        run_to_end(folder, "small")
        run_to_end(folder, "longer", epochs=2)

    return made_once(tmp_path_factory, "viewed", make)


@pytest.fixture(scope="package")
def address(workspace: Path) -> Iterator[str]:
    """The address of a server that shows the two runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "orcinus", "view", "--no-open"],
        cwd=workspace,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
