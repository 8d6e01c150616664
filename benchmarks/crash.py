"""The cost of a kill: kill -9 at random moments of a long run, then finish it.

    python -m benchmarks.crash [--quick] [--json]

The teacher fails three times in ten. Every prompt must end with exactly one committed answer, the
answers must equal those of an uninterrupted run, and no more calls may be paid for twice than were
in flight at the kills.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.loopback import TEXTS, replies
from orcinus.runs.ledger import Ledger

CONCURRENCY = 64


def client(url: str, count: int, ledger: Path) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "-m",
        "benchmarks.engine",
        "--client",
        "patient",
        "--url",
        url,
        "--count",
        str(count),
    ]
    command += ["--ledger", str(ledger), "--concurrency", str(CONCURRENCY)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def run(folder: Path, calls: int, kills: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.loopback", "--latency-ms", "20", "--faults", "0.3"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    draw, killed = random.Random(0), 0
    ledger = folder / "ledger.sqlite"
    try:
        while killed < kills:
            process = client(url, calls, ledger)
            time.sleep(draw.uniform(0.2, 1.0))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
        process = client(url, calls, ledger)
        _, problem = process.communicate()
        assert process.returncode == 0, problem.decode()[-2000:]
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
            stats = json.load(reply)
    finally:
        server.kill()
        server.wait()
    expected = [
        json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]["message"]["content"]
        for answer in replies()
    ]
    with Ledger(ledger) as kept:
        broken = list(kept.verify())
        answers = {}
        for _, request, reply_json in kept.attempts():
            example = int(json.loads(request)["example"])
            assert example not in answers
            answers[example] = json.loads(reply_json)["text"]
    assert answers == {number: expected[number % TEXTS] for number in range(calls)}
    return {
        "calls": calls,
        "kills": killed,
        "broken_rows": len(broken),
        "faults": sum(stats["faults"].values()),
        "paid_twice": stats["answered_again"],
        "paid_twice_at_most": killed * CONCURRENCY,
        "paid_twice_per_kill": stats["answered_again"] / max(1, killed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), *((4000, 15) if arguments.quick else (60_000, 200)))
    assert figures["paid_twice"] <= figures["paid_twice_at_most"]
    if arguments.json:
        print(json.dumps(figures))
        return
    print(
        f"{figures['calls']:,} calls, {figures['faults']:,} faults, {figures['kills']} kills: "
        "every call has one answer, "
        f"{figures['paid_twice']:,} were paid twice ({figures['paid_twice_per_kill']:.1f} a "
        f"kill, {CONCURRENCY} in flight)"
    )


if __name__ == "__main__":
    main()
