"""The same model and items through lm-evaluation-harness and orcinus: where do the scores differ?

    python -m benchmarks.cross_check --peers DIR [--data ../shared/data] [--quick] [--json]

The model is a function behind HTTP that knows the answers and words them in nine ways, drawn by a
hash of the question: bare, in a sentence, emphasised, the wrong answer, two answers … The items are
BIG-Bench Hard in its original files, and GSM8K. lm-evaluation-harness reads them with its own task
definitions, with another data source and without the task's description. Both send the same words.
"""

import argparse
import asyncio
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Messages, Sampling
from orcinus.models.function import FunctionModel
from orcinus.models.server.chat_api import serve_forever
from orcinus.runs import tables
from orcinus.tasks.benchmarks.reading import ASKED
from orcinus.verifiers.official import by_rule

BBH_TASKS = (
    "date_understanding",
    "navigate",
    "object_counting",
    "formal_fallacies",
    "dyck_languages",
    "word_sorting",
)
RULES: Mapping[str, Mapping[str, str]] = {
    "bbh": {"strict-match": "lm_eval_bbh_strict", "flexible-extract": "lm_eval_bbh_flexible"},
    "gsm8k": {"strict-match": "gsm8k_hash", "flexible-extract": "lm_eval_flexible"},
}
"""The harness' filters, and the rules by which we reproduce them."""
ITEMS, QUICK_ITEMS = 100, 10
"""Of each task at most."""
WAYS: Mapping[str, str] = {
    "bare": "{right}",
    "sentence": "The answer is {right}.",
    "reasoned": "At first {wrong} looks possible. It does not fit. So the answer is {right}.",
    "emphasised": "**{right}**",
    "without brackets": "{plain}",
    "wrong": "The answer is {wrong}.",
    "two answers": "{wrong} or {right}",
    "negated": "The answer is {right}, and not {wrong}.",
    "no answer": "I cannot tell.",
}


def way_of(question: str) -> str:
    """Return the way in which a question is answered."""
    return list(WAYS)[int(stable_fraction("way", question) * len(WAYS))]


def answer(question: str, right: str, wrong: str) -> str:
    """Return the model's words."""
    return WAYS[way_of(question)].format(right=right, wrong=wrong, plain=right.strip("()"))


def load_items(data: Path, most: int = ITEMS) -> dict[str, list[dict[str, str]]]:
    """Return ``most`` questions of each task as they are sent, with a right and a wrong answer."""
    items: dict[str, list[dict[str, str]]] = {}
    for task in BBH_TASKS:
        rows = json.loads(
            (data / "raw" / "BIG-Bench-Hard" / "bbh" / f"{task}.json").read_text(encoding="utf-8")
        )["examples"]
        unique = list({row["input"]: row for row in rows}.values())[:most]
        items[task] = [
            {"input": row["input"], "target": row["target"], "wrong": wrong_of(row["target"])}
            for row in unique
        ]
    with gzip.open(data / "tasks" / "gsm8k_test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:most]
    items["gsm8k"] = [
        {"input": r["prompt"], "target": r["reference"], "wrong": wrong_of(r["reference"])}
        for r in rows
    ]
    return items


def wrong_of(target: str) -> str:
    """Return another answer of the same kind."""
    if re.fullmatch(r"\([A-Z]\)", target):
        return "(B)" if target == "(A)" else "(A)"
    swapped = {"Yes": "No", "No": "Yes", "valid": "invalid", "invalid": "valid"}
    if target in swapped:
        return swapped[target]
    if re.fullmatch(r"-?[\d,.]+", target):
        return str(int(float(target.replace(",", ""))) + 3)
    turned = " ".join(reversed(target.split()))
    return turned if turned != target else f"{target} {target.split()[0]}"


def model(items: Mapping[str, Sequence[Mapping[str, str]]]) -> FunctionModel:
    """Make the model that knows all items."""
    known = {row["input"]: row for rows in items.values() for row in rows}

    def reply(messages: Messages, sampling: Sampling) -> str:
        text = messages[-1].content
        question = (
            text.removeprefix("Q: ")
            .removesuffix("\nA:")
            .removeprefix("Question: ")
            .removesuffix("\nAnswer:")
        )
        row = known[question]
        return answer(question, row["target"], row["wrong"])

    return FunctionModel(reply, model="cross-check")


def write_data(items: Mapping[str, Sequence[Mapping[str, str]]], folder: Path) -> None:
    """Write the items: the original formats for us, one row per line for the harness."""
    (folder / "bbh").mkdir()
    (folder / "rows").mkdir()
    for task, rows in items.items():
        if task == "gsm8k":
            plain = [{"question": row["input"], "answer": f"#### {row['target']}"} for row in rows]
            (folder / "test.jsonl").write_text(
                "".join(json.dumps(row) + "\n" for row in plain), encoding="utf-8"
            )
        else:
            plain = [{"input": row["input"], "target": row["target"]} for row in rows]
            (folder / "bbh" / f"{task}.json").write_text(
                json.dumps({"examples": plain}), encoding="utf-8"
            )
        (folder / "rows" / f"{task}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in plain), encoding="utf-8"
        )


def theirs(peers: Path | None, url: str, folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return the value of each of the harness's filters by task and question; {} without it."""
    program = shutil.which("lm_eval", path=None if peers is None else str(peers))
    if program is None:
        print("lm_eval is not installed; name its folder with --peers DIR", file=sys.stderr)
        return {}
    python = Path(program).parent / "python"
    where = subprocess.run(
        [python, "-c", "import lm_eval; print(lm_eval.__path__[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    tasks = Path(where.stdout.strip().splitlines()[-1]) / "tasks"
    for name in (*BBH_TASKS, "gsm8k"):
        source = (
            tasks / "gsm8k" / "gsm8k.yaml"
            if name == "gsm8k"
            else tasks / "bbh" / "zeroshot" / f"{name}.yaml"
        )
        rows = folder / "rows" / f"{name}.jsonl"
        lines = [
            f"include: {source}",
            f"task: cross_{name}",
            "dataset_path: json",
            "dataset_name: null",
            f"dataset_kwargs: {{data_files: {{test: {rows}}}}}",
            'description: ""',
            "num_fewshot: 0",
            "training_split: null",
            "fewshot_split: null",
        ]
        (folder / f"cross_{name}.yaml").write_text("\n".join(lines), encoding="utf-8")
    arguments = f"model=cross-check,base_url={url}/chat/completions,num_concurrent=16,max_retries=1"
    wanted = ",".join(f"cross_{name}" for name in (*BBH_TASKS, "gsm8k"))
    command = [
        program,
        "--model",
        "local-chat-completions",
        "--model_args",
        arguments,
        "--tasks",
        wanted,
    ]
    command += [
        "--include_path",
        str(folder),
        "--apply_chat_template",
        "--log_samples",
        "--output_path",
        str(folder / "out"),
    ]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "OPENAI_API_KEY": "none",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"lm_eval ended with {done.returncode}: {done.stderr[-3000:]}")
    found: dict[tuple[str, str], dict[str, float]] = {}
    for path in (folder / "out").rglob("samples_cross_*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            task = re.sub(r"samples_cross_(\w+?)_\d{4}-.*", r"\1", path.name)
            question = row["doc"].get("input") or row["doc"]["question"]
            found.setdefault((task, question), {})[row["filter"]] = row["exact_match"]
    return found


def ours(url: str, folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return our value, and our version of the harness's flexible rule, by task and question."""
    code = "from orcinus.cli import main; main()"
    flags = [
        "evaluate",
        "--model",
        url,
        "--served-as",
        "cross-check",
        "--benchmark",
        "bbh,gsm8k",
        "--data",
        str(folder),
    ]
    flags += [
        "--layouts",
        "question_answer",
        "--no-seed",
        "--out",
        str(folder / "ours"),
        "--ledger",
        str(folder / "l.sqlite"),
    ]
    subprocess.run([sys.executable, "-c", code, *flags], check=True, capture_output=True)
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name in ("bbh", "gsm8k"):
        examples = {
            e.id: e for e in tables.read_examples(folder / "ours" / f"items-{name}.parquet")
        }
        for judged in tables.read_judged(folder / "ours" / f"attempts-{name}.parquet"):
            example = examples[judged.attempt.example_id]
            sent = judged.attempt.messages[-1].content
            question = (
                example.meta[ASKED]
                if name == "gsm8k"
                else sent.removeprefix("Q: ").removesuffix("\nA:")
            )
            values = {"ours": judged.verdict.value or 0.0}
            for filter_name, rule_name in RULES["gsm8k" if name == "gsm8k" else "bbh"].items():
                rule = by_rule(rule_name, example, judged.attempt)
                if rule is not None:
                    values[f"our {filter_name}"] = rule.value or 0.0
            found[example.task.removeprefix("bbh/"), question] = values
    return found


def compare(
    a: Mapping[tuple[str, str], Mapping[str, float]],
    b: Mapping[tuple[str, str], Mapping[str, float]],
) -> dict[str, Any]:
    """Return the means by task, and how often each pair of rules disagrees by way of answering."""
    tables_: dict[str, Any] = {}
    for task in sorted({key[0] for key in a}):
        keys = [key for key in a if key[0] == task]
        if b and any(key not in b for key in keys):
            raise SystemExit(f"{task}: lm-evaluation-harness asked other questions than we did")
        rows = [(way_of(key[1]), {**a[key], **b.get(key, {})}) for key in keys]
        rules = list(rows[0][1])
        pairs = [(f"our {rule}", rule) for rule in RULES["bbh"] if f"our {rule}" in rules]
        pairs += [("ours", rule) for rule in RULES["bbh"]]
        differences = {
            f"{first} against {second}": dict(
                Counter(
                    f"{way}: {row[first]:.0f}/{row[second]:.0f}"
                    for way, row in rows
                    if row[first] != row[second]
                )
            )
            for first, second in pairs
            if {first, second} <= set(rules)
        }
        means = {rule: sum(row[rule] for _, row in rows) / len(rows) for rule in rules}
        tables_[task] = {"n": len(rows), "means": means, "differences": differences}
    return tables_


async def serve(data: Path) -> None:
    def on_ready(url: str) -> None:
        print(url, flush=True)

    await serve_forever(model(load_items(data)), host="127.0.0.1", port=0, on_ready=on_ready)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS} questions a task")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.data))
        return
    most = QUICK_ITEMS if arguments.quick else ITEMS
    command = [
        sys.executable,
        "-m",
        "benchmarks.cross_check",
        "--serve",
        "--data",
        str(arguments.data),
    ]
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            folder = Path(name)
            write_data(load_items(arguments.data, most), folder)
            found = compare(ours(url, folder), theirs(arguments.peers, url, folder))
        finally:
            server.terminate()
    if arguments.json:
        print(json.dumps(found))
        return
    for task, row in found.items():
        print(
            f"{task} (n = {row['n']}): "
            + ", ".join(f"{rule} {100 * mean:.1f}" for rule, mean in row["means"].items())
        )
        for pair, counts in row["differences"].items():
            print(
                f"    {pair}: "
                + (
                    ", ".join(f"{what} × {count}" for what, count in counts.items())
                    or "the same on every item"
                )
            )


if __name__ == "__main__":
    main()
