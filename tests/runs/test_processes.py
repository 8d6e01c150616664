"""Worker processes: order, errors, killed workers, and what they leave behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.runs.shard_work import Holder, kill_server_once, server_of, work

from orcinus.core.errors import ConfigError, StepError
from orcinus.runs.executors.local import LOCAL, LocalExecutor, warm_up
from orcinus.runs.executors.open import open_executor
from orcinus.runs.executors.processes import SERVER
from orcinus.runs.executors.worker import read_function, write_function

TWO = LocalExecutor(2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kills").write_text("1", encoding="ascii")
    return tmp_path


def mapped(folder: Path, shards: range) -> Iterator[int]:
    return TWO.map(partial(work, folder), shards, processes=True)


def test_results_come_in_order_and_a_killed_worker_costs_its_shard_alone(folder: Path) -> None:
    assert list(mapped(folder, range(10))) == [-n for n in range(10)]
    assert [(folder / f"{n}").stat().st_size for n in range(10)] == [1] * 7 + [2, 1, 1]


def test_a_shard_that_kills_two_workers_is_one_clear_line(folder: Path) -> None:
    (folder / "kills").write_text("2", encoding="ascii")
    with pytest.raises(StepError, match=r"two worker processes ended.*memory ran out.*: 7; run"):
        list(mapped(folder, range(10)))


def test_an_error_of_the_function_arrives_as_itself_or_says_what_it_was(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^eleven is refused$"):
        list(mapped(folder, range(10, 12)))
    with pytest.raises(StepError, match="Odd: one and two"):
        list(mapped(folder, range(12, 13)))


def test_shards_run_in_other_processes_which_end_with_the_results() -> None:
    results = TWO.map(Holder([*range(1000)]), range(1000), processes=True)
    shards = [next(results) for _ in range(20)]
    assert [value for value, _ in shards] == list(range(20))
    workers = {worker for _, worker in shards}
    assert os.getpid() not in workers
    results.close()  # type: ignore[attr-defined]
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def wait_for_end(*numbers: int) -> None:
    """Wait until processes have ended; a test that waits too long fails."""
    for number in numbers:
        while Path(f"/proc/{number}").exists():
            time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_maps_of_one_run_fork_their_workers_from_one_process_which_ends_with_it() -> None:
    with SERVER.held():
        warm_up(TWO, "orcinus.lessons.checks")  # with NumPy and Arrow, which may start threads
        started = TWO.map(server_of, range(10_000), processes=True)
        assert next(started)[0] == os.getppid()  # nothing waits for the import
        while SERVER.is_importing():
            time.sleep(0.02)
        assert next(started)[0] != os.getppid()
        started.close()  # type: ignore[attr-defined]
        first = {*TWO.map(server_of, range(6), processes=True)}
        assert first == {*TWO.map(server_of, range(6), processes=True)}
        [(server, threads)] = first
        assert threads == 1  # a fork of several would be unsafe
        [again] = TWO.map(kill_server_once, [server], processes=True)
        assert again != server
    for ended in (server, again):
        with pytest.raises(ProcessLookupError):
            os.kill(ended, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    script = (
        "import sys; from functools import partial; from pathlib import Path;"
        "from tests.runs.shard_work import sleep_long;"
        "from orcinus.runs.executors.local import LocalExecutor;"
        "work = partial(sleep_long, Path(sys.argv[1]));"
        "list(LocalExecutor(2).map(work, range(2), processes=True))"
    )
    # A shell's background job ignores Ctrl-C, and so would everything that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with parent:
        while len(found := [*tmp_path.iterdir()]) < 2:
            time.sleep(0.02)
        if number == signal.SIGINT:  # a terminal sends it to all
            os.killpg(parent.pid, number)
        else:
            parent.send_signal(number)
        _, told = parent.communicate()
        wait_for_end(*{int(word) for path in found for word in path.name.split()})
    assert told.count(b"Traceback") == (number == signal.SIGINT)


def test_arrays_of_a_function_are_read_where_they_stand_in_the_file(tmp_path: Path) -> None:
    write_function(Holder(np.arange(1000.0)), tmp_path)
    holder = read_function(tmp_path)
    assert isinstance(holder, Holder)
    assert isinstance(holder.values, np.ndarray)
    assert holder.values.flags.aligned
    assert not holder.values.flags.owndata
    assert holder(7) == (7.0, os.getpid())


def test_one_worker_is_this_process() -> None:
    alone = open_executor("local:1")
    assert {pid for _, pid in alone.map(Holder([0, 1, 2]), range(3), processes=True)} == {
        os.getpid()
    }
    assert open_executor("local") is LOCAL
    for odd in ("local:", "local:0", "local:many"):
        with pytest.raises(ConfigError, match="a number of workers"):
            open_executor(odd)
