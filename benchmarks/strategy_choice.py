"""Choosing strategies on real recorded outcomes: n probes a task, choose, score on the rest; against the naive choice.

    python -m benchmarks.strategy_choice --truth ../shared/data/truth [--quick] [--json]

code-davinci-002 answered every question of 27 BIG-Bench Hard tasks directly and step by step; the sources' verdicts are the truth.
A split of each task's questions into a pool to probe from and a rest to score on is drawn anew for every seed. ``naive`` takes
the strategy with the best observed mean; ``shrunk`` is ``orcinus.choosing`` with the same probes; ``adaptive`` spends the same
number of calls where they tell most.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orcinus.choosing import believe, best, next_wave

Array = NDArray[np.float64]
COSTS = np.array([[3.0, 100.0]])
"""Mean written tokens of a direct and of a step-by-step answer."""
POOL = 0.6
"""Share of a task's questions that may be probed; the rest scores the choice."""


def load(folder: Path) -> dict[str, Array]:
    """By task (2, n): right or not, directly and step by step, on the questions that have both."""
    verdicts = []
    for name in ("bbh_codex_direct", "bbh_codex_cot"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            verdicts.append({(row["task"], row["id"]): float(row["correct"]) for row in map(json.loads, file)})
    shared = sorted(verdicts[0].keys() & verdicts[1].keys())
    return {
        task: np.array([[verdict[key] for key in shared if key[0] == task] for verdict in verdicts])
        for task in sorted({task for task, _ in shared})
    }


class Trial:
    """One random split of every task."""

    def __init__(self, data: Mapping[str, Array], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.pool: dict[str, Array] = {}
        self.truth = np.empty((len(data), 2))
        for g, (task, values) in enumerate(data.items()):
            order = rng.permutation(values.shape[1])
            cut = round(POOL * len(order))
            self.pool[task] = values[:, order[:cut]]
            self.truth[g] = values[:, order[cut:]].mean(1)

    def probes(self, n: int) -> dict[str, Array]:
        return {task: values[:, :n] for task, values in self.pool.items()}

    def adaptive(self, n: int, *, first: int, wave: int, hopeless: float, seed: int) -> tuple[dict[str, Array], int]:
        """Probes with the calls of n a task and strategy, given out in waves."""
        budget = 2 * n * len(self.pool)
        asked = {task: np.full_like(values, np.nan) for task, values in self.pool.items()}
        sizes = dict.fromkeys(asked, 0)
        spent = 0

        def ask(task: str, strategies: tuple[int, ...], count: int) -> None:
            nonlocal spent
            end = min(sizes[task] + count, self.pool[task].shape[1])
            for s in strategies:
                asked[task][s, sizes[task] : end] = self.pool[task][s, sizes[task] : end]
                spent += end - sizes[task]
            sizes[task] = end

        for task in asked:
            ask(task, (0, 1), first)
        while True:
            room = {task: self.pool[task].shape[1] - sizes[task] for task in asked}
            plan = next_wave(
                believe(trimmed(asked)), budget=budget - spent, size=wave, room=room, hopeless=hopeless, seed=seed
            )
            if not plan.strategies:
                return trimmed(asked), spent
            for task, strategies in plan.strategies.items():
                ask(task, strategies, wave)


def trimmed(asked: Mapping[str, Array]) -> dict[str, Array]:
    return {task: values[:, ~np.isnan(values).all(0)] for task, values in asked.items()}


def naive(outcomes: Mapping[str, Array]) -> tuple[NDArray[np.int64], Array]:
    means = np.stack([np.nanmean(values, axis=1) for values in outcomes.values()])
    chosen = means.argmax(1)
    return chosen, means[np.arange(len(means)), chosen]


def shrunk(outcomes: Mapping[str, Array]) -> tuple[NDArray[np.int64], Array]:
    belief = believe(outcomes)
    chosen = best(belief, np.repeat(COSTS, len(outcomes), axis=0))
    return chosen, belief.mean[np.arange(len(chosen)), chosen]


Chooser = Callable[[Mapping[str, Array]], tuple[NDArray[np.int64], Array]]


def measured(results: Iterator[tuple[NDArray[np.int64], Array, Array]], oracle: NDArray[np.int64]) -> dict[str, float]:
    """Held-out macro accuracy (%), wrong choices (%), and how much too high the chosen strategy's estimate is (points)."""
    macro, wrong, bias = [], [], []
    for chosen, estimate, truth in results:
        got = truth[np.arange(len(chosen)), chosen]
        macro.append(got.mean())
        wrong.append((chosen != oracle).mean())
        bias.append((estimate - got).mean())
    return {
        "macro": 100 * float(np.mean(macro)),
        "macro_se": 100 * float(np.std(macro) / np.sqrt(len(macro))),
        "wrong": 100 * float(np.mean(wrong)),
        "bias_points": 100 * float(np.mean(bias)),
    }


def run(data: Mapping[str, Array], seeds: int) -> dict[str, object]:
    trials = [Trial(data, seed) for seed in range(seeds)]
    oracle = np.stack([values.mean(1) for values in data.values()]).argmax(1)

    def static(choose: Chooser, n: int) -> dict[str, float]:
        return measured(((*choose(trial.probes(n)), trial.truth) for trial in trials), oracle)

    figures: dict[str, object] = {
        "tasks": len(data),
        "questions": int(sum(values.shape[1] for values in data.values())),
        "seeds": seeds,
        "always": {
            name: 100 * float(np.mean([trial.truth[:, s].mean() for trial in trials]))
            for s, name in enumerate(("direct", "step_by_step"))
        },
        "best_per_task": 100 * float(np.mean([trial.truth[np.arange(len(data)), oracle].mean() for trial in trials])),
        "naive": {n: static(naive, n) for n in (5, 10, 20, 50)},
        "shrunk": {n: static(shrunk, n) for n in (5, 10, 20, 50)},
    }
    adaptive = {}
    for n in (10, 15, 20):
        results, calls = [], []
        for trial in trials:
            asked, spent = trial.adaptive(n, first=max(4, n // 2), wave=5, hopeless=0.02, seed=0)
            results.append((*shrunk(asked), trial.truth))
            calls.append(spent / (2 * len(data)))
        adaptive[n] = {**measured(iter(results), oracle), "probes_per_task_and_strategy": float(np.mean(calls))}
    figures["adaptive"] = adaptive
    figures["macro_at_20"] = adaptive[20]["macro"]
    figures["naive_macro_at_50"] = static(naive, 50)["macro"]
    figures["bias_points"] = adaptive[20]["bias_points"]
    curve = {n: static(naive, n)["wrong"] for n in (10, 20, 30, 40, 50)}
    figures["naive_wrong"] = curve
    target = adaptive[20]["wrong"]
    reached = [n for n, wrong in curve.items() if wrong <= target]
    figures["calls_vs_naive"] = adaptive[20]["probes_per_task_and_strategy"] / (min(reached) if reached else 50)
    figures["calls_vs_naive_is"] = (
        "exact" if reached else "an upper bound: 50 probes do not suffice for the naive choice"
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, default=Path("../shared/data/truth"))
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.truth.is_dir():
        sys.exit(f"{arguments.truth}: the recorded outcomes are not there; give their folder with --truth")
    figures = run(load(arguments.truth), 40 if arguments.quick else arguments.seeds)
    print(json.dumps(figures) if arguments.json else json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
