"""The real ``datasets`` library against a local hub, and folders that it saved."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import warm
from tests.pipeline.test_run import orcinus
from tests.tasks.hub_server import hub

from orcinus.core.errors import ConfigError
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.files.records import read_task

datasets = pytest.importorskip("datasets", reason="needs the extra hub")
SUBSETS = """---
configs:
- {config_name: algebra, data_files: [{split: test, path: algebra.jsonl}]}
- {config_name: geometry, data_files: [{split: test, path: geometry.jsonl}]}
---
"""


def rows(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (
        json.dumps({"question": f"What is {n} + 1?", "answer": str(n + 1)}) + "\n"
        for n in range(count)
    )
    path.write_text("".join(text), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class User:
    """A user with a hub and an empty cache."""

    home: Path
    url: str

    @property
    def variables(self) -> dict[str, str]:
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(self.home), "HF_HUB_OFFLINE": "0"}

    def inspects(self, path: str, **variables: str) -> Any:
        return orcinus(
            "tasks",
            "inspect",
            path,
            "--json",
            cwd=self.home.parent,
            variables={**self.variables, **variables},
        )


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("hub")
    rows(folder / "sets" / "owner" / "sums" / "train.jsonl", 30)
    rows(folder / "sets" / "owner" / "sums" / "test.jsonl", 3)
    for count, subset in enumerate(("algebra", "geometry"), 1):
        rows(folder / "sets" / "owner" / "several" / f"{subset}.jsonl", count)
    (folder / "sets" / "owner" / "several" / "README.md").write_text(SUBSETS, encoding="utf-8")
    with hub(folder / "sets") as url:
        user = User(home=folder / "home", url=url)
        warm.expect(user.variables)
        yield user


@pytest.mark.parametrize(
    ("path", "task", "count"),
    [
        ("hf:owner/sums", "sums", 30),
        ("hf:owner/sums@test", "sums", 3),
        ("hf:owner/several/geometry@test", "geometry", 2),
    ],
)
def test_a_hub_data_set_is_streamed(path: str, task: str, count: int, user: User) -> None:
    done = user.inspects(path)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [(summary["name"], summary["count"]) for summary in found["tasks"]] == [(task, count)]
    assert not list((user.home / "datasets").glob("**/*.arrow"))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("hf:owner/none", "Dataset 'owner/none' doesn't exist on the Hub or cannot be accessed"),
        ("hf:owner/sums@dev", "Bad split: dev. Available splits: ['train', 'test']"),
        (
            "hf:owner/several",
            "it has several subsets; name one, hf:owner/several/SUBSET: 'algebra', 'geometry'",
        ),
        (
            "hf:owner/several/logic@test",
            "BuilderConfig 'logic' not found. Available: ['algebra', 'geometry']",
        ),
        ("hf:sums", "not an address of the form hf:owner/name/subset@split"),
    ],
)
def test_a_data_set_that_the_hub_does_not_have_is_one_line(
    path: str, says: str, user: User
) -> None:
    done = user.inspects(path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"orcinus: {path}: ")
    assert says in done.stderr


@pytest.mark.slow
def test_offline_is_one_line_until_the_data_set_is_in_the_cache(user: User) -> None:
    done = user.inspects("hf:owner/sums@test", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "HF_HUB_OFFLINE is set: unset it, or put a local file in path:" in done.stderr
    fill = "import datasets; datasets.load_dataset('owner/sums')"
    environment = {**os.environ, **user.variables}
    subprocess.run([sys.executable, "-c", fill], env=environment, capture_output=True, check=True)
    done = user.inspects("hf:owner/sums@test", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 3


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_line(user: User, tmp_path: Path) -> None:
    done = user.inspects("hf:owner/sums", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "is this machine online?" in done.stderr


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Save a data set in two shards and one with two splits; return their folder."""
    made = datasets.Dataset.from_dict({"question": ["1 + 1?", "2 + 1?"], "answer": ["2", "3"]})
    made.save_to_disk(str(tmp_path / "sums"), num_shards=2)
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "splits"))
    return tmp_path


@pytest.mark.parametrize("folder", ["sums", "splits/train"])
def test_a_saved_data_set_is_read_as_one_task(folder: str, saved: Path) -> None:
    found = list(read_task(RecordsConfig(path=folder), saved))
    assert [(e.prompt, e.reference) for e in found] == [("1 + 1?", "2"), ("2 + 1?", "3")]
    assert len({e.task for e in found}) == 1


def test_a_split_of_a_saved_data_set_must_be_named(saved: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"splits: a data set of several splits \(test, train\); name one: .*/splits/test",
    ):
        list(read_task(RecordsConfig(path="splits"), saved))
