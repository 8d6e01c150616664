"""The command line as a newcomer meets it."""

import re
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from benchmarks.chaos_runs import signal_runs
from rich.console import Console
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus

from orcinus.cli.app import app
from orcinus.cli.options import Interrupted
from orcinus.cli.progress import Bars
from orcinus.cli.stopping import StopSignals
from orcinus.pipeline.verbs import VERBS

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
        (["--replicas", "2"], "2 replicas need a Ray cluster: set the executor to ray"),
    ):
        done = orcinus(command, "r.yaml", *flags, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert says in done.stderr


def commands() -> dict[str, Any]:
    """Return the commands that help lists, by name."""
    group: Any = typer.main.get_command(app)
    return {name: command for name, command in group.commands.items() if not command.hidden}


def test_every_command_shows_an_example() -> None:
    without = [
        name
        for name, command in commands().items()
        if not hasattr(command, "commands") and "$ orcinus" not in (command.epilog or "")
    ]
    assert without == []


def test_run_stops_after_any_step_of_the_method(tmp_path: Path) -> None:
    done = orcinus("run", "r.yaml", "--until", "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert all(f"'{verb}'" in done.stderr for verb in VERBS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["probe", "r.yaml", "--device", "cpu"], "orcinus run r.yaml --device cpu --until probe"),
        (["trace", "abc", "--run", "small"], "orcinus show abc --run small"),
        (["curate", "r.yaml", "--explain", "7"], "orcinus show ID"),
    ],
)
def test_an_old_name_answers_with_the_new_one(old: list[str], new: str, tmp_path: Path) -> None:
    done = orcinus(*old, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"{new}\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("before", "after"), [("default_int_handler", "SIG_DFL"), ("SIG_IGN",) * 2]
)
def test_ctrl_c_while_modules_load_prints_no_traceback(before: str, after: str) -> None:
    code = (
        f"import signal; signal.signal(signal.SIGINT, signal.{before}); import orcinus.__main__; "
        f"assert signal.getsignal(signal.SIGINT) == signal.{after}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_signalled_runs_end_in_order_and_resume_to_the_same_tables(tmp_path: Path) -> None:
    figures = signal_runs(tmp_path, signals=4, seed=0)
    assert {name: figures[name] for name in ("hangs", "raw_errors", "differences")} == {
        "hangs": 0,
        "raw_errors": [],
        "differences": [],
    }


def test_a_bar_is_full_when_its_phase_is_over() -> None:
    shown = StringIO()
    bars = Bars(Console(file=shown, force_terminal=True, width=100, highlight=False))
    bars.start("sample", None)
    bars.advance(240)
    bars.start("probe the student", 114)
    bars.advance(101)
    bars.start("train", 72)
    bars.advance(7)
    bars.close()
    last = shown.getvalue()[shown.getvalue().rindex("sample") :]
    assert re.findall(r"\d+/\d+", last) == ["240/240", "101/101", "7/72"]


def test_a_signal_while_the_event_loop_is_imported_stops_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was a traceback, or was lost where the import was tried."""
    name = "orcinus.pipeline.event_loop"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    with pytest.raises(Interrupted):
        StopSignals()._stop(signal.SIGINT, None)
