"""What the tests of the quickstarts need: a page's files and commands, and a stand-in provider."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

PAGES = Path(__file__).parents[1] / "docs" / "quickstart"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL: dict[str, Any] = {
    "student": {
        "kind": "scratch",
        "layers": 1,
        "hidden": 32,
        "heads": 2,
        "vocabulary": 1024,
        "context": 1024,
    },
    "probe": {"per_task": 4, "sampling": {"max_tokens": 4}},
    "assign": {"measure": "prompted", "confirm": 2},
    "train": {"context_length": 1024, "stages": [{"name": "one", "epochs": 1}]},
}
"""What replaces a page's own values, so that its recipe runs in seconds without a GPU."""


def files_of(page: Path) -> dict[str, str]:
    """Return the files that a page shows, by name."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return {title: text for _, title, text in blocks if title and not title.startswith("one row")}


def commands_of(page: Path) -> list[str]:
    """Return the commands of a page, one block of them each."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for language, _, text in blocks if language == "bash"]


def write_files(page: Path, folder: Path, url: str) -> None:
    """Write a page's files, with the stand-in's address and a small student in the recipe."""
    for name, text in files_of(page).items():
        if name == "recipe.yaml":
            text = yaml.safe_dump(_small(yaml.safe_load(text), folder, url), sort_keys=False)
        (folder / name).write_text(text.replace("http://localhost:8000/v1", url), encoding="utf-8")


def _small(recipe: dict[str, Any], folder: Path, url: str) -> dict[str, Any]:
    recipe |= SMALL
    for role in ("teacher", "judge"):
        if role in recipe:
            recipe[role]["base_urls"] = [url]
    evaluate = recipe.get("evaluate", {})
    recipe["evaluate"] = {"per_task": 6, "sampling": {"max_tokens": 4}, **evaluate}
    for task in recipe["tasks"]:
        if task["path"].startswith("hf:"):
            rows = [{"question": f"What is {n} + 20?", "answer": str(n + 20)} for n in range(60)]
            (folder / "hub.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
            task["path"] = "hub.jsonl"
    return recipe


@contextmanager
def provider() -> Iterator[str]:
    """Serve the OpenAI chat API with a program that answers what the pages ask."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


class _Provider(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._send({"data": [{"id": "my-model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = _answer("\n".join(message["content"] for message in body["messages"]))
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 60, "completion_tokens": 12}
        self._send({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, content: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


def _answer(question: str) -> str:
    """Answer a ticket, a problem, a sum or a request; or judge, if that is asked."""
    judged = re.search(r"VERDICT (\w+): (\w+)", question)
    if judged:
        return f"It does what was asked.\nVERDICT {judged[1]}: {judged[2]}"
    eggs = re.search(r"(\d+) boxes of (\d+) eggs and breaks (\d+)", question)
    if eggs:
        boxes, each, broken = map(int, eggs.groups())
        return f"{boxes} x {each} - {broken}. The answer is {boxes * each - broken}."
    added = re.search(r"What is (\d+) \+ (\d+)", question)
    if added:
        return f"The answer is {int(added[1]) + int(added[2])}."
    if "charged" in question or "invoice" in question or "money back" in question:
        return "It is about money. The answer is (A)."
    if "Options:" in question:
        is_bug = re.search(r"closes when|an error|Nothing happens", question)
        return f"The answer is ({'B' if is_bug else 'C'})."
    return "We are sorry. We shall send you a new one today."
