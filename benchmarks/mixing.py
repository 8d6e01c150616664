"""Time and memory to choose one million questions of 120 million by Orca's Algorithm 1.

    python -m benchmarks.mixing [--quick] [--json]

The listing has the shape of FLAN-v2 as Orca used it: 1,913 tasks in four collections with 120
million queries, 193 of the tasks with 86 million of them. Its rows are made as they are read,
each a task's name and a hash. They pass twice: once to learn how many to take, once to take them.
``orca`` uses the quotas of Orca's collections, and ``million`` takes one million of all tasks.
``literal`` is the algorithm as printed, with lists of what is left, on a listing small enough for
it. ``benchmarks.curation`` measures the cost of reading and checking rows.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from orcinus.tasks.config import Mixture
from orcinus.tasks.duplicates.ngrams import mixed
from orcinus.tasks.duplicates.seen import hash_of
from orcinus.tasks.mixing import U64, Mixer

COLLECTIONS = {
    "cot": (18, 150_000),
    "niv2": (1560, 5_000_000),
    "flan2021": (142, 28_900_000),
    "t0": (193, 85_700_000),
}
"""Tasks and queries."""
ORCA = {
    "cot": Mixture(),
    "niv2": Mixture(per_task=300),
    "flan2021": Mixture(total=2_500_000),
    "t0": Mixture(total=2_000_000),
}
CHUNK = 1 << 16


def sizes(shrink: int) -> dict[tuple[str, str], int]:
    """Draw the queries of each (collection, task), lognormal within a collection."""
    found = {}
    for collection, (tasks, rows) in COLLECTIONS.items():
        share = np.random.default_rng(len(collection)).lognormal(0, 1.5, tasks)
        for number, count in enumerate(
            np.ceil(share / share.sum() * rows / shrink).astype(int).tolist()
        ):
            found[collection, f"{collection}-{number}"] = count
    return found


def listing(counts: dict[tuple[str, str], int]) -> Iterator[tuple[str, str, U64]]:
    """Yield (collection, task, hashes of some rows), as a file would."""
    for (collection, task), count in counts.items():
        start = np.uint64(hash_of(task))
        for at in range(0, count, CHUNK):
            yield (
                collection,
                task,
                mixed(np.arange(at, min(at + CHUNK, count), dtype=np.uint64) + start),
            )


def chosen(counts: dict[tuple[str, str], int], mixtures: dict[str, Mixture]) -> dict[str, Any]:
    """Make both passes, and return the figures of this process."""
    started = time.perf_counter()
    mixers = {name: Mixer(mixture, seed=0) for name, mixture in mixtures.items()}
    for collection, task, keys in listing(counts):
        mixer = mixers[collection if collection in mixers else ""]
        for key in keys.tolist():
            mixer.add(task, key)
    limits = {task: limit for mixer in mixers.values() for task, limit in mixer.limits().items()}
    taken: dict[str, int] = {}
    for _, task, keys in listing(counts):
        if limits[task] >= 0:
            taken[task] = taken.get(task, 0) + int((keys <= np.uint64(limits[task])).sum())
    return {
        "rows": sum(counts.values()),
        "chosen": sum(taken.values()),
        "tasks": len(taken),
        "most_of_a_task": max(taken.values()),
        "seconds": time.perf_counter() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def literal(counts: dict[tuple[str, str], int], total: int) -> dict[str, Any]:
    """Run Algorithm 1 as it is printed."""
    started = time.perf_counter()
    left = [
        list(zip([task] * count, range(count), strict=True)) for (_, task), count in counts.items()
    ]
    draw = random.Random(0)
    found = 0
    while found < total and left:
        place = draw.randrange(len(left))
        queries = left[place]
        at = draw.randrange(len(queries))
        queries[at], queries[-1] = queries[-1], queries[at]
        queries.pop()
        found += 1
        if not queries:
            left[place] = left[-1]
            left.pop()
    return {
        "rows": sum(counts.values()),
        "chosen": found,
        "seconds": time.perf_counter() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measured(what: str, shrink: int) -> dict[str, Any]:
    """Return the figures of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.mixing", "--alone", what, "--shrink", str(shrink)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def alone(what: str, shrink: int) -> dict[str, Any]:
    counts = sizes(shrink)
    total = 1_000_000 // shrink
    match what:
        case "million":
            return chosen(counts, {"": Mixture(total=total)})
        case "orca":
            return chosen(counts, ORCA)
        case "temperature":
            return chosen(counts, {"": Mixture(total=total, temperature=3)})
        case "literal":
            return literal(counts, total)
        case _:  # an empty process, to be taken off
            return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def run(shrink: int) -> dict[str, Any]:
    figures = {
        what: measured(what, shrink) for what in ("nothing", "million", "temperature", "orca")
    }
    small = max(20, shrink)
    return {
        **figures,
        "literal": measured("literal", small),
        "ours_as_small": measured("million", small),
        "seconds": figures["million"]["seconds"],
        "peak_mib": figures["million"]["peak_mib"],
        "rows_per_s": figures["million"]["rows"] / figures["million"]["seconds"],
    }


def described(figures: dict[str, Any]) -> str:
    lines = [f"{'':<14}{'rows':>12} {'chosen':>10} {'seconds':>8} {'peak MiB':>9}"]
    for name, found in figures.items():
        if isinstance(found, dict) and "rows" in found:
            lines.append(
                f"{name:<14}{found['rows']:>12,} {found['chosen']:>10,} {found['seconds']:>8.1f} "
                f"{found['peak_mib']:>9.0f}"
            )
    lines.append(f"a process that does nothing has {figures['nothing']['peak_mib']:.0f} MiB")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a twentieth of it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--shrink", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(alone(arguments.alone, arguments.shrink)))
    else:
        figures = run(20 if arguments.quick else arguments.shrink)
        print(json.dumps(figures) if arguments.json else described(figures))


if __name__ == "__main__":
    main()
