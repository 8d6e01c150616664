"""Teacher calls: the full path against a bare client loop.

    python -m benchmarks.engine [--quick] [--json]

The full path builds, sends, parses, commits with full sync and judges. The bare loop is the same
HTTP library with nothing around it: what the wire and the parser allow. Server and client are
pinned to one core each and run alternately, several times. Ratios are medians over the pairs.
docs/design/003-engine.md has the figures of the peers.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import uvloop
from pyreqwest.client import ClientBuilder

from orcinus.core.protocols import Verifier
from orcinus.core.types import Attempt, Example, Message, Request, Sampling, Verdict
from orcinus.models.attempts import attempt_all
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.remote.wire import Patience
from orcinus.runs.ledger import Ledger
from orcinus.verifiers.verify import by_answer_type

SYSTEM = (
    "Work through the problem in small numbered steps, each following from the ones before. "
    "Then give the answer."
)
BODY = (
    "A shop sells pens in boxes of twelve and notebooks in packs of five. On Monday it sold "
    "seventeen boxes and twenty-three packs, on "
    "Tuesday three boxes fewer and twice as many packs; every tenth pen came back. How many "
    "pieces were kept over both days, and which "
    "number would you check first if the returned pens had been sold again at half price on "
    "Wednesday? Say which sentence each step uses. "
)
CONCURRENCY = 256


def requests(count: int) -> Iterator[Request]:
    for number in range(count):
        example = Example(
            id=str(number),
            task="bench",
            prompt=f"{BODY}Case {number}.",
            answer_type="number",
            reference="42",
        )
        messages = (
            Message(role="system", content=SYSTEM),
            Message(role="user", content=example.prompt),
        )
        yield Request(
            example=example,
            strategy="step_by_step",
            messages=messages,
            sampling=Sampling(max_tokens=512, seed=0),
        )


async def bare(url: str, count: int) -> None:
    """Call with the HTTP library alone: no ledger, no verdict, no retries."""
    numbers = iter(range(count))
    headers = {"authorization": "Bearer none", "content-type": "application/json"}
    async with ClientBuilder().default_headers(headers).build() as client:

        async def worker() -> None:
            for number in numbers:
                body = orjson.dumps(
                    {
                        "model": "loopback",
                        "messages": [
                            {"role": "system", "content": SYSTEM},
                            {"role": "user", "content": f"{BODY}Case {number}."},
                        ],
                        "temperature": 0.0,
                        "max_tokens": 512,
                    }
                )
                response = (
                    await client.post(url + "/chat/completions").body_bytes(body).build().send()
                )
                reply = orjson.loads(bytes(await response.bytes()))
                assert reply["choices"][0]["message"]["content"]

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def unjudged(example: Example, attempt: Attempt) -> Verdict:
    """Apply no rule, to measure recalling alone. Judging costs the same with every engine."""
    return Verdict(attempt_id=attempt.id, verifier="none@1", value=1.0, answer=None, reason="")


async def full(
    url: str,
    asked: Iterable[Request],
    path: Path,
    concurrency: int,
    verify: Verifier = by_answer_type,
    patience: Patience = Patience(),  # noqa: B008 (frozen)
) -> tuple[int, int, float]:
    """Run our engine; return the number of answers, of recalled ones, and the time of the first."""
    endpoint = Endpoint(
        EndpointConfig(model="loopback", base_urls=(url,), patience=patience), secrets={}
    )
    seen, recalled, first = 0, 0, 0.0
    with Ledger(path) as ledger:
        async for judged in attempt_all(
            asked,
            endpoint,
            ledger=ledger,
            verify=verify,
            run="bench",
            step="teach",
            concurrency=concurrency,
        ):
            assert judged.verdict.value == 1.0
            first = first or time.perf_counter()
            seen += 1
            recalled += judged.recalled
    await endpoint.aclose()
    return seen, recalled, first


def client(arguments: argparse.Namespace) -> None:
    """Make one measurement in a process of its own, and print its figures as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    # A recall is so short that making its request would be a quarter of it.
    asked = (
        list(requests(arguments.count))
        if arguments.client == "recall"
        else requests(arguments.count)
    )
    start, cpu = time.perf_counter(), time.process_time()
    if arguments.client == "bare":
        uvloop.run(bare(arguments.url, arguments.count))
        recalled, first = 0, start
    else:
        verify = unjudged if arguments.client == "recall" else by_answer_type
        # For a server that misbehaves on purpose (benchmarks.crash): ask until it answers.
        patience = (
            Patience(tries=40, first_pause_s=0.01) if arguments.client == "patient" else Patience()
        )
        seen, recalled, first = uvloop.run(
            full(arguments.url, asked, arguments.ledger, arguments.concurrency, verify, patience)
        )
        assert seen == arguments.count
    end, used = time.perf_counter(), time.process_time() - cpu
    print(
        json.dumps(
            {
                "per_second": arguments.count / (end - start),
                "per_second_after_first": arguments.count / (end - first),
                "cpu_s_per_1000": 1000 * used / arguments.count,
                "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "recalled": recalled,
            }
        )
    )


def measure(
    kind: str, url: str, count: int, ledger: Path, concurrency: int = CONCURRENCY
) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.engine",
        "--client",
        kind,
        "--url",
        url,
        "--count",
        str(count),
    ]
    command += ["--ledger", str(ledger), "--concurrency", str(concurrency)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def serving(latency_ms: float) -> tuple["subprocess.Popen[str]", str]:
    command = [sys.executable, "-m", "benchmarks.loopback", "--latency-ms", str(latency_ms)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(server.pid, {min(os.sched_getaffinity(0))})
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    for name, kind in (
        ("client", str),
        ("url", str),
        ("count", int),
        ("ledger", Path),
        ("concurrency", int),
    ):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        client(arguments)
        return
    count, pairs = (4000, 3) if arguments.quick else (20_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), count, pairs)
    if arguments.json:
        print(json.dumps(figures))
        return
    print(
        f"full path against the bare client: {figures['vs_bare_client']:.2f} of its calls a "
        f"second ({figures['per_second']:,.0f})"
    )
    print(
        f"CPU of the client: {figures['cpu_s_per_1000']:.2f} s per 1,000 calls; memory "
        f"{figures['rss_mib']:.0f} MiB"
    )
    print(
        f"with a latency of one second: {figures['latency_efficiency']:.1%} of concurrency ÷ "
        f"latency, and {figures['latency_efficiency_after_first']:.1%} after the first call"
    )
    print(
        f"recalled from the ledger: {figures['recalls_per_s']:,.0f} a second, judged again "
        f"{figures['recalled_and_judged_per_s']:,.0f}"
    )


def run(folder: Path, count: int, pairs: int) -> dict[str, Any]:
    server, url = serving(50)
    try:
        rows = []
        for number in range(pairs):
            first = measure("bare", url, count, folder / "none")
            rows.append((first, measure("full", url, count, folder / f"{number}.sqlite")))
        recall = [
            measure("recall", url, count, folder / f"{number}.sqlite") for number in range(pairs)
        ]
        rejudge = [
            measure("full", url, count, folder / f"{number}.sqlite") for number in range(pairs)
        ]
        assert all(row["recalled"] == count for row in recall + rejudge)
    finally:
        server.kill()
        server.wait()
    server, url = serving(1000)
    try:
        slow_count = 20 * CONCURRENCY
        slow = measure("full", url, slow_count, folder / "slow.sqlite")
    finally:
        server.kill()
        server.wait()
    return {
        "calls": count,
        "pairs": pairs,
        "vs_bare_client": statistics.median(
            ours["per_second"] / theirs["per_second"] for theirs, ours in rows
        ),
        "per_second": statistics.median(ours["per_second"] for _, ours in rows),
        "cpu_s_per_1000": statistics.median(ours["cpu_s_per_1000"] for _, ours in rows),
        "bare_cpu_s_per_1000": statistics.median(theirs["cpu_s_per_1000"] for theirs, _ in rows),
        "latency_efficiency": slow["per_second"] / CONCURRENCY,
        # The first call of a step goes alone: with twenty rounds it costs one in twenty-one.
        "latency_efficiency_after_first": slow["per_second_after_first"] / CONCURRENCY,
        "recalls_per_s": statistics.median(row["per_second"] for row in recall),
        "recalled_and_judged_per_s": statistics.median(row["per_second"] for row in rejudge),
        "rss_mib": max(ours["rss_mib"] for _, ours in rows),
    }


if __name__ == "__main__":
    main()
