"""The plan of a recipe, before any model is called."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.conftest import write_recipe

import orcinus
from orcinus.pipeline.plan import plan_recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent


def test_a_student_in_a_folder_is_named_by_its_role(tmp_path: Path, tiny_student: Path) -> None:
    student = {"kind": "local", "path": str(tiny_student)}
    recipe = write_recipe(tmp_path / "recipe.yaml", student=student)
    runs = tmp_path / "runs"
    runtime = Runtime(workspace=runs, ledger_path=runs / "ledger.sqlite", device="cpu")
    plan = asyncio.run(plan_recipe(load_recipe(recipe), recipe, runtime, Silent()))
    notes = " ".join(plan.notes)
    assert "The student has answered nothing yet" in notes
    assert "folder:" not in notes
    assert "program" not in notes  # `sample` refuses programs without a sandbox by itself


def test_the_calls_that_are_planned_are_those_that_are_made(tmp_path: Path) -> None:
    """Steps list the requests that they send, so a change of a step changes its plan."""
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml"))
    runs = tmp_path / "runs"
    orcinus.run(recipe, runs=runs, until="assign")
    planned = {row.step: row for row in orcinus.plan(recipe, runs=runs).rows}
    run = orcinus.run(recipe, runs=runs, until="evaluate")
    for step in ("teach", "evaluate"):
        attempts = run.steps[step].glob("attempts*.parquet")
        asked = sum(tables.count_rows(path) for path in attempts)
        row = planned[step]
        assert (row.calls or 0) + (row.known_calls or 0) == asked > 0


def test_a_plan_needs_no_key_and_compares_with_the_budget(tmp_path: Path) -> None:
    teacher = {
        "kind": "endpoint",
        "model": "m",
        "base_urls": ["http://127.0.0.1:9/v1"],
        "api_key_env": "MY_KEY",
        "price": {"input": 1.0, "output": 2.0},
    }
    path = write_recipe(tmp_path / "recipe.yaml", teacher=teacher, budget={"usd": 0.001})
    plan = orcinus.plan(path, runs=tmp_path / "runs", secrets={})
    notes = "\n".join(plan.notes)
    assert "MY_KEY is not set; the run needs it: export MY_KEY=…" in notes
    assert "Budget: $0.0010, of which $0.00 is spent." in notes
    assert plan.usd_high > 0.001
    assert "more than the $0.0010 that is left: up to $" in notes
    set_key = orcinus.plan(path, runs=tmp_path / "runs", secrets={"MY_KEY": "k" * 20})
    assert "MY_KEY" not in "".join(set_key.notes)


class Picky(BaseHTTPRequestHandler):
    """A server that refuses every other question."""

    asked = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        refused = self.asked % 2 == 0
        reply = {
            "choices": [{"message": {"content": "4"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1},
        }
        content = json.dumps({"error": {"message": "no"}} if refused else reply).encode()
        self.send_response(400 if refused else 200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def picky() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Picky) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_errors_of_other_settings_are_planned_as_calls(tmp_path: Path, picky: str) -> None:
    teacher = {"kind": "endpoint", "model": "m", "base_urls": [picky]}
    changes = {"tasks": [{"generator": "sums", "count": 30}], "assign": {"fixed": "direct"}}
    path = tmp_path / "recipe.yaml"

    def planned(**more: object) -> tuple[int | None, int | None]:
        write_recipe(path, teacher={**teacher, **more}, **changes)
        rows = orcinus.plan(path, runs=tmp_path / "runs").rows
        [row] = [row for row in rows if row.step == "teach"]
        return row.calls, row.known_calls

    write_recipe(path, teacher=teacher, **changes)
    run = orcinus.run(path, runs=tmp_path / "runs", until="teach")
    (run.steps["teach"] / "_done").unlink()
    total = Picky.asked
    refused = total // 2
    assert planned() == (0, total)
    assert planned(headers={"x-tenant": "ours"}) == (refused, total - refused)


def test_a_missing_key_is_told_before_the_student_is_probed(tmp_path: Path) -> None:
    teacher = {
        "kind": "endpoint",
        "model": "m",
        "base_urls": ["http://127.0.0.1:9/v1"],
        "api_key_env": "MY_KEY",
    }
    recipe, runs = write_recipe(tmp_path / "recipe.yaml", teacher=teacher), tmp_path / "runs"
    with pytest.raises(orcinus.ConfigError, match="MY_KEY is not set"):
        orcinus.run(recipe, runs=runs, secrets={})
    assert not [path.name for path in (runs / "small").iterdir() if path.is_dir()]
    orcinus.run(recipe, runs=runs, secrets={}, until="sample")  # which needs no teacher
