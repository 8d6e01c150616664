"""The quickstarts work as they stand: their files are read and planned, their commands run."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.quickstarts import PAGES, commands_of, files_of, provider, write_files

import orcinus

HERE = ("classify", "word-problems", "open-answers", "measure")
"""Pages whose commands can run without a GPU and a network."""


def write_and_make(name: str, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files of a page, and run the script that makes its questions."""
    page = PAGES / f"{name}.md"
    write_files(page, folder, url)
    monkeypatch.chdir(folder)
    for script in files_of(page):
        if script.startswith("make_"):
            runpy.run_path(str(folder / script))


@pytest.mark.parametrize("name", ["classify", "word-problems", "open-answers", "one-gpu"])
def test_a_plan_reads_the_files_of_a_quickstart(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_and_make(name, tmp_path, "http://127.0.0.1:9/v1", monkeypatch)
    plan = orcinus.plan("recipe.yaml")
    rows = {row.step: row for row in plan.rows}
    assert (rows["teach"].calls or 0) > 30
    assert ("evaluate (judge)" in rows) == (name == "open-answers")
    assert 0 < plan.usd_high < 5, "the teacher has a known price, and the budget is enough"
    teacher = yaml.safe_load(Path("recipe.yaml").read_text(encoding="utf-8"))["teacher"]["model"]
    assert any(note.startswith(teacher) for note in plan.notes), "named as the recipe names it"


def test_a_served_model_is_measured_without_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with provider() as url:
        write_and_make("measure", tmp_path, url, monkeypatch)
        runpy.run_path("measure.py")
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in shown] == [
        [strategy, "100%", "right"]
        for strategy in ("direct", "step_by_step", "explain_then_answer")
    ]


def test_every_quickstart_is_tested() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == {*HERE, "one-gpu"}


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_the_commands_of_a_quickstart_run_in_order(name: str, tmp_path: Path) -> None:
    page = PAGES / f"{name}.md"
    with provider() as url:
        write_files(page, tmp_path, url)
        commands = "\n".join(commands_of(page)).replace("http://localhost:8000/v1", url)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [path.parent for path in tmp_path.glob("runs/*/report.html")]
    assert len(runs) == 1
    assert (runs[0] / "student" / "config.json").is_file() == (name != "measure")
