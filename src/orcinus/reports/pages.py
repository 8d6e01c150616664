"""The pages: one HTML file without any network access, and the same as Markdown and as JSON. All that a model wrote is escaped in the first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from orcinus.core.types import Assignment
from orcinus.reports import charts, words
from orcinus.reports.facts import Facts
from orcinus.reports.model_names import model_name

JSON_FORMAT = 1
"""Raised when a key of the JSON report goes or means something else; new ones may come."""
SHORT = {
    "before": "before",
    "prompted": "before, prompted",
    "answer_only": "answers only",
    "after": "explanations",
    "teacher": "teacher",
}

DECIDED = {
    "majority": "before",
    "best_of_n": "prompted",
    "weighted": "answer_only",
    "rebase": "after",
}
"""Colours of ways of deciding."""


def html(facts: Facts) -> str:
    """The report as a page."""
    return _render("report.html.j2", facts)


def markdown(facts: Facts) -> str:
    """The report as Markdown."""
    return _render("report.md.j2", facts)


def as_json(facts: Facts) -> str:
    """All facts, for machines: the keys are the fields of ``Facts``, described in ``docs/report.md``."""
    content = {
        "format": JSON_FORMAT,
        **{field.name: getattr(facts, field.name) for field in fields(facts)},
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def model_card(facts: Facts) -> str:
    """The README of the student's folder, in the form of the Hugging Face hub."""
    return _render("model-card.md.j2", facts)


FORMATS: Mapping[str, Callable[[Facts], str]] = {"html": html, "md": markdown, "json": as_json}
"""How a report can be written: ``report.NAME`` in the run's folder."""


def environment() -> Environment:
    """Templates that escape what a model wrote, with the formats of numbers."""
    made = Environment(
        loader=PackageLoader("orcinus", "reports/templates"),
        autoescape=select_autoescape(("html", "html.j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        percent=words.percent,
        points=words.points,
        count=words.count,
        chance=words.chance,
        dollars=words.dollars,
        cell=_cell,
    )
    return made


def _render(template: str, facts: Facts) -> str:
    return (
        environment()
        .get_template(template)
        .render(
            facts=facts,
            card=facts.card,
            arms=words.ARMS,
            short=SHORT,
            tasks=[
                task for task in next(iter(facts.arms.values()), {}) if not task.startswith("_")
            ],
            dot_plot=dot_plot(facts.arms),
            decided_plot=decided_plot(facts.decided.get("after", ())),
            loss_plot=_loss_plot(facts),
            heat=[_heat_row(assignment, facts.strategies) for assignment in facts.assignments],
            spend=_spend(facts),
            probe_best=_probe_best(facts.assignments),
        )
    )


def decided_plot(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """The score of each way of deciding against the tokens that a question took, from few answers to many."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["score"]["mean"] is not None:
            series.setdefault(row["by"], []).append((row["tokens_out"], 100 * row["score"]["mean"]))
    return charts.lines(
        [(DECIDED[by], by.replace("_", " "), sorted(points)) for by, points in series.items()],
        title="Right answers against written tokens a question",
        across="tokens written a question",
        up="right, %",
    )


def dot_plot(arms: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Every arm's score by task with its interval, the mean of tasks first."""
    names = [task for task in next(iter(arms.values()), {}) if task != "_micro"]
    names.sort(key=lambda name: (name != "_macro", name))
    groups = []
    for name in names:
        rows = [
            charts.Dot(colour=arm, mean=s["mean"], low=s["low"], high=s["high"])
            for arm, by_task in arms.items()
            if (s := by_task[name])["mean"] is not None
        ]
        groups.append(("mean of tasks" if name == "_macro" else name, rows))
    return charts.dots(groups, title="Accuracy on held-out questions by task, with 95 % intervals")


def _loss_plot(facts: Facts) -> Markup:
    series = [(curve.arm, SHORT[curve.arm], curve.points) for curve in facts.curves if curve.points]
    return charts.lines(
        series,
        title="Training loss by optimizer step",
        across="optimizer steps",
        up="nats per response token",
    )


def _heat_row(assignment: Assignment, strategies: Sequence[str]) -> dict[str, Any]:
    by_strategy = {item.strategy: item for item in assignment.evidence}
    held_out = (
        by_strategy[assignment.strategy].held_out if assignment.strategy in by_strategy else None
    )
    return {
        "assignment": assignment,
        "cells": [by_strategy.get(strategy) for strategy in strategies],
        "held_out": held_out,
    }


def _probe_best(assignments: Sequence[Assignment]) -> int:
    """In how many groups the evidence, tested pair by pair, is clear."""
    return sum(a.p_value is not None and a.p_value < 0.05 for a in assignments)


def _spend(facts: Facts) -> list[dict[str, Any]]:
    """Spending by step and model, with the time the steps took."""
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


def _cell(text: object) -> str:
    """Text for a cell of a Markdown table: on one line, without what would end the cell or start HTML."""
    plain = " ".join(str(text).split())
    return plain.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
