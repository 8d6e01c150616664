"""Client CPU of an evaluation, beside lm-evaluation-harness and inspect on the same questions and the same loopback server.

    python -m benchmarks.evaluation [--peers DIR] [--quick] [--json]

Each tool runs as its command line, twice, with few and with many questions: the slope is CPU seconds per 1,000 samples, what remains is
start-up. All have 64 calls in flight and write every sample to disk. Start-up varies by a second or two between runs, so that the slope
needs thousands of samples. DIR is the ``bin`` of an environment with ``lm_eval`` or ``inspect``; without it, the PATH.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

QUESTION = (
    "Case {n}. A baker has {n} trays with 12 rolls each and sells all but 5 of them before noon. In the afternoon she bakes "
    "half as many again, gives 3 to a neighbour and puts the rest into bags of 4. How many bags does she fill?"
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
  - {{metric: exact_match, aggregation: mean, higher_is_better: true, regexes_to_ignore: ["\\\\.$"]}}
"""
INSPECT_TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import match
from inspect_ai.solver import generate

@task
def loopback():
    return Task(dataset=json_dataset({file!r}, FieldSpec(input="question", target="target")), solver=generate(), scorer=match(numeric=True))
"""


@contextlib.contextmanager
def loopback() -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loopback", "--latency-ms", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def write_questions(folder: Path, count: int) -> Path:
    """A test file in GSM8K's layout; every second reference is what the server answers."""
    path = folder / "test.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            target = "42" if n % 2 else "7"
            row = {"question": QUESTION.format(n=n), "answer": f"Counting.\n#### {target}", "target": target}
            file.write(json.dumps(row) + "\n")
    return path


def command_of(tool: str, peers: Path | None, url: str, folder: Path, file: Path) -> list[str] | None:
    """How ``tool`` is asked to evaluate ``file``; None where it is not installed."""
    if tool == "orcinus":
        evaluate = "import sys; from orcinus.cli import main; sys.argv[0] = 'orcinus'; main()"
        flags = ["--model", url, "--served-as", "loopback", "--benchmark", "gsm8k", "--data", str(folder)]
        return [sys.executable, "-c", evaluate, "evaluate", *flags, "--runs", str(folder / "runs"), "--json"]
    name = "lm_eval" if tool == "lm-evaluation-harness" else "inspect"
    program = shutil.which(name, path=None if peers is None else str(peers))
    if program is None:
        return None
    if name == "lm_eval":
        (folder / "task.yaml").write_text(LM_EVAL_TASK.format(file=file), encoding="utf-8")
        arguments = f"model=loopback,base_url={url}/chat/completions,num_concurrent=64,max_retries=3"
        flags = ["--model", "local-chat-completions", "--model_args", arguments, "--tasks", "loopback_gsm8k"]
        flags += ["--include_path", str(folder), "--apply_chat_template", "--log_samples"]
        return [program, *flags, "--output_path", str(folder / "out")]
    (folder / "loopback_task.py").write_text(INSPECT_TASK.format(file=str(file)), encoding="utf-8")
    flags = ["--model", "openai/loopback", "--model-base-url", url, "-M", "responses_api=false", "--display", "none"]
    flags += ["--max-connections", "64", "--log-dir", str(folder / "logs")]
    return [program, "eval", "loopback_task.py", *flags]


def cpu_seconds(command: Sequence[str], folder: Path) -> float:
    """User and system time of a command and all it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache"), "OPENAI_API_KEY": "none"}
    environment = {**os.environ, **offline, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(tool: str, peers: Path | None, url: str, few: int, many: int) -> dict[str, float] | None:
    """CPU seconds per 1,000 samples and of start-up."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    scale = 1 if arguments.quick else 2
    found: dict[str, dict[str, float] | None] = {}
    with loopback() as url:
        for tool, few, many in (
            ("orcinus", 1000, 5000 * scale),
            ("lm-evaluation-harness", 500, 5500 * scale),
            ("inspect", 100, 400 * scale),
        ):
            found[tool] = measure(tool, arguments.peers, url, few, many)
    ours = found["orcinus"]
    assert ours is not None
    ratios = {tool: figures["per_1000"] / ours["per_1000"] for tool, figures in found.items() if figures is not None}
    if arguments.json:
        print(json.dumps({"cpu_seconds": found, "times_ours": ratios}))
        return
    for tool, figures in found.items():
        if figures is None:
            print(f"{tool:24} not installed")
        else:
            print(
                f"{tool:24} {figures['per_1000']:7.2f} CPU s per 1,000 samples, {ratios[tool]:6.1f} times ours, start-up {figures['start_up']:5.1f} s"
            )


if __name__ == "__main__":
    main()
