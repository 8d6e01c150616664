"""What a run keeps when everything around it fails: kills, faults, processes, damage.

    python -m benchmarks.chaos [--quick] [--json]

Several processes of one run ask a provider that fails three times in ten and charges for it
(``benchmarks.hostile``). They are killed and signalled at random moments, then one finishes. The
provider's bill is compared with the cap, the ledger with what the processes saw. Then bits of the
ledger are flipped. The goal is ``lost 0, cap_passed 0, hangs 0, leaks 0, flips_missed 0``.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.hostile import INPUT, OUTPUT
from orcinus.core.errors import OrcinusError
from orcinus.core.types import Attempt, Example, Message, Request, Sampling, Verdict
from orcinus.models.attempts import attempt_all
from orcinus.models.remote.endpoint import Endpoint, EndpointConfig, Price
from orcinus.models.remote.wire import Patience
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_schema import DAMAGE

CONCURRENCY = 16
KEY = "sk-chaos-0123456789abcdef"
"""The key that the provider repeats in its errors; no file may hold it."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDS_IN_S = 5.0
"""Seconds in which a process ends after a signal."""
DONE_IN_S = 120.0
"""Seconds in which an undisturbed process ends."""
WORST_USD = (100 * INPUT + 64 * OUTPUT) / 1e6
"""Bound of one call of a client here."""


def requests(start: int, count: int, samples: int) -> list[Request]:
    made = []
    for number in range(start, start + count):
        prompt = f"Case {number}."
        example = Example(id=str(number), task="chaos", prompt=prompt, answer_type="free")
        made += [
            Request(
                example=example,
                strategy="direct",
                messages=(Message(role="user", content=prompt),),
                sampling=Sampling(max_tokens=64, temperature=1.0),
                sample=sample,
            )
            for sample in range(samples)
        ]
    return made


async def unjudged(example: Example, attempt: Attempt) -> Verdict:
    return Verdict(attempt_id=attempt.id, verifier="none@1", value=None, answer=None, reason="")


async def ask(settings: dict[str, Any]) -> None:
    """Ask as one process of a run; print the id of each answer that it saw."""
    endpoint = Endpoint(
        EndpointConfig(
            model="chaos",
            base_urls=(settings["url"],),
            api_key_env="KEY",
            price=Price(input=INPUT, output=OUTPUT),
            choices_per_call=settings["choices"],
            patience=Patience(tries=6, first_pause_s=0.01, silence_s=1.0, total_s=5.0),
        ),
        secrets={"KEY": KEY},
    )
    with Ledger(Path(settings["ledger"])) as ledger:
        budget = Budget(ledger=ledger, run="chaos", usd=settings["cap"], tokens=None)
        try:
            async for judged in attempt_all(
                requests(settings["start"], settings["count"], settings["choices"]),
                endpoint,
                ledger=ledger,
                verify=unjudged,
                run="chaos",
                step="teach",
                concurrency=CONCURRENCY,
                budget=budget,
            ):
                if judged.attempt.error is None:
                    print(judged.attempt.id, flush=True)
        finally:
            await endpoint.aclose()


def client(settings: dict[str, Any]) -> None:
    """Run ``ask`` as the command line runs a command: a signal is Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        print("ready", flush=True)
        asyncio.run(ask(settings))
    except OrcinusError as error:
        print(f"orcinus: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


class Clients:
    """The processes of one round, and what they saw."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.settings = folder, settings
        self.ledger = folder / "ledger.sqlite"
        self.saw: set[str] = set()
        self.hangs = 0
        self.raw_errors: list[str] = []

    def start(self, **settings: Any) -> "subprocess.Popen[str]":
        what = {**self.settings, "ledger": str(self.ledger), **settings}
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.chaos", "--client", json.dumps(what)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: "subprocess.Popen[str]", seconds: float) -> None:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.hangs += 1
            process.kill()
            out, err = process.communicate()
        self.saw.update(line for line in out.splitlines() if line.startswith("b2"))
        if "Traceback" in err:
            self.raw_errors.append(err[-2000:])


def serving(faults: float, seed: int) -> tuple["subprocess.Popen[str]", str]:
    command = [sys.executable, "-m", "benchmarks.hostile", "--faults", str(faults)]
    command += ["--seed", str(seed), "--silence-s", "3"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def read_stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
        stats: dict[str, Any] = json.load(reply)
    return stats


def play_round(folder: Path, *, kills: int, calls: int, cap: float, seed: int) -> dict[str, Any]:
    """Ask with two processes, kill and restart them, and finish; return the figures."""
    draw = random.Random(seed)
    choices = draw.choice((1, 1, 3))
    server, url = serving(0.3, seed)
    clients = Clients(folder, url=url, cap=cap, start=0, count=calls, choices=choices)
    twice = []
    try:
        for _ in range(kills):
            before = read_stats(url)["answered_again"]
            processes = [clients.start(), clients.start()]
            for process in processes:
                assert process.stdout is not None
                process.stdout.readline()
            time.sleep(draw.uniform(0.0, 1.5))
            processes[0].send_signal(draw.choice(SIGNALS))
            processes[1].send_signal(draw.choice(SIGNALS))
            for process in processes:
                clients.finish(process, ENDS_IN_S)
            twice.append(read_stats(url)["answered_again"] - before)
        clients.finish(clients.start(), DONE_IN_S)
        stats = read_stats(url)
    finally:
        server.kill()
        server.wait()
    with Ledger(clients.ledger, read_only=True) as ledger:
        damaged = list(ledger.verify())
        kept = {identity for identity, *_ in ledger.attempts()}
        booked = ledger.spent("chaos")[0]
    return {
        "kills": 2 * kills,
        "faults": stats["faults"],
        "lost": len(clients.saw - kept),
        "paid_twice_max": max(twice, default=0) / 2,
        "cap_passed": int(stats["billed_usd"] > cap + 1e-9),
        "hangs": clients.hangs,
        "leaks": count_leaks(folder),
        "billed_usd": stats["billed_usd"],
        "booked_usd": booked,
        "damaged": damaged,
        "raw_errors": clients.raw_errors,
    }


def count_leaks(folder: Path) -> int:
    """Return how many files hold the key, as it is or encoded."""
    encoded = base64.b64encode(KEY.encode())[:20]
    forms = (KEY.encode(), encoded, KEY.encode()[::-1], KEY.encode().hex().encode())
    return sum(
        any(form in path.read_bytes() for form in forms)
        for path in folder.rglob("*")
        if path.is_file()
    )


def dump(path: Path) -> list[Any] | None:
    """Return all that a ledger says; None if it cannot be read."""
    tables = ("attempts", "other_calls", "spend", "holds", "state")
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    connection.text_factory = bytes
    try:
        return [connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables]
    except DAMAGE:
        return None
    finally:
        connection.close()


def count_missed_flips(ledger: Path, flips: int, seed: int) -> int:
    """Flip one bit at a time, or zero a page; return how many changes ``verify`` does not name."""
    folder = Path(tempfile.mkdtemp(dir=ledger.parent))
    copy = folder / "ledger.sqlite"
    with Ledger(ledger) as opened:
        opened.compact()
    content, draw, missed = ledger.read_bytes(), random.Random(seed), 0
    copy.write_bytes(content)
    whole = dump(copy)
    for number in range(flips):
        for old in folder.iterdir():
            old.unlink()
        changed = bytearray(content)
        if number % 10 == 9:
            at = draw.randrange(len(content) // 4096) * 4096
            changed[at : at + 4096] = bytes(4096)
        else:
            changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        copy.write_bytes(changed)
        says_the_same = dump(copy) == whole
        try:
            with Ledger(copy, read_only=True) as opened:
                named = bool(list(opened.verify()))
        except OrcinusError:
            named = True
        missed += not named and not says_the_same
    shutil.rmtree(folder)
    return missed


def run(folder: Path, *, rounds: int, kills: int, calls: int, flips: int) -> dict[str, Any]:
    found = []
    for number in range(rounds):
        here = folder / str(number)
        here.mkdir()
        # Every other cap ends the round before its questions do.
        cap = WORST_USD * calls * (0.5 if number % 2 else 20.0)
        found.append(play_round(here, kills=kills, calls=calls, cap=cap, seed=number))
    sums = {
        name: sum(item[name] for item in found)
        for name in ("kills", "faults", "lost", "cap_passed", "hangs", "leaks")
    }
    return {
        **sums,
        "paid_twice_max": max(item["paid_twice_max"] for item in found),
        "in_flight": CONCURRENCY,
        "flips": flips,
        "flips_missed": count_missed_flips(folder / "0" / "ledger.sqlite", flips, 0),
        "damaged": [line for item in found for line in item["damaged"]],
        "raw_errors": [line for item in found for line in item["raw_errors"]],
        "billed_and_booked": [(item["billed_usd"], item["booked_usd"]) for item in found],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--client", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        client(arguments.client)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sizes = (
        {"rounds": 2, "kills": 2, "calls": 150, "flips": 200}
        if arguments.quick
        else {"rounds": 10, "kills": 10, "calls": 600, "flips": 3000}
    )
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), **sizes)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
