"""Row groups and near duplicates on a Ray cluster: tasks of Ray's core beside Ray Data.

    python -m benchmarks.cluster [--quick] [--rows 100000] [--json]

Job 1 checks each trace of a table as ``curate`` does (rules, hash, signature); hashes and numbers
come back, in order. Ways: this process; orcinus' executor, a task for each row group; and
``ray.data.read_parquet(…).map_batches(…)``. Each cluster way runs again with a node killed.
Job 2 finds the pairs of equal bands among signatures: sorted in this process, a task for each band,
and shuffled by Ray Data (``sort`` by key; ``groupby`` by part of the keys). All must give the same
pairs.

Each way runs in a process with a cluster of its own. CPU seconds are those of all processes of the
way, the start of the cluster apart; memory is the largest sum of all processes' own pages, without
the object store.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ROWS, QUICK = 100_000, 12_000
SIGNATURES_PER_ROW = 3
"""Signatures of job 2 for each row of job 1: the job is small beside the other."""
STORE = 400 * 2**20
"""Bytes of each node's object store."""
KILL_AFTER = 3
"""Row groups that the doomed node begins before it is killed."""
PARTS = 16
"""Parts of the keys in ``groupby``; a group for each key would take hours."""
CHECKS = ("alone", "tasks", "data", "tasks_killed", "data_killed")
PAIRS = ("pairs_alone", "pairs_tasks", "pairs_sort", "pairs_groupby")


# --- job 1


def write_traces(path: Path, rows: int) -> None:
    """Write a table of traces of about 107 words."""
    from benchmarks.curation import Texts
    from orcinus.core.types import Attempt, Judged, Message, Sampling, Usage, Verdict
    from orcinus.runs import tables

    texts = Texts(seed=1)
    with tables.TableWriter(path, tables.JUDGED) as writer:
        for start in range(0, rows, 4096):
            for place, words in enumerate(texts.fresh(min(4096, rows - start)), start):
                half = len(words) // 2
                attempt = Attempt(
                    id=f"a{place}",
                    example_id=str(place),
                    task="t",
                    strategy="step_by_step",
                    model="m",
                    messages=(
                        Message(role="system", content="Work through the problem step by step."),
                        Message(role="user", content=" ".join(words[:half])),
                    ),
                    sampling=Sampling(),
                    sample=0,
                    text=f"{' '.join(words[half:])}. The answer is 7.",
                    finish="stop",
                    usage=Usage(tokens_in=5, tokens_out=9),
                )
                verdict = Verdict(
                    attempt_id=attempt.id, verifier="number@1", value=1.0, answer="7", reason=""
                )
                writer.write(tables.judged_row(Judged(attempt=attempt, verdict=verdict)))


class Check:
    """The checks of ``curate`` on traces that carry their question."""

    def __init__(self, log: Path) -> None:
        from orcinus.lessons.checks import TraceChecks
        from orcinus.lessons.config import CurateConfig
        from orcinus.strategies.library import built_in
        from orcinus.tasks.duplicates.overlap import Overlap

        self._log = log
        self._checks = TraceChecks(
            config=CurateConfig(near_duplicates=0.9),
            strategies=(built_in()["step_by_step"],),
            held_out=Overlap((), n=13),
        )

    def table(self, table: pa.Table) -> tuple[int, list[int], int]:
        """Return the rows, their hashes and a sum of their signatures."""
        from orcinus.core.types import Example
        from orcinus.runs import tables

        note_begin(self._log, len(table))
        traces = []
        for judged in tables.judged_in(table):
            prompt = judged.attempt.messages[-1].content
            name = judged.attempt.example_id
            example = Example(id=name, task="t", prompt=prompt, answer_type="number", reference="7")
            traces.append((example, judged))
        found = self._checks.check(traces)
        assert found.signatures is not None
        return len(table), found.hashes, int(found.signatures[0].sum())

    def group(self, path: Path, number: int) -> tuple[int, list[int], int]:
        """Check one row group."""
        from orcinus.runs import tables

        return self.table(tables.read_group(path, number))

    def batch(self, table: pa.Table) -> dict[str, Any]:
        """Check a batch of Ray Data."""
        rows, hashes, _ = self.table(table)
        return {"hash": np.array(hashes, np.uint64), "rows": np.full(rows, rows)}


def note_begin(log: Path, rows: int) -> None:
    """Note the node and the rows of a shard that begins; the doomed node's last one never ends."""
    node = os.environ.get("RAY_NODE_ID") or node_id()
    with (log / f"{node}").open("a", encoding="ascii") as file:
        file.write(f"{rows}\n")


def node_id() -> str:
    """Return the id of the node that this process works on."""
    if "ray" not in sys.modules:
        return "here"
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else "here"


def check_alone(path: Path, log: Path) -> list[int]:
    from orcinus.runs import tables

    check = Check(log)
    groups = range(len(tables.rows_of_groups(path)))
    return [value for number in groups for value in check.group(path, number)[1]]


def check_by_tasks(path: Path, log: Path) -> list[int]:
    from orcinus.runs import tables
    from orcinus.runs.executors.ray import RayExecutor

    groups = range(len(tables.rows_of_groups(path)))
    results = RayExecutor().map(partial(Check(log).group, path), groups)
    return [value for _, hashes, _ in results for value in hashes]


def check_by_data(path: Path, log: Path) -> list[int]:
    import ray

    ray.data.DataContext.get_current().execution_options.preserve_order = True
    ray.data.DataContext.get_current().enable_progress_bars = False
    found = ray.data.read_parquet(str(path)).map_batches(
        Check(log).batch, batch_size=4096, batch_format="pyarrow", zero_copy_batch=True
    )
    return [
        value
        for batch in found.iter_batches(batch_size=None, batch_format="numpy")
        for value in batch["hash"].tolist()
    ]


# --- job 2


def signatures(block: int, rows: int) -> np.ndarray:
    """Make the signatures of a block; every twentieth repeats one of the block, but for a byte."""
    random = np.random.default_rng(block)
    made = random.integers(0, 256, (rows, 128), np.uint8)
    copies = np.arange(19, rows, 20)
    made[copies] = made[random.integers(0, copies)]
    made[copies, random.integers(0, 128, len(copies))] ^= 1
    return made


BLOCK = 8192


def blocks_of(count: int) -> list[tuple[int, int]]:
    return [(start // BLOCK, min(BLOCK, count - start)) for start in range(0, count, BLOCK)]


def keys_of(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a row for each band of each signature of a block: key, part and number of the text."""
    from orcinus.tasks.duplicates.near import BANDS, WIDTH

    parts = []
    for block, rows in zip(batch["block"].tolist(), batch["rows"].tolist(), strict=True):
        made = signatures(block, rows)
        bands = np.ascontiguousarray(made).view(np.uint64).reshape(rows, BANDS)
        assert WIDTH == 8
        # The band goes into the key, so that one shuffle serves all bands.
        keys = bands * np.uint64(0x9E3779B97F4A7C15) + np.arange(BANDS, dtype=np.uint64)
        numbers = np.repeat(np.arange(rows) + block * BLOCK, BANDS)
        parts.append((keys.ravel(), numbers))
    every: npt.NDArray[np.uint64] = np.concatenate([one for one, _ in parts])
    return {
        "key": every,
        "part": ((every >> np.uint64(40)) % np.uint64(PARTS)).astype(np.int64),
        "row": np.concatenate([one for _, one in parts]),
    }


def equal_pairs(batch: dict[str, Any]) -> dict[str, Any]:
    """Return the pairs of texts with an equal key, as ``near`` makes them."""
    order = np.lexsort((batch["row"], batch["key"]))
    keys, rows = batch["key"][order], batch["row"][order]
    equal = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    first = np.searchsorted(keys, keys[equal])
    return {
        "first": np.concatenate([rows[equal - 1], rows[first]]),
        "second": np.concatenate([rows[equal], rows[equal]]),
    }


def pairs_by_band(count: int, where: str) -> list[int]:
    """Return the pairs as numbers, sorted: a band at a time, as ``near`` does."""
    from orcinus.runs.executors.open import open_executor
    from orcinus.tasks.duplicates.near import bands_of, equal_in

    every = np.concatenate([signatures(*block) for block in blocks_of(count)])
    bands = bands_of(every, np.zeros(count, np.bool_))
    pairs = [first * count + second for first, second in open_executor(where).map(equal_in, bands)]
    return np.unique(np.concatenate(pairs)).tolist()  # type: ignore[no-any-return]


def pairs_by_data(count: int, way: str) -> list[int]:
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.DataContext.get_current().default_hash_shuffle_parallelism = PARTS
    blocks = [{"block": block, "rows": rows} for block, rows in blocks_of(count)]
    keyed = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
        keys_of, batch_size=None
    )
    if way == "sort":
        found = keyed.sort("key").map_batches(equal_pairs, batch_size=None)
    else:
        found = keyed.groupby("part").map_groups(equal_pairs, batch_format="numpy")
    pairs = [
        np.asarray(batch["first"]) * count + np.asarray(batch["second"])
        for batch in found.iter_batches(batch_size=None, batch_format="numpy")
    ]
    return np.unique(np.concatenate(pairs)).tolist()  # type: ignore[no-any-return]


# --- measuring


class Meter:
    """CPU seconds and memory of this process and of all that it started."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self.peak = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def cpu_s(self) -> float:
        """Return the CPU seconds so far, those of processes that ended included."""
        self._look()
        with self._lock:
            return sum(self._seen.values())

    def _watch(self) -> None:
        while True:
            self._look()
            time.sleep(0.25)

    def _look(self) -> None:
        memory = 0
        for pid in family(os.getpid()):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
                pages = [*map(int, Path(f"/proc/{pid}/statm").read_text("ascii").split())]
            except OSError:
                continue
            used = [int(field) for field in fields.split()[11:13]]
            with self._lock:
                self._seen[pid] = sum(used) / os.sysconf("SC_CLK_TCK")
            memory += (pages[1] - pages[2]) * os.sysconf("SC_PAGESIZE")
        self.peak = max(self.peak, memory)


def family(root: int) -> list[int]:
    """Return a process and its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / "stat").read_text(encoding="utf-8")
            except OSError:
                continue
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    found = {root}
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return [*found]


def measure(way: str, folder: Path, rows: int) -> dict[str, Any]:
    """Run one way in this process and return its figures."""
    path, log = folder / "traces.parquet", folder / way
    log.mkdir(exist_ok=True)
    meter = Meter()
    cluster, doomed = None, None
    name = way.removesuffix("_killed")
    if name not in ("alone", "pairs_alone"):
        cluster, doomed = start_cluster()
    job: Callable[[], list[int]] = {
        "alone": partial(check_alone, path, log),
        "tasks": partial(check_by_tasks, path, log),
        "data": partial(check_by_data, path, log),
        "pairs_alone": partial(pairs_by_band, SIGNATURES_PER_ROW * rows, "local"),
        "pairs_tasks": partial(pairs_by_band, SIGNATURES_PER_ROW * rows, "ray"),
        "pairs_sort": partial(pairs_by_data, SIGNATURES_PER_ROW * rows, "sort"),
        "pairs_groupby": partial(pairs_by_data, SIGNATURES_PER_ROW * rows, "groupby"),
    }[name]
    before, idle, clock = meter.cpu_s(), meter.peak, time.perf_counter()
    killer = None
    if way.endswith("_killed"):
        killer = threading.Thread(target=kill, args=(cluster, doomed, log), daemon=True)
        killer.start()
    error = ""
    try:
        found = job()
    except Exception as raised:  # noqa: BLE001 (what a way does at a kill is the figure)
        found, error = [], f"{type(raised).__name__}: {raised}"[:300]
    wall = time.perf_counter() - clock
    begun = [int(line) for file in log.iterdir() for line in file.read_text("ascii").split()]
    figures = {
        "way": way,
        "cpu_s": round(meter.cpu_s() - before, 2),
        "wall_s": round(wall, 2),
        "peak_mib": round(meter.peak / 2**20),
        "idle_mib": round(idle / 2**20),
        "results": len(found),
        "rows_begun": sum(begun),
        "shards_begun": len(begun),
        "hash": hashlib.sha256(np.array(found, np.uint64).tobytes()).hexdigest()[:16],
        "error": error,
    }
    if cluster is not None:
        import ray

        ray.shutdown()
        cluster.shutdown()
    return figures


def start_cluster() -> tuple[Any, Any]:
    """Start a cluster of two nodes with a CPU each, and wake a worker on each of them."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    doomed = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")

    @ray.remote(num_cpus=1, scheduling_strategy="SPREAD")  # type: ignore[untyped-decorator]
    def wake() -> str:
        time.sleep(0.5)
        return str(ray.get_runtime_context().get_node_id())

    for _ in range(3):
        ray.get([wake.remote() for _ in range(4)])
    return cluster, doomed


def kill(cluster: Any, doomed: Any, log: Path) -> None:
    """Kill a node once it has begun so many shards."""
    begun = log / doomed.node_id
    while not begun.exists() or len(begun.read_text("ascii").split()) < KILL_AFTER:
        time.sleep(0.02)
    time.sleep(0.2)
    cluster.remove_node(doomed, allow_graceful=False)


def run(rows: int, ways: list[str]) -> dict[str, Any]:
    """Return the figures of each way, and whether all of a job gave the same."""
    with tempfile.TemporaryDirectory() as name:
        write_traces(Path(name) / "traces.parquet", rows)
        found = {way: in_process(way, Path(name), rows) for way in ways}
    same = {
        job: len({found[way]["hash"] for way in ways if way in names}) <= 1
        for job, names in (("checks", CHECKS), ("pairs", PAIRS))
    }
    return {"rows": rows, "load": os.getloadavg()[0], "same": same, "ways": found}


def in_process(way: str, folder: Path, rows: int) -> dict[str, Any]:
    """Return the figures of a way, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cluster", "--way", way, "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--rows", str(rows)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} rows: two minutes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--ways", nargs="+", default=[*CHECKS, *PAIRS], choices=[*CHECKS, *PAIRS])
    for name in ("way", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows = arguments.rows or (QUICK if arguments.quick else ROWS)
    if arguments.way:
        print(json.dumps(measure(arguments.way, Path(arguments.folder), rows)))
        return
    figures = run(rows, arguments.ways)
    print(json.dumps(figures) if arguments.json else "\n".join(described(figures)))


def described(figures: dict[str, Any]) -> Iterator[str]:
    for way, one in figures["ways"].items():
        yield (
            f"{way:>14}: {one['cpu_s']:.1f} CPU s, {one['wall_s']:.1f} s, {one['peak_mib']} MiB "
            f"({one['idle_mib']} before); {one['results']:,} results, {one['rows_begun']:,} rows "
            f"begun in {one['shards_begun']} shards {one['error']}"
        )
    yield f"same results: {figures['same']}; load {figures['load']:.1f}"


if __name__ == "__main__":
    main()
