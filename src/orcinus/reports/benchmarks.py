"""The report of an evaluation without a recipe, as Markdown and as a page without any network access."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from orcinus.reports import charts, words
from orcinus.reports.pages import decided_plot, environment

_MARKS = ("after", "prompted", "answer_only", "teacher", "before")
"""Colours of conditions, in turn."""


def html(scores: Mapping[str, Any]) -> str:
    """The report as a page."""
    return _render("evaluation.html.j2", scores)


def markdown(scores: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    return _render("evaluation.md.j2", scores)


def _render(template: str, scores: Mapping[str, Any]) -> str:
    return (
        environment()
        .get_template(template)
        .render(
            arms=words.ARMS,
            found=scores,
            plots={name: _plot(b) for name, b in scores["benchmarks"].items()},
            curves={name: _curve(b) for name, b in scores["benchmarks"].items()},
        )
    )


def _curve(benchmark: Mapping[str, Any]) -> Markup:
    """Score against compute of the first condition; empty where nothing was decided."""
    conditions = benchmark.get("conditions")
    return decided_plot(next(iter(conditions.values()))["decided"]) if conditions else Markup()


def _plot(benchmark: Mapping[str, Any]) -> Markup:
    """Each condition's mean of tasks; empty for a single condition, of which the table says as much."""
    conditions = benchmark.get("conditions", {})
    groups = [
        (
            name,
            [
                charts.Dot(
                    colour=_MARKS[i % len(_MARKS)], mean=s["mean"], low=s["low"], high=s["high"]
                )
            ],
        )
        for i, (name, condition) in enumerate(conditions.items())
        if (s := condition["scores"]["_macro"])["mean"] is not None
    ]
    return (
        charts.dots(groups, title="Mean of tasks by condition, with 95 % intervals")
        if len(groups) > 1
        else Markup()
    )
