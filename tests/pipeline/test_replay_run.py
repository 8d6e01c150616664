"""A whole run with recorded outputs over HTTP as the teacher, and a key that leaves no trace."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.conftest import write_recipe
from tests.models.batch_server import Provider, handler
from tests.pipeline.test_run import orcinus

from orcinus.runs.ledger import Ledger
from orcinus.tasks.generators.procedural import ProceduralConfig, draw, explain

SECRET = "sk-0123456789-very-secret"


@pytest.fixture
def replay_url(tmp_path: Path) -> Iterator[str]:
    rows = []
    for generator, size in (("sums", (2, 3)), ("logic", (3, 4))):
        for example in draw(ProceduralConfig(generator=generator, count=60, size=size)):
            answer = explain(example.prompt, "step_by_step")
            rows.append(
                {
                    "task": generator,
                    "id": example.id,
                    "prompt": example.prompt,
                    "response": answer,
                    "model": "m",
                }
            )
    (tmp_path / "recorded.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "orcinus",
        "serve-replay",
        "recorded.jsonl",
        "--model",
        "m",
        "--port",
        "0",
    ]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split(" at ")[1].split(";")[0]
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.slow
def test_recorded_outputs_over_http_teach_a_student(tmp_path: Path, replay_url: str) -> None:
    teacher = {
        "kind": "endpoint",
        "model": "m",
        "base_urls": [replay_url],
        "api_key_env": "TEACHER_KEY",
        "price": {"input": 1.0, "output": 2.0},
    }
    write_recipe(tmp_path / "recipe.yaml", teacher=teacher, budget={"usd": 1.0})
    done = orcinus("run", "recipe.yaml", cwd=tmp_path, variables={"TEACHER_KEY": SECRET})
    assert done.returncode == 0, done.stderr
    with Ledger(tmp_path / "runs" / "ledger.sqlite", read_only=True) as ledger:
        spent = {row.step: row.cost_usd for row in ledger.spend("small") if row.model == "m"}
    assert spent["teach"] > 0
    for path in (tmp_path / "runs").rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in done.stdout + done.stderr


def test_a_cap_that_is_reached_stops_cleanly_and_raising_it_goes_on(
    tmp_path: Path, replay_url: str
) -> None:
    teacher = {
        "kind": "endpoint",
        "model": "m",
        "base_urls": [replay_url],
        "price": {"input": 1.0, "output": 2.0},
    }
    write_recipe(tmp_path / "recipe.yaml", teacher=teacher, budget={"usd": 0.001})
    done = orcinus("run", "recipe.yaml", "--until", "teach", cwd=tmp_path)
    assert done.returncode == 2
    assert "raise the recipe's budget" in done.stderr
    with Ledger(tmp_path / "runs" / "ledger.sqlite", read_only=True) as ledger:
        first = ledger.spent("small")[0]
        known = sum(row.calls for row in ledger.spend("small") if row.model == "m")
    assert 0 < first <= 0.001
    write_recipe(tmp_path / "recipe.yaml", teacher=teacher, budget={"usd": 1.0})
    done = orcinus("run", "recipe.yaml", "--until", "teach", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Ledger(tmp_path / "runs" / "ledger.sqlite", read_only=True) as ledger:
        assert sum(row.calls for row in ledger.spend("small") if row.model == "m") > known
        assert len({identity for identity, _, _ in ledger.attempts()}) == len(
            list(ledger.attempts())
        )


def test_a_teacher_that_is_asked_in_batches(tmp_path: Path) -> None:
    provider = Provider()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(provider)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        teacher = {
            "kind": "endpoint",
            "model": "gpt-5-mini",
            "base_urls": [f"http://127.0.0.1:{server.server_port}/v1"],
            "batch": {"size": 30, "linger_s": 0.1, "poll_s": 0.05},
        }
        write_recipe(tmp_path / "recipe.yaml", teacher=teacher, budget={"usd": 1.0})
        done = orcinus("run", "recipe.yaml", "--until", "teach", cwd=tmp_path)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert set(provider.worked_on.values()) == {1}
    ledger = tmp_path / "runs" / "ledger.sqlite"
    with Ledger(ledger, read_only=True) as opened:
        (row,) = [
            row for row in opened.spend("small") if row.step == "teach" and row.task == "sums"
        ]
    # Half of 0.25 and 2.00 dollars a million tokens.
    assert row.cost_usd == pytest.approx((row.tokens_in * 0.125 + row.tokens_out * 1.0) / 1e6)
    listed = orcinus("ledger", "batches", ledger, cwd=tmp_path)
    assert listed.stdout.count("completed (ended") == len(provider.batches) >= 3
    assert (
        f"{len(provider.batches)} finished batches dropped"
        in orcinus("ledger", "compact", ledger, cwd=tmp_path).stdout
    )
    assert orcinus("ledger", "batches", ledger, cwd=tmp_path).stdout == "no batches\n"
