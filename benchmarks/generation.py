"""Generate and filter beside Curator, distilabel and Data Designer: CPU seconds of each, one run.

    python -m benchmarks.generation [--rows 10000] [--peers DIR] [--rounds 3] [--quick] [--json]

Every tool has the same questions answered by the same server on this machine, with as many calls in
flight, and writes the rows whose answer is right. A quarter of the references is wrong on purpose,
so the number of rows kept is known and checked. A job of few rows is measured as well: the rest of
the CPU seconds grows with the rows. Ours is ``orcinus run … --until curate`` with its
defaults: ledger with full sync, verdicts, overlap filters. A tool's CPU is that of its process and
of those that it starts, imports included; the server's is not counted.

DIR has a virtual environment for each peer: ``curator`` (bespokelabs-curator), ``distilabel``
(distilabel[openai], requests) and ``data-designer``. Those that are not there are named under
``absent``, and those that fail under ``failed``; the run goes on.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.engine import BODY, SYSTEM, serving
from benchmarks.generation_peers import TOOLS
from benchmarks.pipeline import with_bytecode

IN_FLIGHT = 256
LATENCY_MS = 50
OURS = "orcinus"
WRONG_EVERY = 4
"""One reference of so many is wrong."""
FEW = 100
"""Rows of the job that measures the start."""


def questions(count: int) -> Iterator[dict[str, str]]:
    for number in range(count):
        reference = "41" if number % WRONG_EVERY == 0 else "42"  # the server says 42
        prompt = f"{BODY}Case {number}."
        yield {"id": str(number), "system": SYSTEM, "prompt": prompt, "reference": reference}


def write_recipe(folder: Path, rows: Path, url: str) -> Path:
    """Write the recipe of the same job: one strategy, all rows taught."""
    import orcinus

    demo = Path(orcinus.__file__).parent / "pipeline" / "demo" / "base"
    recipe = {
        "name": "bench",
        "tasks": [{"path": str(rows), "name": "cases", "answer_type": "number"}],
        "strategies": [{"name": "steps", "system": SYSTEM}],
        "student": {"kind": "local", "path": str(demo), "chat_template": "chatml"},
        "teacher": {"kind": "endpoint", "model": "loopback", "base_urls": [url]},
        "sample": {"probe": 0, "held_out": 0},
        "assign": {"fixed": "steps"},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    return path


def command(tool: str, python: Path, folder: Path, rows: Path, url: str) -> list[str]:
    """Return the command that does the job with one tool in an empty folder."""
    if tool == OURS:
        recipe = write_recipe(folder, rows, url)
        words = ["-m", "orcinus", "run", str(recipe), "--until", "curate"]
        return [
            str(python), *words, "--runs", str(folder / "runs"), "--concurrency", str(IN_FLIGHT)
        ]  # fmt: skip
    script = Path(__file__).with_name("generation_peers.py")
    return [str(python), str(script), tool, str(rows), str(folder), url, str(IN_FLIGHT)]


def kept_rows(tool: str, folder: Path) -> int:
    """Return how many rows a tool kept."""
    if tool == OURS:
        import pyarrow.parquet as pq

        (table,) = folder.glob("runs/bench/curate-*/kept.parquet")
        return int(pq.read_metadata(table).num_rows)
    return len((folder / "kept.jsonl").read_text(encoding="utf-8").splitlines())


def measure(tool: str, python: Path, rows: Path, url: str) -> dict[str, float]:
    """Do the job once; return CPU and wall-clock seconds, and the rows kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = command(tool, python, folder, rows, url)
        used, start = children_cpu_s(), time.perf_counter()
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=with_bytecode()
        )
        cpu_s, wall_s = children_cpu_s() - used, time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}")
        return {"cpu_s": cpu_s, "wall_s": wall_s, "kept": kept_rows(tool, folder)}


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pythons(peers: Path) -> dict[str, Path]:
    """Return the interpreter of each tool that is there, ours first."""
    found = {OURS: Path(sys.executable)}
    for tool in TOOLS:
        python = peers / tool / "bin" / "python"
        if python.exists():
            found[tool] = python.absolute()
    return found


def run(count: int, rounds: int, peers: Path) -> dict[str, Any]:
    """Return the medians of all tools, run in turns."""
    tools = pythons(peers)
    taken: dict[str, list[dict[str, float]]] = {tool: [] for tool in tools}
    failed: dict[str, str] = {}
    server, url = serving(LATENCY_MS)
    try:
        for number in range(rounds):
            for tool in [tool for tool in tools if tool not in failed]:
                try:
                    if number == 0:
                        checked(
                            tool, tools[tool], 2 * WRONG_EVERY, url
                        )  # its modules are compiled once
                    few = checked(tool, tools[tool], FEW, url)
                    all_rows = checked(tool, tools[tool], count, url)
                except (RuntimeError, OSError, ValueError) as error:
                    failed[tool] = str(error)
                    continue
                grown = all_rows["cpu_s"] - few["cpu_s"]
                per_1000 = 1000 * grown / (count - FEW)
                start = few["cpu_s"] - FEW * per_1000 / 1000
                taken[tool].append({**all_rows, "start_cpu_s": start, "cpu_s_per_1000": per_1000})
    finally:
        server.kill()
        server.wait()
    medians = {
        tool: {key: statistics.median(one[key] for one in figures) for key in figures[0]}
        for tool, figures in taken.items()
        if figures and tool not in failed
    }
    return {
        "rows": count,
        "rounds": rounds,
        "tools": medians,
        "absent": [tool for tool in TOOLS if tool not in tools],
        "failed": failed,
    }


def checked(tool: str, python: Path, count: int, url: str) -> dict[str, float]:
    """Do the job with so many rows; raise ``ValueError`` if other rows are kept than the right."""
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name) / "cases.jsonl"
        rows.write_text("\n".join(map(json.dumps, questions(count))), encoding="utf-8")
        figures = measure(tool, python, rows, url)
    wanted = count - len(range(0, count, WRONG_EVERY))
    kept = figures.pop("kept")
    if kept != wanted:
        raise ValueError(f"kept {kept:,.0f} rows of {count:,}, not {wanted:,}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=Path(".peers"))
    parser.add_argument("--quick", action="store_true", help="500 rows, one round")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    count, rounds = (500, 1) if arguments.quick else (arguments.rows, arguments.rounds)
    figures = run(count, rounds, arguments.peers)
    if arguments.json:
        print(json.dumps(figures))
        return
    for tool, one in figures["tools"].items():
        print(
            f"{tool:14s} {one['cpu_s']:8.1f} CPU-s: start {one['start_cpu_s']:.1f}, then "
            f"{one['cpu_s_per_1000']:.2f} for 1,000 rows; {one['wall_s']:.1f} s"
        )
    for tool in figures["absent"]:
        print(f"absent: {tool} (--peers DIR has no environment of it)")
    for tool, why in figures["failed"].items():
        print(f"failed: {tool}: {why}")


if __name__ == "__main__":
    main()
