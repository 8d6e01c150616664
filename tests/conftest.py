"""What tests share: the recorded data (when it is there), tiny students, small recipes."""

import fcntl
import gzip
import html
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orcinus.core import registry
from orcinus.models.scratch import ScratchConfig
from orcinus.runs.context import Silent
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run side by side: more threads than cores slow each other
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tasks and recorded outputs, which a clone does not have."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the recorded data in {SHARED}, which is not part of the project")
    return SHARED


@pytest.fixture
def own_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register extensions that are gone after it."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a gzipped JSON Lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def table_rows(page: str) -> list[list[str]]:
    """Return the text of every cell of every table row of an HTML page."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[text_of(cell) for cell in row] for row in cells]


def text_of(page: str) -> str:
    """Return the text of a piece of HTML on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return this worker's copy of a folder that the first worker to ask for it makes."""
    base = factory.getbasetemp()
    together = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = together / f"{name}-made"
    with (together / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "complete").exists():
            shutil.rmtree(made, ignore_errors=True)
            (made / "folder").mkdir(parents=True)
            make(made / "folder")
            (made / "complete").touch()
    return Path(shutil.copytree(made / "folder", factory.mktemp(name) / "own", symlinks=True))


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: one layer, a tokenizer learnt from sums."""
    from orcinus.training.scratch_model import make_student

    folder = tmp_path_factory.mktemp("student") / "model"
    config = ScratchConfig(layers=1, hidden=32, heads=2, vocabulary=320, context=512)
    make_student(
        config,
        [e.prompt for e in draw(ProceduralConfig(generator="sums", count=50, size=(2, 4)))],
        folder,
    )
    return folder


@pytest.fixture
def small_recipe(tmp_path: Path) -> Path:
    """Write a recipe that runs the whole method in seconds, with a program as teacher."""
    return write_recipe(tmp_path / "recipe.yaml")


class Heard(Silent):
    """Progress that remembers the phases, and interrupts the run at the start of one."""

    def __init__(self, fatal: str | None = None) -> None:
        self.phases: list[str] = []
        self.fatal = fatal

    def start(self, what: str, total: int | None) -> None:
        self.phases.append(what)
        if what == self.fatal:
            raise KeyboardInterrupt


def write_recipe(path: Path, **changes: Any) -> Path:
    recipe: dict[str, Any] = {
        "name": "small",
        "tasks": [
            {"generator": "sums", "count": 60, "size": [2, 3]},
            {"generator": "logic", "count": 60, "size": [3, 4]},
        ],
        "strategies": ["direct", "step_by_step"],
        "student": {
            "kind": "scratch",
            "layers": 1,
            "hidden": 32,
            "heads": 2,
            "vocabulary": 400,
            "context": 256,
        },
        "teacher": {"kind": "function", "function": "orcinus.pipeline.demo:teacher"},
        "probe": {"per_task": 4, "sampling": {"max_tokens": 8}},
        "assign": {"confirm": 2, "measure": "prompted"},
        "teach": {"sampling": {"max_tokens": 64}},
        "train": {
            "context_length": 128,
            "batch_tokens": 512,
            "stages": [{"name": "one", "epochs": 1, "learning_rate": 0.003}],
        },
        "evaluate": {"per_task": 6, "sampling": {"max_tokens": 8}},
    }
    path.write_text(yaml.safe_dump({**recipe, **changes}), encoding="utf-8")
    return path


def pytest_xdist_auto_num_workers() -> int:
    """Start one worker more than there are cores: many tests wait for a process or a socket."""
    return (os.cpu_count() or 1) + 1
