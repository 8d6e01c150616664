"""Time, memory and recall from a collection of rows to packed rows.

    python -m benchmarks.curation [--quick] [--rows 50000 500000] [--steps 100000] [--json]

The rows are made here: words by Zipf's law, in the lengths of instruction data. Five in a hundred
are near copies of earlier rows, and one in two hundred contains a passage of an evaluation item.
The path is that of the ``sample`` step on a Parquet file, and best-fit packing of the rest.
Near-duplicate removal alone is measured beside datatrove and datasketch, where they are installed,
on the same rows in the same run, in rows per CPU second of all threads. The peers run at their
best: datasketch makes its signatures in bulk with xxHash and with 16 bands of 8, which find as many
copies as ours do; datatrove splits words at blanks, because its default tokenizer (spaCy) is most
of its time. Recall is the share of removed copies among the planted ones whose true similarity is
0.8 or more.

``--steps`` measures a run as ``orcinus run`` does it. Rows that have answers (``teacher: {kind:
answered}``) go through all steps up to ``erase``, each step in a process of its own.
"""

import argparse
import asyncio
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orcinus.pipeline import demo
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.tasks.config import RecordsConfig, SampleConfig
from orcinus.tasks.duplicates.near import SHINGLE, originals_of
from orcinus.tasks.files.records import Records
from orcinus.tasks.sample import sample
from orcinus.training.packing import best_fit, fill

VOCABULARY = 50_000
EVALUATION = 1000
CHUNK = 50_000
SIMILARITY = 0.8


class Texts:
    """Generated texts, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        share = 1 / np.arange(1, VOCABULARY + 1)
        self._cumulated = np.cumsum(share / share.sum())
        self._words = np.array(list(_words(VOCABULARY)), dtype=object)

    def fresh(self, count: int) -> list[list[str]]:
        """Make texts as lists of words."""
        lengths = self._random.lognormal(4.5, 0.6, count).astype(int).clip(12, 800)
        words = self._words[np.searchsorted(self._cumulated, self._random.random(lengths.sum()))]
        return [part.tolist() for part in np.split(words, np.cumsum(lengths)[:-1])]

    def edited(self, text: list[str]) -> list[str]:
        """Return a near copy: some words replaced."""
        copy = list(text)
        for place in self._random.integers(
            0, len(copy), 1 + self._random.integers(0, max(1, len(copy) // 25))
        ):
            copy[place] = f"edit{self._random.integers(10**9)}"
        return copy

    def chunk(
        self, count: int, passages: list[list[str]], *, copies: float
    ) -> tuple[list[list[str]], dict[int, int]]:
        """Make ``count`` texts, with the original of each near copy."""
        texts = self.fresh(count)
        copy_of = {}
        for place in np.flatnonzero(self._random.random(count) < copies):
            source = int(self._random.integers(0, max(1, int(place))))
            if place > source and source not in copy_of:
                texts[place] = self.edited(texts[source])
                copy_of[int(place)] = source
        if passages:
            for place in np.flatnonzero(self._random.random(count) < 0.005):
                if place not in copy_of:
                    passage = passages[self._random.integers(len(passages))]
                    texts[place] = texts[place][:20] + passage[:40] + texts[place][20:]
        return texts, copy_of


def _words(count: int) -> Iterator[str]:
    """Return made-up words with the lengths of English ones."""
    random = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwygpbvkxqjz"))
    for length in random.poisson(3.2, count) + 2:
        yield "".join(letters[(26 * random.random(length) ** 2).astype(int)])


def write(folder: Path, count: int) -> None:
    """Write the pool and the evaluation set as files."""
    texts = Texts(seed=count)
    passages = texts.fresh(EVALUATION)
    pq.write_table(table(passages, 0), folder / "evaluation.parquet")
    schema = pa.schema([("id", pa.string()), ("question", pa.string()), ("answer", pa.string())])
    with pq.ParquetWriter(folder / "pool.parquet", schema, compression="zstd") as writer:
        for start in range(0, count, CHUNK):
            rows, _ = texts.chunk(min(CHUNK, count - start), passages, copies=0.05)
            writer.write_table(table(rows, start))


def table(rows: list[list[str]], start: int) -> pa.Table:
    return pa.table(
        {
            "id": [str(start + number) for number in range(len(rows))],
            "question": [" ".join(row) for row in rows],
            "answer": ["yes"] * len(rows),
        }
    )


def whole_path(folder: Path) -> dict[str, Any]:
    """Sample, remove, split and pack, and return the figures of this process."""
    started = time.perf_counter()
    opened = [
        (
            name,
            Records(RecordsConfig(path=f"{name}.parquet", name=name, answer_type="exact"), folder),
            role,
        )
        for name, role in (("pool", "pool"), ("evaluation", "evaluation"))
    ]
    nothing = cast(Any, None)
    context = StepContext(
        out=folder,
        inputs={},
        run="bench",
        seed=0,
        ledger=nothing,
        runtime=Runtime(workspace=folder, ledger_path=folder / "ledger.sqlite"),
        progress=Silent(),
        completer=nothing,
    )
    config = SampleConfig(probe=0.01, held_out=0.01, near_duplicates=SIMILARITY)
    counts = asyncio.run(sample(config, opened, context))
    sampled = time.perf_counter()
    lengths = np.fromiter(_lengths(folder / "examples.parquet"), np.int32)
    rows = best_fit(lengths, 2048, seed=0)
    done = time.perf_counter()
    return {
        "seconds": done - started,
        "sample_s": sampled - started,
        "pack_s": done - sampled,
        "filled": fill(rows, lengths.tolist(), 2048),
        "dropped": counts["dropped"],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _lengths(path: Path) -> Iterator[int]:
    """Return lesson lengths: one token per word, and as many again for the answer."""
    for row in tables.read_rows(path, ["prompt", "split"]):
        if row["split"] == "teach":
            yield min(2 * (row["prompt"].count(" ") + 1), 2048)


# The steps of a run

STEPS = ("sample", "probe", "assign", "teach", "curate", "erase")


def write_run(folder: Path, count: int) -> None:
    """Write a recipe, rows with answers, and the evaluation set."""
    texts = Texts(seed=count)
    passages = texts.fresh(EVALUATION)
    pq.write_table(table(passages, 0), folder / "evaluation.parquet")
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "system_prompt", "question", "response")]
    )
    with pq.ParquetWriter(folder / "pool.parquet", schema, compression="zstd") as writer:
        for start in range(0, count, CHUNK):
            rows, _ = texts.chunk(min(CHUNK, count - start), passages, copies=0.05)
            answers = texts.fresh(len(rows))
            columns = {
                "id": [str(start + number) for number in range(len(rows))],
                "system_prompt": [
                    f"You explain in manner {number % 16}." for number in range(len(rows))
                ],
                "question": [" ".join(row) for row in rows],
                "response": [" ".join(row) for row in answers],
            }
            writer.write_table(pa.table(columns, schema=schema))
    recipe = {
        "name": "steps",
        "tasks": [{"path": "pool.parquet", "name": "pool"}],
        "evaluation": [
            {"path": "evaluation.parquet", "name": "evaluation", "answer_type": "exact"}
        ],
        "strategies": ["recorded"],
        "student": {
            "kind": "local",
            "path": str(Path(demo.__file__).parent / "base"),
            "chat_template": "chatml",
        },
        "teacher": {"kind": "answered"},
        "sample": {"probe": 0.01, "held_out": 0.01, "near_duplicates": SIMILARITY},
        "probe": {"per_task": 2, "sampling": {"max_tokens": 1}},
        "assign": {"confirm": 0},
        "curate": {"near_duplicates": SIMILARITY},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")


def one_step(folder: Path, verb: str) -> dict[str, float]:
    """Run one step of the run in ``folder``, and return the figures of this process."""
    # Not above: the other processes' peaks would hold what a whole run imports.
    from orcinus.pipeline.recipe_file import load_recipe
    from orcinus.pipeline.run import run_recipe
    from orcinus.runs.folders import finished_steps, summary_of

    flags = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    path = folder / "recipe.yaml"
    run_dir = asyncio.run(run_recipe(load_recipe(path), path, flags, Silent(), until=verb))
    done = finished_steps(run_dir, verb)[0]
    return {
        "seconds": summary_of(done)["seconds"],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def steps_alone(size: int) -> dict[str, dict[str, float]]:
    """Return seconds, rows per second and peak memory of each step, for ``size`` rows."""
    with tempfile.TemporaryDirectory() as folder:
        measured("--write-run", folder, "--rows", str(size))
        found = {verb: measured("--step", verb, "--path", folder) for verb in STEPS}
    figures = {verb: of_step for verb, of_step in found.items() if of_step is not None}
    return {
        verb: {**figures[verb], "rows_per_s": size / figures[verb]["seconds"]}
        for verb in ("sample", "teach", "curate", "erase")
    }


# Near duplicates alone, against others


def ours(texts: list[str]) -> list[bool]:
    originals = originals_of(texts, similarity=SIMILARITY)
    return [int(original) != number for number, original in enumerate(originals)]


def datasketch(texts: list[str]) -> list[bool]:
    import xxhash
    from datasketch import MinHash, MinHashLSH

    rows = [[" ".join(run).encode() for run in _runs(text.lower().split())] for text in texts]
    index = MinHashLSH(num_perm=128, params=(16, 8))
    removed = []
    for number, signature in enumerate(
        MinHash.bulk(rows, num_perm=128, hashfunc=xxhash.xxh32_intdigest)
    ):
        found = bool(index.query(signature))
        if not found:
            index.insert(number, signature)
        removed.append(found)
    return removed


def datatrove(texts: list[str]) -> list[bool]:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Blanks(WordTokenizer):  # type: ignore[misc, unused-ignore]
        """Words between blanks."""

        tokenizer = None

        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    config = MinhashConfig(n_grams=SHINGLE)
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        signatures, buckets, removed = (
            f"{folder}/{name}" for name in ("signatures", "buckets", "removed")
        )
        MinhashDedupSignature(signatures, config, language=Blanks()).run(documents, 0, 1)
        for bucket in range(config.num_buckets):
            MinhashDedupBuckets(signatures, buckets, config=config).run(
                None, bucket, config.num_buckets
            )
        MinhashDedupCluster(buckets, removed, config=config).run(None, 0, 1)
        kept = {document.id for document in MinhashDedupFilter(removed).run(documents, 0, 1)}
    return [str(number) not in kept for number in range(len(texts))]


ENGINES: dict[str, Callable[[list[str]], list[bool]]] = {
    "ours": ours,
    "datatrove": datatrove,
    "datasketch": datasketch,
}


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))]


def near_alone(engine: str, count: int) -> dict[str, float]:
    """Return rows per second, rows per CPU second and recall of one engine."""
    words, copy_of = Texts(seed=7).chunk(count, [], copies=0.2)
    texts = [" ".join(row) for row in words]
    similar = [
        place
        for place, source in copy_of.items()
        if _similarity(words[place], words[source]) >= SIMILARITY
    ]
    ENGINES[engine](texts[:200])  # imports and tables
    started, cpu = time.perf_counter(), time.process_time()
    removed = ENGINES[engine](texts)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    # The source may be the one that goes: either of the two is enough.
    found = sum(removed[place] or removed[copy_of[place]] for place in similar)
    planted = set(copy_of) | set(copy_of.values())
    return {
        "rows_per_s": count / seconds,
        "rows_per_cpu_s": count / cpu_s,
        "recall": found / len(similar),
        "copies": len(similar),
        "removed_without_copy": sum(
            flag for place, flag in enumerate(removed) if place not in planted
        ),
    }


def _similarity(a: list[str], b: list[str]) -> float:
    first, second = set(_runs(a)), set(_runs(b))
    return len(first & second) / len(first | second)


def measured(*arguments: str) -> dict[str, Any] | None:
    """Return the figures of a process of its own; None where a peer is not installed, or breaks."""
    command = [sys.executable, "-m", "benchmarks.curation", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "--engine" in arguments and "ours" not in arguments:
        # Some raise ImportError for what they lack themselves. The other figures are kept.
        print(f"{arguments[1]}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def run(sizes: list[int], step_sizes: list[int], near_rows: int) -> dict[str, Any]:
    paths = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            measured("--write", folder, "--rows", str(size))
            found = measured("--path", folder)
            assert found is not None
            paths[size] = {**found, "rows_per_s": size / found["seconds"]}
    near = {engine: measured("--engine", engine, "--rows", str(near_rows)) for engine in ENGINES}
    mine = near["ours"]
    assert mine is not None
    small, large = min(sizes), max(sizes)
    return {
        "rows": large,
        "rows_per_s": paths[large]["rows_per_s"],
        "exponent": math.log(paths[large]["seconds"] / paths[small]["seconds"])
        / math.log(large / small)
        if large > small
        else None,
        "peak_gib": max(path["peak_gib"] for path in paths.values()),
        "recall": mine["recall"],
        **{
            f"vs_{engine}": mine["rows_per_cpu_s"] / other["rows_per_cpu_s"] if other else None
            for engine, other in near.items()
            if engine != "ours"
        },
        "near": near,
        "paths": paths,
        "steps": {size: steps_alone(size) for size in step_sizes},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="10,000 and 100,000 rows, some minutes"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+", default=None)
    parser.add_argument(
        "--steps",
        type=int,
        nargs="*",
        default=None,
        help="sizes of the run whose steps are measured",
    )
    for name in ("write", "write-run", "step", "path", "engine"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(Path(arguments.write), arguments.rows[0])
        print("{}")
    elif arguments.write_run:
        write_run(Path(arguments.write_run), arguments.rows[0])
        print("{}")
    elif arguments.step:
        print(json.dumps(one_step(Path(arguments.path), arguments.step)))
    elif arguments.path:
        print(json.dumps(whole_path(Path(arguments.path))))
    elif arguments.engine:
        print(json.dumps(near_alone(arguments.engine, arguments.rows[0])))
    else:
        sizes = arguments.rows or (
            [10_000, 100_000] if arguments.quick else [50_000, 500_000, 5_000_000]
        )
        default = [10_000, 50_000] if arguments.quick else [100_000, 500_000]
        step_sizes = default if arguments.steps is None else arguments.steps
        figures = run(sizes, step_sizes, 4000 if arguments.quick else 20_000)
        print(json.dumps(figures) if arguments.json else described(figures))


def described(figures: dict[str, Any]) -> str:
    lines = [
        f"{size:>9,} rows: {path['rows_per_s']:,.0f} a second ({path['sample_s']:.1f} s sample, "
        f"{path['pack_s']:.1f} s pack), "
        f"{path['peak_gib']:.2f} GiB, rows {path['filled']:.1%} full, dropped {path['dropped']}"
        for size, path in figures["paths"].items()
    ]
    if figures["exponent"] is not None:
        lines.append(f"cost grows with the rows to the power of {figures['exponent']:.2f}")
    for engine, found in figures["near"].items():
        lines.append(
            f"near duplicates, {engine}: {found['rows_per_cpu_s']:,.0f} rows a CPU second, recall "
            f"{found['recall']:.1%} of {found['copies']:,}"
            if found
            else f"near duplicates, {engine}: not installed here"
        )
    for size, steps in figures["steps"].items():
        for verb, found in steps.items():
            lines.append(
                f"{size:>9,} rows, {verb}: {found['rows_per_s']:,.0f} a second, peak "
                f"{found['peak_gib']:.2f} GiB"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
