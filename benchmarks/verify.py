"""Measure how far verdicts can be trusted, and what they cost.

    python -m benchmarks.verify [--truth DIR] [--peers DIR] [--rows FILE.jsonl] [--quick] [--json]
    python -m benchmarks.verify --disagreements FILE.jsonl

It prints the agreement with the sources' verdicts on recorded outputs of real models, the false
yes, the agreement with other graders' own test cases (``benchmarks.peer_cases``), and what becomes
of right answers with a tail behind them and of answers that are corrected. It also prints the time
of the slowest verdict on 1 MB of text, and verdicts a second on one core.

What is absent is named under ``absent``, and its figures are null. The second form writes every row
on which the source's verdict and ours differ.
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

from benchmarks.peer_cases import absent_suites, compare_with_peers
from benchmarks.verdict_changes import (
    corrections_false_yes,
    right_rows,
    slowest_verdict,
    tails_lost,
)
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


def own_rows(path: Path) -> dict[str, float]:
    """Return the agreement on rows that say which verdict is expected."""
    agree = false_yes = n = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("policy"):
            continue
        reference = row["reference"]
        reference = tuple(reference) if isinstance(reference, list) else reference
        value = judge(row["response"], row["answer_type"], row.get("choices"), reference).value
        n += 1
        agree += (value == 1.0) == (row["expected"] == 1.0)
        false_yes += value == 1.0 and row["expected"] != 1.0
    return {"n": n, "agree": 100 * agree / max(1, n), "false_yes": false_yes}


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all figures; those whose data are absent are None."""
    absent = []
    figures: dict[str, Any] = dict.fromkeys(KEYS)
    if arguments.truth.is_dir():
        figures |= on_recorded_outputs(load(arguments.truth), quick=arguments.quick)
    else:
        absent.append(f"{arguments.truth}: recorded outputs (--truth)")
    if arguments.rows is not None and arguments.rows.is_file():
        figures["own_rows"] = own_rows(arguments.rows)
    else:
        absent.append("rows with an expected verdict (--rows)")
    if arguments.peers.is_dir():
        figures["peers"] = compare_with_peers(arguments.peers)
        absent += [f"peers: {name}" for name in absent_suites(arguments.peers)]
    else:
        absent.append(f"{arguments.peers}: checkouts of other graders (--peers)")
    slowest = slowest_verdict(0.1 if arguments.quick else 1.0)
    return figures | {"p100_ms": slowest["ms"], "slowest": slowest, "absent": absent}


KEYS = (
    "agreement", "false_yes", "own_rows", "peers", "tails_lost", "corrections_false_yes",
    "p100_ms", "verdicts_per_s", "rows", "by_source", "numbers_per_s", "numbers_vs_math_verify",
)  # fmt: skip
"""The figures, in the order in which they are printed."""
CHANGED_ROWS = 300
"""Rows of each type that are changed; 40 with ``--quick``."""


def on_recorded_outputs(sources: dict[str, list[dict[str, Any]]], *, quick: bool) -> dict[str, Any]:
    """Return the figures that need recorded outputs of models."""
    ruled = {
        name: [row for row in rows if row["answer_type"] != "free"]
        for name, rows in sources.items()
    }
    everything = [row for rows in ruled.values() for row in rows]
    numbers = [row for row in everything if row["answer_type"] == "number"]
    by_source = {name: agreement(rows, name) for name, rows in sources.items()}
    counted = [row for name, row in by_source.items() if not name.startswith("adversarial")]
    judged_rows = sum(row["n"] for row in counted)
    changed = right_rows(sources, 40 if quick else CHANGED_ROWS)
    rounds = 1 if quick else 7
    peer = peer_rate(numbers)
    rate = len(numbers) / seconds(numbers, 1 if quick else 3)
    return {
        "rows": len(everything),
        "agreement": sum(row["n"] * row["agree"] for row in counted) / max(1, judged_rows),
        "false_yes": sum(row["wrongly_right"] for row in counted),
        "tails_lost": tails_lost(changed),
        "corrections_false_yes": corrections_false_yes(changed),
        "verdicts_per_s": len(everything) / seconds(everything, rounds),
        "by_source": by_source,
        "numbers_per_s": rate,
        "numbers_vs_math_verify": None if peer is None else rate / peer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, default=Path("../shared/data/truth"))
    parser.add_argument("--peers", type=Path, default=Path(".peers"))
    parser.add_argument("--rows", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--disagreements", type=Path, metavar="FILE.jsonl")
    arguments = parser.parse_args()
    if arguments.disagreements:
        if not arguments.truth.is_dir():
            sys.exit(f"{arguments.truth}: no recorded outputs; give their folder with --truth")
        sources = load(arguments.truth)
        for kind, count in write_disagreements(sources, arguments.disagreements).most_common():
            print(f"{count:5,}  {kind}")
        return
    figures = measured(arguments)
    if arguments.json:
        print(json.dumps(figures))
    else:
        print_figures(figures)


def print_figures(figures: dict[str, Any]) -> None:
    for name, row in (figures["by_source"] or {}).items():
        print(
            f"{name:34s} n {row['n']:5,}  agree {row['agree']:6.2f} %  answer found "
            f"{row['format_ok']:6.2f} %  wrongly right {row['wrongly_right']}"
        )
    for name, row in (figures["peers"] or {}).items():
        print(f"{name:34s} n {row['n']:5,}  agree {row['agreement']:6.2f} %")
    for key in KEYS:
        value = figures[key]
        if key in ("by_source", "peers"):
            continue
        if isinstance(value, dict):
            value = {name: part for name, part in value.items() if name != "by_change"}
        print(f"{key:34s} {value if value is not None else 'data absent'}")
    for what in figures["absent"]:
        print(f"absent: {what}")


if __name__ == "__main__":
    main()
