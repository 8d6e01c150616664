"""Everything that a report says, read from the folders of finished steps. Nothing is computed anew and no model is asked."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orcinus.core import stats
from orcinus.core.results import FALSE_ALARMS
from orcinus.core.types import Assignment, Example, Judged
from orcinus.reports.model_names import model_name, model_names
from orcinus.reports.words import ARMS, percent, points
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.runs.ledger import SpendRow

CURVE_POINTS = 200
"""Points of a loss curve; more cannot be seen."""
NOTICEABLE = 0.1
"""A report says so where a loss of more than this share of the items could have been missed."""
FEW_ITEMS = 100
"""With fewer held-out items a report says that its scores are rough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """How many examples became lessons, step by step."""

    stages: tuple[tuple[str, int], ...]
    drops: tuple[tuple[str, str, int, str], ...]
    """(where, filter, how many, the first one's reason), the most frequent first."""
    quality: Mapping[str, Any] | None
    """What the classifier of ``curate.quality`` is worth; None where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The loss of one arm's training."""

    arm: str
    points: tuple[tuple[float, float], ...]
    """(optimizer step, loss in nats per response token), averaged to at most ``CURVE_POINTS``."""
    stages: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One held-out question with what every arm wrote."""

    example: Example
    answers: tuple[tuple[str, Judged], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What only the model card says."""

    base: str
    """The model that was trained; empty for one made from scratch."""
    teachers: tuple[str, ...]
    licences: tuple[tuple[str, int], ...]
    """Of the questions, with how many lessons have it."""
    system: str
    """The system message that most lessons were learnt under."""
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a page shows."""

    run: str
    description: str
    headline: tuple[str, ...]
    warnings: tuple[str, ...]
    tasks: tuple[dict[str, Any], ...]
    strategies: tuple[str, ...]
    assignments: tuple[Assignment, ...]
    skills: tuple[Mapping[str, Any], ...]
    """The instructions that the teacher wrote, and how each did."""
    funnel: Funnel
    curves: tuple[Curve, ...]
    mixes: tuple[Mapping[str, Any], ...]
    """Shares of a source that trials chose, by arm and stage: the keys of ``trials.Choice`` and ``arm``."""
    arms: Mapping[str, Mapping[str, Any]]
    """By arm, by task (and ``_micro``, ``_macro``): a score."""
    comparisons: tuple[dict[str, Any], ...]
    samples: Mapping[str, Mapping[str, Any]]
    """By arm what k answers to each question are worth together; empty when each was asked once."""
    decided: Mapping[str, Sequence[Mapping[str, Any]]]
    """By arm what each way of deciding among several tries came to and cost: rows of ``results.DecisionScore``."""
    rules: Mapping[str, Mapping[str, Mapping[str, float]]]
    """By published rule, by arm: how many answers it is made for, its mean over them, and ours."""
    retention: tuple[Mapping[str, Any], ...]
    """What training must not cost, before and after: rows of ``results.RetentionScore``."""
    spend: tuple[SpendRow, ...]
    seconds: tuple[tuple[str, float], ...]
    traces: tuple[Trace, ...]
    lessons: tuple[Any, ...]
    recipe: str
    versions: Mapping[str, str]
    commit: str | None
    seed: int
    steps: tuple[tuple[str, str], ...]
    """(folder, fingerprint)."""
    models: Mapping[str, str]
    """By identity the name of each model in a folder, of which the identity is only a hash."""
    card: Card


def gather(
    inputs: Mapping[str, Path], *, spend: Sequence[SpendRow], run: str, seed: int, examples: int
) -> Facts:
    """Read the finished steps of a run.

    Args:
        inputs: Their folders by role.
        spend: What the ledger says the run spent.
        run: Its name.
        seed: Its seed.
        examples: How many questions to show with all answers.
    """
    records = {role: summary_of(folder) for role, folder in inputs.items()}
    scores = orjson.loads((inputs["evaluate"] / layout.SCORES).read_bytes())
    last = inputs.get("skills", inputs["assign"])
    # Runs from before 0.2 may hold assignments of single examples, "TASK#ID": thousands of rows.
    single = "each" in records["assign"]["summary"]
    assignments = [
        assignment
        for assignment in tables.read_assignments(last / layout.ASSIGNMENTS)
        if not (single and "#" in assignment.group)
    ]
    drafts = orjson.loads((last / layout.SKILLS).read_bytes()) if "skills" in inputs else []
    recipe_path = inputs["sample"].parent / layout.RECIPE
    text = recipe_path.read_text(encoding="utf-8") if recipe_path.exists() else ""
    evaluated = records["evaluate"]
    models = model_names(inputs["sample"].parent)
    comparisons = tuple(_with_outcome(row) for row in scores["comparisons"])
    return Facts(
        run=run,
        description=str(_parsed(text).get("description", "")),
        headline=(
            *_headline(scores["arms"], comparisons),
            *_cost_of_training(scores.get("retention", ())),
        ),
        warnings=tuple(_warnings(scores, records, spend)),
        tasks=tuple(
            {"task": task, **counts}
            for task, counts in records["sample"]["summary"]["tasks"].items()
        ),
        strategies=tuple(strategy["name"] for strategy in records["probe"]["config"]["strategies"]),
        assignments=tuple(assignments),
        skills=tuple(drafts),
        funnel=_funnel(inputs, records),
        curves=tuple(_curves(inputs, records)),
        mixes=tuple(_mixes(records)),
        arms=scores["arms"],
        comparisons=comparisons,
        samples=scores.get("samples", {}),
        decided=scores.get("decided", {}),
        rules=_turned(scores.get("rules", {})),
        retention=tuple(scores.get("retention", ())),
        spend=tuple(spend),
        seconds=tuple((record["name"], record["seconds"]) for record in records.values()),
        traces=tuple(_traces(inputs, list(scores["arms"]), examples)),
        lessons=tuple(_first_lessons(inputs["erase"], examples // 2)),
        recipe=text,
        versions=evaluated["versions"],
        commit=evaluated["commit"],
        seed=seed,
        steps=tuple((folder.name, records[role]["fingerprint"]) for role, folder in inputs.items()),
        models=models,
        card=_card(inputs["erase"] / layout.LESSONS, _parsed(text), spend, models),
    )


def facts_of_run(run_dir: Path, spend: Sequence[SpendRow]) -> Facts:
    """What the latest report of a run shows, read again from the folders it was made from.

    Raises:
        ConfigError: The run has no report yet.
    """
    record = summary_of(finished_steps(run_dir, "report")[0])
    return gather(
        {role: run_dir / name for role, name in record["inputs"].items()},
        spend=spend,
        run=run_dir.name,
        seed=record["config"]["seed"],
        examples=record["config"]["examples"],
    )


def _turned(by_arm: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Arm → rule → figures as rule → arm → figures."""
    rules: dict[str, dict[str, Any]] = {}
    for arm, found in by_arm.items():
        for rule, figures in found.items():
            rules.setdefault(rule, {})[arm] = figures
    return rules


def _card(
    lessons: Path, recipe: Mapping[str, Any], spend: Sequence[SpendRow], models: Mapping[str, str]
) -> Card:
    teachers, licences, systems = Counter[str](), Counter[str](), Counter[str]()
    for row in tables.read_rows(lessons, ["teacher", "meta", "messages"]):
        teachers[row["teacher"]] += 1
        licences[orjson.loads(row["meta"]).get("licence") or "not stated"] += 1
        first = row["messages"][0]
        systems[first["content"] if first["role"] == "system" else ""] += 1
    student = recipe.get("student")
    return Card(
        base=str(student.get("path", "")) if isinstance(student, dict) else "",
        teachers=tuple(model_name(teacher, models) for teacher in teachers),
        licences=tuple(licences.most_common()),
        system=max(systems, key=systems.__getitem__, default=""),
        usd=sum(row.cost_usd for row in spend),
    )


def _parsed(text: str) -> Mapping[str, Any]:
    import yaml

    recipe = yaml.safe_load(text) if text else None
    return recipe if isinstance(recipe, dict) else {}


def _with_outcome(row: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison with what it may be said to show; of a single task after Holm's correction."""
    p_value = row["p_value"] if row["task"] is None else row["p_holm"]
    return {**row, "outcome": stats.outcome(row["low"], row["high"], p_value)}


def _headline(arms: Mapping[str, Any], comparisons: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """The result in sentences, the same whether it pleases or not."""
    if "after" not in arms:
        return
    after = arms["after"]["_macro"]
    yield (
        f"After training on explanations the student answers {percent(after['mean'])} of the held-out questions right "
        f"(mean of tasks; 95 % interval {percent(after['low'])} to {percent(after['high'])})."
    )
    for row in comparisons:
        if row["task"] is None:
            yield _compared(row)


def _cost_of_training(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """What training cost on tasks that must not suffer; also said when no loss was found."""
    lost = [row for row in rows if row["p_holm"] < FALSE_ALARMS]
    for row in lost:
        yield (
            f"Warning: training cost something. {_name(row)} fell from {percent(row['before'])} to {percent(row['after'])} "
            f"({points(row['difference'])} points, {points(row['low'])} to {points(row['high'])}; n = {row['n']:,}; "
            f"one-sided p after Holm {_p(row['p_holm'])})."
        )
    kept = [row for row in rows if row not in lost]
    if kept:
        yield f"No loss was found on {len(kept)} of {len(rows)} things that training must not cost: {', '.join(map(_name, kept))}."


def _name(row: Mapping[str, Any]) -> str:
    return str(row["what"]).capitalize() if row["kind"] != "task" else str(row["what"])


def _blind(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Where so few items were asked that "no loss was found" says little."""
    for row in rows:
        seen = row["detectable"]
        if row["p_holm"] >= FALSE_ALARMS and (seen is None or seen > NOTICEABLE):
            limit = (
                "Not even a total loss"
                if seen is None
                else f"Only a loss of {percent(seen, 0)} of the items or more"
            )
            yield f"{limit} would have been found on {_name(row)} with its {row['n']:,} items; ask more of them to be sure."


def _compared(row: Mapping[str, Any]) -> str:
    found = row["outcome"]
    edge = (row["low"] > 0 or row["high"] < 0) and found == "not told apart"
    return (
        f"{found.capitalize()} {'from' if found == 'not told apart' else 'than'} the {ARMS[row['b']]}: {points(row['difference'])} points "
        f"({points(row['low'])} to {points(row['high'])}; p {_p(row['p_value'])}; of {row['n']:,} questions that both answered "
        f"{row['repairs']:,} repaired, {row['regressions']:,} lost)."
        + (
            " The interval leaves out zero, the exact test does not: too close to call."
            if edge
            else ""
        )
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _warnings(
    scores: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], spend: Sequence[SpendRow]
) -> Iterable[str]:
    arms = scores["arms"]
    for arm, by_task in arms.items():
        micro = by_task["_micro"]
        if micro["n"] and micro["format_ok"] < 0.9:
            yield (
                f"The {ARMS[arm]} gave no answer that could be found in {micro['n_none']:,} of {micro['n']:,} cases; they count "
                "as not right."
                + (
                    f" Where an answer was found, {percent(micro['mean_given_ok'])} were right."
                    if micro["n"] > micro["n_none"]
                    else ""
                )
            )
        if micro["n_error"]:
            yield f"{micro['n_error']:,} calls of the {ARMS[arm]} failed and are in no score; run the recipe again to ask them."
    yield from _judged_by_a_model(scores, records["evaluate"]["config"])
    if "after" in arms:
        after = arms["after"]["_micro"]
        if after["n"] < FEW_ITEMS:
            yield f"Only {after['n']} held-out items: differences of less than about {percent(after['high'] - after['low'], 0)} cannot be seen."
        if after["mean"] is not None and after["mean"] < 0.1:
            yield "The student's accuracy is very low. It has learnt the form of answers at best, and no conclusion about strategies can rest on it."
    for row in scores["comparisons"]:
        if (
            row["task"] is not None
            and row["b"] != "teacher"
            and row["high"] < 0
            and row["p_holm"] < 0.05
        ):
            yield f"On {row['task']} training made the student worse than the {ARMS[row['b']]} by {points(-row['difference'])[1:]} points (p after Holm {_p(row['p_holm'])})."
    yield from _blind(scores.get("retention", ()))
    for mix in _mixes(records):
        if not any(trial["gain_low"] > 0 for trial in mix["trials"]):
            yield (
                f"The share of stage {mix['stage']} ({ARMS[mix['arm']]}) was chosen among trial students none of whom is clearly better than the one "
                "before the stage: the trials may tell which share costs least and not which teaches most. A larger mix.trial tells more."
            )
    skipped = records["sample"]["summary"].get("skipped") or {}
    for source, number in skipped.items():
        yield f"{number:,} rows of {source} could not be used and were left out; dropped.parquet of the sample step lists them."
    yield from _quality_unused(records["curate"]["summary"].get("quality"))
    unlearnable = records["assign"]["summary"].get("unlearnable", 0)
    if unlearnable:
        yield f"{unlearnable} groups are not yet learnable for this student under any strategy."
    failed = sum(row.errors for row in spend)
    if failed:
        yield f"{failed:,} calls ended in an error over the whole run."


def _quality_unused(found: Mapping[str, Any] | None) -> Iterable[str]:
    """That a classifier was asked for and did not earn its place."""
    if found is not None and not found["used"]:
        yield (
            f"The quality classifier was not used: {found['rated']:,} of the {found['asked']:,} traces that the judge was asked about have a "
            "rating, and what it learnt from them is not clearly better than chance. No trace was left out by it."
        )


def _judged_by_a_model(scores: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[str]:
    """How many verdicts rest on a judge, arm by arm."""
    counts = scores.get("judge", {})
    if not any(found["given"] + found["in_vain"] for found in counts.values()):
        return
    judge = config["judge"]
    name = judge.get("model") or judge.get("function") or judge["kind"]
    parts = [
        f"{found['given']:,} of {scores['arms'][arm]['_micro']['n']:,} ({ARMS[arm]})"
        for arm, found in counts.items()
    ]
    line = f"A proxy: these verdicts were given by a judge, the model {name}, and are as good as it is: {', '.join(parts)}."
    in_vain = sum(found["in_vain"] for found in counts.values())
    yield line + (
        f" {in_vain:,} of its replies gave no verdict; those answers stay unjudged."
        if in_vain
        else ""
    )


def _funnel(inputs: Mapping[str, Path], records: Mapping[str, Mapping[str, Any]]) -> Funnel:
    found = {role: record["summary"] for role, record in records.items()}
    to_teach = sum(counts.get("teach", 0) for counts in found["sample"]["tasks"].values())
    taught = [found[role] for role in ("teach_assistant", "teach") if role in found]
    curated = [found[role] for role in ("curate_assistant", "curate") if role in found]
    asked = sum(summary["attempts"] for summary in taught)
    stages = (
        ("examples to teach", to_teach),
        *((("selected of them", found["select"]["kept"]),) if "select" in found else ()),
        ("traces asked for", asked),
        ("traces that arrived", asked - sum(summary["errors"] for summary in taught)),
        ("kept after curation", sum(summary["kept"] for summary in curated)),
        ("lessons", found["erase"]["lessons"]),
    )
    drops: list[tuple[str, str, int, str]] = []
    for role in ("sample", "select", "curate_assistant", "curate"):
        summary, name = found.get(role, {"dropped": {}}), role.replace("_", ", ")
        reasons = summary.get("for_example", {})
        drops += [
            (name, by, number, reasons.get(by, "")) for by, number in summary["dropped"].items()
        ]
    if found["erase"]["leaks"]:
        drops.append(
            ("erase", "leak", found["erase"]["leaks"], "the strategy's words are still there")
        )
    drops.sort(key=lambda drop: -drop[2])
    return Funnel(stages=stages, drops=tuple(drops), quality=found["curate"].get("quality"))


def _curves(
    inputs: Mapping[str, Path], records: Mapping[str, Mapping[str, Any]]
) -> Iterable[Curve]:
    for role, arm in (("train", "after"), ("train_answer_only", "answer_only")):
        if role not in inputs:
            continue
        path = inputs[role] / layout.LOSS
        rows = (
            [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        )
        stages = tuple(
            {"name": name, **facts} for name, facts in records[role]["summary"]["stages"].items()
        )
        yield Curve(arm=arm, points=tuple(_thinned(_one_after_another(rows))), stages=stages)


def _mixes(records: Mapping[str, Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for role, arm in (("train", "after"), ("train_answer_only", "answer_only")):
        for choice in records[role]["summary"].get("mix", ()) if role in records else ():
            yield {"arm": arm, **choice}


def _one_after_another(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Stages behind each other on one axis; of a step that was run twice, after an interruption, the later run."""
    latest = {(row["stage"], row["optimizer_step"]): row["loss"] for row in rows}
    return [(float(i), loss) for i, loss in enumerate(latest.values(), 1)]


def _thinned(values: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    width = -(-len(values) // CURVE_POINTS) if values else 1
    for i in range(0, len(values), width):
        part = values[i : i + width]
        yield part[-1][0], sum(loss for _, loss in part) / len(part)


def _traces(inputs: Mapping[str, Path], arms: Sequence[str], wanted: int) -> Iterable[Trace]:
    """Held-out questions with every arm's answer: what training lost first, then repaired, then still wrong, task by task."""
    answers: dict[tuple[str, str], dict[str, Judged]] = {}
    for arm in arms:
        for judged in tables.read_judged(inputs["evaluate"] / layout.attempts(arm)):
            if judged.attempt.sample == 0:
                answers.setdefault((judged.attempt.task, judged.attempt.example_id), {})[arm] = (
                    judged
                )
    ranked: dict[int, dict[str, list[tuple[str, str]]]] = {}
    for key, by_arm in answers.items():
        ranked.setdefault(_interest(by_arm), {}).setdefault(key[0], []).append(key)
    chosen: list[tuple[str, str]] = []
    for rank, share in ((0, 3), (1, 3), (2, 2), (3, 1)):
        lists = list(ranked.get(rank, {}).values())
        picked = [
            keys[i]
            for i in range(max(map(len, lists), default=0))
            for keys in lists
            if i < len(keys)
        ]
        chosen += picked[: max(1, wanted * share // 9)]
    known = {
        (e.task, e.id): e
        for e in tables.read_examples(inputs["sample"] / layout.EXAMPLES, "held_out")
    }
    for key in chosen:
        yield Trace(
            example=known[key],
            answers=tuple((arm, answers[key][arm]) for arm in arms if arm in answers[key]),
        )


def _interest(by_arm: Mapping[str, Judged]) -> int:
    """0 lost by training, 1 repaired by it, 2 wrong before and after, 3 right before and after."""
    before = "before" in by_arm and by_arm["before"].verdict.value == 1.0
    after = "after" in by_arm and by_arm["after"].verdict.value == 1.0
    return {(True, False): 0, (False, True): 1, (False, False): 2, (True, True): 3}[before, after]


def _first_lessons(folder: Path, wanted: int) -> Iterable[Any]:
    """A lesson of each task and strategy, so that a reader sees what was learnt from."""
    seen: set[tuple[str, str]] = set()
    for lesson in tables.read_lessons(folder / layout.LESSONS):
        if (lesson.task, lesson.strategy) not in seen:
            seen.add((lesson.task, lesson.strategy))
            yield lesson
            if len(seen) >= wanted:
                return
