"""The time that `orcinus view` takes for whole pages over a run of a million attempts.

    python -m benchmarks.view [--quick] [--rows 1000000] [--json]

It makes a run folder: a tenth of the attempts are the student's probe, six tenths the teacher's,
and three tenths five arms of an evaluation. Answers have about 1,000 characters of English words in
English frequencies. It serves the run as a user would, and asks for each kind of page with other
words, filters and rows every time. The target is 200 ms, from the request to the last byte. A
longer search shows what it has found so far; "whole at once" is the share of complete searches.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from orcinus.core.results import ArmScore, Scores, TaskScores
from orcinus.core.types import Assignment, Evidence, Score
from orcinus.evaluation.scores import write_scores
from orcinus.runs import tables

TARGET_MS = 200.0
TIMES = 40
LAST = 10**8
"""A page behind the last one: the last is shown."""
TASKS = [f"task-{number:02d}" for number in range(20)]
STRATEGIES = ["direct", "explain_then_answer", "step_by_step", "decompose"]
SYSTEM = (
    "Work through the problem in small numbered steps, each following from the ones before. Then "
    "give the answer. " * 2
)
WORDS = np.array(re.findall(r"\S+", " ".join(topics.values())), dtype=object)
"""65,000 running words of English prose and code: what Python ships as the text of its help."""
RUN_OF_WORDS = 8
GROUP = tables.ROWS_PER_BATCH


def texts(draw: np.random.Generator, count: int, median_words: int) -> list[str]:
    """Make texts of lognormal length from short runs of real prose and some numbers."""
    runs = np.maximum(
        1, (draw.lognormal(np.log(median_words), 0.6, count) / RUN_OF_WORDS).astype(int)
    ).clip(max=400)
    starts = draw.integers(0, len(WORDS) - RUN_OF_WORDS, runs.sum())
    words = WORDS[(starts[:, None] + np.arange(RUN_OF_WORDS)).ravel()]
    ends = np.cumsum(runs) * RUN_OF_WORDS
    numbers = draw.integers(0, 10**6, count)
    return [
        f"{' '.join(words[end - size * RUN_OF_WORDS : end])} {number}"
        for end, size, number in zip(ends, runs, numbers, strict=True)
    ]


def messages(questions: list[str]) -> pa.Array:
    count = len(questions)
    content = [text for question in questions for text in (SYSTEM, question)]
    turns = pa.StructArray.from_arrays(
        [pa.array(["system", "user"] * count), pa.array(content)], ["role", "content"]
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * count + 1, 2), pa.int32()), turns)


def attempts(
    draw: np.random.Generator, first: int, examples: np.ndarray, model: str, sample: int
) -> pa.Table:
    """Make a row group of attempts at the examples with these numbers."""
    count = len(examples)
    answers = [str(number) for number in draw.integers(0, 1000, count)]
    written = [
        f"{text}\nThe answer is {answer}."
        for text, answer in zip(texts(draw, count, 140), answers, strict=True)
    ]
    values = draw.choice([1.0, 0.0, np.nan], count, p=[0.6, 0.3, 0.1])
    constant: dict[str, Any] = {
        "sampling": SAMPLING,
        "sample": sample,
        "model": model,
        "verifier": "number@1",
        "permanent": False,
    }
    columns: dict[str, Any] = {
        "id": [f"{model}-{draw.bytes(16).hex()}" for _ in range(count)],
        "example_id": [f"{number:07d}" for number in examples],
        "task": [TASKS[number % len(TASKS)] for number in examples],
        "strategy": draw.choice(STRATEGIES, count),
        "messages": messages(texts(draw, count, 40)),
        "text": written,
        "finish": draw.choice(["stop", "length", "refusal"], count, p=[0.95, 0.04, 0.01]),
        "tokens_in": draw.integers(60, 200, count),
        "tokens_out": [len(text) // 4 for text in written],
        "tokens_cached": np.zeros(count, int),
        "tokens_reasoning": np.zeros(count, int),
        "cost_usd": draw.random(count) * 1e-3,
        "value": pa.array(values, from_pandas=True),
        "answer": answers,
        "reason": ["the last line"] * count,
        **{name: [value] * count for name, value in constant.items()},
    }
    return pa.table(
        [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(count, field.type)
            for field in tables.JUDGED
        ],
        schema=tables.JUDGED,
    )


SAMPLING = orjson.dumps(
    {
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 512,
        "stop": [],
        "seed": None,
        "logprobs": False,
        "extra": {},
    }
).decode()


def table(path: Path, parts: Iterator[pa.Table]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(parts)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


def step(run: Path, name: str, inputs: dict[str, str]) -> Path:
    """Write a finished step's folder with its summary."""
    folder = run / f"{name}-00000000"
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "name": name,
        "config": {},
        "inputs": {role: f"{made}-00000000" for role, made in inputs.items()},
        "summary": {},
        "seconds": 1.0,
    }
    (folder / "step.json").write_bytes(orjson.dumps(record))
    (folder / "_done").touch()
    return folder


def make_run(run: Path, rows: int) -> None:
    """Write a finished run with this many attempts."""
    draw = np.random.default_rng(0)
    taught, probed, held_out = 3 * rows // 10, rows // 40, 6 * rows // 100
    total = taught + probed + held_out

    def groups(first: int, count: int) -> Iterator[np.ndarray]:
        for start in range(first, first + count, GROUP):
            yield np.arange(start, min(start + GROUP, first + count))

    def asked(first: int, count: int, model: str, samples: int) -> Iterator[pa.Table]:
        for sample in range(samples):
            for numbers in groups(first, count):
                yield attempts(draw, first, numbers, model, sample)

    def examples() -> Iterator[pa.Table]:
        for numbers in groups(0, total):
            size = len(numbers)
            splits = [
                "teach" if n < taught else "probe" if n < taught + probed else "held_out"
                for n in numbers
            ]
            columns: dict[str, Any] = {
                "id": [f"{n:07d}" for n in numbers],
                "task": [TASKS[n % len(TASKS)] for n in numbers],
                "split": splits,
                "prompt": texts(draw, size, 40),
                "answer_type": ["number"] * size,
                "choices": pa.nulls(size, tables.EXAMPLES.field("choices").type),
                "reference": ['"7"'] * size,
                "meta": ["{}"] * size,
            }
            yield pa.table(columns, schema=tables.EXAMPLES)

    sampled = step(run, "sample", {})
    table(sampled / "examples.parquet", examples())
    table(sampled / "dropped.parquet", iter([tables.DROPS.empty_table()]))
    table(
        step(run, "probe", {"sample": "sample"}) / "attempts.parquet",
        asked(taught, probed, "student", 4),
    )
    assigned = step(run, "assign", {"sample": "sample", "probe": "probe"})
    score = Score(
        mean=0.5, n=100, n_none=0, n_error=0, low=0.4, high=0.6, format_ok=1.0, mean_given_ok=0.5
    )
    evidence = tuple(Evidence(strategy=name, score=score, tokens_out=100.0) for name in STRATEGIES)
    with tables.TableWriter(assigned / "assignments.parquet", tables.ASSIGNMENTS) as writer:
        for task in TASKS:
            writer.write(
                tables.assignment_row(
                    Assignment(
                        group=task,
                        strategy="direct",
                        evidence=evidence,
                        runner_up=None,
                        p_value=None,
                        reason="measured",
                    )
                )
            )
    teach = step(run, "teach", {"sample": "sample", "assign": "assign"}) / "attempts.parquet"
    table(teach, asked(0, taught, "teacher", 2))
    curated = step(run, "curate", {"sample": "sample", "teach": "teach"})
    erased = step(run, "erase", {"sample": "sample", "curate": "curate"})
    with pq.ParquetFile(teach) as file:
        # Keep the first trace of each example; the second repeats it. Half of each row group.
        half = -(-taught // GROUP)
        table(curated / "kept.parquet", (file.read_row_group(group) for group in range(half)))
        table(
            curated / "drops.parquet",
            (drops(file.read_row_group(group)) for group in range(half, 2 * half)),
        )
        table(
            erased / "lessons.parquet",
            (lessons(file.read_row_group(group)) for group in range(half)),
        )
    evaluated = step(run, "evaluate", {"sample": "sample", "assign": "assign"})
    arms = ("before", "prompted", "answer_only", "after", "teacher")
    accuracy = TaskScores(by_task=dict.fromkeys(TASKS, score), micro=score, macro=score)
    write_scores(evaluated, Scores(arms=dict.fromkeys(arms, ArmScore(accuracy=accuracy))))
    for arm in arms:
        table(evaluated / f"attempts-{arm}.parquet", asked(taught + probed, held_out, arm, 1))
    (run / "recipe.yaml").write_text(f"name: {run.name}\n", encoding="utf-8")


def drops(rows: pa.Table) -> pa.Table:
    count = len(rows)
    columns = [
        rows["id"],
        rows["example_id"],
        rows["task"],
        pa.array(["near"] * count),
        pa.array(["near another"] * count),
    ]
    return pa.table(columns, schema=tables.DROPS)


def lessons(rows: pa.Table) -> pa.Table:
    count = len(rows)
    made: dict[str, Any] = {
        "id": pa.array([f"lesson-{value}" for value in rows["id"].to_pylist()]),
        "completion": rows["text"],
        "teacher": rows["model"],
        "attempt_id": rows["id"],
        "erased": pa.array(["generic"] * count),
        "weight": pa.array([1.0] * count),
        "meta": pa.array(["{}"] * count),
    }
    columns = [
        made.get(name, rows[name] if name in rows.column_names else None)
        for name in tables.LESSONS.names
    ]
    return pa.table(columns, schema=tables.LESSONS)


def kinds(run: Path, rows: int) -> dict[str, Callable[[random.Random], str]]:
    """Return each kind of page as a function that makes another address at every call."""
    counts: dict[str, int] = {}
    for word in (word.lower() for word in WORDS):
        if word.isalpha():
            counts[word] = counts.get(word, 0) + 1
    common = sorted(counts, key=counts.__getitem__)[-30:]
    middling = [word for word, count in counts.items() if 20 <= count <= 40]
    rare = [word for word, count in counts.items() if count == 1]
    lesson_ids = pq.read_table(run / "erase-00000000" / "lessons.parquet", columns=["id"])[
        "id"
    ].to_pylist()
    name = run.name

    def listed(**asked: object) -> str:
        return f"runs/{name}/attempts?" + urllib.parse.urlencode(asked)

    def phrase(draw: random.Random) -> str:
        start = draw.randrange(len(WORDS) - 3)
        return '"' + " ".join(WORDS[start : start + 3]).replace('"', "") + '"'

    return {
        "list of runs": lambda draw: "",
        "one run": lambda draw: f"runs/{name}",
        "attempts, first page": lambda draw: listed(),
        "attempts, some page": lambda draw: listed(page=draw.randrange(rows // 50)),
        "attempts, last page": lambda draw: listed(page=LAST),
        "filter by task and verdict": lambda draw: listed(task=draw.choice(TASKS), verdict="wrong"),
        "filter and sort by length": lambda draw: listed(
            strategy=draw.choice(STRATEGIES),
            step=draw.choice(["probe", "teach", "evaluate"]),
            order="longest",
        ),
        "all sorted by cost, some page": lambda draw: listed(
            order="dearest", page=draw.randrange(rows // 50)
        ),
        "by id": lambda draw: listed(identity=draw.choice(lesson_ids).removeprefix("lesson-")[:20]),
        "a number": lambda draw: listed(words=draw.randrange(10**6)),
        "a rare word": lambda draw: listed(words=draw.choice(rare)),
        "a middling word": lambda draw: listed(words=draw.choice(middling)),
        "a common word": lambda draw: listed(words=draw.choice(common)),
        "a word of every attempt": lambda draw: listed(words="answer", page=draw.randrange(100)),
        "two words": lambda draw: listed(words=f"{draw.choice(middling)} {draw.choice(common)}"),
        "two common words": lambda draw: listed(words=" ".join(draw.sample(common, 2))),
        "a word that is nowhere": lambda draw: listed(words=f"zq{draw.randrange(10**9)}x"),
        "a common word, last page": lambda draw: listed(words=draw.choice(common), page=LAST),
        "start of a word": lambda draw: listed(words=draw.choice(middling)[:4] + "*"),
        "a phrase": lambda draw: listed(words=phrase(draw)),
        "every filter": lambda draw: listed(
            step="teach",
            role="teacher",
            task=draw.choice(TASKS),
            strategy=draw.choice(STRATEGIES),
            finish="stop",
            verdict="wrong",
            order="dearest",
        ),
        "a common word, filtered and sorted": lambda draw: listed(
            words=draw.choice(common), task=draw.choice(TASKS), verdict="wrong", order="longest"
        ),
        "one attempt": lambda draw: (
            f"runs/{name}/attempts/teach-00000000/attempts/{draw.randrange(6 * rows // 10)}"
        ),
        "lessons, some page": lambda draw: (
            f"runs/{name}/lessons?page={draw.randrange(3 * rows // 10 // 50)}"
        ),
        "one lesson's history": lambda draw: f"runs/{name}/lessons/{draw.choice(lesson_ids)}",
    }


def fetch(url: str) -> tuple[float, str]:
    """Return milliseconds, and the page."""
    clock = time.perf_counter()
    with urllib.request.urlopen(url) as reply:
        page = reply.read()
    return 1000 * (time.perf_counter() - clock), page.decode()


def cpu_s(process: int) -> float:
    """Return CPU seconds of a process from the kernel (in hundredths); NaN without /proc."""
    try:
        fields = (
            Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        )
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(workspace: Path, rows: int) -> dict[str, Any]:
    run = workspace / "million"
    clock = time.perf_counter()
    if not run.exists():
        make_run(run, rows)
    made = time.perf_counter() - clock
    command = [sys.executable, "-m", "orcinus", "view", "--runs", str(workspace), "--no-open"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        base = server.stdout.readline().strip()
        clock = time.perf_counter()
        fetch(f"{base}runs/{run.name}/attempts")
        opened = time.perf_counter() - clock
        while "are being indexed" in fetch(f"{base}runs/{run.name}/attempts?words=answer")[1]:
            time.sleep(0.5)
        indexed = time.perf_counter() - clock
        draw = random.Random(0)
        figures = {}
        for kind, address in kinds(run, rows).items():
            before = cpu_s(server.pid)
            replies = [fetch(base + address(draw)) for _ in range(TIMES)]
            times = sorted(milliseconds for milliseconds, _ in replies)
            figures[kind] = {
                "whole": sum("data-again" not in page for _, page in replies) / TIMES,
                "median_ms": statistics.median(times),
                "p95_ms": times[int(0.95 * (TIMES - 1))],
                "cpu_ms": 1000 * (cpu_s(server.pid) - before) / TIMES,
            }
    finally:
        server.terminate()
        server.wait()
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    return {
        "rows": rows,
        "run_mb": size / 1e6,
        "made_s": made,
        "opened_s": opened,
        "indexed_s": indexed,
        "pages": figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="20,000 rows")
    parser.add_argument(
        "--keep", type=Path, help="make the run here, or use the one that is here, and leave it"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = 20_000 if arguments.quick else arguments.rows
    if arguments.keep is not None:
        figures = measure(arguments.keep, rows)
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(Path(folder), rows)
    if arguments.json:
        print(json.dumps(figures))
        return
    for kind, row in figures["pages"].items():
        late = "" if row["p95_ms"] < TARGET_MS else "   over the target"
        print(
            f"{kind:36s} median {row['median_ms']:7.1f} ms   p95 {row['p95_ms']:7.1f} ms   "
            f"processor {row['cpu_ms']:6.1f} ms   "
            f"whole at once {row['whole']:4.0%}{late}"
        )
    print(
        f"\n{figures['rows']:,} attempts ({figures['run_mb']:,.0f} MB of tables): first page "
        f"after {figures['opened_s']:.1f} s, "
        f"every word searchable after {figures['indexed_s']:.0f} s"
    )


if __name__ == "__main__":
    main()
