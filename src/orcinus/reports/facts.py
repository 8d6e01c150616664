"""Gather everything that a report shows from the folders of finished steps. Asks no model.

{"sample": runs/demo/sample-1f0c…, "probe": …, "evaluate": …} ──gather──► Facts ──► pages
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.results import Scores
from orcinus.core.types import Assignment, Lesson
from orcinus.evaluation.scores import read_scores
from orcinus.reports.answers import (
    Confusion,
    ListedTask,
    TokenCurve,
    Trace,
    choose_traces,
    confusions,
    list_questions,
    read_answers,
    token_curves,
)
from orcinus.reports.headline import headline, in_plain_words
from orcinus.reports.warnings import Topic, group_by_topic, mixes, warnings_with_topics
from orcinus.reports.wordings import Consistency, DepthCurve, consistencies, depth_curves
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.runs.ledger_figures import SpendRow
from orcinus.runs.losses import read_losses
from orcinus.runs.model_names import given_name, model_name, model_names
from orcinus.strategies.trial_results import TrialResults, TrialStudent

CURVE_POINTS = 200
"""Points of a loss curve at most: about one for each 3 pixels of the chart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """The numbers of examples that remained, step by step, until they were lessons."""

    stages: tuple[tuple[str, int], ...]
    """(what, how many), from the examples to the lessons."""
    drops: tuple[tuple[str, str, int, str], ...]
    """(step, filter, how many, reason for the first), the most frequent first."""
    quality: Mapping[str, Any] | None
    """Accuracy of the classifier of ``curate.quality``; None where there was none."""
    replaced: Mapping[str, int]
    """Unsafe traces that became refusals, by task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The training loss of one arm."""

    arm: str
    points: tuple[tuple[float, float], ...]
    """(optimizer step, mean loss in nats per response token), at most ``CURVE_POINTS``."""
    stages: tuple[dict[str, Any], ...]

    @property
    def kernels(self) -> Mapping[str, str]:
        """What became of each kernel of attention in the last stage; older runs do not say."""
        kernels: Mapping[str, str] = self.stages[-1].get("attention", {}) if self.stages else {}
        return kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The models and the cost of a run, for the report's head, the summary and the model card."""

    base: str
    """Id of the trained model on the hub; empty for a local folder and for one made from scratch:
    their names mean nothing elsewhere, or another model."""
    student: str
    """The model that was trained, as a name to read."""
    teachers: tuple[str, ...]
    """Models that wrote the lessons, as the recipe names them."""
    judge: str
    """The model that judged answers, as the recipe names it; empty without one."""
    finished: str
    """Date of the evaluation, as in ``2026-11-29``."""
    minutes: float
    """All steps together, without earlier tries of a step."""
    calls: int
    """Calls of all models."""
    licences: tuple[tuple[str, int], ...]
    """(licence of the questions, number of lessons), the most frequent first."""
    system: str
    """The system message of most lessons."""
    usd: float
    """Cost of all calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the report of a run shows."""

    run: str
    description: str
    result: str
    """The result in one plain sentence."""
    headline: tuple[str, ...]
    warnings: tuple[str, ...]
    """The strongest first."""
    warning_groups: Mapping[Topic, Sequence[str]]
    """The same warnings by what they are about."""
    tasks: tuple[dict[str, Any], ...]
    """Number of examples by split, for each task."""
    strategies: tuple[str, ...]
    """Names in the order of the recipe."""
    assignments: tuple[Assignment, ...]
    trials: tuple[TrialStudent, ...]
    """The trial students that strategies were chosen by."""
    skills: tuple[Mapping[str, Any], ...]
    """Instructions that the teacher wrote, with their trials."""
    funnel: Funnel
    curves: tuple[Curve, ...]
    mixes: tuple[Mapping[str, Any], ...]
    """Shares of a source that trial students chose, by arm and stage."""
    scores: Scores
    spend: tuple[SpendRow, ...]
    seconds: tuple[tuple[str, float], ...]
    """(step, seconds it took)."""
    questions: tuple[ListedTask, ...]
    """The held-out questions of each task, with every arm's verdict."""
    confusions: tuple[Confusion, ...]
    """Of tasks whose answers are a few labels."""
    token_curves: tuple[TokenCurve, ...]
    depth_curves: tuple[DepthCurve, ...]
    """Of tasks whose questions have a depth (``meta.depth``)."""
    consistency: tuple[Consistency, ...]
    """Of tasks that ask the same question in several wordings (``meta.isomer``)."""
    traces: tuple[Trace, ...]
    lessons: tuple[Lesson, ...]
    recipe: str
    """The recipe's text."""
    versions: Mapping[str, str]
    commit: str | None
    """Commit of the working folder; None where it was no git checkout."""
    seed: int
    steps: tuple[tuple[str, str], ...]
    """(folder, fingerprint)."""
    models: Mapping[str, str]
    """Name by identity, for models that are identified by a hash alone."""
    student: str
    """Folder of the student trained on explanations, relative to the run's; empty without one."""
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
    run_dir = inputs["sample"].parent
    scores = read_scores(inputs["evaluate"])
    chosen_in = inputs.get("skills", inputs["assign"])
    # Runs of release 0.1 may hold assignments of single examples, "TASK#ID": thousands of rows.
    single = "each" in records["assign"]["summary"]
    assignments = [
        assignment
        for assignment in tables.read_assignments(chosen_in / layout.ASSIGNMENTS)
        if not (single and "#" in assignment.group)
    ]
    skills = orjson.loads((chosen_in / layout.SKILLS).read_bytes()) if "skills" in inputs else []
    recipe_path = run_dir / layout.RECIPE
    text = recipe_path.read_text(encoding="utf-8") if recipe_path.exists() else ""
    evaluated = records["evaluate"]
    models = model_names(run_dir)
    recipe = _parsed(text)
    warnings = list(warnings_with_topics(scores, records, spend))
    arms = list(scores.arms)
    answers = read_answers(inputs["evaluate"], arms)
    known = {
        (example.task, example.id): example
        for example in tables.read_examples(inputs["sample"] / layout.EXAMPLES, "held_out")
        if (example.task, example.id) in answers
    }
    return Facts(
        run=run,
        description=str(recipe.get("description", "")),
        result=in_plain_words(scores),
        headline=tuple(headline(scores)),
        warnings=tuple(warning for _, warning in warnings),
        warning_groups=group_by_topic(warnings),
        tasks=tuple(
            {"task": task, **counts}
            for task, counts in records["sample"]["summary"]["tasks"].items()
        ),
        strategies=tuple(strategy["name"] for strategy in records["probe"]["config"]["strategies"]),
        assignments=tuple(assignments),
        trials=TrialResults.read(inputs.get("trial"), answers=False).students,
        skills=tuple(skills),
        funnel=_funnel(records),
        curves=tuple(_curves(inputs, records)),
        mixes=tuple(mixes(records)),
        scores=scores,
        spend=tuple(spend),
        seconds=tuple((record["name"], record["seconds"]) for record in records.values()),
        questions=tuple(list_questions(answers, known)),
        confusions=tuple(confusions(answers, known, arms)),
        token_curves=tuple(token_curves(answers, arms, CURVE_POINTS)),
        depth_curves=tuple(depth_curves(answers, known, arms)),
        consistency=tuple(consistencies(answers, known, arms)),
        traces=tuple(choose_traces(answers, known, arms, examples)),
        lessons=tuple(_first_lessons(inputs["erase"], examples // 2)),
        recipe=text,
        versions=evaluated["versions"],
        commit=evaluated["commit"],
        seed=seed,
        steps=tuple((folder.name, records[role]["fingerprint"]) for role, folder in inputs.items()),
        models=models,
        student=f"{inputs['train'].name}/{records['train']['summary']['model']}"
        if "train" in inputs
        else "",
        card=_card(inputs["erase"] / layout.LESSONS, recipe, spend, models, list(records.values())),
    )


def facts_of_run(run_dir: Path, spend: Sequence[SpendRow]) -> Facts:
    """Return the facts of a run's latest report, read again from the steps that it was made from.

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


def _card(
    lessons: Path,
    recipe: Mapping[str, Any],
    spend: Sequence[SpendRow],
    models: Mapping[str, str],
    records: Sequence[Mapping[str, Any]],
) -> Card:
    teachers, licences, systems = Counter[str](), Counter[str](), Counter[str]()
    for row in tables.read_rows(lessons, ["teacher", "meta", "messages"]):
        teachers[row["teacher"]] += 1
        licences[orjson.loads(row["meta"]).get("licence") or "not stated"] += 1
        if row["messages"]:  # a lecture has none
            first = row["messages"][0]
            systems[first["content"] if first["role"] == "system" else ""] += 1
    student = recipe.get("student")
    return Card(
        base=_hub_id(records),
        student=given_name(student),
        teachers=tuple(_teacher_name(teacher, recipe, models) for teacher in teachers),
        judge=given_name(recipe.get("judge")),
        licences=tuple(licences.most_common()),
        system=max(systems, key=systems.__getitem__, default=""),
        usd=sum(row.cost_usd for row in spend),
        calls=sum(row.calls for row in spend),
        minutes=sum(record["seconds"] for record in records) / 60,
        finished=max((str(record.get("finished", "")) for record in records), default="")[:10],
    )


def _hub_id(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the hub id of the model that was trained; empty where it is not from the hub."""
    for record in records:
        if record["name"] == "train":
            identity = str(record["config"]["model"].get("model", ""))
            if identity.startswith("hf:"):
                return identity.removeprefix("hf:").partition("@")[0]
    return ""


def _teacher_name(identity: str, recipe: Mapping[str, Any], models: Mapping[str, str]) -> str:
    """Return the recipe's name of a model that wrote lessons, else its name in the ledger."""
    for role in ("teacher", "assistant"):
        name = given_name(recipe.get(role))
        if name and (name in identity or models.get(identity, "").startswith(role)):
            return name
    return model_name(identity, models)


def _parsed(text: str) -> Mapping[str, Any]:
    import yaml

    recipe = yaml.safe_load(text) if text else None
    return recipe if isinstance(recipe, dict) else {}


def _funnel(records: Mapping[str, Mapping[str, Any]]) -> Funnel:
    found = {role: record["summary"] for role, record in records.items()}
    to_teach = sum(counts.get("teach", 0) for counts in found["sample"]["tasks"].values())
    taught = [found[role] for role in ("teach_assistant", "teach") if role in found]
    curated = [found[role] for role in ("curate_assistant", "curate") if role in found]
    asked = sum(summary["attempts"] for summary in taught)
    written = found.get("author", {}).get("tasks", {}).values()
    stages = (
        *((("questions asked of authors", sum(n["asked"] for n in written)),) if written else ()),
        *((("questions that passed", sum(n["kept"] for n in written)),) if written else ()),
        ("examples to teach", to_teach),
        *((("selected from them", found["select"]["kept"]),) if "select" in found else ()),
        ("traces requested", asked),
        ("traces received", asked - sum(summary["errors"] for summary in taught)),
        ("kept after curation", sum(summary["kept"] for summary in curated)),
        ("lessons", found["erase"]["lessons"]),
    )
    drops: list[tuple[str, str, int, str]] = []
    for role in ("author", "sample", "select", "curate_assistant", "curate"):
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
    replaced: Counter[str] = Counter()
    for summary in curated:
        replaced.update(summary.get("replaced", {}))
    return Funnel(
        stages=stages,
        drops=tuple(drops),
        quality=found["curate"].get("quality"),
        replaced=replaced,
    )


def _curves(
    inputs: Mapping[str, Path], records: Mapping[str, Mapping[str, Any]]
) -> Iterator[Curve]:
    for role, arm in (("train", "after"), ("train_answer_only", "answer_only")):
        if role not in inputs:
            continue
        rows = read_losses(inputs[role] / layout.LOSS)
        stages = tuple(
            {"name": name, **facts} for name, facts in records[role]["summary"]["stages"].items()
        )
        yield Curve(arm=arm, points=tuple(_averaged(_joined_stages(rows))), stages=stages)


def _joined_stages(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return points of the stages, one after the other on one axis."""
    return [(float(i), row["loss"]) for i, row in enumerate(rows, 1)]


def _averaged(values: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Means of neighbouring values, so that at most ``CURVE_POINTS`` are left."""
    width = -(-len(values) // CURVE_POINTS) if values else 1
    for i in range(0, len(values), width):
        part = values[i : i + width]
        yield part[-1][0], sum(loss for _, loss in part) / len(part)


def _first_lessons(folder: Path, wanted: int) -> Iterable[Lesson]:
    """Return one lesson of each task and strategy, to show what the student learned from."""
    seen: set[tuple[str, str]] = set()
    for lesson in tables.read_lessons(folder / layout.LESSONS):
        if (lesson.task, lesson.strategy) not in seen:
            seen.add((lesson.task, lesson.strategy))
            yield lesson
            if len(seen) >= wanted:
                return
