"""Finished steps in a store: a folder on a shared disk, and a local S3 server (moto's)."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.lessons.test_row_groups import run_steps, write_inputs
from tests.pipeline.test_run import orcinus
from tests.s3_server import SECRET, s3_server

from orcinus.core.errors import ConfigError, StoreError
from orcinus.pipeline.api import runtime_of
from orcinus.runs import tables
from orcinus.runs.executors.local import LocalExecutor
from orcinus.runs.row_groups import TraceGroup
from orcinus.runs.sharing import Share

FILES = {
    "_done": "b2abc",
    "step.json": "{}",
    "attempts.parquet": "rows",
    "stage-1/model": "weights",
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Return the URL of an empty bucket."""
    with s3_server("runs", {}) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        import s3fs  # type: ignore[import-untyped]

        s3fs.S3FileSystem.clear_instance_cache()
        yield "s3://runs"
        s3fs.S3FileSystem.clear_instance_cache()


def written(run_dir: Path) -> Path:
    """Write a finished step, with a file in a folder of its own."""
    step = run_dir / "teach-0123abcd"
    for name, content in FILES.items():
        (step / name).parent.mkdir(parents=True, exist_ok=True)
        (step / name).write_text(content, encoding="utf-8")
    return step


def content_of(step: Path) -> dict[str, str]:
    return {
        str(path.relative_to(step)): path.read_text(encoding="utf-8")
        for path in step.rglob("*")
        if path.is_file()
    }


def exchange(share: Share, tmp_path: Path) -> None:
    """Give a step on one machine, and take it on another."""
    step, other = written(tmp_path / "one" / "demo"), tmp_path / "two" / "demo" / "teach-0123abcd"
    assert not share.take(other, "b2abc")
    share.give(step)
    share.give(step)
    assert not share.take(other, "b2other")
    assert not other.exists()
    assert share.take(other, "b2abc")
    assert content_of(other) == FILES
    (other / "step.json").write_text("{1}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"another machine has finished demo/teach-0123abcd"):
        share.give(other)


def test_a_step_is_taken_as_it_was_given(tmp_path: Path) -> None:
    exchange(Share(str(tmp_path / "disk")), tmp_path)


def test_a_step_is_taken_from_s3_as_it_was_given(bucket: str, tmp_path: Path) -> None:
    import s3fs

    exchange(Share(f"{bucket}/of/us/"), tmp_path)
    bad = "runs/of/us/demo/teach-0123abcd/../../../../away"
    s3fs.S3FileSystem().pipe_file(bad, b"!")
    with pytest.raises(StoreError, match=r"leads out of the step's folder"):
        Share(f"{bucket}/of/us").take(tmp_path / "three" / "demo" / "teach-0123abcd", "b2abc")


def test_half_a_step_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.local import LocalFileSystem

    put = LocalFileSystem.put_file

    def fail_in_the_middle(self: Any, here: str, there: str, **options: Any) -> None:
        if here.endswith("model"):
            raise OSError("the network is gone")
        put(self, here, there, **options)

    share, step = Share(str(tmp_path / "disk")), written(tmp_path / "one" / "demo")
    monkeypatch.setattr(LocalFileSystem, "put_file", fail_in_the_middle)
    with pytest.raises(ConfigError, match=r"cannot be written: .*the network is gone"):
        share.give(step)
    assert not share.take(tmp_path / "two" / "demo" / step.name, "b2abc")


def give_inputs(run_dir: Path, share: Share, folder: Path) -> list[bytes]:
    """Give the inputs of ``run_steps`` to a store, and return what it writes in this process.

    What ``curate`` writes to the folder ``remote`` will be the same, so it is given beforehand.
    """
    write_inputs(run_dir)
    alone = run_steps(run_dir, folder / "alone", LocalExecutor(1))
    curated = shutil.copytree(folder / "alone" / "curate", folder / "given/remote/curate")
    for step in (run_dir / "sample", run_dir / "teach", curated):
        (step / "_done").touch()
        share.give(step)
    return alone


class Elsewhere:
    """A machine that sees none of the files on this one."""

    def map(self, fn: Any, shards: Any, *, threaded: bool = False, processes: bool = False) -> Any:
        for shard in shards:
            found = fn(away(shard))
            assert found is not None  # then it would be done in the run's process
            yield found


def away(shard: Any) -> Any:
    """Return a shard; a row group as on a machine where its tables are not."""
    if not isinstance(shard, TraceGroup):
        return shard
    traces, examples = (
        Path("/elsewhere", *Path(path).parts[1:]) for path in (shard.traces, shard.examples)
    )
    return replace(shard, traces=traces, examples=examples)


def test_a_machine_that_sees_only_the_store_writes_the_same_bytes(
    bucket: str, tmp_path: Path
) -> None:
    share, run_dir = Share(f"{bucket}/seen"), tmp_path / "demo"
    alone = give_inputs(run_dir, share, tmp_path)
    assert run_steps(run_dir, tmp_path / "remote", Elsewhere(), share=share) == alone
    with pytest.raises(ConfigError, match=r"s3://runs/seen/demo/none/none\.parquet: cannot be"):
        tables.read_group(share.place_of(run_dir / "none" / "none.parquet"), 0)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "nothing can be written there"),
        ("s3:/bucket", "nothing can be written there"),
        ("https://host/runs", "nothing can be written there"),
        ("s3://no-such-bucket/runs", "s3://no-such-bucket/runs/demo: cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(
    bucket: str, tmp_path: Path, url: str, said: str
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "recipe.yaml").write_text("name: demo", encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        Share(url).check(tmp_path / "demo")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_runs_and_ledger_stay_on_a_disk(tmp_path: Path) -> None:
    done = orcinus("run", "recipe.yaml", "--runs", "s3://bucket/runs", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--runs s3:/bucket/runs: runs and their ledger (SQLite) need a disk" in done.stderr
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ConfigError, match=r"--ledger s3://bucket/l.* --share s3://bucket/folder"):
        runtime_of(tmp_path, ledger="s3://bucket/ledger.sqlite")
