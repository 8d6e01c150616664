"""Steps: identity, skipping, resuming, locking."""

import asyncio
import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from orcinus.core.errors import BusyError, StoreError
from orcinus.pipeline.step import Step, ancestors, run_steps
from orcinus.runs import layout
from orcinus.runs.context import StepContext
from orcinus.runs.folders import finished_steps, locked, name_process, summary_of


class Calls:
    """Counts how often each step ran, and can make one fail."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fail: str | None = None

    def step(self, name: str, inputs: Mapping[str, Step] | None = None, **config: Any) -> Step:
        async def action(_: StepContext) -> dict[str, Any]:
            self.names.append(name)
            if self.fail == name:
                raise RuntimeError("power")
            return {"said": name}

        return Step(name=name, version=1, config=config, inputs=inputs or {}, action=action)


def run(steps: list[Step], run_dir: Path) -> None:
    async def nothing() -> None:
        pass

    asyncio.run(
        run_steps(steps, run_dir, lambda step, folder: cast(StepContext, None), close=nothing)
    )


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    calls = Calls()
    first = calls.step("sample", n=1)
    steps = [first, calls.step("probe", {"sample": first})]
    run(steps, tmp_path)
    run(steps, tmp_path)
    assert calls.names == ["sample", "probe"]
    assert summary_of(steps[1].folder(tmp_path))["summary"] == {"said": "probe"}
    assert summary_of(steps[1].folder(tmp_path))["inputs"] == {
        "sample": first.folder(tmp_path).name
    }


def test_a_changed_step_runs_again_with_all_that_depend_on_it_and_no_other(tmp_path: Path) -> None:
    calls = Calls()
    for n in (1, 2):
        sample = calls.step("sample")
        probe = calls.step("probe", {"sample": sample}, n=n)
        run([sample, probe, calls.step("assign", {"probe": probe})], tmp_path)
    assert calls.names == ["sample", "probe", "assign", "probe", "assign"]


def test_a_disk_that_is_full_for_a_library_is_one_line(tmp_path: Path) -> None:
    async def action(_: StepContext) -> dict[str, Any]:
        raise RuntimeError("while serializing: I/O error: No space left on device (os error 28)")

    step = Step(name="train", version=1, config={}, inputs={}, action=action)
    with pytest.raises(StoreError, match=r"train-\w+: cannot be written: No space left"):
        run([step], tmp_path)


def test_an_interrupted_step_is_entered_again(tmp_path: Path) -> None:
    calls = Calls()
    sample = calls.step("sample")
    steps = [sample, calls.step("probe", {"sample": sample})]
    calls.fail = "probe"
    with pytest.raises(RuntimeError, match="power"):
        run(steps, tmp_path)
    calls.fail = None
    run(steps, tmp_path)
    assert calls.names == ["sample", "probe", "probe"]


def test_ancestors_come_before_what_needs_them_and_once() -> None:
    calls = Calls()
    sample = calls.step("sample")
    probe = calls.step("probe", {"sample": sample})
    assign = calls.step("assign", {"sample": sample, "probe": probe})
    assert [step.name for step in ancestors(assign)] == ["sample", "probe", "assign"]


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from orcinus.runs.folders import locked
        with locked(Path({str(tmp_path)!r})):
            print("held", flush=True)
            input()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(BusyError, match=f"process {holder.pid} works on this run"),
        locked(tmp_path),
    ):
        pass
    holder.communicate("\n")
    with locked(tmp_path):
        pass


def test_a_damaged_step_record_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "step.json").write_bytes(b"{")
    with pytest.raises(StoreError, match=r"step\.json: cannot be read .* delete the folder"):
        summary_of(tmp_path)


def test_a_file_system_without_locks_still_keeps_two_runs_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("orcinus.runs.folders.fcntl.flock", unsupported)
    with locked(tmp_path):
        pass  # the process id of a run that has ended
    for name in (str(os.getppid()), name_process(os.getppid())):
        (tmp_path / layout.LOCK).write_text(name, encoding="utf-8")
        with pytest.raises(BusyError, match=f"process {os.getppid()} works on this run"):
            with locked(tmp_path):
                pass


@pytest.mark.skipif(sys.platform != "linux", reason="the start of a process is read from /proc")
def test_a_process_that_has_the_id_of_an_ended_one_holds_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("orcinus.runs.folders.fcntl.flock", unsupported)
    (tmp_path / layout.LOCK).write_text(f"{os.getppid()} 1", encoding="utf-8")
    with locked(tmp_path):
        assert (tmp_path / layout.LOCK).read_text(encoding="utf-8") == name_process(os.getpid())


def test_the_latest_step_is_the_last_one_whatever_the_clock_and_the_files_say(
    tmp_path: Path,
) -> None:
    calls = Calls()
    steps = [calls.step("train", n=n) for n in range(4)]
    run(steps[:1], tmp_path / "a")
    record = steps[0].folder(tmp_path / "a") / layout.STEP
    content = record.read_bytes()
    year = summary_of(record.parent)["finished"][:4].encode()
    record.write_bytes(content.replace(b'"finished": "' + year, b'"finished": "2999'))  # set back
    run(steps[1:], tmp_path / "a")
    for number, step in enumerate(reversed(steps)):
        os.utime(step.folder(tmp_path / "a") / layout.DONE, (number, number))  # copied
    found = finished_steps(tmp_path / "a", "train")
    assert found == [step.folder(tmp_path / "a") for step in reversed(steps)]
