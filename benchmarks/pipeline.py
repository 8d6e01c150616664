"""Data at size: the steps from ``sample`` to ``erase``, ``plan``, and a run that is finished.

    python -m benchmarks.pipeline [--quick] [--rows 10000 100000 1000000] [--keep DIR] [--json]

Twenty tasks of made-up questions of about 107 words. The teacher is a function
(``pipeline_models.py``), and strategies are measured on it; otherwise the recipe is the default.
Each step runs in a process of its own, as ``orcinus run`` runs it. Its CPU seconds are those of the
step without imports, and of the worker processes that it starts, imports included; ``plan`` and the
finished run are whole commands, imports included. All rows are made here, and no model is loaded.
``peak_mib`` is the largest process, be it a step or a worker. ``cpu_s_100k`` is that of one core,
which starts no workers; the starts of two are in ``cpu_s_100k_2_workers``.

With ``--keep`` the figures stay in a folder, by size and step. An interrupted benchmark goes on at
the step that it stopped in, which is done anew. Delete the folder to measure again.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

STEPS = ("sample", "probe", "assign", "teach", "curate", "erase")
TASKS = 20
STUDENT = ("probe", "assign")
"""Steps that ask few rows. A run that is to train imports torch for them, which is left out."""
ASKING = ("probe", "assign", "teach")
"""Steps whose replies stay in the ledger, where an interrupted one would find them again."""
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
BYTECODE = Path(tempfile.gettempdir()) / "orcinus-benchmark-bytecode"
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
        env=with_bytecode(),
        stdout=subprocess.DEVNULL,
    )
    return cpu_s() - before


def with_bytecode() -> dict[str, str]:
    """Return the environment in which modules are compiled once, as an installed package is."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def in_process(*arguments: str, cores: int | None = None) -> dict[str, float]:
    """Return the figures of this module in a process of its own, on so many cores."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if cores and allowed:
        os.sched_setaffinity(0, allowed[:cores])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.pipeline", *arguments],
            env=with_bytecode(),
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


def measure_run(rows: int, folder: Path, *, cores: int | None = None) -> dict[str, Any]:
    """Return the figures of each step for ``rows`` rows, of ``plan``, and of the run again.

    Args:
        rows: Rows of the run.
        folder: Of the run, and of what an interrupted benchmark has measured of it.
        cores: Cores that the steps may use; None leaves them all.
    """
    known = Known(folder)
    name = str(folder)
    known.once("written", lambda: in_process("--write", name, "--rows", str(rows)))
    parts: dict[str, Callable[[], Any]] = {
        verb: partial(in_process, "--step", verb, "--folder", name, cores=cores) for verb in STEPS
    }
    steps = {"sample": known.once("sample", parts["sample"])}
    plan_s = known.once("plan", lambda: command(folder, "plan"))
    for verb in STEPS[1:]:
        steps[verb] = known.once(verb, parts[verb])
    again_s = known.once("again", lambda: command(folder, "run", "--until", "erase"))
    return {
        "rows": rows,
        "cpu_s": sum(found["cpu_s"] for found in steps.values()),
        "plan_cpu_s": plan_s,
        "finished_run_s": again_s,
        "peak_mib": max(steps[verb]["peak_mib"] for verb in STEPS if verb not in STUDENT),
        "steps": steps,
        "tables": known.once("tables", lambda: tables_of(folder)),
    }


class Known:
    """What is measured of one run, by part, kept in a file of its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "figures.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._parts: dict[str, Any] = {}
        if self._path.exists():
            self._parts = json.loads(self._path.read_text(encoding="utf-8"))
            self._forget_interrupted()

    def once(self, part: str, measure: Callable[[], Any]) -> Any:
        """Return the figures of a part, measured unless they are known."""
        if part not in self._parts:
            print(f"{self._folder.name}: {part}", file=sys.stderr, flush=True)
            self._parts[part] = measure()
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(self._parts), encoding="utf-8")
            fresh.replace(self._path)
        return self._parts[part]

    def _forget_interrupted(self) -> None:
        """Delete what an interrupted step left, so that its figures are those of all its work."""
        runs, asked = self._folder / "runs", [verb for verb in ASKING if verb in self._parts]
        if len(asked) < len(ASKING):
            for verb in asked:
                del self._parts[verb]
            for ledger in runs.glob("ledger.sqlite*"):
                ledger.unlink()
        for folder in runs.glob("bench/*-*/"):
            if folder.name.split("-")[0] not in self._parts:
                shutil.rmtree(folder)


def exponent(small: float, large: float, ratio: float) -> float:
    """Return the power of the number of rows with which a cost grows."""
    return math.log(large / small) / math.log(ratio)


def run(sizes: Sequence[int], keep: Path) -> dict[str, Any]:
    """Return the benchmark's figures.

    Args:
        sizes: Rows of the runs. The middle one, or the largest of two, gives the figures. The
            exponents are from there to the largest; of two, from the smallest.
        keep: Folder of the runs, and of what an interrupted benchmark has measured.
    """
    main_size = sorted(sizes)[1] if len(sizes) > 1 else sizes[0]
    alone, both = (
        measure_run(main_size, keep / f"{main_size}-on-{cores}", cores=cores) for cores in (1, 2)
    )
    found = {size: measure_run(size, keep / f"{size}") for size in sorted(sizes)}
    main_run, large = found[main_size], found[max(sizes)]
    small = main_run if len(sizes) > 2 else found[min(sizes)]
    ratio = large["rows"] / small["rows"]
    walls = [
        sum(one["steps"][verb]["wall_s"] for verb in STEPS if verb not in STUDENT)
        for one in (alone, both)
    ]
    scale = PER / main_size
    return {
        "rows": main_size,
        "cpu_s_100k": scale * alone["cpu_s"],
        "cpu_s_100k_2_workers": scale * both["cpu_s"],
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
        "runs": [*found.values(), {**alone, "cores": 1}, {**both, "cores": 2}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1,000 and 4,000 rows: two minutes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+", default=None)
    parser.add_argument("--keep", type=Path, help="a folder for runs and figures, to go on later")
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
        with tempfile.TemporaryDirectory() as name:
            figures = run(sizes, arguments.keep or Path(name))
        print(json.dumps(figures) if arguments.json else "\n".join(described(figures)))


def described(figures: dict[str, Any]) -> Iterator[str]:
    for one in figures["runs"]:
        steps = ", ".join(f"{verb} {found['cpu_s']:.1f}" for verb, found in one["steps"].items())
        on = f" on {one['cores']} core{'s'[: one['cores'] - 1]}" if "cores" in one else ""
        yield (
            f"{one['rows']:>9,} rows{on}: {one['cpu_s']:.1f} CPU seconds ({steps}); plan "
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
