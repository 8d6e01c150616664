"""Mistakes on the command line: one clear line, exit code 2, no traceback, nothing lost."""

import fcntl
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus

ENDPOINT: dict[str, Any] = {
    "kind": "endpoint",
    "model": "m",
    "base_urls": ["http://127.0.0.1:9/v1"],
    "patience": {"tries": 1},
}


def fails(
    tmp_path: Path, *arguments: object, says: str, variables: Mapping[str, str] | None = None
) -> None:
    done = orcinus(*arguments, cwd=tmp_path, variables=variables)
    lines = [line for line in done.stderr.splitlines() if line.startswith("orcinus: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    assert says in lines[0]


def test_a_broken_line_37(tmp_path: Path) -> None:
    good = json.dumps({"prompt": "1 + 1?", "reference": "2"}) + "\n"
    lines = [json.dumps({"prompt": f"{i} + 1?", "reference": str(i + 1)}) + "\n" for i in range(36)]
    (tmp_path / "t.jsonl").write_text("".join([*lines, "{broken\n", good]), encoding="utf-8")
    recipe = write_recipe(tmp_path / "r.yaml", tasks=[{"path": "t.jsonl"}])
    fails(tmp_path, "run", recipe, says="t.jsonl:37: not valid JSON")


def test_an_unreachable_endpoint(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", teacher=ENDPOINT)
    fails(
        tmp_path,
        "run",
        recipe,
        "--until",
        "teach",
        says="cannot connect to http://127.0.0.1:9/v1/chat/completions: connection refused",
    )


class _Unauthorised(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = b'{"error": {"message": "Incorrect API key provided"}}'
        self.send_response(401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_wrong_key(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Unauthorised) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        teacher = {
            **ENDPOINT,
            "base_urls": [f"http://127.0.0.1:{server.server_port}/v1"],
            "api_key_env": "KEY",
        }
        recipe = write_recipe(tmp_path / "r.yaml", teacher=teacher)
        fails(
            tmp_path,
            "run",
            recipe,
            "--until",
            "teach",
            says="HTTP 401: Incorrect API key provided (key from KEY)",
            variables={"KEY": "sk-wrong-0123456789"},
        )
        server.shutdown()


def test_a_key_that_is_not_set(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", teacher={**ENDPOINT, "api_key_env": "NO_SUCH_KEY"})
    fails(tmp_path, "run", recipe, "--until", "teach", says="NO_SUCH_KEY")


def test_a_student_that_is_no_model(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", student={"kind": "local", "path": "./nothing"})
    fails(tmp_path, "run", recipe, says="there is no such model folder")
    (tmp_path / "nothing").mkdir()
    fails(tmp_path, "run", recipe, says="not a model folder: it has no config.json")


def test_a_teacher_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "mute.py").write_text(
        "def answer(messages, sampling):\n    return ''\n", encoding="utf-8"
    )
    recipe = write_recipe(
        tmp_path / "r.yaml", teacher={"kind": "function", "function": "mute:answer"}
    )
    fails(
        tmp_path,
        "run",
        recipe,
        says="worth keeping (empty",
        variables={"PYTHONPATH": str(tmp_path)},
    )


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml")
    (tmp_path / "runs" / "small").mkdir(parents=True)
    with (tmp_path / "runs" / "small" / ".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fails(tmp_path, "run", recipe, says="works on this run")


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    fails(tmp_path, "run", "nothing.yaml", says="there is no such recipe")


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    for command in (
        ["status", "nothing"],
        ["show", "abc"],
        ["export", "nothing", "--format", "messages"],
    ):
        done = orcinus(*command, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_verify_prints_a_row_for_each_row(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": 1,
            "answer_type": "number",
            "choices": None,
            "reference": "4",
            "response": "The answer is 4.",
        },
        {
            "id": 2,
            "answer_type": "choice",
            "choices": ["x", "y"],
            "reference": "B",
            "response": "(A)",
        },
        {"id": 3, "answer_type": "bool", "choices": None, "reference": "Yes", "response": ""},
    ]
    (tmp_path / "v.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    done = orcinus("verify", "v.jsonl", cwd=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["id"], row["value"]) for row in found] == [(1, 1.0), (2, 0.0), (3, None)]
    (tmp_path / "w.jsonl").write_text(
        '{"id": 1, "answer_type": "nummer", "response": ""}\n', encoding="utf-8"
    )
    fails(tmp_path, "verify", "w.jsonl", says="w.jsonl:1: no answer type 'nummer'")
    (tmp_path / "x.jsonl").write_text(
        '{"id": 1, "answer_type": "nummer", "response": ""}\n' + json.dumps(rows[0]) + "\n",
        encoding="utf-8",
    )
    done = orcinus("verify", "x.jsonl", "--explain", cwd=tmp_path)
    assert done.returncode == 2
    assert "1 of 2 rows cannot be used; x.jsonl:1" in done.stderr
    assert [json.loads(line)["value"] for line in done.stdout.splitlines()] == [None, 1.0]


@pytest.mark.parametrize("command", ["--help", "run --help", "schema"])
def test_help_and_schema_need_no_heavy_library(tmp_path: Path, command: str) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    done = orcinus(*command.split(), cwd=tmp_path, variables={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_what_libraries_tell_developers_is_not_printed(tmp_path: Path) -> None:
    program = (
        "import sys, warnings; sys.argv = ['orcinus', '--version']\n"
        "from orcinus.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "from transformers.utils import logging\n"
        "logger = logging.get_logger('transformers.any')\n"
        "logger.warning('Some weights'); logger.error('broken')\n"
        "warnings.warn('old', FutureWarning)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "Some weights" not in done.stderr
    assert "FutureWarning: old" not in done.stderr
    assert "broken" in done.stderr


def test_ctrl_c_is_one_line_and_the_next_run_goes_on(tmp_path: Path) -> None:
    write_recipe(tmp_path / "r.yaml")
    # A shell's background job ignores Ctrl-C, and so would everything that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = orcinus("run", "r.yaml", cwd=tmp_path, wait=False)
    while not list(tmp_path.glob("runs/small/student-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("orcinus: interrupted; what has arrived is kept")
    assert orcinus("run", "r.yaml", "--until", "probe", cwd=tmp_path).returncode == 0
