"""Client CPU of an evaluation, beside lm-evaluation-harness, inspect and a bare aiohttp loop.

    python -m benchmarks.evaluation [--peers DIR] [--rounds N] [--quick] [--json]

All tools ask the same questions of the same loopback server, with 64 calls in flight. Each runs as
its command line, with few and with many questions. The slope is CPU seconds per 1,000 samples, and
the rest is start-up. CPU time is user and system time of the process and its children, because
other work on the machine moves it less than wall-clock time. Start-up varies by up to a second, so
the slope needs thousands of samples. The tools take turns. A round gives each a slope; figures and
ratios are medians over the rounds with their ranges. All tools but the bare loop write every sample
to disk. DIR is the ``bin`` of an environment with ``lm_eval``, ``inspect`` or aiohttp; the default
is the PATH.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

IN_FLIGHT = 64
SIZES: Mapping[str, tuple[int, int]] = {
    "orcinus": (500, 10_500),
    "bare aiohttp loop": (500, 10_500),
    "lm-evaluation-harness": (500, 4_500),
    "inspect": (100, 500),
}
"""By tool few and many samples: the more samples, the less CPU time each takes."""

QUESTION = (
    "Case {n}. A baker has {n} trays with 12 rolls each and sells all but 5 of them before noon. "
    "In the afternoon she bakes "
    "half as many again, gives 3 to a neighbour and puts the rest into bags of 4. How many bags "
    "does she fill?"
)
LM_EVAL_TASK = """
task: loopback_gsm8k
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer.split('#### ')[-1]}}}}"
generation_kwargs: {{until: ["</s>"], max_gen_toks: 1024, do_sample: false}}
filter_list:
  - name: flexible
    filter:
      - {{function: regex, group_select: -1, regex_pattern: "(-?[$0-9.,]{{2,}})|(-?[0-9]+)"}}
      - {{function: take_first}}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    regexes_to_ignore: ["\\\\.$"]
"""
INSPECT_TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import match
from inspect_ai.solver import generate

@task
def loopback():
    fields = FieldSpec(input="question", target="target")
    data = json_dataset({file!r}, fields)
    return Task(dataset=data, solver=generate(), scorer=match(numeric=True))
"""


@contextlib.contextmanager
def loopback() -> Iterator[str]:
    """Serve in a process of its own, and yield its base URL."""
    command = [sys.executable, "-m", "benchmarks.loopback", "--latency-ms", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def write_questions(folder: Path, count: int) -> Path:
    """Write a test file in GSM8K's format; every second reference is the server's answer."""
    path = folder / "test.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            target = "42" if n % 2 else "7"
            row = {
                "question": QUESTION.format(n=n),
                "answer": f"Counting.\n#### {target}",
                "target": target,
            }
            file.write(json.dumps(row) + "\n")
    return path


def command_of(
    tool: str, peers: Path | None, url: str, folder: Path, file: Path
) -> list[str] | None:
    """Return the command that evaluates ``file``; None where the tool is not installed."""
    if tool == "orcinus":
        evaluate = "import sys; from orcinus.cli import main; sys.argv[0] = 'orcinus'; main()"
        flags = [
            "--model",
            url,
            "--served-as",
            "loopback",
            "--benchmark",
            "gsm8k",
            "--data",
            str(folder),
        ]
        return [
            sys.executable,
            "-c",
            evaluate,
            "evaluate",
            *flags,
            "--runs",
            str(folder / "runs"),
            "--json",
        ]
    if tool == "bare aiohttp loop":
        python = sys.executable if peers is None else str(peers / "python")
        known = (
            subprocess.run(
                [python, "-c", "import aiohttp"], capture_output=True, check=False
            ).returncode
            == 0
        )
        return [python, __file__, "--bare", url, str(file)] if known else None
    name = "lm_eval" if tool == "lm-evaluation-harness" else "inspect"
    program = shutil.which(name, path=None if peers is None else str(peers))
    if program is None:
        return None
    if name == "lm_eval":
        (folder / "task.yaml").write_text(LM_EVAL_TASK.format(file=file), encoding="utf-8")
        arguments = (
            f"model=loopback,base_url={url}/chat/completions,"
            f"num_concurrent={IN_FLIGHT},max_retries=3"
        )
        flags = [
            "--model",
            "local-chat-completions",
            "--model_args",
            arguments,
            "--tasks",
            "loopback_gsm8k",
        ]
        flags += ["--include_path", str(folder), "--apply_chat_template", "--log_samples"]
        return [program, *flags, "--output_path", str(folder / "out")]
    (folder / "loopback_task.py").write_text(INSPECT_TASK.format(file=str(file)), encoding="utf-8")
    flags = [
        "--model",
        "openai/loopback",
        "--model-base-url",
        url,
        "-M",
        "responses_api=false",
        "--display",
        "none",
    ]
    flags += ["--max-connections", str(IN_FLIGHT), "--log-dir", str(folder / "logs")]
    return [program, "eval", "loopback_task.py", *flags]


def cpu_seconds(command: Sequence[str], folder: Path) -> float:
    """Return user and system time of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "OPENAI_API_KEY": "none",
    }
    environment = {**os.environ, **offline, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def bare(url: str, file: Path) -> None:
    """Ask every question with aiohttp and parse the reply; nothing is kept, judged or retried."""
    import aiohttp

    lines = iter(file.read_text(encoding="utf-8").splitlines())
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=headers
    ) as session:

        async def worker() -> None:
            for line in lines:
                messages = [{"role": "user", "content": json.loads(line)["question"]}]
                body = json.dumps(
                    {
                        "model": "loopback",
                        "messages": messages,
                        "temperature": 0.0,
                        "max_tokens": 1024,
                    }
                )
                async with session.post(f"{url}/chat/completions", data=body) as response:
                    assert json.loads(await response.read())["choices"][0]["message"]["content"]

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def measure(tool: str, peers: Path | None, url: str) -> dict[str, float] | None:
    """Return CPU seconds per 1,000 samples and of start-up; None without the tool."""
    few, many = SIZES[tool]
    seconds = []
    for count in (few, many):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            command = command_of(tool, peers, url, folder, write_questions(folder, count))
            if command is None:
                return None
            seconds.append(cpu_seconds(command, folder))
    slope = (seconds[1] - seconds[0]) / (many - few)
    return {"per_1000": 1000 * slope, "start_up": seconds[0] - few * slope}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def run(peers: Path | None, rounds: int) -> dict[str, Any]:
    """Run all tools in turns; return the figures of each and their ratios to ours by round."""
    found: dict[str, list[dict[str, float]]] = {tool: [] for tool in SIZES}
    load = []
    with loopback() as url:
        for number in range(rounds):
            load.append(os.getloadavg()[0])
            for tool, rows in found.items():
                figures = measure(tool, peers, url)
                if figures is not None:
                    rows.append(figures)
                    print(
                        f"round {number + 1}, {tool}: {figures['per_1000']:.2f}",
                        file=sys.stderr,
                        flush=True,
                    )
    load.append(os.getloadavg()[0])
    tools = {
        tool: {
            "per_1000": spread([row["per_1000"] for row in rows]),
            "start_up": spread([row["start_up"] for row in rows]),
            "times_ours": spread(
                [
                    row["per_1000"] / ours["per_1000"]
                    for row, ours in zip(rows, found["orcinus"], strict=True)
                ]
            ),
        }
        for tool, rows in found.items()
        if rows
    }
    return {"rounds": rounds, "cores": os.cpu_count(), "load": load, "tools": tools}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="One round.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", nargs=2, metavar=("URL", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        asyncio.run(bare(arguments.bare[0], Path(arguments.bare[1])))
        return
    found = run(arguments.peers, 1 if arguments.quick else arguments.rounds)
    if arguments.json:
        print(json.dumps(found))
        return
    load = ", ".join(f"{value:.1f}" for value in found["load"])
    print(
        f"rounds: {found['rounds']}; load of {found['cores']} cores before each and at the end: "
        f"{load}"
    )
    for tool in SIZES:
        if tool not in found["tools"]:
            print(f"{tool:24} not installed")
            continue
        figures = found["tools"][tool]
        cost, ratio = figures["per_1000"], figures["times_ours"]
        print(
            f"{tool:24} {cost['median']:6.2f} ({cost['low']:.2f} to {cost['high']:.2f}) CPU s "
            "per 1,000 samples, "
            f"{ratio['median']:5.1f} ({ratio['low']:.1f} to {ratio['high']:.1f}) times ours, "
            f"start-up {figures['start_up']['median']:.1f} s"
        )


if __name__ == "__main__":
    main()
