"""The progress of a run, as another process reads it."""

import asyncio
import os
from pathlib import Path

import pytest

from orcinus.core.secrets import remember
from orcinus.runs.context import Silent
from orcinus.runs.progress import followed, live, state_of


def test_progress_can_be_read_while_the_run_works(tmp_path: Path) -> None:
    with followed(Silent(), tmp_path) as progress:
        progress.start("probe", 40)
        found = live(tmp_path)
        assert found is not None
        assert (found.what, found.done, found.total, found.seconds_left) == ("probe", 0, 40, None)
    assert live(tmp_path) is None


def test_rates_do_not_count_what_came_from_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orcinus.runs.progress.SECONDS_BETWEEN_WRITES", 0.0)
    with followed(Silent(), tmp_path) as progress:
        progress.start("teach", 100)
        progress.advance(30, cost_usd=9.0, recalled=True)
        progress.advance(10, cost_usd=0.5)
        found = live(tmp_path)
    assert found is not None
    assert (found.done, found.recalled, found.cost_usd) == (40, 30, 0.5)
    assert found.per_second == pytest.approx(10 / (found.updated - found.started))


def stop_in(folder: Path, error: BaseException) -> None:
    def work() -> None:
        with followed(Silent(), folder) as progress:
            progress.start("teach", 100)
            raise error

    with pytest.raises(type(error)):
        work()


def test_a_failed_run_leaves_its_last_progress_and_its_error(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(str(os.getpid()), encoding="utf-8")
    remember("kept-out-of-progress-1234")
    stop_in(tmp_path, RuntimeError("the teacher\nrefuses kept-out-of-progress-1234"))
    found = live(tmp_path)
    assert found is not None
    assert (found.what, state_of(tmp_path)) == ("teach", "failed")
    assert found.error == "the teacher refuses [secret]"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_interruption_is_no_failure(tmp_path: Path, error: BaseException) -> None:
    stop_in(tmp_path, error)
    assert state_of(tmp_path) == "stopped"


def test_a_run_is_running_while_its_process_is(tmp_path: Path) -> None:
    assert state_of(tmp_path) == "stopped"
    (tmp_path / ".lock").write_text(str(os.getpid()), encoding="utf-8")
    with followed(Silent(), tmp_path):
        assert state_of(tmp_path) == "running"
        for other in ("999999999", f"{os.getpid()} 1", "x"):
            (tmp_path / ".lock").write_text(other, encoding="utf-8")
            assert state_of(tmp_path) == "stopped"
    for step, state in (("teach-1", "ended"), ("report-1", "finished")):
        (tmp_path / step).mkdir()
        (tmp_path / step / "_done").touch()
        assert state_of(tmp_path) == state


def test_a_folder_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    with followed(Silent(), tmp_path / "gone") as progress:
        progress.start("probe", 1)
        progress.advance()
    assert live(tmp_path / "gone") is None
