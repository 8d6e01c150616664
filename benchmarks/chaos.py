"""Measure what a run keeps when everything around it fails: kills, faults, signals, damage.

    python -m benchmarks.chaos [--quick] [--json] [--state FILE] [--part clients,flips]

``clients``: several processes of one run ask a provider that fails three times in ten and charges
for it (``benchmarks.hostile``). They are killed and signalled at random moments, then one
finishes. The provider's bill is compared with the cap, the ledger with what the processes saw.
``flips``: bits of such a ledger are flipped. ``training`` and ``signals`` are whole runs of the
command line; see ``chaos_runs.py``.

``--state`` keeps the figures of each finished unit in a file: a benchmark that was stopped goes on.
The goal is ``lost 0, cap_passed 0, hangs 0, leaks 0, flips_missed 0``.
"""

import argparse
import asyncio
import base64
import json
import multiprocessing
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
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.forks import ENDS_IN_S, Forks, send_output_to
from benchmarks.hostile import INPUT, OUTPUT
from orcinus.core.errors import OrcinusError
from orcinus.core.types import Attempt, Example, Message, Request, Sampling, Verdict
from orcinus.models.attempts import attempt_all
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig, Price
from orcinus.models.remote.wire import Patience
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_schema import DAMAGE

CONCURRENCY = 16
KEY = "sk-chaos-0123456789abcdef"
"""The key that the provider repeats in its errors; no file may hold it."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PRELOADED = {
    "clients": ["benchmarks.chaos"],
    "training": ["benchmarks.chaos_runs", "transformers", "peft", "orcinus.training.trainer"],
    "signals": ["benchmarks.chaos_runs", "transformers", "peft", "orcinus.training.trainer"],
}
"""Modules that the forked processes of a part find loaded."""
EARLY = 0.2
"""Share of kills that may come before the first answer."""
ID_LENGTH = 34
"""Characters of an attempt's id."""
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


async def ask(settings: dict[str, Any], saw: Callable[[str], object]) -> None:
    """Ask as one process of a run; tell the id of each answer that it saw."""
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
                    saw(judged.attempt.id)
        finally:
            await endpoint.aclose()


def client(said: str, settings: dict[str, Any]) -> None:
    """Run ``ask`` as the command line runs a command: a signal is Ctrl-C."""
    send_output_to(Path(said))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        print("ready", flush=True)
        asyncio.run(ask(settings, lambda identity: print(identity, flush=True)))
    except OrcinusError as error:
        print(f"orcinus: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def kill(process: ForkServerProcess, number: int) -> None:
    """Send a signal, unless the process has ended."""
    if process.exitcode is None and process.pid is not None:
        os.kill(process.pid, number)


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


def wait_for_output(process: ForkServerProcess, said: Path, size: int) -> None:
    while process.exitcode is None and not (said.exists() and said.stat().st_size >= size):
        time.sleep(0.01)


def play_round(folder: Path, *, kills: int, calls: int, cap: float, seed: int) -> dict[str, Any]:
    """Ask with two processes, kill and restart them, and finish; return the figures."""
    draw = random.Random(seed)
    server, url = serving(0.3, seed)
    ledger = folder / "ledger.sqlite"
    settings = {"url": url, "cap": cap, "ledger": str(ledger)}
    settings |= {"start": 0, "choices": draw.choice((1, 1, 3))}
    forks = Forks(folder)
    twice: list[int] = []
    saw: set[str] = set()

    def end(process: ForkServerProcess, said: Path, **within: float) -> None:
        lines = forks.end(process, said, **within).splitlines()
        saw.update(line for line in lines if line.startswith("b2") and len(line) == ID_LENGTH)

    try:
        for number in range(kills):
            before = read_stats(url)["answered_again"]
            # Some questions are new to each pair, so that a kill finds calls in flight.
            settings["count"] = calls * (number + 1) // kills
            pair = [forks.start(client, settings), forks.start(client, settings)]
            for process, said in pair:
                wait_for_output(process, said, len("ready\n"))
            if draw.random() > EARLY:
                wait_for_output(*pair[0], ID_LENGTH)
            time.sleep(draw.uniform(0.0, 0.5))
            for process, _ in pair:
                kill(process, draw.choice(SIGNALS))
            for process, said in pair:
                end(process, said, within_s=ENDS_IN_S)
            twice.append(read_stats(url)["answered_again"] - before)
        end(*forks.start(client, settings))
        stats = read_stats(url)
    finally:
        server.kill()
        server.communicate()
    with Ledger(ledger, read_only=True) as opened:
        damaged = list(opened.verify())
        kept = {identity for identity, *_ in opened.attempts()}
        booked = opened.spent("chaos")[0]
    return {
        "kills": 2 * kills,
        "faults": stats["faults"],
        "lost": len(saw - kept),
        "paid_twice_max": max(twice, default=0) / 2,
        "cap_passed": int(stats["billed_usd"] > cap + 1e-9),
        "hangs": forks.hangs,
        "late": forks.late,
        "leaks": count_leaks(folder),
        "damaged": damaged,
        "raw_errors": forks.raw_errors,
        "caps": [{"cap": cap, "billed": stats["billed_usd"], "booked": booked}],
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


def flip(folder: Path, *, flips: int, seed: int) -> dict[str, Any]:
    """Write a small ledger, and return how many flips in it are missed."""
    ledger = folder / "ledger.sqlite"
    server, url = serving(0.3, seed)
    settings = {"url": url, "cap": 1.0, "ledger": str(ledger)}
    settings |= {"start": 0, "count": 60, "choices": 1}
    try:
        asyncio.run(ask(settings, lambda identity: None))
    finally:
        server.kill()
        server.communicate()
    return {"flips": flips, "flips_missed": count_missed_flips(ledger, flips, seed)}


Unit = Callable[[Path], dict[str, Any]]


def units(
    *, rounds: int, kills: int, calls: int, flips: int, runs: int
) -> Iterator[tuple[str, Unit]]:
    """Yield the units by name; one takes a minute or two."""
    from benchmarks import chaos_runs

    for number in range(rounds):
        # Every other cap ends the round before its questions do.
        cap = WORST_USD * calls * (0.5 if number % 2 else 20.0)
        yield (
            f"clients-{number}",
            partial(play_round, kills=kills, calls=calls, cap=cap, seed=number),
        )
    for number in range(0, flips, FLIPS_AT_ONCE):
        count = min(FLIPS_AT_ONCE, flips - number)
        yield (
            f"flips-{number}",
            partial(flip, flips=count, seed=number),
        )
    for number in range((runs + 1) // 2):
        yield f"training-{number}", partial(chaos_runs.kill_trainings, kills=5, seed=number)
    for number in range(runs):
        yield f"signals-{number}", partial(chaos_runs.signal_runs, signals=20, seed=number)


FLIPS_AT_ONCE = 500


def run(
    parts: Sequence[str],
    sizes: dict[str, int],
    state: Path | None = None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Run the units of some parts that the state does not have yet; return the figures of all."""
    kept: dict[str, dict[str, Any]] = {}
    if state is not None and state.exists():
        kept = json.loads(state.read_text(encoding="utf-8"))
    modules = [module for part in parts for module in PRELOADED.get(part, ())]
    multiprocessing.get_context("forkserver").set_forkserver_preload(modules)
    for name, unit in units(**sizes):
        if name in kept or name.partition("-")[0] not in parts:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            kept[name] = unit(Path(folder))
        say(f"{name}: {time.monotonic() - started:.0f} s, {kept[name]}")
        if state is not None:
            state.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    return add_up(list(kept.values()))


def add_up(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of all units together."""
    figures: dict[str, Any] = {"in_flight": CONCURRENCY}
    for name in FIGURES:
        values = [item[name] for item in found if name in item]
        if name.endswith("_max"):
            figures[name] = max(values, default=0)
        elif name in LISTS:
            figures[name] = [line for value in values for line in value]
        else:
            figures[name] = sum(values)
    return figures


LISTS = ("damaged", "raw_errors", "differences", "caps")
FIGURES = (
    *("kills", "kills_in_training", "signals", "faults", "lost", "paid_twice_max", "cap_passed"),
    *("hangs", "late", "ended_s_max", "leaks", "flips", "flips_missed"),
    *LISTS,
)
GOOD: dict[str, Any] = {"lost": 0, "cap_passed": 0, "hangs": 0, "leaks": 0, "flips_missed": 0}
GOOD |= {"damaged": [], "raw_errors": [], "differences": []}
"""The figures that a release has."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--state", type=Path, help="keep the figures here, and go on from there")
    parser.add_argument("--part", default="clients,flips,training,signals")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sizes = (
        {"rounds": 2, "kills": 2, "calls": 150, "flips": 200, "runs": 1}
        if arguments.quick
        else {"rounds": 10, "kills": 10, "calls": 1500, "flips": 3000, "runs": 5}
    )
    say = partial(print, file=sys.stderr, flush=True)
    figures = run(arguments.part.split(","), sizes, arguments.state, say)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    from benchmarks import chaos

    # Forked processes import the functions by their module's name, and need not run this file.
    sys.modules["__main__"] = ModuleType("__main__")
    chaos.main()
