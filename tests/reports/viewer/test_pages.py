"""The viewer's pages over HTTP: the real command serves real runs."""

import csv
import hashlib
import html
import http.client
import io
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.conftest import table_rows, text_of, write_recipe
from tests.pipeline.test_run import orcinus
from tests.reports.viewer.hostile import SCRIPT

from orcinus.core.errors import install_command
from orcinus.core.results import ARMS
from orcinus.evaluation.scores import latest_scores
from orcinus.reports.viewer.attempt_columns import sources_of
from orcinus.reports.viewer.recipes import recipe_differences
from orcinus.runs import tables
from orcinus.runs.folders import finished_steps
from orcinus.runs.lineage import trace_lesson


def ask(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    """Return status, headers and text. Where ``headers`` name a host, only they are sent."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    connection.putrequest(
        method, url[url.index("/", 8) :], skip_host=headers is not None and "Host" in headers
    )
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    reply = connection.getresponse()
    found = (
        reply.status,
        {name.lower(): value for name, value in reply.getheaders()},
        reply.read().decode(),
    )
    connection.close()
    return found


def page(url: str) -> str:
    status, _, text = ask(url)
    assert status == 200, text
    return text


def every_kind(workspace: Path) -> list[str]:
    run = workspace / "runs" / "small"
    lesson = next(tables.read_lessons(finished_steps(run, "erase")[0] / "lessons.parquet"))
    (teach,) = finished_steps(run, "teach")
    return [
        "",
        "live",
        "compare",
        "compare?run=small&run=longer",
        "runs/small",
        "runs/small/live",
        "runs/small/report",
        "runs/small/attempts",
        "runs/small/attempts?words=answer&order=longest",
        f"runs/small/attempts/{teach.name}/attempts/0",
        f"runs/small/attempts/{teach.name}/attempts/1?step=teach&at=1",
        "runs/small/attempts.csv?step=teach",
        "runs/small/questions",
        "runs/small/questions?against=before&after=same",
        f"runs/small/question?task={lesson.task}&id={lesson.example_id}",
        "runs/small/files/report.json",
        "runs/small/lessons",
        f"runs/small/lessons/{lesson.id}?at=0",
        "style.css",
        "page.js",
    ]


def state(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".sqlite-shm"  # where SQLite registers readers
    }


def test_every_kind_of_page_answers(workspace: Path, address: str) -> None:
    for path in every_kind(workspace):
        page(address + path)


def test_looking_changes_nothing(workspace: Path, address: str) -> None:
    before = state(workspace)
    for path in every_kind(workspace):
        page(address + path)
    assert state(workspace) == before


def test_without_the_secret_nothing_is_shown(workspace: Path, address: str) -> None:
    secret = address.rstrip("/").rpartition("/")[2]
    assert len(secret) >= 32
    for path in every_kind(workspace):
        for wrong in ("", "x/", f"{secret[:-1]}/", f"{secret}x/", "%00/", "é/"):
            status, _, text = ask(
                urllib.parse.quote(address.replace(f"{secret}/", wrong) + path, safe=":/?=&%")
            )
            assert status == 403
            assert "small" not in text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""]
)
def test_a_name_that_only_leads_here_is_refused(address: str, host: str) -> None:
    port = urllib.parse.urlsplit(address).port
    status, _, text = ask(address, headers={"Host": host.format(port=port)})
    assert status == 403
    assert "small" not in text


def test_its_own_names_are_answered(address: str) -> None:
    port = urllib.parse.urlsplit(address).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert ask(address, headers={"Host": host})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_pages_can_only_be_read(address: str, method: str) -> None:
    assert ask(address, method=method)[0] == 405


def test_a_browser_is_told_to_keep_pages_apart(workspace: Path, address: str) -> None:
    for path in every_kind(workspace):
        _, headers, _ = ask(address + path, headers={"Origin": "https://evil.example"})
        assert not [name for name in headers if name.startswith("access-control")]
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe-eval" not in policy
        assert "unsafe-inline" not in policy.partition("style-src")[0]
        assert "frame-ancestors 'none'" in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


def test_what_a_model_wrote_is_text(workspace: Path, address: str) -> None:
    shown = 0
    for path in every_kind(workspace):
        _, headers, text = ask(address + path)
        if headers.get("content-disposition", "").startswith("attachment"):
            continue  # a browser saves it
        assert "<script>document" not in text
        assert "<img src=x" not in text
        shown += html.escape(SCRIPT[:20]) in text
    assert shown >= 4


def test_nothing_outside_the_runs_can_be_named(workspace: Path, address: str) -> None:
    (teach,) = finished_steps(workspace / "runs" / "small", "teach")
    for path in (
        "runs/..",
        "runs/..%2f..",
        "runs/nobody",
        "runs/small/attempts/..%2Fsmall/attempts/0",
        f"runs/small/attempts/{teach.name}/..%2Fattempts/0",
        f"runs/small/attempts/{teach.name}/attempts/99999999",
        "runs/small/lessons/nobody",
        "runs/small/files/.lock",
        "runs/small/files/..%2Fledger.sqlite",
        "runs/small/question?task=sums&id=nobody",
        "runs/small/nothing",
        "..%2f..%2fetc%2fpasswd",
    ):
        status, _, text = ask(address + path)
        assert status == 404, path
        assert "Traceback" not in text


def test_odd_conditions_are_answered(address: str) -> None:
    for query in (
        "words=%22",
        "words=***",
        "words=%27%20OR%201%3D1%20--",
        "words=question%3Ax%20NEAR(a%20b)",
        "words=%00",
        "page=-1",
        "page=99999999",
        "page=x",
        "order=n%3BDROP%20TABLE%20attempts",
        "task=%27%3B--",
        "unknown=1",
    ):
        page(f"{address}runs/small/attempts?{query}")
    assert ">0 of" not in page(f"{address}runs/small/attempts")


def test_a_lesson_shows_its_whole_history(workspace: Path, address: str) -> None:
    run = workspace / "runs" / "small"
    found = trace_lesson(run)
    text = html.unescape(page(f"{address}runs/small/lessons/{found.lesson.id}"))
    assert found.assignment is not None
    for part in (
        found.example.prompt,
        str(found.example.reference),
        found.assignment.reason,
        found.trace.attempt.text,
        found.trace.attempt.model,
        found.trace.verdict.reason,
        found.lesson.messages[0].content,
    ):
        assert part in text


def test_an_attempt_leads_to_what_became_of_it(workspace: Path, address: str) -> None:
    run = workspace / "runs" / "small"
    lesson = next(tables.read_lessons(finished_steps(run, "erase")[0] / "lessons.parquet"))
    listed = page(f"{address}runs/small/attempts?step=teach&identity={lesson.attempt_id}")
    link = re.search(r'href="([^"]*/attempts/teach-[^"]*)"', listed)
    assert link is not None
    text = page(urllib.parse.urljoin(address, link[1]))
    assert "curate: kept" in text
    assert f"/lessons/{lesson.id}" in text


def test_runs_are_compared_on_the_questions_they_share(workspace: Path, address: str) -> None:
    text = page(f"{address}compare?run=small&run=longer")
    assert "longer against small" in text
    (row,) = [
        row for row in table_rows(text) if row[0] == "student before training" and len(row) == 10
    ]
    (evaluated,) = finished_steps(workspace / "runs" / "small", "evaluate")
    assert int(row[5]) == tables.count_rows(evaluated / "attempts-before.parquet")


def test_a_recipes_differences_are_shown_key_by_key(address: str) -> None:
    rows = table_rows(page(f"{address}compare?run=small&run=longer"))
    assert ["train.stages[0].epochs", "1", "2"] in rows
    assert not [row for row in rows if row and row[0] == "name"]


def test_one_number_written_in_two_ways_is_no_difference(tmp_path: Path) -> None:
    for name, text in {"a": "train: {epochs: 8, rate: 0.5}", "b": "train: {epochs: 8.0}"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(text, encoding="utf-8")
    found = recipe_differences([tmp_path / "a", tmp_path / "b"])
    assert found == [("train.rate", ["0.5", "–"])]


def test_questions_that_training_repaired_or_lost_are_those_of_the_comparison(
    workspace: Path, address: str
) -> None:
    run = workspace / "runs" / "small"
    scores = latest_scores(run)
    assert scores is not None
    for row in scores.comparisons:
        if row.task is None:
            for change, expected in (("better", row.repairs), ("worse", row.regressions)):
                text = page(f"{address}runs/small/questions?against={row.b}&after={change}")
                assert f"{expected} questions" in text_of(text)
                assert text.count('<li><a href="') == expected


def test_a_question_shows_every_arms_answer_and_leads_to_the_next(
    workspace: Path, address: str
) -> None:
    listed = page(f"{address}runs/small/questions")
    first, second = re.findall(r'href="([^"]*/question\?[^"]*)"', listed)[:2]
    text = html.unescape(page(urllib.parse.urljoin(address, html.unescape(first))))
    (evaluated,) = finished_steps(workspace / "runs" / "small", "evaluate")
    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(html.unescape(first)).query)
    scores = latest_scores(workspace / "runs" / "small")
    assert scores is not None
    assert len(scores.arms) == 5
    for arm, name in ((arm, ARMS[arm]) for arm in scores.arms):
        [judged] = [
            item
            for item in tables.read_judged(evaluated / f"attempts-{arm}.parquet")
            if [item.attempt.task, item.attempt.example_id] == [*asked["task"], *asked["id"]]
        ]
        assert judged.attempt.text in text
        assert name in text
    link = re.search(r'href="([^"]*)" rel="next"', text)
    assert link is not None
    assert html.unescape(second).endswith(link[1])


def test_attempts_and_lessons_lead_to_the_next_of_their_list(address: str) -> None:
    for path in ("attempts?order=longest", "lessons"):
        listed = page(f"{address}runs/small/{path}")
        links = re.findall(r'<li>\s*<a href="([^"]*)"', listed)
        text = page(urllib.parse.urljoin(address, html.unescape(links[1])))
        found = {
            which: urllib.parse.urljoin(
                urllib.parse.urljoin(address, html.unescape(links[1])), html.unescape(link)
            )
            for link, which in re.findall(r'href="([^"]*)" rel="(prev|next)"', text)
        }
        expected = [urllib.parse.urljoin(address, html.unescape(links[i])) for i in (0, 2)]
        assert [found["prev"], found["next"]] == expected


def test_a_reports_figures_lead_to_the_attempts_behind_them(address: str) -> None:
    text = page(f"{address}runs/small/report")
    links = {html.unescape(link) for link in re.findall(r'href="([a-z]+\?[^"]*)"', text)}
    assert {link.partition("?")[0] for link in links} == {"attempts", "questions", "question"}
    for link in sorted(links)[:40:4]:
        page(f"{address}runs/small/{link}")
    assert 'data-view="' not in text


def test_attempts_are_downloaded_as_a_table_without_formulas(workspace: Path, address: str) -> None:
    status, headers, text = ask(f"{address}runs/small/attempts.csv?step=teach")
    assert status == 200
    assert headers["content-disposition"].startswith("attachment")
    rows = list(csv.DictReader(io.StringIO(text)))
    (teach,) = finished_steps(workspace / "runs" / "small", "teach")
    assert [row["example"] for row in rows] == [
        item.attempt.example_id for item in tables.read_judged(teach / "attempts.parquet")
    ]
    assert all(row["step"] == "teach" for row in rows)


def test_only_the_chosen_runs_are_shown(workspace: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "orcinus", "view", "longer", "--no-open"],
        cwd=workspace,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            assert "longer" in page(url)
            assert "small" not in page(url)
            assert ask(f"{url}runs/small")[0] == 404
        finally:
            server.terminate()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_without_a_trace(workspace: Path, tmp_path: Path, ending: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "orcinus", "view", "--no-open"],
        cwd=workspace,
        env={"PATH": "/usr/bin", "TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        page(server.stdout.readline().strip() + "runs/small/attempts?words=answer")
        assert list(tmp_path.iterdir())
        server.send_signal(ending)
        _, complaint = server.communicate(timeout=30)
    assert server.returncode == 0
    assert complaint == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_is_followed_while_it_goes_on(tmp_path: Path) -> None:
    """It is shown in progress, its tables appear one by one, and watching it changes nothing."""
    pytest.importorskip("duckdb", reason="needs the extra view")
    write_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "runs").mkdir()
    server = orcinus("view", "--no-open", cwd=tmp_path, wait=False)
    run = orcinus("run", "recipe.yaml", cwd=tmp_path, wait=False)
    try:
        url = server.stdout.readline().strip()
        seen: set[str] = set()
        totals: set[str] = set()
        while run.poll() is None:
            live = page(f"{url}live")
            seen |= set(re.findall(r"<strong>([^<]+)</strong>", live))
            if (tmp_path / "runs" / "small" / "recipe.yaml").exists():
                page(f"{url}runs/small")
                totals |= set(
                    re.findall(r"of ([\d,]+) attempts", page(f"{url}runs/small/attempts"))
                )
            time.sleep(0.02)
        assert run.returncode == 0, run.stderr.read()
        assert {"probe", "train one"} & seen or len(seen) > 2
        assert len(totals) > 1
        assert 'state-finished">finished' in page(f"{url}runs/small")
        assert "is running" not in page(f"{url}live")
        count = sum(
            tables.count_rows(source.path) for source in sources_of(tmp_path / "runs" / "small")
        )
        assert f"{count:,} of {count:,} attempts" in page(f"{url}runs/small/attempts")
    finally:
        for process in (server, run):
            process.terminate()
            process.communicate()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['duckdb'] = None; sys.argv = ['orcinus', 'view']; "
        "from orcinus.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert install_command("view") in done.stderr


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = orcinus("view", "nobody", cwd=tmp_path)
    assert done.returncode == 2
    assert "no run at nobody" in done.stderr
    assert "Traceback" not in done.stderr
