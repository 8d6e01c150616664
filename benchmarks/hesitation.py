"""Does HE-SNR follow held-out accuracy from checkpoint to checkpoint?

    python -m benchmarks.hesitation --seed 0 --folder hesitation      # one training
    python -m benchmarks.hesitation --folder hesitation               # all that are there

The demo's student learns three kinds of questions step by step in six passes. Before and after each
pass its HE-SNR, its loss, and its loss where it hesitates are measured on 90 lessons, and its
accuracy on the held-out questions. Printed are Kendall's rank correlations with accuracy, the mean
of the seeds, with a 95 % interval from 2,000 bootstrap samples of the checkpoints of each seed.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Attempt, Example
from orcinus.lessons.config import EraseConfig, generic_text
from orcinus.models.local.config import LocalConfig
from orcinus.models.open import open_completer
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps
from orcinus.strategies.prompts import erased_strategy, requests_for
from orcinus.training.hesitation import add_up
from orcinus.training.lesson_loss import lesson_losses
from orcinus.verifiers.verify import verify

BASE = str(files("orcinus.pipeline.demo") / "base")
PASSES, LESSONS, SAMPLES = 6, 90, 2_000
"""Passes over the lessons, lessons that are measured, bootstrap samples."""
METRICS = ("he_snr", "loss", "loss_there")


def recipe(seed: int) -> dict[str, Any]:
    """Return the recipe of a seed: one stage for each pass."""
    stage = {"epochs": 1, "learning_rate": 5e-4, "schedule": "constant"}
    kinds = ("sums", "parity", "largest")
    return {
        "name": f"hesitation-{seed}",
        "seed": seed,
        "tasks": [
            {"generator": kind, "count": 130, "size": [3, 5], "seed": seed + 1} for kind in kinds
        ],
        "strategies": ["step_by_step"],
        "student": {"kind": "local", "path": BASE, "chat_template": "chatml"},
        "teacher": {"kind": "function", "function": "orcinus.pipeline.demo:teacher"},
        "sample": {"probe": 0.05, "held_out": 0.3},
        "probe": {"per_task": 4, "sampling": {"max_tokens": 8}},
        "assign": {"fixed": "step_by_step"},
        "teach": {"sampling": {"max_tokens": 96}},
        "train": {
            "context_length": 256,
            "batch_tokens": 1024,
            "stages": [{"name": f"pass-{i}", **stage} for i in range(1, PASSES + 1)],
        },
        "evaluate": {"arms": ["after"], "per_task": 2, "sampling": {"max_tokens": 8}},
    }


async def count_right(student: LocalConfig, examples: Sequence[Example]) -> int:
    """Ask a student questions under the erased message, and return how many it has right."""
    erased = erased_strategy(generic_text(EraseConfig()))
    sampling = SamplingConfig(max_tokens=72)
    model = open_completer(student, base=Path(), device="cpu", secrets={}, note=print)

    async def is_right(example: Example) -> bool:
        request = next(iter(requests_for(example, erased, sampling, seed=0)))
        reply = await model.complete(request)
        attempt = Attempt(
            id=example.id,
            example_id=example.id,
            task=example.task,
            strategy=erased.name,
            model="student",
            messages=request.messages,
            sampling=request.sampling,
            sample=0,
            text=reply.text,
            finish=reply.finish,
        )
        return (await verify(example, attempt)).value == 1.0

    try:
        return sum(await asyncio.gather(*map(is_right, examples)))
    finally:
        await model.aclose()


def measure(seed: int, folder: Path) -> list[dict[str, Any]]:
    """Train the student of a seed, and measure each checkpoint."""
    path = folder / f"hesitation-{seed}.yaml"
    path.write_text(yaml.safe_dump(recipe(seed)), encoding="utf-8")
    runtime = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    run_dir = asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent(), until="train"))
    trained, erased, sampled = (
        finished_steps(run_dir, verb)[0] for verb in ("train", "erase", "sample")
    )
    lessons = list(tables.read_lessons(erased / layout.LESSONS))[:LESSONS]
    held_out = list(tables.read_examples(sampled / layout.EXAMPLES, "held_out"))
    rows = []
    for place in range(PASSES + 1):
        stage = str((trained / layout.stage(place)).resolve()) if place else BASE
        student = LocalConfig(path=stage, chat_template="chatml")
        losses = lesson_losses(student, lessons, context=256, device="cpu")
        read = [item for item in losses if item.loss is not None]
        total = add_up(item.hesitation for item in read if item.hesitation is not None)
        tokens = sum(item.response_tokens for item in read)
        rows.append(
            {
                "pass": place,
                "right": asyncio.run(count_right(student, held_out)),
                "n": len(held_out),
                "he_snr": total.he_snr,
                "hesitant": total.hesitant,
                "tokens": total.tokens,
                "loss": sum((item.loss or 0.0) * item.response_tokens for item in read) / tokens,
                "loss_there": total.loss,
            }
        )
        print(rows[-1], flush=True)
    return rows


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Kendall's rank correlation τ-b; nan where one side is constant.

    >>> kendall([1, 2, 3], [1, 3, 2])
    0.3333333333333333
    """
    pairs = list(combinations(range(len(a)), 2))
    x = np.sign([a[i] - a[j] for i, j in pairs])
    y = np.sign([b[i] - b[j] for i, j in pairs])
    scale = float(np.sqrt((x != 0).sum() * (y != 0).sum()))
    return float((x * y).sum()) / scale if scale else float("nan")


def correlate(by_seed: Sequence[Sequence[dict[str, Any]]], metric: str) -> tuple[float, ...]:
    """Return the mean correlation of a metric with accuracy over seeds, and its interval."""

    def mean(draws: Sequence[Sequence[int]]) -> float:
        found = [
            kendall([rows[i][metric] for i in drawn], [rows[i]["right"] for i in drawn])
            for rows, drawn in zip(by_seed, draws, strict=True)
        ]
        return float(np.nanmean(found))

    random = np.random.default_rng(int(1000 * stable_fraction("hesitation", metric)))
    samples = [
        mean([random.integers(0, len(rows), len(rows)).tolist() for rows in by_seed])
        for _ in range(SAMPLES)
    ]
    low, high = np.nanquantile(samples, (0.025, 0.975))
    return mean([range(len(rows)) for rows in by_seed]), float(low), float(high)


def main() -> None:
    """Measure a seed, or print the correlations of all seeds that were measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--folder", type=Path, default=Path("hesitation"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.seed is not None:
        rows = measure(given.seed, given.folder.resolve())
        (given.folder / f"seed-{given.seed}.json").write_text(json.dumps(rows), encoding="utf-8")
        return
    measured = [json.loads(path.read_text()) for path in sorted(given.folder.glob("seed-*.json"))]
    for name, first in (("with the untrained student", 0), ("after passes alone", 1)):
        by_seed = [rows[first:] for rows in measured]
        for metric in METRICS:
            tau, low, high = correlate(by_seed, metric)
            print(
                f"{name}: {metric} and accuracy, {len(by_seed)} seeds of {len(by_seed[0])} "
                f"checkpoints: tau {tau:+.2f} ({low:+.2f} … {high:+.2f})"
            )


if __name__ == "__main__":
    main()
