"""A provider with a batch interface, for tests: files, batches, output and error files, faults.

    python -m tests.models.batch_server [--seed N] [--lose SHARE] [--fail SHARE] [--expire SHARE]
        [--seconds S]                                  prints its base URL

It follows the interface of the real one. A batch is validating, in progress, finalizing and
completed; a line of the output has the request's ``custom_id``; lines come in any order; failed
lines stand in an error file. ``GET /counts`` tells how often each ``custom_id`` was worked on: more
than once is paid twice.
"""

import argparse
import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Provider:
    """The state behind the interface."""

    def __init__(
        self,
        *,
        seed: int = 0,
        lose: float = 0.0,
        fail: float = 0.0,
        expire: float = 0.0,
        seconds: float = 0.0,
    ) -> None:
        self.random = random.Random(seed)
        self.lose, self.fail, self.expire, self.seconds = lose, fail, expire, seconds
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.worked_on: Counter[str] = Counter()
        self.charged = 0
        """Lines that were worked on, with or without an answer."""
        self.refuse_next: list[str] = []
        """Error codes with which the next batches fail as a whole."""
        self.refuse_creation: list[int] = []
        """Statuses with which the next creations are refused."""
        self.lock = threading.Lock()

    def loses_reply(self) -> bool:
        """Return True if this reply gets lost on its way."""
        return self.random.random() < self.lose

    def upload(self, content: bytes) -> dict[str, Any]:
        identity = f"file-{len(self.files)}"
        self.files[identity] = content
        return {"id": identity, "object": "file", "bytes": len(content), "purpose": "batch"}

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        identity = f"batch_{len(self.batches)}"
        batch = {
            "id": identity,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "status": "validating",
            "input_file_id": asked["input_file_id"],
            "metadata": asked.get("metadata"),
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "_due": time.monotonic() + self.seconds,
        }
        self.batches[identity] = batch
        if self.refuse_next:
            code = self.refuse_next.pop(0)
            batch.update(
                status="failed",
                errors={"data": [{"code": code, "message": "as the test wants", "line": 1}]},
            )
        return batch

    def advance(self) -> None:
        """Work on all batches that are due: a provider is paid even if no client polls."""
        for batch in list(self.batches.values()):
            if (
                batch["status"] in ("validating", "in_progress", "cancelling")
                and time.monotonic() >= batch["_due"]
            ):
                self._work(batch)
            elif batch["status"] == "validating":
                batch["status"] = "in_progress"

    def look(self, identity: str) -> dict[str, Any]:
        self.advance()
        return self.batches[identity]

    def cancel(self, identity: str) -> dict[str, Any]:
        self.batches[identity]["status"] = "cancelling"
        return self.batches[identity]

    def _work(self, batch: dict[str, Any]) -> None:
        """Answer the lines; some fail, some expire."""
        out, errors = [], []
        cancelled = batch["status"] == "cancelling"
        rows = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        self.random.shuffle(rows)
        expired = False
        for row in rows:
            identity, luck = row["custom_id"], self.random.random()
            base = {
                "id": f"batch_req_{identity}",
                "custom_id": identity,
                "response": None,
                "error": None,
            }
            if luck < self.expire or (cancelled and luck < 0.5):
                expired = True
                code = "batch_cancelled" if cancelled else "batch_expired"
                errors.append(
                    {
                        **base,
                        "error": {
                            "code": code,
                            "message": "This request could not be executed in time.",
                        },
                    }
                )
            elif luck < self.expire + self.fail:
                status = self.random.choice((429, 500, 503))
                self.charged += status != 429
                body = {"error": {"message": "as the test wants", "type": "server_error"}}
                errors.append(
                    {**base, "response": {"status_code": status, "request_id": "r", "body": body}}
                )
            elif "impossible" in json.dumps(row["body"]):
                body = {
                    "error": {"message": "this cannot be answered", "type": "invalid_request_error"}
                }
                errors.append(
                    {**base, "response": {"status_code": 400, "request_id": "r", "body": body}}
                )
            else:
                self.worked_on[identity] += 1
                self.charged += 1
                out.append(
                    {
                        **base,
                        "response": {
                            "status_code": 200,
                            "request_id": "r",
                            "body": answer(row["body"]),
                        },
                    }
                )
        batch["request_counts"] = {"total": len(rows), "completed": len(out), "failed": len(errors)}
        batch["status"] = "cancelled" if cancelled else "expired" if expired else "completed"
        for name, lines in (("output_file_id", out), ("error_file_id", errors)):
            if lines:
                batch[name] = self.upload(
                    "".join(json.dumps(line) + "\n" for line in lines).encode()
                )["id"]


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return a completion that depends on the request alone."""
    text = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 100},
    }


def handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    """Return the HTTP handler of ``provider``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            with provider.lock:
                if provider.loses_reply():
                    self.close_connection = True
                    return
                if self.path == "/v1/files":
                    reply = provider.upload(_file_of(body))
                elif self.path == "/v1/batches" and provider.refuse_creation:
                    status = provider.refuse_creation.pop(0)
                    self._send({"error": {"message": "as the test wants"}}, status=status)
                    return
                elif self.path == "/v1/batches":
                    reply = provider.create(json.loads(body))
                else:
                    reply = provider.cancel(self.path.split("/")[3])
                self._send(reply)

        def do_GET(self) -> None:
            with provider.lock:
                provider.advance()
                if self.path == "/counts":
                    self._send(dict(provider.worked_on), always=True)
                elif match := re.fullmatch(r"/v1/files/([^/]+)/content", self.path):
                    self._send(provider.files[match[1]])
                elif match := re.fullmatch(r"/v1/batches/([^/?]+)", self.path):
                    self._send(provider.look(match[1]))
                else:
                    self._send(_page(provider, self.path))

        def _send(self, reply: Any, *, always: bool = False, status: int = 200) -> None:
            content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            if provider.loses_reply() and not always:  # the work is done, but its reply is lost
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _page(provider: Provider, path: str) -> dict[str, Any]:
    """Return a page of two batches, the newest first."""
    rows = list(provider.batches.values())[::-1]
    if match := re.search(r"after=([^&]+)", path):
        rows = rows[[row["id"] for row in rows].index(match[1]) + 1 :]
    return {"object": "list", "data": rows[:2], "has_more": len(rows) > 2}


def _file_of(form: bytes) -> bytes:
    """Return the file in a multipart form."""
    boundary = form.split(b"\r\n", 1)[0]
    part = next(part for part in form.split(boundary) if b'name="file"' in part)
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    for name in ("lose", "fail", "expire", "seconds"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), handler(Provider(**vars(parser.parse_args())))
    ) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
