"""Does lint find filters that go by something other than being right, and leave clean runs alone?

    python -m benchmarks.lint [--quick] [--seeds 20]

Three recipes, each with 200 questions, two teachers and the same right and wrong answers: one
clean, one with a filter that drops long traces, one with a judge that likes one teacher. Prints how
many runs of each are flagged, and by what.
"""

import argparse
import asyncio
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orcinus.core.types import Attempt, Example, Messages, Sampling, Verdict
from orcinus.lessons.kept import Kept, kept_by
from orcinus.pipeline.recipe_file import parse_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.executors.open import open_executor
from orcinus.tasks.generators.procedural import ProceduralConfig, draw, explain

MODULE = "benchmarks.lint"
QUESTIONS = 200
LONG_WORDS = 22
"""Words. About half of the traces are longer."""


def main() -> None:
    """Run the three recipes under each seed and print the counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="one seed")
    arguments = parser.parse_args()
    seeds = 1 if arguments.quick else arguments.seeds
    for name, faults in FAULTS.items():
        flags: Counter[str] = Counter()
        flagged = 0
        for seed in range(seeds):
            found = run_once(faults, seed)
            names = [row.feature for row in found.features if row.flagged]
            flags.update(names)
            flagged += bool(names)
        print(json.dumps({"recipe": name, "runs": seeds, "flagged": flagged, "by": dict(flags)}))


FAULTS: Mapping[str, Mapping[str, Any]] = {
    "clean": {},
    "a filter that keeps short traces": {"curate": {"filters": [f"{MODULE}:short_enough"]}},
    "a judge that likes one teacher": {
        "judge": {"kind": "function", "function": f"{MODULE}:partial_judge"},
        "verifier": "judge",
    },
}


def run_once(faults: Mapping[str, Any], seed: int) -> Kept:
    """Run one recipe as far as ``curate``, and return what its filters go by."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        task = {
            "path": str(_write_questions(workspace, seed)),
            "name": "sums",
            "licence": "CC0-1.0",
            **({"verifier": faults["verifier"]} if "verifier" in faults else {}),
        }
        recipe = {
            "name": "lint",
            "seed": seed,
            "tasks": [task],
            "strategies": ["step_by_step", "decompose"],
            "assign": {"fixed": "random", "confirm": 0},
            "student": {"kind": "scratch", "layers": 1, "hidden": 16, "heads": 2},
            "teacher": {"kind": "function", "function": f"{MODULE}:teacher"},
            "assistant": {"kind": "function", "function": f"{MODULE}:assistant"},
            **{key: value for key, value in faults.items() if key != "verifier"},
        }
        runtime = Runtime(
            workspace=workspace,
            ledger_path=workspace / "ledger.sqlite",
            executor=open_executor("local"),
        )
        run_dir = asyncio.run(
            run_recipe(
                parse_recipe(recipe), None, runtime, Silent(), base=workspace, until="curate"
            )
        )
        return kept_by(run_dir, seed=seed)


def _write_questions(folder: Path, seed: int) -> Path:
    path = folder / "sums.jsonl"
    drawn = draw(ProceduralConfig(generator="sums", count=QUESTIONS, size=(3, 7), seed=seed))
    rows = ({"id": e.id, "prompt": e.prompt, "reference": e.reference} for e in drawn)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Explain a sum; wrong on one in ten."""
    return explain(messages[-1].content, "step_by_step", errors=0.1)


def assistant(messages: Messages, sampling: Sampling) -> str:
    """Explain the same in other words, with the same wrong answers."""
    return "Surely: " + explain(messages[-1].content, "step_by_step", errors=0.1)


def short_enough(example: Example, attempt: Attempt, verdict: Verdict) -> str | None:
    """Drop what is long, right or wrong."""
    return "long" if len(attempt.text.split()) > LONG_WORDS else None


def partial_judge(messages: Messages, sampling: Sampling) -> str:
    """Say right to nine in ten of one teacher's answers and to six in ten of the other's."""
    text = messages[-1].content
    code = re.findall(r"VERDICT ([0-9a-f]+):", text)[-1]
    limit = 6 if "Surely" in text else 9
    word = "RIGHT" if int(code, 16) % 10 < limit else "WRONG"
    return f"So.\nVERDICT {code}: {word}"


if __name__ == "__main__":
    main()
