"""Verdicts a second on one core, and agreement with the sources, on recorded outputs of real models.

    python -m benchmarks.verify [--truth DIR] [--quick] [--json]

Beside each source's rate stands that of math-verify on the numbers, in the same run, where it is installed.
"""

import argparse
import gzip
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from orcinus.verifiers.judging import judge

PEER_ROWS = 300


def load(folder: Path) -> dict[str, list[dict[str, Any]]]:
    sources = {}
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        for row in rows:
            row["reference"] = tuple(row["reference"]) if isinstance(row["reference"], list) else str(row["reference"])
        sources[path.name.removesuffix(".jsonl.gz")] = rows
    return sources


def judged(rows: list[dict[str, Any]]) -> list[float | None]:
    return [judge(r["response"], r["answer_type"], r["choices"], r["reference"]).value for r in rows]


def seconds(rows: list[dict[str, Any]], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        judged(rows)
        times.append(time.process_time() - start)
    return statistics.median(times)


def agreement(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    read = [r for r in rows if not r.get("policy") and (name.startswith("ad") or not r.get("contested"))]
    values = judged(read)
    return {
        "n": len(read),
        "agree": 100
        * sum((v == 1.0) == bool(r["correct"]) for v, r in zip(values, read, strict=True))
        / max(1, len(read)),
        "none": sum(v is None for v in values),
        "wrongly_right": sum(v == 1.0 and not r["correct"] for v, r in zip(values, read, strict=True)),
    }


def peer_rate(rows: list[dict[str, Any]]) -> float | None:
    """Rows a second of math-verify on number answers; None where it is not installed."""
    try:
        from math_verify import parse, verify
    except ImportError:
        return None
    start = time.process_time()
    for row in rows[:PEER_ROWS]:
        verify(parse(row["reference"]), parse(row["response"]))
    return min(len(rows), PEER_ROWS) / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, default=Path("../shared/data/truth"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.truth.is_dir():
        sys.exit(f"{arguments.truth}: the recorded outputs are not there; give their folder with --truth")
    sources = load(arguments.truth)
    ruled = {name: [r for r in rows if r["answer_type"] != "free"] for name, rows in sources.items()}
    everything = [row for rows in ruled.values() for row in rows]
    took = seconds(everything, 3 if arguments.quick else 7)
    numbers = [row for row in everything if row["answer_type"] == "number"]
    peer = peer_rate(numbers)
    rate_numbers = len(numbers) / seconds(numbers, 3)
    figures: dict[str, Any] = {
        "rows": len(everything),
        "verdicts_per_second": len(everything) / took,
        "numbers_per_second": rate_numbers,
        "numbers_vs_math_verify": None if peer is None else rate_numbers / peer,
        "agreement": {name: agreement(rows, name) for name, rows in sources.items()},
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, row in figures["agreement"].items():
        print(
            f"{name:34s} n {row['n']:5,}  agree {row['agree']:6.2f} %  none {row['none']:4,}  wrongly right {row['wrongly_right']}"
        )
    print(f"\n{len(everything):,} rows: {figures['verdicts_per_second']:,.0f} verdicts a second on one core")
    if peer is not None:
        print(f"numbers: {rate_numbers / peer:.0f} times the rate of math-verify in this run")


if __name__ == "__main__":
    main()
