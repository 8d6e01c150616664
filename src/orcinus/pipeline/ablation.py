"""Compare a recipe with variants of it: one part switched at a time, same seeds, same items.

    orcinus ablate recipe.yaml --seeds 3
    → best, fixed, random, prompt kept, no system message, unverified … in one table and one chart

Every arm is the recipe with a few keys changed, run in a folder of its own. A recipe may name its
own arms (``arms:``), which then take the place of the usual ones. What arms have in common, such as
the probe and the teacher's answers, is in the ledger and is paid for once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from orcinus.core import stats
from orcinus.core.errors import ConfigError
from orcinus.core.files import write_atomically
from orcinus.core.printing import markdown_text
from orcinus.core.types import Judged
from orcinus.evaluation.scores import read_scores
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import Progress, Runtime
from orcinus.runs.folders import finished_steps, summary_of

BASE = "best, erased"
"""The arm that is the recipe itself; every other arm is compared with it."""
ANSWERS_ONLY = "answers only"
"""The arm that is trained on the teacher's answers without the explanations."""
Equal = Literal["examples", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """One arm over all seeds."""

    arm: str
    mean: float
    """Accuracy of the trained student: mean of tasks, over seeds."""
    by_seed: tuple[float, ...]
    difference: float | None
    """Mean of tasks minus that of the recipe, paired by seed and item; None for the recipe."""
    low: float | None
    high: float | None
    """Bounds of its 95 % bootstrap interval over items."""
    p_value: float | None
    """Paired test over items, each with its mean over seeds, after Holm's correction over arms."""
    answer_tokens: float
    """Mean tokens that the trained student writes in one answer."""
    repaired: int
    """Answers that are right and were wrong before training, over all seeds."""
    lost: int
    """Answers that are wrong and were right before training, over all seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """All arms, and the number of seeds and items behind them."""

    rows: tuple[ArmResult, ...]
    seeds: tuple[int, ...]
    items: int
    """Held-out items of one seed."""
    untrained: float
    """Accuracy of the student before training, mean over seeds."""
    equal: Equal
    """What every arm has the same number of: examples, or response tokens."""


def arms_of(recipe: Recipe) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the arms by name: for each section the keys that the arm changes."""
    names = [strategy.name for strategy in recipe.resolved_strategies()]
    arms: dict[str, dict[str, dict[str, Any]]] = {BASE: {}, ANSWERS_ONLY: {}}
    for name in names:
        arms[f"all {name}"] = {"assign": {"fixed": name}}
    if recipe.tries:
        arms["prompted choice"] = {"assign": {"measure": "prompted"}}
    if len(names) > 1:
        arms["teacher's best strategy"] = {"assign": {"whose": "teacher"}}
        arms["longest strategy"] = {"assign": {"fixed": "longest"}}
        arms["random strategy"] = {"assign": {"fixed": "random"}}
    arms["prompt kept"] = {"erase": {"mode": "kept"}}
    arms["no system message"] = {"erase": {"mode": "empty"}}
    arms["unverified"] = {"curate": {"keep": "all"}}
    if recipe.assistant is not None:
        last = recipe.train.stages[-1].model_copy(
            update={"teachers": (), "replay": 0.0, "mix": None}
        )
        arms["mixed, one stage"] = {
            "train": {"stages": (last.model_copy(update={"name": "mixed"}),)}
        }
        alone = last.model_copy(update={"name": "teacher only", "teachers": ("teacher",)})
        arms["teacher only"] = {"train": {"stages": (alone,)}}
    return {**arms, **{name: dict(changes) for name, changes in recipe.arms.items()}}


def variant(
    recipe: Recipe,
    name: str,
    changes: Mapping[str, Mapping[str, Any]],
    seed: int,
    tokens: int | None = None,
) -> Recipe:
    """Return the recipe of one arm and seed: a run of its own.

    Only the arm's trained student is evaluated. With the recipe itself, so are the untrained
    student and the one trained on answers.

    Args:
        recipe: The base recipe.
        name: Name of the arm.
        changes: By section, the keys that the arm changes.
        seed: Seed of the run.
        tokens: Response tokens to learn from over all stages; None keeps the recipe's epochs.
    """
    update: dict[str, Any] = {}
    if name in recipe.arms:
        recipe = recipe.as_arm(name)
    else:
        update = {
            section: getattr(recipe, section).model_copy(update=dict(keys))
            for section, keys in changes.items()
        }
    answers = () if recipe.arms else ("answer_only",)
    evaluated = {BASE: ("before", *answers, "after"), ANSWERS_ONLY: ("answer_only",)}.get(
        name, ("after",)
    )
    update["evaluate"] = recipe.evaluate.model_copy(update={"arms": evaluated})
    if tokens is not None:
        train = update.get("train", recipe.train)
        share = tokens // len(train.stages)
        stages = tuple(stage.model_copy(update={"tokens": max(1, share)}) for stage in train.stages)
        update["train"] = train.model_copy(update={"stages": stages})
    named = run_name(recipe.name, name, seed, equal_tokens=tokens is not None)
    return recipe.model_copy(update={**update, "name": named, "seed": seed})


def run_name(recipe: str, arm: str, seed: int, *, equal_tokens: bool = False) -> str:
    """Return the name of the run of one arm and seed, from the recipe's name."""
    slug = "".join(character if character.isalnum() else "-" for character in arm)
    return f"{recipe}-{slug}{'-equal-tokens' if equal_tokens else ''}-{seed}"


async def ablate(
    recipe: Recipe,
    recipe_path: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    seeds: Sequence[int],
    only: Sequence[str],
    equal: Equal = "examples",
) -> Ablation:
    """Run every arm with every seed, and compare.

    Args:
        recipe: The base arm.
        recipe_path: Its file; the recipe's relative paths start in its folder.
        runtime: Where and how fast.
        progress: Receives how far it is.
        seeds: Seeds of whole runs, including how examples are split.
        only: Names of arms to run beside the base; empty runs those that the recipe names, or the
            usual ones.
        equal: What every arm has the same number of: passes over its examples, or response tokens.

    Raises:
        ConfigError: An arm of ``only`` does not exist.
        OrcinusError: A run cannot be done. What is done is kept; the same call resumes.
    """
    arms, base = arms_of(recipe), recipe_path.resolve().parent
    for name in only:
        if name not in arms:
            raise ConfigError(f"no arm named {name!r}; known: {'; '.join(arms)}")
    wanted = only or recipe.arms or arms
    chosen = [name for name in arms if name in wanted or name == BASE]
    values: dict[str, dict[tuple[int, str, str], float]] = {name: {} for name in chosen}
    tokens: dict[str, list[int]] = {name: [] for name in chosen}
    untrained: list[float] = []
    before: dict[tuple[int, str, str], float] = {}
    results: list[Ablation] = []
    for number, seed in enumerate(seeds, 1):
        budget: int | None = None
        base_dir = runtime.workspace
        for name in chosen:
            progress.note(f"arm {name}, seed {seed}")
            if name == ANSWERS_ONLY and equal == "examples":
                run_dir = base_dir  # trained and evaluated in the run of the base arm
            else:
                made = variant(recipe, name, arms[name], seed, budget)
                run_dir = await run_recipe(
                    made, None, runtime, progress, base=base, until="evaluate"
                )
            folder = finished_steps(run_dir, "evaluate")[0]
            asked = "answer_only" if name == ANSWERS_ONLY else "after"
            for key, judged in _judged(folder / layout.attempts(asked), seed):
                values[name][key] = judged.verdict.value or 0.0
                tokens[name].append(judged.attempt.usage.tokens_out)
            if name == BASE:
                base_dir = run_dir
                for key, judged in _judged(folder / layout.attempts("before"), seed):
                    before[key] = judged.verdict.value or 0.0
                untrained.append(read_scores(folder).arms["before"].accuracy.macro.mean or 0.0)
                budget = _learnt_tokens(run_dir) if equal == "tokens" else None
        found = Ablation(
            rows=tuple(_compare_arms(values, before, tokens, seeds[:number])),
            seeds=tuple(seeds[:number]),
            items=len(values[BASE]) // number,
            untrained=float(np.mean(untrained)),
            equal=equal,
        )
        _write(recipe, found, runtime)
        results.append(found)
    return results[-1]


def _write(recipe: Recipe, result: Ablation, runtime: Runtime) -> None:
    """Write what there is after a seed, as JSON, Markdown and a chart."""
    stem = f"{recipe.name}-ablation" + ("-equal-tokens" if result.equal == "tokens" else "")
    for suffix, content in (
        ("json", orjson.dumps(result, option=orjson.OPT_INDENT_2)),
        ("md", markdown(result).encode()),
        ("svg", plot(result).encode()),
    ):
        write_atomically(runtime.workspace / f"{stem}.{suffix}", content)


def _judged(path: Path, seed: int) -> Iterator[tuple[tuple[int, str, str], Judged]]:
    """Yield an evaluation's answers by seed, task and example."""
    for judged in tables.read_judged(path):
        yield (seed, judged.attempt.task, judged.attempt.example_id), judged


def _learnt_tokens(run_dir: Path) -> int:
    """Return the response tokens that a run's student learnt from, counting every pass."""
    facts = summary_of(finished_steps(run_dir, "train")[0])["summary"]["stages"]
    return sum(stage["learnt_tokens"] for stage in facts.values())


def _compare_arms(
    values: Mapping[str, Mapping[tuple[int, str, str], float]],
    before: Mapping[tuple[int, str, str], float],
    tokens: Mapping[str, Sequence[int]],
    seeds: Sequence[int],
) -> Iterable[ArmResult]:
    """Yield each arm, compared with the base on the items that both have.

    Answers to one item under several seeds depend on each other, so the item's mean over seeds is
    what is compared.
    """
    base = values[BASE]
    found: dict[str, stats.Compared] = {}
    for name, mine in values.items():
        if name != BASE:
            shared = base.keys() & mine.keys()
            a, b = _over_seeds(mine, shared), _over_seeds(base, shared)
            items = sorted(a)
            found[name] = stats.compare(
                [a[item] for item in items],
                [b[item] for item in items],
                seed=0,
                strata=[task for task, _ in items],
            )
    corrected = dict(zip(found, stats.holm([row.p_value for row in found.values()]), strict=True))
    for name, mine in values.items():
        by_seed = tuple(
            stats.mean_of_strata(*zip(*of_seed, strict=True))
            for seed in seeds
            if (of_seed := [(v, task) for (s, task, _), v in mine.items() if s == seed])
        )
        compared = found.get(name)
        yield ArmResult(
            arm=name,
            mean=stats.mean_of_strata(list(mine.values()), [task for _, task, _ in mine]),
            by_seed=by_seed,
            difference=None if compared is None else compared.difference,
            low=None if compared is None else compared.low,
            high=None if compared is None else compared.high,
            p_value=float(corrected[name]) if name in corrected else None,
            answer_tokens=float(np.mean(tokens[name])),
            repaired=sum(value > before.get(key, value) for key, value in mine.items()),
            lost=sum(value < before.get(key, value) for key, value in mine.items()),
        )


def _over_seeds(
    values: Mapping[tuple[int, str, str], float], chosen: Iterable[tuple[int, str, str]]
) -> dict[tuple[str, str], float]:
    """Return the mean over seeds of each item, by (task, id)."""
    by_item: dict[tuple[str, str], list[float]] = {}
    for key in sorted(chosen):
        by_item.setdefault(key[1:], []).append(values[key])
    return {item: float(np.mean(found)) for item, found in by_item.items()}


def markdown(result: Ablation) -> str:
    """Return the arms as a Markdown table, the best one first."""
    from orcinus.reports.words import chance, percent, points

    lines = [
        f"{len(result.seeds)} seeds ({', '.join(map(str, result.seeds))}), {result.items} held-out "
        f"items each. Untrained {percent(result.untrained)}. Every arm learns from the same "
        + ("number of response tokens." if result.equal == "tokens" else "number of examples."),
        "",
        "| arm | accuracy | by seed | against the recipe | 95 % interval | p (Holm) "
        "| repaired | lost | tokens per answer |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(result.rows, key=lambda row: -row.mean):
        by_seed = ", ".join(percent(value, 0) for value in row.by_seed)
        if row.difference is None or row.low is None or row.high is None:
            against, interval = "–", "–"
        else:
            against, interval = points(row.difference), f"{points(row.low)} … {points(row.high)}"
        lines.append(
            f"| {markdown_text(row.arm)} | {percent(row.mean)} | {by_seed} | {against} "
            f"| {interval} "
            f"| {chance(row.p_value)} | {row.repaired:,} | {row.lost:,} "
            f"| {row.answer_tokens:.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(result: Ablation) -> str:
    """Return a chart of the differences with their intervals, the best arm on top, as SVG."""
    from orcinus.reports.charts import differences

    rows = [
        row for row in sorted(result.rows, key=lambda row: -row.mean) if row.difference is not None
    ]
    return differences(
        [(row.arm, row.difference or 0.0, row.low or 0.0, row.high or 0.0) for row in rows],
        title=f"Accuracy against “{BASE}” in points, 95 % intervals; "
        f"{len(result.seeds)} seeds, {result.items} items each",
    )
