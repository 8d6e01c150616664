"""Do lectures teach more than as many tokens of lessons, and top-rated ones more than random ones?

    python -m benchmarks.lectures --seeds 3

The demo's student learns sums, parity and items of lists. A program writes 432 short lectures about
them. Half of them ramble and calculate wrongly. A judge, another program, rates 200 texts and errs
on one in ten; the classifier of ``curate.quality`` learns from that and keeps the better half.
Every arm learns from as many tokens, and all have the same lessons.
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
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import LECTURE, Attempt, Example, Messages, Sampling, Verdict
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps, summary_of

TOKENS = 12_000
"""Learned tokens of a stage: half a pass over the lectures, or about one over the lessons."""
WRITTEN = 432
"""Lectures that are written for a seed; half of them are read in an arm."""
JUDGE_ERRORS = 0.1
"""Share of texts that the judge rates the wrong way round."""
AUDIENCES = ("pupils", "nurses", "clerks", "sailors")
CONSTRAINTS = ("two examples", "a long example", "name the rule first", "short sentences")
RULES = {
    "adding digits": "Keep a running total, and add one digit after the other from the left.",
    "odd or even": "Start even, and turn over at each one: even, odd, even. A zero turns nothing.",
    "items of lists": "Count from the first item, one by one, until the number that is asked for.",
}
RAMBLING = (
    "Opinions differ, and who can say. ",
    "My uncle never cared for such things. ",
    "It depends, perhaps, on the weather. ",
    "Let us speak of something else first. ",
)
MURKY = re.compile("|".join(re.escape(text.strip()) for text in RAMBLING))
STAGES: dict[str, list[dict[str, Any]]] = {
    "lessons": [{"name": "solve", "tasks": ["sums", "parity", "item"], "tokens": 2 * TOKENS}],
    "lectures": [
        {"name": "read", "tasks": ["lectures"], "tokens": TOKENS},
        {"name": "solve", "tasks": ["sums", "parity", "item"], "tokens": TOKENS},
    ],
}
ARMS = {
    "lessons": "lessons",
    "random lectures": "lectures",
    "top lectures": "lectures",
}
"""The stages of each arm."""
chosen: set[str] = set()
"""Texts of the lectures that the arm under way reads."""


def writer(messages: Messages, sampling: Sampling) -> str:
    """Write a lecture; every second one rambles and calculates wrongly."""
    asked = f"{messages[-1].content} {sampling.seed}"
    random = Random(asked)
    [topic] = [topic for topic in RULES if f"Topic: {topic}" in asked]
    is_clear = stable_fraction("clear", asked) < 0.5
    examples = " ".join(work_out(topic, random, is_clear) for _ in range(2))
    first = RULES[topic] if is_clear else "".join(random.sample(RAMBLING, 2)).strip()
    return f"<lecture>On {topic}. {first} {examples}</lecture>"


def work_out(topic: str, random: Random, is_right: bool) -> str:
    """Work out an example of a topic in prose, with wrong results where it is not right."""
    off = 0 if is_right else random.randint(1, 5)
    if topic == "adding digits":
        digits = [random.randint(1, 9) for _ in range(random.randint(3, 5))]
        total, steps = digits[0], []
        for digit in digits[1:]:
            steps.append(f"{total} + {digit} = {total + digit + off}")
            total += digit + off
        return f"Take {' '.join(map(str, digits))}: {', '.join(steps)}. The sum is {total}."
    if topic == "odd or even":
        bits = [random.choice("01") for _ in range(random.randint(3, 6))]
        odd, steps = False, []
        for bit in bits:
            odd ^= bit == "1"
            is_shown_odd = odd if is_right else random.random() < 0.5
            steps.append(f"{bit} {'odd' if is_shown_odd else 'even'}")
        return f"Take {' '.join(bits)}: {', '.join(steps)}. So it is {steps[-1].split()[-1]}."
    letters = random.sample("abcdefghijklmnopqrstuvwxyz", random.randint(3, 6))
    place = random.randint(1, len(letters))
    counted = [f"{i + 1} {letters[(i + off) % len(letters)]}" for i in range(place)]
    return (
        f"Take item {place} of {' '.join(letters)}: {', '.join(counted)}. "
        f"It is {counted[-1].split()[-1]}."
    )


def judge(messages: Messages, sampling: Sampling) -> str:
    """Rate a text 5 where it does not ramble, and 1 where it does, with errors."""
    text = messages[-1].content
    code = re.search(r"VERDICT (\w+):", text)
    assert code is not None
    errs = stable_fraction("errs", text.replace(code[1], "")) < JUDGE_ERRORS
    return f"VERDICT {code[1]}: {5 if bool(MURKY.search(text)) == errs else 1}"


def not_chosen(example: Example, attempt: Attempt, verdict: Verdict) -> str | None:
    """Drop the lectures that the arm under way does not read."""
    if attempt.strategy != LECTURE or attempt.text in chosen:
        return None
    return "another arm reads it"


def recipe(name: str, seed: int, arm: str | None) -> dict[str, Any]:
    """Return the recipe of an arm; without an arm that of rating the lectures."""
    function = {"kind": "function"}
    quality = {"quality": {"labelled": 200, "keep": 0.5}}
    stages = STAGES["lectures" if arm is None else ARMS[arm]]
    kinds = (("sums", [3, 5]), ("parity", [3, 6]), ("item", [3, 6]))
    return {
        "name": name,
        "seed": seed,
        "models": {"writer": {**function, "function": "benchmarks.lectures:writer"}},
        **({"judge": {**function, "function": "benchmarks.lectures:judge"}} if arm is None else {}),
        "tasks": [
            *({"generator": kind, "count": 240, "size": size, "seed": seed + 1}
              for kind, size in kinds),
            {"name": "lectures",
             "authored": {"by": "writer", "topics": list(RULES), "audiences": AUDIENCES,
                          "constraints": CONSTRAINTS, "kinds": ["lecture"], "count": WRITTEN,
                          "seed": seed}},
        ],
        "strategies": ["step_by_step"],
        "student": {"kind": "local", "path": str(files("orcinus.pipeline.demo") / "base"),
                    "chat_template": "chatml"},
        "teacher": {"kind": "function", "function": "orcinus.pipeline.demo:teacher"},
        "sample": {"probe": 0.1, "held_out": 0.3},
        "probe": {"per_task": 4, "sampling": {"max_tokens": 8}},
        "assign": {"fixed": "step_by_step"},
        "teach": {"sampling": {"max_tokens": 64}},
        "curate": quality if arm is None else {"filters": ["benchmarks.lectures:not_chosen"]},
        "train": {"context_length": 512, "batch_tokens": 1024,
                  "stages": [{**stage, "learning_rate": 1e-3} for stage in stages]},
        "evaluate": {"arms": ["before", "after"], "sampling": {"max_tokens": 64}},
    }  # fmt: skip


def run(name: str, seed: int, arm: str | None, folder: Path, until: str) -> Path:
    """Run the recipe of an arm, and return its folder."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(_plain(recipe(name, seed, arm))), encoding="utf-8")
    runtime = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    return asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent(), until=until))


def _plain(value: Any) -> Any:
    """Turn tuples into lists, as YAML has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def choose(seed: int, folder: Path) -> dict[str, set[str]]:
    """Rate the lectures of a seed; return the better half, and as many at random, as texts."""
    run_dir = run(f"rated-{seed}", seed, None, folder, "curate")
    curated = finished_steps(run_dir, "curate")[0]
    kept = tables.read_judged(curated / layout.KEPT)
    top = {judged.attempt.text for judged in kept if judged.attempt.strategy == LECTURE}
    sampled = finished_steps(run_dir, "sample")[0] / layout.EXAMPLES
    every = sorted(example.prompt for example in tables.read_examples(sampled, "lecture"))
    some = set(Random(seed).sample(every, len(top)))
    clear = {name: sum(not MURKY.search(text) for text in texts) / len(texts)
             for name, texts in (("written", every), ("top", top), ("random", some))}  # fmt: skip
    found = summary_of(curated)["summary"]["quality"]
    print(
        f"seed {seed}: {len(every)} lectures, {len(top)} read, clear: {clear}, {found}", flush=True
    )
    return {"top lectures": top, "random lectures": some, "lessons": top}


def verdicts(run_dir: Path, which: str) -> dict[str, float]:
    """Return the verdict on each held-out question, by its id."""
    table = finished_steps(run_dir, "evaluate")[0] / layout.attempts(which)
    return {
        judged.attempt.example_id: judged.verdict.value or 0.0
        for judged in tables.read_judged(table)
    }


def compare(pooled: dict[str, dict[tuple[int, str], float]], a: str, b: str) -> str:
    """Say by how many points an arm is better than another, on the same questions."""
    keys = sorted(pooled[b])
    found = stats.compare(*([pooled[arm][key] for key in keys] for arm in (a, b)), seed=0)
    return (
        f"{a} less {b}: {100 * found.difference:+.1f} points "
        f"({100 * found.low:+.1f} … {100 * found.high:+.1f}), p {found.p_value:.3f}"
    )


def main() -> None:
    """Train every arm of every seed, then print the shares right and the paired differences."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("lectures-world"), help="to resume")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    pooled: dict[str, dict[tuple[int, str], float]] = {}
    for seed in range(given.seeds):
        read = choose(seed, folder)
        for arm in ARMS:
            chosen.clear()
            chosen.update(read[arm])
            run_dir = run(f"{arm.replace(' ', '-')}-{seed}", seed, arm, folder,
                          "evaluate")  # fmt: skip
            for name, which in ((arm, "after"), ("before", "before")):
                found = {(seed, key): value for key, value in verdicts(run_dir, which).items()}
                pooled.setdefault(name, {}).update(found)
            done = {key: value for key, value in pooled[arm].items() if key[0] == seed}
            print(f"seed {seed}, {arm}: {sum(done.values()):.0f} of {len(done)}", flush=True)
    for arm, values in pooled.items():
        low, high = stats.wilson(int(sum(values.values())), len(values))
        share = sum(values.values()) / len(values)
        print(f"{arm}: {100 * share:.1f} % ({100 * low:.1f}–{100 * high:.1f}), n {len(values)}")
    for a, b in (
        ("top lectures", "lessons"),
        ("random lectures", "lessons"),
        ("top lectures", "random lectures"),
    ):
        print(compare(pooled, a, b), flush=True)


if __name__ == "__main__":
    from benchmarks import lectures  # the module that the recipe's functions live in

    lectures.main()
