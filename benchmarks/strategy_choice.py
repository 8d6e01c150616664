"""Choosing strategies on recorded outcomes: probe, choose, score on the rest.

    python -m benchmarks.strategy_choice --truth ../shared/data/truth [--quick] [--json]
    python -m benchmarks.strategy_choice --learned DIR [--quick] [--json]

code-davinci-002 answered every question of 27 BIG-Bench Hard tasks directly and step by step. The
sources' verdicts are the truth. Every seed splits each task's questions anew into a pool to probe
and a rest to score on. ``naive`` takes the strategy with the best observed mean. ``shrunk`` is
``orcinus.strategies.choosing`` on the same probes. ``ours`` is what a recipe does with the calls of
20 probes per task and strategy: 16 in adaptive waves, and 8 fresh ones to measure the chosen
strategy again. A choice is wrong when another strategy is better over all questions of the task.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import learned_choice
from orcinus.strategies.choosing import believe, best, next_wave

Array = NDArray[np.float64]
COSTS = np.array([[3.0, 100.0]])
"""Mean written tokens of a direct and of a step-by-step answer."""
POOL = 0.6
"""Share of a task's questions that may be probed; the rest scores the choice."""


def load(folder: Path) -> dict[str, Array]:
    """Return outcomes by task (2, n): direct and step by step, on questions with both."""
    verdicts = []
    for name in ("bbh_codex_direct", "bbh_codex_cot"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            verdicts.append(
                {(row["task"], row["id"]): float(row["correct"]) for row in map(json.loads, file)}
            )
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

    def adaptive(
        self, n: int, *, first: int, wave: int, hopeless: float, seed: int
    ) -> tuple[dict[str, Array], int]:
        """Give out the calls of n probes per task and strategy in waves."""
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
                believe(trimmed(asked)),
                budget=budget - spent,
                size=wave,
                room=room,
                hopeless=hopeless,
                seed=seed,
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


def ours(trial: "Trial", n: int) -> tuple[NDArray[np.int64], Array, float]:
    """Return the choice, the mean second estimate, and the probes per task and strategy."""
    waves = round(0.8 * n)
    confirm = round(2 * (n - waves))
    asked, spent = trial.adaptive(waves, first=waves // 2, wave=8, hopeless=0.02, seed=0)
    chosen, _ = shrunk(asked)
    estimate = np.full(len(chosen), np.nan)
    for g, (task, values) in enumerate(trial.pool.items()):
        fresh = values[chosen[g], asked[task].shape[1] :]
        if len(fresh):
            # Any fresh question may be drawn: their mean is the expected result of the draw.
            estimate[g] = fresh.mean()
            spent += min(confirm, len(fresh))
    return chosen, estimate, spent / (2 * len(chosen))


Chooser = Callable[[Mapping[str, Array]], tuple[NDArray[np.int64], Array]]


def measured(
    results: Iterator[tuple[NDArray[np.int64], Array, Array]], whole: Array
) -> dict[str, float]:
    """Return macro accuracy (%), wrong choices (%), and the bias of the estimate (points)."""
    macro, wrong, bias = [], [], []
    for chosen, estimate, truth in results:
        rows = np.arange(len(chosen))
        got = truth[rows, chosen]
        macro.append(got.mean())
        wrong.append((whole[rows, chosen] < whole.max(1) - 1e-9).mean())
        bias.append(np.nanmean(estimate - got))
    return {
        "macro": 100 * float(np.mean(macro)),
        "macro_se": 100 * float(np.std(macro) / np.sqrt(len(macro))),
        "wrong": 100 * float(np.mean(wrong)),
        "bias_points": 100 * float(np.mean(bias)),
    }


def run(data: Mapping[str, Array], seeds: int) -> dict[str, object]:
    trials = [Trial(data, seed) for seed in range(seeds)]
    whole = np.stack([values.mean(1) for values in data.values()])

    def static(choose: Chooser, n: int) -> dict[str, float]:
        return measured(((*choose(trial.probes(n)), trial.truth) for trial in trials), whole)

    smaller = {n: static(naive, n) for n in (5, 10, 15, 20, 25, 30, 35, 40, 45, 50)}
    found = [(*ours(trial, 20), trial.truth) for trial in trials]
    mine = measured(((chosen, estimate, truth) for chosen, estimate, _, truth in found), whole)
    probes = float(np.mean([spent for _, _, spent, _ in found]))
    reached = [n for n, figures in smaller.items() if figures["wrong"] <= mine["wrong"]]
    rows = np.arange(len(whole))
    return {
        "tasks": len(data),
        "questions": int(sum(values.shape[1] for values in data.values())),
        "seeds": seeds,
        "always": {
            name: 100 * float(np.mean([trial.truth[:, s].mean() for trial in trials]))
            for s, name in enumerate(("direct", "step_by_step"))
        },
        "best_per_task": 100
        * float(np.mean([trial.truth[rows, whole.argmax(1)].mean() for trial in trials])),
        "naive": {n: smaller[n] for n in (5, 10, 20, 50)},
        "shrunk": {n: static(shrunk, n) for n in (5, 10, 20, 50)},
        "ours": {**mine, "probes_per_task_and_strategy": probes},
        "macro_at_20": mine["macro"],
        "naive_macro_at_50": smaller[50]["macro"],
        "bias_points": mine["bias_points"],
        "calls_vs_naive": probes / (min(reached) if reached else 50),
        "calls_vs_naive_is": "a ratio"
        if reached
        else "an upper bound: even with 50 probes the naive choice is wrong more often",
    }


def table(figures: Mapping[str, Any]) -> str:
    lines = [
        "| choice | probes | held-out macro % | wrong choices % | estimate too high by |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| always {name} | 0 | {value:.2f} | | |" for name, value in figures["always"].items()
    ]
    for kind in ("naive", "shrunk"):
        lines += [
            f"| {kind} | {n} | {row['macro']:.2f} | {row['wrong']:.1f} | "
            f"{row['bias_points']:+.2f} |"
            for n, row in figures[kind].items()
        ]
    mine = figures["ours"]
    probes = mine["probes_per_task_and_strategy"]
    lines.append(
        f"| ours | {probes:.1f} | {mine['macro']:.2f} | {mine['wrong']:.1f} | "
        f"{mine['bias_points']:+.2f} |"
    )
    lines.append(f"| best per task, known | | {figures['best_per_task']:.2f} | 0 | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, default=Path("../shared/data/truth"))
    parser.add_argument(
        "--learned", type=Path, help="folder of recorded trials: see benchmarks/learned_choice.py"
    )
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.learned is not None:
        figures = learned_choice.replay(
            learned_choice.load(arguments.learned), 100 if arguments.quick else arguments.seeds
        )
        print(json.dumps(figures) if arguments.json else json.dumps(figures, indent=2))
        return
    if not arguments.truth.is_dir():
        sys.exit(
            f"{arguments.truth}: the recorded outcomes are not there; give their folder with "
            "--truth"
        )
    figures = run(load(arguments.truth), 100 if arguments.quick else arguments.seeds)
    if not arguments.json:
        print(table(figures))
        print(
            f"\n{figures['tasks']} tasks, {figures['questions']} questions, {figures['seeds']} "
            "seeds"
        )
        print(
            f"calls for as few wrong choices as the naive choice: "
            f"{figures['calls_vs_naive']:.2f}, {figures['calls_vs_naive_is']}"
        )
        return
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
