"""No key is left in anything that a run, ``doctor --json`` or a crash writes."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.conftest import write_recipe
from tests.core.test_secrets import own_secrets
from tests.pipeline.test_run import orcinus

import orcinus as library
from orcinus.cli import _show_defect
from orcinus.core.errors import ConfigError
from orcinus.core.secrets import remember
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs.ledger import Ledger
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

__all__ = ["own_secrets"]
KEY = "sk-live-Zq7+w/9xK4tB2m"
PASSWORD = "pw-0f9e8d7c"
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in KEY)
CODED = base64.b64encode(f"Bearer {KEY}".encode()).decode()


def answer(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


REPLIES = (
    (200, f"you sent Bearer {KEY}".encode()),
    (200, answer(f"The key is {KEY}. The answer is 4.").replace(KEY.encode(), ESCAPED.encode())),
    (200, answer(f"The key is {CODED} or {quote(KEY, safe='')}.")),
    (400, f'{{"error": {{"message": "bad {ESCAPED}"}}}}'.encode()),
    (422, f'{{"error": "{KEY[:4]}\\u{ord(KEY[4]):04x}{KEY[5:]}"}}'.encode()),
)


@pytest.fixture
def repeater() -> Iterator[str]:
    """A server that repeats the key that it gets, each time in another form."""
    count = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal count
            self.rfile.read(int(self.headers["content-length"]))
            status, body = REPLIES[count % len(REPLIES)]
            count += 1
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def written(folder: Path) -> bytes:
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    with Ledger(folder / "ledger.sqlite") as ledger:
        rows = list(ledger.attempts())
    assert len(rows) >= len(REPLIES)
    return content + repr(rows).encode()


SECRETS = (KEY, ESCAPED, quote(KEY, safe=""), CODED[12:-2], PASSWORD)


def test_nothing_that_a_run_and_the_doctor_write_holds_a_key(
    repeater: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = {
        "kind": "endpoint",
        "model": "repeater",
        "base_urls": [repeater],
        "api_key_env": "MY_KEY",
        "patience": {"tries": 1},
        "headers": {"x-api-token": KEY[::-1]},
    }
    recipe = write_recipe(tmp_path / "r.yaml", teacher=model)
    runs, secrets = tmp_path / "runs", {"MY_KEY": KEY}
    library.run(recipe, runs=runs, until="sample", progress=True, secrets=secrets)
    examples = draw(ProceduralConfig(generator="sums", count=10, size=(2, 3)))
    library.probe(
        model, examples, ["direct"], runs=runs, progress=True, concurrency=1, secrets=secrets
    )
    said = capfd.readouterr()
    done = orcinus("doctor", "r.yaml", "--json", cwd=tmp_path, variables={"MY_KEY": KEY})
    assert "repeater" in done.stdout
    found = written(tmp_path / "runs") + "".join((*said, done.stdout, done.stderr)).encode()
    assert [secret for secret in (*SECRETS, KEY[::-1]) if secret.encode() in found] == []
    assert b"[secret]" in found
    copy = (tmp_path / "runs" / "small" / "recipe.yaml").read_text(encoding="utf-8")
    assert repeater.replace(f"me:{PASSWORD}@", "") in copy


def test_a_crash_shows_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    remember(KEY)
    error = RuntimeError(f"cannot send {KEY} \x1b[2J")
    _show_defect(type(error), error, None)
    assert capsys.readouterr().err == "RuntimeError: cannot send [secret] \\u001b[2J\n"


@pytest.mark.parametrize(
    "pasted",
    ["sk-proj-Ab3dEf6hIj9", "AIzaSyD4f6Gh8jK0lMn2pQr4sTu6vWx8yZ0aBc", "0f9e8d7c6b5a49382716f5e4"],
)
def test_a_key_pasted_for_its_name_is_refused_and_not_shown(pasted: str, tmp_path: Path) -> None:
    model = {"kind": "endpoint", "model": "m", "base_urls": ["http://x/v1"], "api_key_env": pasted}
    with pytest.raises(ConfigError, match="not the name of an environment variable") as raised:
        load_recipe(write_recipe(tmp_path / "r.yaml", teacher=model))
    assert pasted not in str(raised.value)
