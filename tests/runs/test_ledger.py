"""The ledger: commits survive a kill, and other processes and later versions can read them."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from orcinus.core.errors import StoreError
from orcinus.core.types import Attempt, Example, Message, Request, Sampling, Usage
from orcinus.runs import ledger_schema as module
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_records import attempt_id, record_json, request_record
from orcinus.runs.status import run_status


def request(number: int) -> Request:
    return Request(
        example=Example(id=str(number), task="t", prompt="p", answer_type="number"),
        strategy="direct",
        messages=(Message(role="user", content=f"{number}?"),),
        sampling=Sampling(max_tokens=5),
    )


def attempt(item: Request, text: str = "42", error: str | None = None) -> Attempt:
    return Attempt(
        id=attempt_id(item, "m"),
        example_id=item.example.id,
        task="t",
        strategy="direct",
        model="m",
        messages=item.messages,
        sampling=item.sampling,
        sample=0,
        text=text,
        finish="error" if error else "stop",
        usage=Usage(tokens_in=3, tokens_out=1),
        cost_usd=0.5,
        error=error,
    )


def commit(path: Path, *attempts: tuple[Request, Attempt]) -> None:
    async def go() -> None:
        with Ledger(path) as ledger:
            await asyncio.gather(
                *(
                    ledger.commit(made, record_json(item, made.model), run="r", step="teach")
                    for item, made in attempts
                )
            )

    asyncio.run(go())


def test_a_committed_attempt_is_recalled_unchanged(tmp_path: Path) -> None:
    pairs = [(request(i), attempt(request(i), f"ü {i}")) for i in range(700)]
    commit(tmp_path / "l.sqlite", *pairs)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ids = [made.id for _, made in pairs]
        assert ledger.recall([item for item, _ in pairs], ids, "m") == [made for _, made in pairs]
        assert list(ledger.verify()) == []
        assert ledger.spent("r") == (350.0, 2800)


def test_an_answer_replaces_an_error_and_never_the_other_way_round(tmp_path: Path) -> None:
    item = request(1)
    commit(tmp_path / "l.sqlite", (item, attempt(item, "", "timeout: x")))
    commit(tmp_path / "l.sqlite", (item, attempt(item, "yes")))
    commit(tmp_path / "l.sqlite", (item, attempt(item, "", "timeout: y")))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        (found,) = ledger.recall([item], [attempt_id(item, "m")], "m")
        assert found is not None
        assert (found.text, found.error) == ("yes", None)
        assert ledger.spent("r")[0] == 1.5  # each call was paid for


def test_a_row_that_was_changed_is_found(tmp_path: Path) -> None:
    commit(tmp_path / "l.sqlite", (request(1), attempt(request(1))))
    with sqlite3.connect(tmp_path / "l.sqlite") as connection:
        connection.execute(
            "UPDATE attempts SET request = replace(CAST(request AS TEXT), '1?', '2?')"
        )
    connection.close()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        (problem,) = ledger.verify()
    assert "fingerprint" in problem


def test_a_newer_schema_is_refused_and_an_older_one_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path / "l.sqlite", (request(1), attempt(request(1))))
    monkeypatch.setattr(
        module, "MIGRATIONS", (*module.MIGRATIONS, "ALTER TABLE attempts ADD COLUMN note TEXT")
    )
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.known([attempt_id(request(1), "m")]) == 1
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer orcinus"), Ledger(tmp_path / "l.sqlite"):
        pass


def test_another_file_is_not_opened_as_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "l.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError), Ledger(tmp_path / "l.sqlite"):
        pass


WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from orcinus.runs.ledger import Ledger
    from orcinus.runs.ledger_records import record_json
    from tests.runs.test_ledger import attempt, request

    async def go():
        with Ledger(Path(sys.argv[1])) as ledger:
            for i in range(1_000_000):
                item = request(i)
                await ledger.commit(attempt(item), record_json(item, "m"), run="r", step="teach")
                print(i, flush=True)

    asyncio.run(go())
    """
)


def test_a_second_process_reads_while_one_writes_and_a_kill_loses_no_commit(
    tmp_path: Path,
) -> None:
    path = tmp_path / "l.sqlite"
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert writer.stdout is not None
    for _ in range(50):
        last = int(writer.stdout.readline())
    with Ledger(path, read_only=True) as reader:
        before = len(list(reader.attempts()))
        time.sleep(0.3)
        assert len(list(reader.attempts())) > before >= 50
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    lines = [line for line in rest.splitlines() if line.strip().isdigit()]
    last = max([last, *(int(line) for line in lines)])
    with Ledger(path) as ledger:
        assert len(list(ledger.attempts())) >= last + 1
        assert list(ledger.verify()) == []


def test_a_ledger_is_exported_to_parquet(tmp_path: Path) -> None:
    commit(tmp_path / "l.sqlite", *((request(i), attempt(request(i))) for i in range(10)))
    with Ledger(tmp_path / "l.sqlite", read_only=True) as ledger:
        assert ledger.export(tmp_path / "l.parquet") == 10
    table = pq.read_table(tmp_path / "l.parquet").to_pylist()
    assert table[3]["example_id"] == "3"
    assert table[3]["text"] == "42"
    assert table[3]["messages"] == [{"role": "user", "content": "3?"}]


def test_a_ledger_is_read_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    commit(path, (request(1), attempt(request(1))))
    path.with_name("l.sqlite-shm").mkdir()  # SQLite cannot make this file, as in such a folder
    with Ledger(path, read_only=True) as ledger:
        assert ledger.known([attempt_id(request(1), "m")]) == 1
        assert not list(ledger.verify())


@pytest.mark.slow  # SQLite waits ten seconds for such a file; in a real folder it does not
def test_commits_that_cannot_be_read_without_writing_are_told(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    commit(path, (request(1), attempt(request(1))))
    path.with_name("l.sqlite-shm").mkdir()
    path.with_name("l.sqlite-wal").write_bytes(b"commits that only a writer can read")
    with pytest.raises(StoreError, match=r"copy it to a folder .* together with l\.sqlite-wal"):
        Ledger(path, read_only=True)
    with pytest.raises(StoreError, match=r"cannot be written: .* make its folder writable"):
        Ledger(path)


def test_forgotten_errors_are_asked_again_and_their_spending_stays(tmp_path: Path) -> None:
    failed = replace(
        attempt(request(1), ""), finish="error", error="bad_request: no", permanent=True
    )
    commit(tmp_path / "l.sqlite", (request(0), attempt(request(0), "4")), (request(1), failed))
    ids = [attempt_id(request(number), "m") for number in range(2)]
    with Ledger(tmp_path / "l.sqlite") as ledger:
        spent = ledger.spent("r")
        assert ledger.errors() == [("m", "bad_request", 1, 1)]
        assert (ledger.known(ids, settings="others"), ledger.known(ids, settings=None)) == (1, 1)
        assert (ledger.forget_errors("another run"), ledger.known(ids)) == (0, 2)
        assert (ledger.forget_errors(), ledger.known(ids)) == (1, 1)
        assert ledger.spent("r") == spent
        assert list(ledger.verify()) == []


def recalled(ledger: Ledger, number: int = 0) -> str | None:
    [found] = ledger.recall([request(number)], [attempt_id(request(number), "m")], "m")
    return None if found is None else found.text


def test_a_fresh_answer_replaces_an_older_one_which_stays_booked(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    commit(path, (request(0), attempt(request(0), "old")))

    async def store(ledger: Ledger, made: Attempt) -> None:
        await ledger.commit(made, record_json(request(0), "m"), run="r", step="teach")

    with Ledger(path, fresh=True) as ledger:
        assert (recalled(ledger), ledger.known([attempt_id(request(0), "m")])) == (None, 0)
        asyncio.run(store(ledger, attempt(request(0), "", "server: down")))
    with Ledger(path) as ledger:
        assert recalled(ledger) == "old"
    with Ledger(path, fresh=True) as ledger:
        asyncio.run(store(ledger, attempt(request(0), "new")))
        assert recalled(ledger) == "new"
        asyncio.run(store(ledger, attempt(request(0), "newer")))
        assert recalled(ledger) == "new"
    with Ledger(path) as ledger:
        assert recalled(ledger) == "new"
        assert ledger.spent("r")[0] == 4 * 0.5
        assert list(ledger.verify()) == []


def test_the_status_sums_the_tokens_that_no_usage_reports(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    items = [replace(request(n), example=replace(request(n).example, task=f"t{n}")) for n in (0, 1)]
    made = [
        replace(attempt(item), task=item.example.task, usage=Usage(tokens_unreported=7))
        for item in items
    ]
    commit(path, *zip(items, made, strict=True))
    (tmp_path / "r").mkdir()
    [row] = run_status(tmp_path / "r", path).spend
    assert (row.calls, row.tokens_unreported) == (2, 14)


@pytest.mark.parametrize("partial", [None, "", "so far"])
def test_what_is_stored_of_a_request_is_its_record_with_sorted_keys(partial: str | None) -> None:
    changes: list[dict[str, Any]] = [
        {"temperature": 1},
        {"temperature": 1.0, "sends_temperature": False},
        {"logprobs": True},
        {"logprobs": 1},  # equal to True, and another JSON
        {"seed": None},
        {"stop": ("\n", "é")},
        {"stop": ["\n", "é"]},
        {"extra": {"b": 1, "a": {"d": 2, "c": [3]}}},
    ]
    for change in [*changes, *reversed(changes)]:
        item = replace(request(1), sampling=Sampling(**change), partial=partial)
        record = request_record(item, "m")
        assert record_json(item, "m") == orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
