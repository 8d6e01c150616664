"""Render a run's facts: a page, a short summary, JSON for programs and the student's model card.

Facts ──html──────► report.html   one file that needs no network; what models wrote is escaped
      ──summary───► summary.md    ten lines
      ──as_json───► report.json   every fact
      ──model_card► README.md     in the student's folder
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from orcinus.core.results import ARMS, Comparison, DecisionScore, RuleScore, Scores
from orcinus.core.types import Assignment, Score
from orcinus.evaluation.scores import scores_content
from orcinus.reports import charts, words
from orcinus.reports.answers import TokenCurve
from orcinus.reports.facts import Curve, Facts
from orcinus.reports.glossary import TERMS
from orcinus.reports.headline import losses
from orcinus.reports.wordings import DepthCurve
from orcinus.runs.model_names import model_name

JSON_FORMAT = 1
"""Version of the keys of ``report.json``: raised when a key goes or changes its meaning."""
WARNINGS_IN_SUMMARY = 2
"""Warnings in ``summary.md``: the strongest; the page has all."""
SHORT = {
    "before": "before",
    "prompted": "before, prompted",
    "answer_only": "answers only",
    "after": "explanations",
    "after_prompted": "explanations, prompted",
    "teacher": "teacher",
}
"""A short name for each arm, for the heads of tables."""
DECIDER_COLOURS = {
    "majority": "before",
    "best_of_n": "prompted",
    "weighted": "answer_only",
    "rebase": "after",
}
"""The colour of each way of deciding among several answers: a key of ``charts.COLOURS``."""


def html(facts: Facts) -> str:
    """Return the report as an HTML page."""
    scores = facts.scores
    return _render(
        "report.html.j2",
        facts=facts,
        scores=scores,
        arms=ARMS,
        short=SHORT,
        tasks=tasks_of(scores),
        rules=_by_rule(scores),
        dot_plot=dot_plot(scores),
        decided_plot=decided_plot(scores.arms["after"].decided if "after" in scores.arms else ()),
        loss_plot=_loss_plot(facts),
        heat=[_heat_row(assignment, facts.strategies) for assignment in facts.assignments],
        spend=_spend_rows(facts),
        equal_steps=_equal_steps(facts.curves),
        gain=_gain(scores),
        token_plot=_token_plot(facts.token_curves),
        depth_plots=[(task, _depth_plot(task, curves)) for task, curves in _by_task(facts)],
        main_arm="after" if "after" in scores.arms else next(iter(scores.arms)),
        anchors={listed.task: f"task-{i}" for i, listed in enumerate(facts.questions, 1)},
        contents=list(_contents(facts)),
        glossary=TERMS,
        clear_choices=sum(a.p_value is not None and a.p_value < 0.05 for a in facts.assignments),
    )


def summary(facts: Facts) -> str:
    """Return the result in about ten lines of Markdown."""
    means = {arm: found.accuracy.macro for arm, found in facts.scores.arms.items()}
    warnings = [*losses(facts.scores.retention), *facts.warnings]
    return _render(
        "summary.md.j2",
        facts=facts,
        card=facts.card,
        lessons=facts.funnel.stages[-1][1],
        before=means.get("before"),
        after=means.get("after"),
        teacher=means.get("teacher"),
        gain=_gain(facts.scores),
        win_rates=[row for row in facts.scores.pairwise if row.task is None and row.n],
        arms=ARMS,
        warnings=[warning.removeprefix("Warning: ") for warning in warnings[:WARNINGS_IN_SUMMARY]],
    )


def as_json(facts: Facts) -> str:
    """Return all facts as JSON, with the keys that ``docs/report.md`` lists."""
    content: dict[str, Any] = {"format": JSON_FORMAT}
    for field in fields(facts):
        if field.name == "scores":
            content |= _scores_content(facts.scores)
        else:
            content[field.name] = getattr(facts, field.name)
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def _scores_content(scores: Scores) -> dict[str, Any]:
    content = scores_content(scores)
    return {
        "arms": content["arms"],
        "comparisons": [asdict(row) | {"outcome": row.outcome} for row in scores.comparisons],
        "samples": content["samples"],
        "decided": content["decided"],
        "rules": _by_rule(scores),
        "retention": scores.retention,
        "pairwise": scores.pairwise,
    }


def _by_rule(scores: Scores) -> dict[str, dict[str, RuleScore]]:
    """Return the scores by published rule, then by arm."""
    by_rule: dict[str, dict[str, RuleScore]] = {}
    for arm, found in scores.arms.items():
        for rule, score in found.rules.items():
            by_rule.setdefault(rule, {})[arm] = score
    return by_rule


def model_card(facts: Facts) -> str:
    """Return the README of the student's folder, in the form of the Hugging Face Hub."""
    return _render(
        "model-card.md.j2",
        facts=facts,
        scores=facts.scores,
        card=facts.card,
        arms=ARMS,
    )


FORMATS: Mapping[str, Callable[[Facts], str]] = {"html": html, "md": summary, "json": as_json}
"""The formats of a report; ``runs/layout.py`` has their file names."""


def environment() -> Environment:
    """Return the environment of the templates: it escapes HTML and has filters for numbers."""
    made = Environment(
        loader=PackageLoader("orcinus", "reports/templates"),
        autoescape=select_autoescape(("html", "html.j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(words.FILTERS)
    return made


def _render(template: str, **values: Any) -> str:
    return environment().get_template(template).render(values)


def decided_plot(rows: Sequence[DecisionScore]) -> Markup:
    """Draw the score of each way of deciding against the tokens that a question took."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.score.mean is not None:
            series.setdefault(row.by, []).append((row.tokens_out, 100 * row.score.mean))
    return charts.lines(
        [
            (DECIDER_COLOURS[by], by.replace("_", " "), sorted(points))
            for by, points in series.items()
        ],
        title="Right answers against written tokens a question",
        across="tokens written a question",
        up="right, %",
    )


def tasks_of(scores: Scores) -> list[str]:
    """Return the names of the tasks that were evaluated."""
    return sorted({task for found in scores.arms.values() for task in found.accuracy.by_task})


def dot_plot(scores: Scores) -> Markup:
    """Draw every arm's score with its interval: the mean of several tasks, then task by task."""
    blocks: list[tuple[str, dict[str, Score]]] = []
    tasks = tasks_of(scores)
    if len(tasks) != 1:
        macro = {arm: found.accuracy.macro for arm, found in scores.arms.items()}
        blocks.append(("mean of tasks", macro))
    for task in tasks:
        of_task = {arm: found.accuracy.by_task.get(task) for arm, found in scores.arms.items()}
        blocks.append((task, {arm: score for arm, score in of_task.items() if score is not None}))
    return charts.dots(
        [
            (name, [dot for arm, score in by_arm.items() if (dot := dot_of(arm, score))])
            for name, by_arm in blocks
        ],
        title="Accuracy on held-out questions by task, with 95 % intervals",
    )


def dot_of(colour: str, score: Score) -> charts.Dot | None:
    """Return a score as a dot of a chart; None where there is none."""
    if score.mean is None or score.low is None or score.high is None:
        return None
    return charts.Dot(colour=colour, mean=score.mean, low=score.low, high=score.high)


def _gain(scores: Scores) -> Comparison | None:
    """Return the comparison of the trained student with itself before training."""
    rows = (row for row in scores.comparisons if row.task is None and row.b == "before")
    return next(rows, None)


def _contents(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield (anchor, title) of the sections that this report has."""
    for anchor, title, shown in (
        ("scores", "Scores", True),
        ("tokens", "Accuracy for tokens", facts.token_curves),
        ("depth", "Accuracy by depth", facts.depth_curves),
        ("wordings", "Other wordings", facts.consistency),
        ("confusions", "Confusions", facts.confusions),
        ("retention", "Retention", facts.scores.retention),
        ("strategies", "Strategies", True),
        ("funnel", "Kept and dropped", True),
        ("training", "Training", True),
        ("cost", "Cost", True),
        ("questions", "All questions", True),
        ("traces", "Examples", True),
        ("lessons", "Lessons", True),
        ("terms", "Terms", True),
        ("reproduce", "Reproduce", True),
    ):
        if shown:
            yield anchor, title


def _token_plot(curves: Sequence[TokenCurve]) -> Markup:
    """Draw the share of right answers against the tokens that an answer may take."""
    return charts.lines(
        [
            (curve.arm, SHORT[curve.arm], [(tokens, 100 * share) for tokens, share in curve.points])
            for curve in curves
        ],
        title="Right answers against written tokens, by arm",
        across="tokens written for a question, at most",
        up="right, %",
        steps=True,
    )


def _by_task(facts: Facts) -> Iterator[tuple[str, list[DepthCurve]]]:
    for task, curves in groupby(facts.depth_curves, key=lambda curve: curve.task):
        yield task, list(curves)


def _depth_plot(task: str, curves: Sequence[DepthCurve]) -> Markup:
    """Draw the share of right answers against the depth of the question."""
    return charts.lines(
        [
            (curve.arm, SHORT[curve.arm], [(p.depth, 100 * p.mean) for p in curve.points])
            for curve in curves
        ],
        title=f"Right answers against depth, {task}",
        across="depth",
        up="right, %",
    )


def _loss_plot(facts: Facts) -> Markup:
    series = [(curve.arm, SHORT[curve.arm], curve.points) for curve in facts.curves if curve.points]
    return charts.lines(
        series,
        title="Training loss by optimizer step",
        across="optimizer steps",
        up="nats per response token",
    )


def _heat_row(assignment: Assignment, strategies: Sequence[str]) -> dict[str, Any]:
    """Return a row of the table of strategies: the evidence of each one, in the table's order."""
    by_strategy = {item.strategy: item for item in assignment.evidence}
    chosen = by_strategy.get(assignment.strategy) if assignment.strategy is not None else None
    return {
        "assignment": assignment,
        "cells": [by_strategy.get(strategy) for strategy in strategies],
        "held_out": None if chosen is None else chosen.held_out,
    }


def _equal_steps(curves: Sequence[Curve]) -> bool:
    """Return whether all arms made the same number of optimizer steps."""
    return len({sum(stage["optimizer_steps"] for stage in c.stages) for c in curves}) == 1


def _spend_rows(facts: Facts) -> list[dict[str, Any]]:
    """Spending summed over tasks: one row a step and model."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for item in facts.spend:
        row = rows.setdefault(
            (item.step, item.model),
            {
                "step": item.step,
                "model": model_name(item.model, facts.models),
                "calls": 0,
                "tokens_in": 0,
                "tokens_out": 0,
                "usd": 0.0,
            },
        )
        row["calls"] += item.calls
        row["tokens_in"] += item.tokens_in
        row["tokens_out"] += item.tokens_out
        row["usd"] += item.cost_usd
    return list(rows.values())
