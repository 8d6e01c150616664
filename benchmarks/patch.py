"""Does a patch of diagnosed faults teach more than as many lessons about other parts?

    python -m benchmarks.patch --seeds 3

A world made by a program: in each of 15 documents four people live in a town, and the town lies in
a county. Lessons are about single relations, and cover two thirds of them; the test asks for the
county of each person. ``orcinus improve --patch`` patches the faults of half of the chains. The
control teaches as many relations of the taught documents, drawn at random. Writer and teacher are
programs, and the student is that of ``orcinus demo``.
"""

import argparse
import asyncio
import re
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import yaml

from orcinus.core import stats
from orcinus.core.types import Messages, Sampling
from orcinus.pipeline import patch as patching
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps
from orcinus.tasks.authored.config import AuthoredConfig

DOCUMENTS, PEOPLE = 15, 4
COUNTIES = ("Kent", "Devon", "Essex", "Surrey", "Norfolk")
_NAMES = [
    start + end
    for start in ("Ka", "Lo", "Mi", "Re", "Su", "To", "Va")
    for end in ("bel", "dan", "gor", "mek", "nor", "ris", "sun", "tam", "vik", "wen", "zad")
]
Random(0).shuffle(_NAMES)
HOME = {_NAMES[i]: f"{_NAMES[60 + i // PEOPLE]}ford" for i in range(DOCUMENTS * PEOPLE)}
"""The town of each person."""
COUNTY = {town: COUNTIES[i % len(COUNTIES)] for i, town in enumerate(dict.fromkeys(HOME.values()))}
"""The county of each town."""
_FACT = re.compile(r"(\w+) (lives in|lies in) (\w+)")
WORDINGS = {
    "lives in": ("Where does {} live?", "In which town does {} live?", "Name the home of {}.",
                 "{} lives in which town?", "Tell where {} lives.", "What is the home of {}?"),
    "lies in": ("Where does {} lie?", "In which county does {} lie?", "Name the county of {}.",
                "{} lies in which county?", "Tell where {} lies.", "What is the county of {}?"),
}  # fmt: skip
CHAINS = ("Where does the town of {} lie?", "In which county does the town of {} lie?")


def writer(messages: Messages, sampling: Sampling) -> str:
    """Find the relations of a document, or ask about the ones that are named."""
    asked = messages[-1].content
    if "You list what a text says" in messages[0].content:
        return "\n".join(f"{a} | {relation} | {b}" for a, relation, b in _FACT.findall(asked))
    [focus] = [line for line in asked.splitlines() if line.startswith("Ask ")]
    facts = _FACT.findall(focus)
    number = re.search(r"This is exercise (\d+)", asked)
    count = int(number[1]) - 1 if number else 0
    first, relation, _ = facts[0]
    wordings = CHAINS if len(facts) == 2 else WORDINGS[relation]
    question = wordings[count % len(wordings)].format(first)
    return f"<question>{question}</question><answer>{facts[-1][2]}</answer>"


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Say all that follows from the name in the question, then the answer."""
    words = re.findall(r"\w+", messages[-1].content)
    [name] = [word for word in words if word in HOME or word in COUNTY]
    town = HOME.get(name, name)
    told = f"{name} lives in {town}. " if name in HOME else ""
    answer = town if name in HOME and "lie" not in words else COUNTY[town]
    return f"{told}{town} lies in {COUNTY[town]}. The answer is {answer}."


def write_world(folder: Path) -> None:
    """Write one document for each town."""
    folder.mkdir(parents=True, exist_ok=True)
    for town, county in COUNTY.items():
        people = [name for name, home in HOME.items() if home == town]
        text = f"{town} lies in {county}.\n" + "".join(f"{p} lives in {town}.\n" for p in people)
        (folder / f"{town}.txt").write_text(text, encoding="utf-8")


def relations_of_world() -> list[str]:
    """Return all relations in words."""
    return [
        *(f"{name} lives in {town}" for name, town in HOME.items()),
        *(f"{town} lies in {county}" for town, county in COUNTY.items()),
    ]


def recipe(seed: int) -> dict[str, Any]:
    """Return the recipe of a seed."""
    made = {"kind": "function", "function": "benchmarks.patch:writer"}
    relations = relations_of_world()
    taught = Random(seed).sample(relations, 2 * len(relations) // 3)
    authored = {"by": "writer", "corpus": "world", "kinds": ["exact"], "seed": 10 * seed}
    return {
        "name": f"world-{seed}",
        "seed": seed,
        "models": {"writer": made},
        "tasks": [
            {"name": "parts",
             "authored": {**authored, "levels": ["relation"], "only": taught, "count": 200}}
        ],
        "evaluation": [
            {"name": "chains", "authored": {**authored, "levels": ["chain"], "count": 120}}
        ],
        "strategies": ["step_by_step"],
        "student": {"kind": "local", "path": str(files("orcinus.pipeline.demo") / "base"),
                    "chat_template": "chatml"},
        "teacher": {"kind": "function", "function": "benchmarks.patch:teacher"},
        "sample": {"probe": 0.1, "held_out": 0.1},
        "probe": {"per_task": 4, "sampling": {"max_tokens": 8}},
        "assign": {"fixed": "step_by_step"},
        "teach": {"sampling": {"max_tokens": 64}},
        "train": {"context_length": 192, "batch_tokens": 768,
                  "stages": [{"name": "parts", "epochs": 25, "learning_rate": 1e-3}]},
        "evaluate": {"arms": ["before", "after"], "sampling": {"max_tokens": 64}},
    }  # fmt: skip


async def compare(seed: int, folder: Path) -> tuple[patching.Patch, dict[str, dict[str, float]]]:
    """Patch the student of a seed, and teach its control as many relations drawn at random."""
    path = folder / f"world-{seed}.yaml"
    path.write_text(yaml.safe_dump(recipe(seed)), encoding="utf-8")
    runtime = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    found = await patching.patch(load_recipe(path), path, runtime, Silent())
    assert found is not None
    made = load_recipe(folder / "runs" / found.run / layout.RECIPE)
    sampled = finished_steps(folder / "runs" / f"world-{seed}", "sample")[0] / layout.EXAMPLES
    taught = {example.meta["source_unit"] for example in tables.read_examples(sampled, "teach")}
    relations = [fact for fact in relations_of_world() if any(Path(t).stem in fact for t in taught)]
    task = made.tasks[0]
    assert isinstance(task, AuthoredConfig)
    drawn = Random(seed).sample(relations, len(found.parts))
    authored = task.authored.model_copy(update={"only": tuple(drawn)})
    random_task = task.model_copy(update={"authored": authored})
    control = made.model_copy(
        update={"name": f"world-{seed}-random", "tasks": (random_task, *made.tasks[1:])}
    )
    run_dir = await run_recipe(control, None, runtime, Silent(), base=folder, until="evaluate")
    return found, {
        "trained": answers(folder / "runs" / found.run, "before"),
        "patched": answers(folder / "runs" / found.run, "after"),
        "random": answers(run_dir, "after"),
    }


def answers(run_dir: Path, arm: str) -> dict[str, float]:
    """Return the verdict on each chain that nobody looked at, by its id."""
    table = finished_steps(run_dir, "evaluate")[0] / layout.attempts(arm)
    return {
        judged.attempt.example_id: judged.verdict.value or 0.0
        for judged in tables.read_judged(table)
        if not patching.is_looked_at(judged.attempt.task, judged.attempt.example_id)
    }


def main() -> None:
    """Run each seed and print the chains that nobody looked at."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("patch-world"), help="kept, to resume")
    given = parser.parse_args()
    write_world(given.folder / "world")
    pooled: dict[str, dict[tuple[int, str], float]] = {}
    for seed in range(given.seeds):
        found, by_arm = asyncio.run(compare(seed, given.folder.resolve()))
        print(
            f"seed {seed}: {found.gaps} gaps, {found.breaks} breaks, {len(found.parts)} parts, "
            f"{found.lessons} lessons, {found.replayed} replayed",
            flush=True,
        )
        for arm, values in by_arm.items():
            pooled.setdefault(arm, {}).update({(seed, key): v for key, v in values.items()})
    for arm, verdicts in pooled.items():
        right = int(sum(verdicts.values()))
        low, high = stats.wilson(right, len(verdicts))
        print(f"{arm}: {right} of {len(verdicts)} ({100 * low:.1f}–{100 * high:.1f} %)")
    keys = sorted(pooled["trained"])
    for a, b in (("patched", "trained"), ("random", "trained"), ("patched", "random")):
        sides = ([pooled[arm][key] for key in keys] for arm in (a, b))
        compared = stats.compare(*sides, seed=0)
        print(
            f"{a} against {b}: {100 * compared.difference:+.1f} points "
            f"({100 * compared.low:+.1f} … {100 * compared.high:+.1f}), p {compared.p_value:.3f}"
        )


if __name__ == "__main__":
    main()
