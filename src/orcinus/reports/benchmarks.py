"""Render the report of an evaluation without a recipe, as a page and as a short summary.

ModelScores ──write──► report.html (needs no network), summary.md (ten lines)
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from orcinus.core.files import write_atomically
from orcinus.core.results import ARMS
from orcinus.evaluation.benchmark_scores import BenchmarkScore, ModelScores
from orcinus.reports import charts
from orcinus.reports.pages import WARNINGS_IN_SUMMARY, decided_plot, dot_of, environment
from orcinus.reports.words import percent, rating
from orcinus.runs import layout

COLOURS = ("after", "prompted", "answer_only", "teacher", "before")
"""Colours of the conditions in turn: keys of ``charts.COLOURS``."""


def write(folder: Path, scores: ModelScores) -> None:
    """Write ``report.html`` and ``summary.md`` into the folder of an evaluation.

    A model that is a hash is named by that folder, with the beginning of the hash.
    """
    if scores.model.startswith("folder:"):
        start = scores.model.removeprefix("folder:")[:8]
        name = f"{folder.name.removeprefix('evaluate-')} ({start})"
        scores = replace(scores, model=name)
    for name, page in (("html", html), ("md", summary)):
        write_atomically(folder / layout.report(name), page(scores).encode())


def html(scores: ModelScores) -> str:
    """Return the report as an HTML page."""
    return _render(
        "evaluation.html.j2",
        scores,
        arms=ARMS,
        plots={name: _plot(b) for name, b in scores.benchmarks.items()},
        curves={name: _curve(b) for name, b in scores.benchmarks.items()},
        warnings={name: list(_warnings(b)) for name, b in scores.benchmarks.items()},
    )


def summary(scores: ModelScores) -> str:
    """Return the results in about ten lines of Markdown."""
    warnings = [
        f"{b.title}: {warning}" for b in scores.benchmarks.values() for warning in _warnings(b)
    ]
    return _render(
        "evaluation-summary.md.j2",
        scores,
        results={name: _result(b) for name, b in scores.benchmarks.items()},
        strongest=warnings[:WARNINGS_IN_SUMMARY],
    )


def _render(template: str, scores: ModelScores, **values: Any) -> str:
    return (
        environment()
        .get_template(template)
        .render(found=scores, title=_title(scores), headline=list(_headline(scores)), **values)
    )


def _title(scores: ModelScores) -> str:
    """Return the protocol in a line."""
    number = len(scores.benchmarks)
    parts = [
        f"{number} benchmark{'' if number == 1 else 's'}",
        scores.date,
        f"{scores.shots or 'no'} demonstration{'' if scores.shots == 1 else 's'}",
    ]
    if scores.limit is not None:
        parts.append(f"at most {scores.limit} items of each subset")
    return ", ".join(parts)


def _headline(scores: ModelScores) -> Iterator[str]:
    if scores.macro is not None:
        yield (
            f"{percent(scores.macro)} right: the mean over the benchmarks of the mean of tasks "
            "under the first condition."
        )
    if scores.orca2_six is not None:
        yield f"{percent(scores.orca2_six)}: the mean of Orca 2's six benchmarks."


def _result(found: BenchmarkScore) -> str:
    """Return the result under the first condition, in a line."""
    if found.ratings is not None:
        rated = next(iter(found.ratings.values()))
        return (
            f"mean rating {rating(rated.mean)} of 10 (95 % interval {rating(rated.low)} to "
            f"{rating(rated.high)}, n = {rated.n:,})"
        )
    score = next(iter(found.conditions.values())).score.accuracy.macro
    return (
        f"{percent(score.mean)} right (mean of tasks; 95 % interval {percent(score.low)} to "
        f"{percent(score.high)}, n = {score.n:,})"
    )


def _warnings(found: BenchmarkScore) -> Iterator[str]:
    """Return what to be careful with, the strongest reason first."""
    if found.missing:
        yield (
            f"{len(found.missing)} of its parts have no files here and are in no mean: "
            f"{', '.join(found.missing)}."
        )
    if found.ratings is not None:
        yield "A proxy: a judge rated the answers, from 1 to 10."
    for condition in found.conditions.values():
        judge = condition.score.judge
        if judge is not None and (judge.given or judge.no_verdict):
            yield (
                f"A proxy: a judge gave {judge.given:,} of these verdicts; "
                f"{judge.no_verdict:,} of its replies gave none."
            )
        break
    if found.skipped:
        yield (
            f"{len(found.skipped):,} rows of the source cannot be used and were left out; the "
            f"first: {found.skipped[0]}"
        )


def _curve(found: BenchmarkScore) -> Markup:
    """Score against tokens under the first condition; empty where nothing was decided."""
    first = next(iter(found.conditions.values()), None)
    return Markup() if first is None else decided_plot(first.score.decided)


def _plot(found: BenchmarkScore) -> Markup:
    """Return each condition's mean of tasks; empty for one condition, which the table shows."""
    dots = [
        (name, dot_of(COLOURS[i % len(COLOURS)], condition.score.accuracy.macro))
        for i, (name, condition) in enumerate(found.conditions.items())
    ]
    groups = [(name, [dot]) for name, dot in dots if dot is not None]
    if len(groups) < 2:
        return Markup()
    return charts.dots(groups, title="Mean of tasks by condition, with 95 % intervals")
