"""A local Hugging Face hub that takes uploads into a folder ``ROOT/models/owner/name/…``.

The routes are those that ``huggingface_hub`` 2.4 requests to make a repository and to commit files,
large ones through LFS (``HF_HUB_DISABLE_XET=1``). Any other gives 404; a wrong token 401.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_of_the_test"
_PREUPLOAD = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/preupload/main")
_COMMIT = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/commit/main")
_LFS = re.compile(r"/(?:datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@contextmanager
def upload_hub(root: Path) -> Iterator[str]:
    """Serve an empty hub, and yield its address. Visibilities are in ``ROOT/made.jsonl``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, root)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, root: Path, *arguments: Any) -> None:
        self._root = root
        super().__init__(*arguments)

    @property
    def _url(self) -> str:
        return f"http://{self.headers['host']}"

    def do_PUT(self) -> None:
        objects = self._root / "objects"
        objects.mkdir(exist_ok=True)
        name = urlsplit(self.path).path.rsplit("/", 1)[1]
        (objects / name).write_bytes(self._body())
        self._reply({})

    def do_GET(self) -> None:
        self._reply({}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body, path = self._body(), urlsplit(self.path).path
        if self.headers.get("authorization") != f"Bearer {TOKEN}" and path != "/api/validate-yaml":
            self._reply({"error": "Invalid username or password."}, 401)
        elif path == "/api/validate-yaml":
            self._reply({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif _PREUPLOAD.fullmatch(path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith("tensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._reply({"files": files})
        elif _LFS.fullmatch(path):
            self._reply({"transfer": "basic", "objects": list(self._lfs(json.loads(body)))})
        elif match := _COMMIT.fullmatch(path):
            self._commit(self._root / match[1] / match[2], body)
            self._reply({"commitUrl": f"{self._url}/{match[2]}/commit/1", "commitOid": "1" * 40})
        else:
            self._reply({}, 404)

    def _create(self, asked: dict[str, Any]) -> None:
        with (self._root / "made.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asked) + "\n")
        kind = "datasets/" if asked.get("type") == "dataset" else ""
        name = f"{asked['organization']}/{asked['name']}"
        self._reply({"url": f"{self._url}/{kind}{name}", "name": name})

    def _lfs(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for item in asked["objects"]:
            upload = {"href": f"{self._url}/objects/{item['oid']}"}
            yield {"oid": item["oid"], "size": item["size"], "actions": {"upload": upload}}

    def _commit(self, folder: Path, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = (self._root / "objects" / value["oid"]).read_bytes()
            else:
                continue
            path = folder / value["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _reply(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
