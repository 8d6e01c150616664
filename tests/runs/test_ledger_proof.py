"""The ledger names what is not as it was written, and no failure of it leaves a call waiting."""

import asyncio
import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from benchmarks.chaos import count_missed_flips
from tests.runs.test_ledger import attempt, commit, request

from orcinus.core.errors import StoreError
from orcinus.core.types import WorstCase
from orcinus.runs import claims
from orcinus.runs import ledger as module
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_records import attempt_id, record_json
from orcinus.runs.ledger_schema import MIGRATIONS


def fill(path: Path, count: int = 20) -> None:
    commit(path, *((request(i), attempt(request(i), f"answer {i} " * 20)) for i in range(count)))


def change(path: Path, statement: str, *values: Any) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)
    connection.close()


def problems(path: Path) -> list[str]:
    with Ledger(path, read_only=True) as ledger:
        return list(ledger.verify())


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "UPDATE attempts SET reply = replace(reply, 'answer 3', 'answer 4') WHERE id = ?",
            "reply",
        ),
        ("UPDATE attempts SET cost_usd = 0 WHERE id = ?", "its cost"),
        ("UPDATE attempts SET permanent = 1 WHERE id = ?", "reply"),
        ("UPDATE attempts SET hash = NULL WHERE id = ?", "reply"),
        ("DELETE FROM attempts WHERE id = ?", "sum of its calls"),
    ],
)
def test_a_changed_row_is_named(tmp_path: Path, statement: str, named: str) -> None:
    path = tmp_path / "l.sqlite"
    fill(path)
    change(path, statement, attempt_id(request(3), "m"))
    assert any(named in line for line in problems(path))


@pytest.mark.parametrize("statement", ["DELETE FROM spend", "UPDATE spend SET cost_usd = 0"])
def test_spending_that_was_changed_is_named_and_summed_up_anew(
    tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "l.sqlite"
    fill(path)
    change(path, statement)
    assert any("spend of r / teach" in line for line in problems(path))
    notes: list[str] = []
    with Ledger(path, note=notes.append) as ledger:
        Budget(ledger=ledger, run="r", usd=100.0, tokens=None)
        assert ledger.spent("r")[0] == pytest.approx(10.0)
    assert "summed up anew" in notes[0]
    assert problems(path) == []


def test_a_changed_reply_is_asked_again_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    item = request(3)
    fill(path)
    statement = "UPDATE attempts SET reply = replace(reply, '3', '4') WHERE id = ?"
    change(path, statement, attempt(item).id)
    notes: list[str] = []
    with Ledger(path, note=notes.append) as ledger:
        assert ledger.recall([item], [attempt(item).id], "m") == [None]
    assert len(notes) == 1
    assert "it is asked again" in notes[0]
    commit(path, (item, attempt(item, "again")))
    with Ledger(path) as ledger:
        (found,) = ledger.recall([item], [attempt(item).id], "m")
        assert found is not None
        assert found.text == "again"
        assert ledger.spent("r")[0] == 10.5
        assert list(ledger.verify()) == []


def test_flips_and_zeroed_pages_are_named_or_change_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "l.sqlite", 40)
    assert count_missed_flips(tmp_path / "l.sqlite", 60, seed=1) == 0


def test_a_lost_number_of_commits_is_named_and_counted_anew(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    fill(path, 1)
    with Ledger(path) as ledger:
        ledger._reader.execute("UPDATE state SET commits = 'many'")
        assert any("state" in line for line in ledger.verify())
    commit(path, (request(100), attempt(request(100))))
    assert problems(path) == []


def test_an_old_copy_that_is_put_back_is_noticed(tmp_path: Path) -> None:
    path, copy = tmp_path / "l.sqlite", tmp_path / "copy.sqlite"
    fill(path)
    with Ledger(path) as ledger:
        ledger.compact()
    shutil.copy(path, copy)
    commit(path, (request(100), attempt(request(100))))
    for name in ("-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    shutil.copy(copy, path)
    assert "older copy" in problems(path)[0]
    with pytest.raises(StoreError, match=r"older copy.*delete .*-mark"), Ledger(path):
        pass
    path.with_name(f"{path.name}-mark").unlink()
    with Ledger(path) as ledger:
        assert list(ledger.verify()) == []


def test_a_ledger_of_the_first_schema_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    fill(path, 5)
    with sqlite3.connect(path) as new:
        rows = new.execute("SELECT * FROM attempts").fetchall()
    new.close()
    old = tmp_path / "old.sqlite"
    with sqlite3.connect(old) as connection:
        for statement in MIGRATIONS[0].split(";"):
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        for row in rows:
            connection.execute(f"INSERT INTO attempts VALUES ({','.join('?' * 17)})", row[:17])
        connection.execute("INSERT INTO spend VALUES ('r', 'teach', 'm', 't', 7, 2, 21, 7, 3.5)")
        connection.execute("INSERT INTO holds VALUES ('r', 0.25, 9)")
    connection.close()
    with Ledger(old, read_only=True) as ledger:
        assert list(ledger.verify()) == []
        assert ledger.spend("r")[0].calls == 7
    with Ledger(old) as ledger:
        assert ledger.recall([request(1)], [attempt(request(1)).id], "m")[0] is not None
        assert list(ledger.verify()) == []
        Budget(ledger=ledger, run="r", usd=100.0, tokens=None)
        assert ledger.spent("r") == (3.75, 37)  # with the hold of the process that was killed
        assert sum(row.tokens_unreported for row in ledger.spend("r")) == 9
        ledger._reader.execute("UPDATE attempts SET cost_usd = 7")
        assert any("is not what was written" in line for line in ledger.verify())


def test_a_damaged_table_is_one_line_also_where_answers_are_looked_for(tmp_path: Path) -> None:
    fill(tmp_path / "l.sqlite", 1)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger._reader.execute("ALTER TABLE attempts RENAME TO others")
        with pytest.raises(StoreError, match="damaged"):
            ledger.has_answer("r", "s", "m")


def test_a_disk_without_room_for_the_claims_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse, raising=False)
        with pytest.raises(StoreError, match="claims: cannot be written: No space left"):
            Ledger(tmp_path / "l.sqlite")
    assert claims._open_files == {}
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with Ledger(tmp_path / "l.sqlite") as ledger:  # a system without that function
        assert ledger.claim(attempt(request(0)).id)
    status = (tmp_path / "l.sqlite-claims").stat()
    assert status.st_blocks * 512 >= status.st_size > 2**20


def test_a_grant_is_given_back_although_its_call_was_cancelled(tmp_path: Path) -> None:
    async def go(ledger: Ledger) -> None:
        budget = Budget(ledger=ledger, run="r", usd=1.0, tokens=None)
        call = asyncio.create_task(budget.reserve(WorstCase(usd=0.25, tokens=5)))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        await budget.close()
        await _commit_one(ledger)  # all that was queued before is written too
        assert ledger._rows("SELECT count(*) FROM holds") == [(0,)]

    with Ledger(tmp_path / "l.sqlite") as ledger:
        asyncio.run(go(ledger))


def test_a_full_disk_is_one_line_for_every_waiting_call(tmp_path: Path) -> None:
    async def go(ledger: Ledger) -> None:
        waiting: list[asyncio.Future[None]] = []
        with suppress(StoreError):  # once it is known that the disk is full
            for i in range(600):
                made = attempt(request(i), "x" * 5000)
                waiting.append(ledger.commit(made, record_json(request(i), "m"), run="r", step="s"))
        found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
        assert all(item is None or isinstance(item, StoreError) for item in found)
        assert any(found)

    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger._writer.execute("PRAGMA max_page_count = 100")
        asyncio.run(go(ledger))
        with pytest.raises(StoreError, match=r"cannot be written: .*full; earlier attempts are"):
            asyncio.run(_commit_one(ledger))


def test_an_attempt_that_cannot_be_stored_fails_its_waiters(tmp_path: Path) -> None:
    item = request(1)

    async def go() -> None:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            made = attempt(item, "\ud800")
            await asyncio.wait_for(
                ledger.commit(made, record_json(item, made.model), run="r", step="s"), 10
            )

    with pytest.raises(StoreError, match="cannot be used"):
        asyncio.run(go())


def test_a_lock_held_elsewhere_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.sqlite"
    fill(path, 1)
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    with Ledger(path) as ledger:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has held it locked"):
            Budget(ledger=ledger, run="r", usd=1.0, tokens=None)
        with pytest.raises(StoreError, match="another process has held it locked"):
            asyncio.run(_commit_one(ledger))
        other.execute("ROLLBACK")
    other.close()


async def _commit_one(ledger: Ledger) -> None:
    await ledger.commit(attempt(request(2)), record_json(request(2), "m"), run="r", step="s")


CLAIMER = """
import sys, time
from pathlib import Path
from orcinus.runs.ledger import Ledger
from tests.runs.test_ledger import attempt, request
with Ledger(Path(sys.argv[1])) as ledger:
    print(ledger.claim(attempt(request(1)).id), flush=True)
    time.sleep(60)
"""


def test_a_damaged_table_of_claims_holds_no_call_up(tmp_path: Path) -> None:
    identity = attempt(request(1)).id
    with Ledger(tmp_path / "l.sqlite"):
        with open(tmp_path / "l.sqlite-claims", "r+b") as table:
            table.write(b"\xff" * 8 * (1 + claims._SLOTS))
        with Ledger(tmp_path / "l.sqlite") as second:
            assert second.claim(identity)
            assert not second.claim(identity)
            second.unclaim(identity)
            assert second.claim(identity)


def test_a_claim_holds_for_all_processes_and_ends_with_its_own(tmp_path: Path) -> None:
    identity = attempt(request(1)).id
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.is_alone
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(tmp_path / "l.sqlite")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert not ledger.is_alone
        assert not ledger.claim(identity)
        if sys.platform == "linux":
            assert ledger.claimed_by(identity) == f"process {process.pid}"
        process.kill()
        process.communicate()
        assert ledger.claim(identity)
        assert not ledger.claim(identity)
        ledger.unclaim(identity)
        assert ledger.claim(identity)


@pytest.mark.slow
def test_many_flips_are_named_or_change_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "l.sqlite", 300)
    seed = random.Random(0).randrange(10**6)
    assert count_missed_flips(tmp_path / "l.sqlite", 2000, seed=seed) == 0
