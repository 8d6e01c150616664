"""Choosing strategies on recorded outcomes: probe, choose, score on the rest.

    python -m benchmarks.strategy_choice --truth ../shared/data/truth [--quick] [--json]
    python -m benchmarks.strategy_choice --learned DIR [--quick] [--json]

Two models answered every question directly and step by step: ``bbh`` is code-davinci-002 on 27
tasks of BIG-Bench Hard, ``zero_shot`` text-davinci-002 on 12 other tasks. The sources' verdicts are
the truth. Every seed splits each task's questions anew into a pool to probe and a rest to score on.

``naive`` takes the strategy with the best observed mean. ``shrunk`` is
``orcinus.strategies.choosing`` on the same probes. ``ours`` is what a recipe does with the calls of
20 probes per task and strategy: they go out in adaptive waves, and where the chosen strategy's
accuracy may lie on the other side of the floor, up to 8 fresh ones measure it again.

A choice is wrong when another strategy is better over all questions of the task. Regret is the
accuracy so lost. ``calls_vs_naive`` is by wrong choices: our calls over those of the naive choice
that is wrong as often, between the sizes too. ``bias_points`` is of the estimates on fresh probes.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import learned_choice
from orcinus.strategies.choosing import believe, best, next_wave
from orcinus.strategies.contest import ABOVE_GUESSING, NEAR

Array = NDArray[np.float64]
CONFIRM = 8
"""Fresh probes of the chosen strategy."""
COSTS = np.array([[3.0, 100.0]])
"""Mean written tokens of a direct and of a step-by-step answer."""
CHOICE_GUESS = 0.25
"""Assumed chance of guessing among options, whose number the recorded verdicts do not tell."""
SIZES = (3, 5, 8, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50)
"""Probes per task and strategy at which the naive choice is replayed."""
POOL = 0.6
"""Share of a task's questions that may be probed; the rest scores the choice."""


def load(folder: Path) -> dict[str, dict[str, Array]]:
    """Return by set and task the outcomes (2, n): direct and step by step, on the same questions.

    The third row is the chance of guessing each answer, as far as its type tells.
    """
    end = "_direct.jsonl.gz"
    zero_shot = sorted(path.name.removesuffix(end) for path in folder.glob(f"zscot_*{end}"))
    return {"bbh": _read(folder, ["bbh_codex"]), "zero_shot": _read(folder, zero_shot)}


def _read(folder: Path, names: Sequence[str]) -> dict[str, Array]:
    verdicts: list[dict[tuple[str, str], float]] = [{}, {}]
    guesses: dict[tuple[str, str], float] = {}
    for name in names:
        for found, kind in zip(verdicts, ("direct", "cot"), strict=True):
            path = folder / f"{name}_{kind}.jsonl.gz"
            with gzip.open(path, "rt", encoding="utf-8") as file:
                for row in map(json.loads, file):
                    key = row["task"], row["id"]
                    found[key] = float(bool(row["correct"]))
                    guesses[key] = {"bool": 0.5, "choice": CHOICE_GUESS}.get(row["answer_type"], 0)
    shared = sorted(verdicts[0].keys() & verdicts[1].keys())
    return {
        task: np.array(
            [[row[key] for key in shared if key[0] == task] for row in (*verdicts, guesses)]
        )
        for task in sorted({task for task, _ in shared})
    }


class Trial:
    """One random split of every task."""

    def __init__(self, data: Mapping[str, Array], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.pool: dict[str, Array] = {}
        self.truth = np.empty((len(data), 2))
        self.floors = np.array([values[2].mean() + ABOVE_GUESSING for values in data.values()])
        for g, (task, rows) in enumerate(data.items()):
            values = rows[:2]
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
    """Return the choice, the second estimates where there are some, and the probes per strategy."""
    asked, spent = trial.adaptive(n, first=n // 2, wave=8, hopeless=0.02, seed=0)
    belief = believe(asked)
    chosen = best(belief, np.repeat(COSTS, len(asked), axis=0))
    estimate = np.full(len(chosen), np.nan)
    for g, (task, values) in enumerate(trial.pool.items()):
        spread = belief.covariance[g, chosen[g], chosen[g]] ** 0.5
        near = abs(belief.mean[g, chosen[g]] - trial.floors[g]) <= NEAR * spread
        fresh = values[chosen[g], asked[task].shape[1] :]
        if near and len(fresh):
            # Any fresh question may be drawn: their mean is the expected result of the draw.
            estimate[g] = fresh.mean()
            spent += min(CONFIRM, len(fresh))
    return chosen, estimate, spent / (2 * len(chosen))


Chooser = Callable[[Mapping[str, Array]], tuple[NDArray[np.int64], Array]]


def measured(
    results: Iterator[tuple[NDArray[np.int64], Array, Array]], whole: Array
) -> dict[str, float]:
    """Return macro accuracy and wrong choices (%), regret, and the bias of estimates (points)."""
    macro, wrong, bias, regret = [], [], [], []
    for chosen, estimate, truth in results:
        rows = np.arange(len(chosen))
        got = truth[rows, chosen]
        macro.append(got.mean())
        wrong.append((whole[rows, chosen] < whole.max(1) - 1e-9).mean())
        regret.append((whole.max(1) - whole[rows, chosen]).mean())
        if not np.isnan(estimate).all():
            bias.append(np.nanmean(estimate - got))
    return {
        "macro": 100 * float(np.mean(macro)),
        "macro_se": 100 * float(np.std(macro) / np.sqrt(len(macro))),
        "wrong": 100 * float(np.mean(wrong)),
        "regret": 100 * float(np.mean(regret)),
        "bias_points": 100 * float(np.mean(bias)) if bias else 0.0,
    }


def run(data: Mapping[str, Array], seeds: int) -> dict[str, Any]:
    """Return the figures of one set."""
    trials = [Trial(data, seed) for seed in range(seeds)]
    whole = np.stack([values[:2].mean(1) for values in data.values()])

    def static(choose: Chooser, n: int) -> dict[str, float]:
        return measured(((*choose(trial.probes(n)), trial.truth) for trial in trials), whole)

    curve = {n: static(naive, n) for n in SIZES}
    found = [(*ours(trial, 20), trial.truth) for trial in trials]
    mine = measured(((chosen, estimate, truth) for chosen, estimate, _, truth in found), whole)
    probes = float(np.mean([spent for _, _, spent, _ in found]))
    rows = np.arange(len(whole))
    wrong, regret = ({n: row[key] for n, row in curve.items()} for key in ("wrong", "regret"))
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
        "naive": curve,
        "shrunk": {n: static(shrunk, n) for n in (5, 10, 20, 50)},
        "ours": {**mine, "probes_per_task_and_strategy": probes},
        "bias_points": mine["bias_points"],
        **_calls("calls_vs_naive", probes, wrong, mine["wrong"]),
        **_calls("calls_vs_naive_by_regret", probes, regret, mine["regret"]),
    }


def _calls(name: str, probes: float, curve: Mapping[int, float], mine: float) -> dict[str, Any]:
    """Return our calls over those that the naive choice needs to be as good, and what that is."""
    needed = learned_choice.calls_for(curve, mine)
    return {
        name: probes / (needed or max(curve)),
        f"{name}_is": "a ratio" if needed else "an upper bound: the naive choice never gets there",
    }


def table(figures: Mapping[str, Any]) -> str:
    lines = [
        "| choice | probes | held-out macro % | wrong choices % | regret | estimate too high by |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| always {name} | 0 | {value:.2f} | | | |" for name, value in figures["always"].items()
    ]
    for kind in ("naive", "shrunk"):
        lines += [
            f"| {kind} | {n} | {row['macro']:.2f} | {row['wrong']:.1f} | "
            f"{row['regret']:.2f} | {row['bias_points']:+.2f} |"
            for n, row in figures[kind].items()
        ]
    mine = figures["ours"]
    probes = mine["probes_per_task_and_strategy"]
    lines.append(
        f"| ours | {probes:.1f} | {mine['macro']:.2f} | {mine['wrong']:.1f} | "
        f"{mine['regret']:.2f} | {mine['bias_points']:+.2f} |"
    )
    lines.append(f"| best per task, known | | {figures['best_per_task']:.2f} | 0 | 0 | |")
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
    seeds = 100 if arguments.quick else arguments.seeds
    sets = {name: run(data, seeds) for name, data in load(arguments.truth).items()}
    if arguments.json:
        print(json.dumps({**sets["bbh"], "zero_shot": sets["zero_shot"]}))
        return
    for name, figures in sets.items():
        print(
            f"{name}: {figures['tasks']} tasks, {figures['questions']} questions, "
            f"{figures['seeds']} seeds\n\n{table(figures)}\n"
        )
        for key, what in (
            ("calls_vs_naive", "as few wrong choices"),
            ("calls_vs_naive_by_regret", "as little regret"),
        ):
            print(
                f"calls for {what} as the naive choice: {figures[key]:.2f}, {figures[key + '_is']}"
            )
        print()


if __name__ == "__main__":
    main()
