"""A local Hugging Face hub over a folder ``ROOT/owner/name/…``, enough to read a data set from.

The routes are those that ``datasets`` 5.2 and ``huggingface_hub`` 2.4 request; any other gives 404.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "1" * 40
_API = re.compile(
    r"/api/datasets/(?P<repo>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info)/[^/]+(?:/(?P<path>.*))?)?"
)
_FILE = re.compile(r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>.+)")


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Serve the data sets under ``root``, and yield the address of the hub."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, root)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, root: Path, *arguments: Any) -> None:
        self._root = root
        super().__init__(*arguments)

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = unquote(urlsplit(self.path).path)
        if (match := _API.fullmatch(path)) and (self._root / match["repo"]).is_dir():
            self._send(
                json.dumps(self._about(match, body)).encode(), {"content-type": "application/json"}
            )
        elif (match := _FILE.fullmatch(path)) and (
            file := self._root / match["repo"] / match["path"]
        ).is_file():
            content = file.read_bytes()
            self._send(
                content, {"x-repo-commit": COMMIT, "etag": f'"{hashlib.sha1(content).hexdigest()}"'}
            )
        else:
            repo = self._root / (match["repo"] if match else "")
            self._send(
                b"",
                {"x-error-code": "EntryNotFound" if repo.is_dir() else "RepoNotFound"},
                status=404,
            )

    do_HEAD = do_POST = do_GET

    def _about(self, match: re.Match[str], body: bytes) -> Any:
        folder = self._root / match["repo"]
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
        entries = [_entry(name, path) for name, path in files.items()]
        if match["what"] == "tree":
            under = f"{match['path']}/" if match["path"] else ""
            return [entry for entry in entries if entry["path"].startswith(under)]
        if match["what"] == "paths-info":
            asked = set(json.loads(body)["paths"])
            return [entry for entry in entries if entry["path"] in asked]
        siblings = [{"rfilename": name} for name, path in files.items() if path.is_file()]
        return {
            "id": match["repo"],
            "sha": COMMIT,
            "siblings": siblings,
            "private": False,
            "tags": [],
            "downloads": 0,
        }

    def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if wanted and status == 200:
            start, end = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
            headers |= {"content-range": f"bytes {start}-{end}/{len(content)}"}
            content, status = content[start : end + 1], 206
        self.send_response(status)
        for name, value in {
            **headers,
            "content-length": str(len(content)),
            "accept-ranges": "bytes",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _entry(name: str, path: Path) -> dict[str, Any]:
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
    return {
        "type": "file",
        "path": name,
        "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
        "size": path.stat().st_size,
    }
