"""Task files behind URLs, read from real local servers: S3 (moto's) and HTTP.

Needs ``orcinus[s3]``, ``moto[s3]`` and ``flask-cors``.
"""

import gzip
import io
import json
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.pipeline.test_run import orcinus
from tests.s3_server import SECRET, s3_server

from orcinus.core.errors import ConfigError
from orcinus.core.urls import shown
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.files.records import read_task
from orcinus.tasks.files.sources import format_of, stem_of


def lines(*numbers: int) -> bytes:
    return b"".join(
        b'{"question": "What is %d + 1?", "answer": %d}\n' % (n, n + 1) for n in numbers
    )


def parquet(*numbers: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist([json.loads(line) for line in lines(*numbers).splitlines()]), sink
    )
    return sink.getvalue()


FILES = {
    "sums/a.jsonl": lines(0),
    "sums/b.jsonl.gz": gzip.compress(lines(1)),
    "sums/c.jsonl.zst": bytes(pa.compress(lines(2), codec="zstd", asbytes=True)),
    "sums/d.parquet": parquet(*range(3, 5000)),
    "sums/notes.txt": b"no rows",
    "broken.jsonl": lines(0) + b"{broken\n",
}


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Return the environment of a user whose bucket ``tasks`` holds ``FILES``."""
    with s3_server("tasks", FILES) as variables:
        yield variables


def inspected(path: str, cwd: Path, variables: Mapping[str, str]) -> Any:
    done = orcinus("tasks", "inspect", path, "--json", cwd=cwd, variables=variables)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def refused(path: str, cwd: Path, variables: Mapping[str, str]) -> str:
    done = orcinus("tasks", "inspect", path, cwd=cwd, variables=variables)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.stderr
    assert SECRET not in done.stderr
    return str(done.stderr)


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("s3://tasks/sums/a.jsonl", 1),
        ("s3://tasks/sums/b.jsonl.gz", 1),
        ("s3://tasks/sums/c.jsonl.zst", 1),
        ("s3://tasks/sums/d.parquet", 4997),
        ("s3://tasks/sums/*.jsonl*", 3),
        ("s3://tasks/*/[ab].*", 2),
        ("s3://tasks/sums/", 5000),
    ],
)
def test_files_in_a_bucket_are_read(
    path: str, rows: int, s3: dict[str, str], tmp_path: Path
) -> None:
    found = inspected(path, tmp_path, s3)
    assert (found["rows"], found["unusable"]) == (rows, 0)
    assert all(
        file.startswith("s3://tasks/sums/")
        for reading in found["readings"]
        for file in reading["files"]
    )


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("s3://tasks/nothing.jsonl", "s3://tasks/nothing.jsonl: cannot be "),
        ("s3://tasks/nothing/*.jsonl", "s3://tasks/nothing/*.jsonl: matches no file"),
        ("s3://tasks/nothing/", "s3://tasks/nothing/: matches no file"),
        ("s3://no-such-bucket/a.jsonl", "s3://no-such-bucket/a.jsonl: cannot be "),
    ],
)
def test_what_is_not_in_a_bucket_is_one_line(
    path: str, says: str, s3: dict[str, str], tmp_path: Path
) -> None:
    error = refused(path, tmp_path, s3)
    assert error.startswith(f"orcinus: {says}")
    assert says.endswith("matches no file") or "there is no such file" in error


def test_a_broken_row_in_a_bucket_is_named(s3: dict[str, str], tmp_path: Path) -> None:
    done = orcinus("tasks", "inspect", "s3://tasks/broken.jsonl", cwd=tmp_path, variables=s3)
    assert done.returncode == 2
    assert done.stderr.startswith("orcinus: s3://tasks/broken.jsonl:2: not valid JSON")


def test_a_wrong_key_is_one_line_without_the_secret(s3: dict[str, str], tmp_path: Path) -> None:
    """Make the server check signatures; it knows no user."""

    def check_after(requests: str) -> None:
        plain = {"content-type": "text/plain"}
        urlopen(
            Request(
                f"{s3['AWS_ENDPOINT_URL']}/moto-api/reset-auth",
                requests.encode(),
                plain,
                method="POST",
            )
        ).close()

    check_after("0")
    try:
        for path in ("s3://tasks/sums/a.jsonl", "s3://tasks/sums/*.jsonl"):
            assert "may this key read it?" in refused(path, tmp_path, s3)
    finally:
        check_after("Infinity")


def test_no_key_at_all_is_one_line(s3: dict[str, str], tmp_path: Path) -> None:
    without = {**s3, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    assert "set AWS_ACCESS_KEY_ID" in refused("s3://tasks/sums/a.jsonl", tmp_path, without)


def test_a_store_that_cannot_be_reached_is_one_line(s3: dict[str, str], tmp_path: Path) -> None:
    error = refused(
        "s3://tasks/sums/a.jsonl", tmp_path, {**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    )
    assert "can it be reached from here?" in error


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve ``FILES`` on a web server, and yield its address."""
    pytest.importorskip("aiohttp", reason="needs the extra s3")
    root = tmp_path_factory.mktemp("www")
    for name, content in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("/sums/a.jsonl", 1),
        ("/sums/a.jsonl?token=x", 1),
        ("/sums/b.jsonl.gz", 1),
        ("/sums/c.jsonl.zst", 1),
        ("/sums/d.parquet", 4997),
        ("/sums/*.jsonl.*", 2),
        ("/sums/", 5000),
    ],
)
def test_files_on_a_web_server_are_read(path: str, rows: int, http: str, tmp_path: Path) -> None:
    found = inspected(http + path, tmp_path, {})
    assert found["rows"] == rows
    assert "token" not in str(found["readings"])


@pytest.mark.parametrize(
    ("path", "says"),
    [("/nothing.jsonl", "there is no such file"), ("/sums/*.csv", "matches no file")],
)
def test_what_is_not_on_a_web_server_is_one_line(
    path: str, says: str, http: str, tmp_path: Path
) -> None:
    assert says in refused(http + path, tmp_path, {})


def test_a_web_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="needs the extra s3")
    assert "can it be reached from here?" in refused("http://127.0.0.1:9/a.jsonl", tmp_path, {})


def test_passwords_and_signatures_of_a_url_are_not_shown(http: str, tmp_path: Path) -> None:
    url = http.replace("://", f"://user:{SECRET}@") + f"/nothing.jsonl?X-Amz-Signature={SECRET}"
    assert "/nothing.jsonl: cannot be " in refused(url, tmp_path, {})


def test_an_unknown_scheme_is_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"nosuch://a/b\.jsonl: cannot be opened: ValueError: Protocol not known"
    ):
        list(read_task(RecordsConfig(path="nosuch://a/b.jsonl"), Path()))


@pytest.mark.parametrize(
    ("source", "name", "kind"),
    [
        ("https://h/x.jsonl.gz?token=a/b.csv", "x", "jsonl"),
        ("s3://b/data/train-00000-of-00002.parquet", "train", "parquet"),
        ("sums/data-00000-of-00001.arrow", "sums", "arrow"),
        ("data-00000-of-00001.arrow", "data", "arrow"),
    ],
)
def test_names_of_tasks_from_urls_and_shards(source: str, name: str, kind: str) -> None:
    assert (stem_of(source), format_of(source)) == (name, kind)
    assert "token" not in shown(source)
