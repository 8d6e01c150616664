"""Verdicts per second on one core, and agreement with the sources, on outputs of real models.

    python -m benchmarks.verify [--truth DIR] [--quick] [--json]
    python -m benchmarks.verify --disagreements FILE.jsonl

The second form writes every row on which the source's verdict and ours differ. The rate on number
answers stands beside that of math-verify, in the same run, where it is installed.
"""

import argparse
import gzip
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from orcinus.verifiers.answers.quantities import reference_value, value_of
from orcinus.verifiers.answers.text import Outcome
from orcinus.verifiers.rules import judge

PEER_ROWS = 300
END_OF_TEXT = 300
"""Characters of a response that are written beside a disagreement."""


def load(folder: Path) -> dict[str, list[dict[str, Any]]]:
    sources = {}
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        for row in rows:
            row["reference"] = (
                tuple(row["reference"])
                if isinstance(row["reference"], list)
                else str(row["reference"])
            )
        sources[path.name.removesuffix(".jsonl.gz")] = rows
    return sources


def judged(rows: list[dict[str, Any]]) -> list[float | None]:
    return [
        judge(r["response"], r["answer_type"], r["choices"], r["reference"]).value for r in rows
    ]


def seconds(rows: list[dict[str, Any]], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        judged(rows)
        times.append(time.process_time() - start)
    return statistics.median(times)


def agreement(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    read = [
        r for r in rows if not r.get("policy") and (name.startswith("ad") or not r.get("contested"))
    ]
    values = judged(read)
    return {
        "n": len(read),
        "agree": 100
        * sum((v == 1.0) == bool(r["correct"]) for v, r in zip(values, read, strict=True))
        / max(1, len(read)),
        "none": sum(v is None for v in values),
        "format_ok": 100 * sum(v is not None for v in values) / max(1, len(read)),
        "wrongly_right": sum(
            v == 1.0 and not r["correct"] for v, r in zip(values, read, strict=True)
        ),
    }


def disagreements(sources: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield every row on which the source's verdict and ours differ, with the likely reason."""
    for source, rows in sources.items():
        for row in rows:
            outcome = judge(row["response"], row["answer_type"], row["choices"], row["reference"])
            if row.get("policy") or (outcome.value == 1.0) == bool(row["correct"]):
                continue
            yield {
                "source": source,
                "id": row["id"],
                "kind": kind_of(row, outcome),
                "official": float(row["correct"]),
                "ours": outcome.value,
                "official_answer": row.get("extracted"),
                "answer": outcome.answer,
                "reference": row["reference"],
                "reason": outcome.reason,
                "contested": bool(row.get("contested")),
                "response": row["response"][-END_OF_TEXT:],
            }


def kind_of(row: dict[str, Any], outcome: Outcome) -> str:
    """Return why the two verdicts differ, as far as a rule can tell."""
    answer, reason = outcome.answer or "", outcome.reason
    if "hidden second call" in str(row.get("label_kind")):
        held = "another answer" if answer else "no answer"
        return f"official verdict from a second call, {held} in the text"
    if row.get("label_kind") is None:
        return "ours differs from a reader's verdict"
    if outcome.value is None:
        return "official takes no answer for one"
    if row["correct"]:
        named = ("two", "several", "a range", "both", "nothing but numbers")
        if any(word in reason for word in named):
            return "official takes the first of two answers"
        return (
            "official takes the first number of a calculation" if "equation" in reason else "other"
        )
    if "words" in reason:
        return "official reads no number words"
    if "option text" in reason:
        return "official reads no option's text"
    if row["answer_type"] != "number":
        return (
            "ours reads an answer from a text that announces none" if ":" not in reason else "other"
        )
    if "/" in answer:
        return "official takes the first number of a fraction"
    if "equation" in reason or "computed" in reason:
        return "official takes the first number of a calculation"
    return (
        "official compares numbers as texts or floats"
        if _same_but_written_otherwise(row, answer)
        else "official takes another number of the answer"
    )


def _same_but_written_otherwise(row: dict[str, Any], answer: str) -> bool:
    """Return whether the source found the same number, written in another way."""
    theirs, right = value_of(str(row.get("extracted"))), reference_value(row["reference"])
    ours = value_of(answer)
    return (
        theirs is not None
        and right is not None
        and theirs == ours
        and abs(theirs - right) <= abs(right) / 9_999
    )


def write_disagreements(sources: dict[str, list[dict[str, Any]]], path: Path) -> Counter[str]:
    """Write the rows as JSON Lines, and count them by kind."""
    kinds: Counter[str] = Counter()
    with path.open("wb") as file:
        for row in disagreements(sources):
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            kinds[row["kind"]] += 1
    return kinds


def peer_rate(rows: list[dict[str, Any]]) -> float | None:
    """Return rows per second of math-verify on number answers; None without it."""
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
    parser.add_argument("--disagreements", type=Path, metavar="FILE.jsonl")
    arguments = parser.parse_args()
    if not arguments.truth.is_dir():
        sys.exit(
            f"{arguments.truth}: the recorded outputs are not there; give their folder with --truth"
        )
    sources = load(arguments.truth)
    if arguments.disagreements:
        for kind, count in write_disagreements(sources, arguments.disagreements).most_common():
            print(f"{count:5,}  {kind}")
        return
    ruled = {
        name: [r for r in rows if r["answer_type"] != "free"] for name, rows in sources.items()
    }
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
            f"{name:34s} n {row['n']:5,}  agree {row['agree']:6.2f} %  answer found "
            f"{row['format_ok']:6.2f} %  wrongly right {row['wrongly_right']}"
        )
    print(
        f"\n{len(everything):,} rows: {figures['verdicts_per_second']:,.0f} verdicts a second on "
        "one core"
    )
    if peer is not None:
        print(f"numbers: {rate_numbers / peer:.0f} times the rate of math-verify in this run")


if __name__ == "__main__":
    main()
