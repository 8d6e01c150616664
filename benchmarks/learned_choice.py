"""Replay recorded trials: what choosing by learning gains over choosing by prompting.

    python -m benchmarks.strategy_choice --learned DIR --json

DIR holds one folder for each student or seed, each with three files of rows
{"task", "id", "strategy", "correct"}, plain or gzipped:

    prompted.jsonl   the untrained student under each strategy's message, on probe examples
    learned.jsonl    trial students that were taught with each strategy, on the same examples
    final.jsonl      students that were fully taught with one strategy for all, on held-out examples

They come from an ablation whose recipe has ``assign: {measure: both}``, with the arms ``all …``:

    orcinus ablate docs/experiments/004-learned-choice.yaml --seeds 3
    python -m benchmarks.learned_choice runs learned-choice DIR

Each split draws some of the probe examples, chooses as ``assign`` does, and is scored by the final
students: regret is their best accuracy on the task less that of the chosen one.
"""

import argparse
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orcinus.core.types import Assignment, Judged
from orcinus.pipeline.ablation import BASE, run_name
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps
from orcinus.strategies.choosing import believe, best, best_if_sure
from orcinus.strategies.config import USUAL

Array = NDArray[np.float64]
SIZES = (4, 6, 8, 10, 15, 20, 30, 40, 60, 80)
"""Probe examples of a task and strategy at which the naive choice is replayed."""
OURS = 20
"""Probe examples of a task and strategy that our choice gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The recorded outcomes of one student and seed."""

    strategies: tuple[str, ...]
    prompted: Mapping[str, Array]
    """By task (S, n): right or not on the same probe examples."""
    learned: Mapping[str, Array]
    finals: Mapping[str, Array]
    """By task (S, n): right or not on held-out examples, of students fully taught with one."""

    @property
    def final(self) -> Array:
        """The (G, S) accuracy of students fully taught with one strategy."""
        return np.stack([values.mean(1) for values in self.finals.values()])


def write(path: Path, rows: Iterable[tuple[str, Judged]]) -> None:
    """Write (strategy, judged answer) pairs as rows that this benchmark reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for strategy, judged in rows:
            row = {
                "task": judged.attempt.task,
                "id": judged.attempt.example_id,
                "strategy": strategy,
                "correct": judged.verdict.value == 1.0,
            }
            file.write(json.dumps(row) + "\n")


def record(workspace: Path, recipe: str, folder: Path) -> list[Path]:
    """Write a folder for every seed of an ablation; return those folders.

    Args:
        workspace: Folder of the runs.
        recipe: Name of the ablation's recipe.
        folder: Where to write.
    """
    found = []
    for base in sorted(workspace.glob(run_name(recipe, BASE, 0).removesuffix("0") + "*")):
        seed = int(base.name.rpartition("-")[2])
        out = folder / f"{recipe}-{seed}"
        _record_trials(base, out)
        rows: list[tuple[str, Judged]] = []
        for run in sorted(workspace.glob(f"{recipe}-all-*-{seed}")):
            judged = list(tables.read_judged(_latest(run, "evaluate") / layout.attempts("after")))
            (strategy,) = {item.strategy or "" for item in _assignments(run)}
            rows += ((strategy, item) for item in judged)
        write(out / "final.jsonl", rows)
        found.append(out)
    return found


def _assignments(run_dir: Path) -> list[Assignment]:
    return list(tables.read_assignments(_latest(run_dir, "assign") / layout.ASSIGNMENTS))


def _latest(run_dir: Path, step: str) -> Path:
    return finished_steps(run_dir, step)[0]


def _record_trials(run_dir: Path, folder: Path) -> None:
    """Write ``prompted.jsonl`` and ``learned.jsonl`` from a finished ``trial`` step of a run."""
    for step, name in (("probe", "prompted"), ("trial", "learned")):
        attempts = tables.read_judged(_latest(run_dir, step) / layout.ATTEMPTS)
        write(folder / f"{name}.jsonl", ((item.attempt.strategy, item) for item in attempts))


def load(folder: Path) -> list[Recorded]:
    """Read every recorded student and seed under ``folder``."""
    found = [
        _read(path.parent)
        for path in sorted(folder.rglob("final.jsonl*"))
        if path.name in ("final.jsonl", "final.jsonl.gz")
    ]
    if not found:
        raise FileNotFoundError(f"{folder}: no folder in it has a final.jsonl")
    return found


def _read(folder: Path) -> Recorded:
    prompted, learned, final = (_outcomes(folder, n) for n in ("prompted", "learned", "final"))
    strategies = tuple(sorted({s for of in final.values() for s in of} & _names(learned)))
    tasks = sorted(prompted.keys() & learned.keys() & final.keys())
    return Recorded(
        strategies=strategies,
        prompted={task: _matrix(prompted[task], strategies) for task in tasks},
        learned={task: _matrix(learned[task], strategies) for task in tasks},
        finals={task: _matrix(final[task], strategies) for task in tasks},
    )


Outcomes = dict[str, dict[str, dict[str, float]]]
"""By task and strategy, the outcome of each example."""


def _outcomes(folder: Path, name: str) -> Outcomes:
    found: Outcomes = {}
    for row in _rows(folder, name):
        of = found.setdefault(row["task"], {}).setdefault(row["strategy"], {})
        of[row["id"]] = float(row["correct"])
    return found


def _rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    packed = folder / f"{name}.jsonl.gz"
    if packed.exists():
        text = gzip.decompress(packed.read_bytes()).decode()
    else:
        text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
    yield from map(json.loads, text.splitlines())


def _names(outcomes: Outcomes) -> set[str]:
    return {strategy for of in outcomes.values() for strategy in of}


def _matrix(outcomes: Mapping[str, Mapping[str, float]], strategies: Sequence[str]) -> Array:
    ids = sorted({identity for of in outcomes.values() for identity in of})
    return np.array(
        [[outcomes.get(s, {}).get(identity, np.nan) for identity in ids] for s in strategies]
    )


def replay(recorded: Sequence[Recorded], splits: int) -> dict[str, object]:
    """Return the figures of all recorded students together, regrets in points."""
    drawn = [_replay_one(item, seed) for item in recorded for seed in range(splits)]
    mean = {key: float(np.mean([row[key] for row in drawn])) for key in drawn[0]}
    naive = {n: mean[f"naive_{n}"] for n in SIZES}
    needed = calls_for(naive, mean["regret_learned"])
    return {
        "students": len(recorded),
        "tasks": sum(len(item.learned) for item in recorded),
        "splits": splits,
        **{key: mean[key] for key in ("regret_learned", "regret_prompted", "regret_best_single")},
        "regret_random": mean["regret_random"],
        "oracle_headroom": mean["regret_best_single"],
        "headroom_on_other_half": mean["headroom"],
        "naive": naive,
        "calls_vs_naive": OURS / needed if needed else OURS / SIZES[-1],
        "calls_vs_naive_is": "a ratio" if needed else "an upper bound: naive never gets there",
        "bias_points": mean["bias"],
    }


def _replay_one(item: Recorded, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    orders = {task: rng.permutation(values.shape[1]) for task, values in item.learned.items()}
    groups = np.arange(len(item.learned))
    top = item.final.max(1)

    def regret(chosen: NDArray[np.int64]) -> float:
        return 100 * float((top - item.final[groups, chosen]).mean())

    def part(outcomes: Mapping[str, Array], n: int) -> dict[str, Array]:
        return {
            task: values[:, orders[task][orders[task] < values.shape[1]][:n]]
            for task, values in outcomes.items()
        }

    usual = item.strategies.index(USUAL) if USUAL in item.strategies else 0
    costs = np.ones((len(groups), len(item.strategies)))
    belief = believe(part(item.learned, OURS))
    chosen, _ = best_if_sure(belief, costs, usual=usual)
    rest = [
        np.nanmean(values[chosen[g], orders[task][OURS:]]) if len(orders[task]) > OURS else np.nan
        for g, (task, values) in enumerate(item.learned.items())
    ]
    bias = 100 * (belief.mean[groups, chosen] - np.array(rest))
    figures = {
        "headroom": _headroom(item.finals, rng),
        "regret_learned": regret(chosen),
        "regret_prompted": regret(best(believe(part(item.prompted, OURS)), costs)),
        "regret_best_single": 100 * float(top.mean() - item.final.mean(0).max()),
        "regret_random": 100 * float((top - item.final.mean(1)).mean()),
        "bias": float(np.nanmean(bias)) if not np.isnan(bias).all() else 0.0,
    }
    for n in SIZES:
        means = [np.nanmean(values, axis=1) for values in part(item.learned, n).values()]
        figures[f"naive_{n}"] = regret(np.nan_to_num(np.stack(means), nan=-1.0).argmax(1))
    return figures


def _headroom(finals: Mapping[str, Array], rng: np.random.Generator) -> float:
    """Return what the best strategy of each task gains over the best single one, in points.

    Both are chosen on one half of the held-out examples and compared on the other. Chosen and
    compared on the same ones, chance would count as gain.
    """
    halves: tuple[list[Array], list[Array]] = ([], [])
    for values in finals.values():
        for half, columns in zip(
            halves, np.array_split(rng.permutation(values.shape[1]), 2), strict=True
        ):
            half.append(values[:, columns].mean(1))
    choosing, comparing = map(np.stack, halves)
    by_task = comparing[np.arange(len(finals)), choosing.argmax(1)]
    return 100 * float((by_task - comparing[:, choosing.mean(0).argmax()]).mean())


def calls_for(naive: Mapping[int, float], regret: float) -> float | None:
    """Return how many examples the naive choice needs for this regret, between the sizes too."""
    points = sorted(naive.items())
    for (n, high), (m, low) in pairwise(points):
        if high <= regret:
            return float(n)
        if low <= regret:
            return n + (m - n) * (high - regret) / (high - low)
    return None


def main() -> None:
    """Write the recorded outcomes of a finished ablation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("recipe", help="its name")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for folder in record(arguments.workspace, arguments.recipe, arguments.folder):
        print(folder)


if __name__ == "__main__":
    main()
