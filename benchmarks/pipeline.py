"""Data at size: the steps from ``sample`` to ``erase``, ``plan``, and a run that is finished.

    python -m benchmarks.pipeline [--quick] [--rows 10000 100000] [--json]

Twenty tasks of made-up questions of about 107 words. The teacher is a function
(``pipeline_models.py``), and strategies are measured on it; otherwise the recipe is the default.
Each step runs in a process of its own, as ``orcinus run`` runs it. Its CPU seconds are those of the
step without imports, and of the worker processes that it starts, imports included; ``plan`` and the
finished run are whole commands, imports included. All rows are made here, and no model is loaded.
``peak_mib`` is the largest process, be it a step or a worker.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

STEPS = ("sample", "probe", "assign", "teach", "curate", "erase")
TASKS = 20
STUDENT = ("probe", "assign")
"""Steps that ask few rows. A run that is to train imports torch for them, which is left out."""
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
CHUNK = 10_000
"""Rows that are made at once, to bound memory."""
PER = 100_000
"""Rows to which ``cpu_s_100k`` is scaled. ``plan_cpu_s_100k`` is given at so many rows only, since
the imports in it do not grow with them."""


def write(folder: Path, count: int) -> None:
    """Write the recipe and the rows of its tasks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    import orcinus
    from benchmarks.curation import Texts

    demo = Path(orcinus.__file__).parent / "pipeline" / "demo" / "base"
    texts = Texts(seed=count)
    for task in range(TASKS):
        is_choice = task % 2 == 0
        parts = []
        rows = count // TASKS
        for start in range(0, rows, CHUNK):
            numbers = range(start, min(rows, start + CHUNK))
            columns: dict[str, Any] = {
                "id": [str(number) for number in numbers],
                "question": [" ".join(words) for words in texts.fresh(len(numbers))],
                "answer": ["ABCD"[n % 4] if is_choice else str(17 * n % 1000) for n in numbers],
            }
            if is_choice:
                columns["choices"] = [[f"option {n % 7} {k}" for k in range(4)] for n in numbers]
            parts.append(pa.table(columns))
        pq.write_table(pa.concat_tables(parts), folder / f"task{task}.parquet")
    recipe = {
        "name": "bench",
        "tasks": [
            {
                "path": f"task{task}.parquet",
                "name": f"task{task}",
                "answer_type": "number" if task % 2 else "choice",
            }
            for task in range(TASKS)
        ],
        "student": {"kind": "local", "path": str(demo), "chat_template": "chatml"},
        "teacher": {"kind": "function", "function": "benchmarks.pipeline_models:explain"},
        "assign": {"measure": "prompted", "whose": "teacher"},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")


def step(folder: Path, verb: str) -> dict[str, float]:
    """Run one step of the run in ``folder`` and return the figures of this process."""
    from orcinus.pipeline.recipe_file import load_recipe
    from orcinus.pipeline.run import LIBRARIES, run_recipe
    from orcinus.runs.context import Runtime, Silent

    flags = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    path = folder / "recipe.yaml"
    recipe = load_recipe(path)
    for name in LIBRARIES if verb in STUDENT else ():
        importlib.import_module(name)
    started, clock = cpu_s(), time.perf_counter()
    asyncio.run(run_recipe(recipe, path, flags, Silent(), until=verb))
    return {
        "cpu_s": cpu_s() - started,
        "wall_s": time.perf_counter() - clock,
        "peak_mib": max(resource.getrusage(who).ru_maxrss for who in WHO) / 1024,
    }


def cpu_s() -> float:
    """Return the CPU seconds of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in WHO]
    return sum(one.ru_utime + one.ru_stime for one in used)


def command(folder: Path, *words: str) -> float:
    """Return the CPU seconds of one orcinus command, in a process of its own."""
    before = cpu_s()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "orcinus",
            *words,
            str(folder / "recipe.yaml"),
            "--runs",
            str(folder / "runs"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return cpu_s() - before


def in_process(*arguments: str, cores: int | None = None) -> dict[str, float]:
    """Return the figures of this module in a process of its own, on so many cores."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if cores and allowed:
        os.sched_setaffinity(0, allowed[:cores])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.pipeline", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def tables_of(folder: Path) -> dict[str, str]:
    """Return the hash of each table of the run in ``folder``."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("runs/bench/*/*.parquet"))
    }


def measure_run(rows: int, *, cores: int | None = None) -> dict[str, Any]:
    """Return the figures of each step for ``rows`` rows, of ``plan``, and of the run again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_process("--write", name, "--rows", str(rows))
        steps = {"sample": in_process("--step", "sample", "--folder", name, cores=cores)}
        plan_s = command(folder, "plan")
        for verb in STEPS[1:]:
            steps[verb] = in_process("--step", verb, "--folder", name, cores=cores)
        return {
            "rows": rows,
            "cpu_s": sum(found["cpu_s"] for found in steps.values()),
            "plan_cpu_s": plan_s,
            "finished_run_s": command(folder, "run", "--until", "erase"),
            "peak_mib": max(steps[verb]["peak_mib"] for verb in STEPS if verb not in STUDENT),
            "steps": steps,
            "tables": tables_of(folder),
        }


def exponent(small: float, large: float, ratio: float) -> float:
    """Return the power of the number of rows with which a cost grows."""
    return math.log(large / small) / math.log(ratio)


def run(sizes: Sequence[int]) -> dict[str, Any]:
    """Return the benchmark's figures.

    Args:
        sizes: Rows of the runs. The smallest and the largest give the exponents; the middle one, or
            the largest of two, gives the other figures.
    """
    found = {size: measure_run(size) for size in sorted(sizes)}
    small, large = found[min(sizes)], found[max(sizes)]
    main_size = sorted(sizes)[1] if len(sizes) > 1 else sizes[0]
    main_run, ratio = found[main_size], max(sizes) / min(sizes)
    alone, both = (measure_run(main_size, cores=cores) for cores in (1, 2))
    walls = [
        sum(one["steps"][verb]["wall_s"] for verb in STEPS if verb not in STUDENT)
        for one in (alone, both)
    ]
    scale = PER / main_size
    return {
        "rows": main_size,
        "cpu_s_100k": scale * main_run["cpu_s"],
        "plan_cpu_s_100k": main_run["plan_cpu_s"] if main_size == PER else None,
        "finished_run_s": main_run["finished_run_s"],
        "exponent": exponent(small["cpu_s"], large["cpu_s"], ratio) if ratio > 1 else None,
        "curate_exponent": exponent(
            small["steps"]["curate"]["cpu_s"], large["steps"]["curate"]["cpu_s"], ratio
        )
        if ratio > 1
        else None,
        "speedup_2_workers": walls[0] / walls[1],
        "speedups": {
            verb: alone["steps"][verb]["wall_s"] / both["steps"][verb]["wall_s"]
            for verb in STEPS
            if verb not in STUDENT
        },
        "peak_mib": max(one["peak_mib"] for one in found.values()),
        "same_bytes": alone["tables"] == both["tables"] == main_run["tables"],
        "runs": [*found.values()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1,000 and 4,000 rows: two minutes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+", default=None)
    for name in ("write", "step", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(Path(arguments.write), arguments.rows[0])
        print("{}")
    elif arguments.step:
        print(json.dumps(step(Path(arguments.folder), arguments.step)))
    else:
        sizes = arguments.rows or ([1_000, 4_000] if arguments.quick else [10_000, 100_000])
        figures = run(sizes)
        print(json.dumps(figures) if arguments.json else "\n".join(described(figures)))


def described(figures: dict[str, Any]) -> Iterator[str]:
    for one in figures["runs"]:
        steps = ", ".join(f"{verb} {found['cpu_s']:.1f}" for verb, found in one["steps"].items())
        yield (
            f"{one['rows']:>9,} rows: {one['cpu_s']:.1f} CPU seconds ({steps}); plan "
            f"{one['plan_cpu_s']:.1f}, the finished run again {one['finished_run_s']:.1f}; peak "
            f"{one['peak_mib']:.0f} MiB"
        )
    if figures["exponent"] is not None:
        yield (
            f"cost grows with the rows to the power of {figures['exponent']:.2f}, that of curate "
            f"of {figures['curate_exponent']:.2f}"
        )
    bytes_are = "the same" if figures["same_bytes"] else "NOT the same"
    by_step = ", ".join(f"{verb} {ratio:.2f}" for verb, ratio in figures["speedups"].items())
    yield (
        f"two cores are {figures['speedup_2_workers']:.2f} times as fast as one ({by_step}); the "
        f"tables are {bytes_are}"
    )


if __name__ == "__main__":
    main()
