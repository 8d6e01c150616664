"""Results as tables in a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from orcinus.core.results import ARMS
from orcinus.core.types import Example, Judged
from orcinus.reports.words import chance, percent, points

if TYPE_CHECKING:
    from orcinus.core.results import Scores
    from orcinus.evaluation.diagnosis.tables import Diagnosis
    from orcinus.pipeline.lint import Lint
    from orcinus.runs.lineage import Lineage
    from orcinus.runs.lookup import Found


def print_scores(console: Console, scores: "Scores") -> None:
    """Print the headline tables: the accuracy of every arm, and ``after`` against the others."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("held-out questions right", ratio=1)
    for column in ("mean of tasks", "95 % interval", "n", "no answer"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm, found in scores.arms.items():
        macro, micro = found.accuracy.macro, found.accuracy.micro
        interval = "–"
        if macro.low is not None and macro.high is not None:
            interval = f"{100 * macro.low:.1f} – {100 * macro.high:.1f}"
        table.add_row(ARMS[arm], percent(macro.mean), interval, f"{micro.n:,}", f"{micro.n_none:,}")
    console.print(table)
    console.print()
    against = Table(box=None, pad_edge=False, header_style="bold")
    against.add_column("trained on explanations against (mean of tasks)", ratio=1)
    for column in ("points", "95 % interval", "repaired", "lost", "p"):
        against.add_column(column, justify="right", no_wrap=True)
    for row in scores.comparisons:
        if row.task is None:
            against.add_row(
                ARMS[row.b],
                points(row.difference),
                f"{points(row.low)} … {points(row.high)}",
                f"{row.repairs:,}",
                f"{row.regressions:,}",
                chance(row.p_value),
            )
    if against.row_count:
        console.print(against)
    if scores.pairwise:
        console.print()
        console.print(_win_rates(scores))


def _win_rates(scores: "Scores") -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("a judge prefers explanations to", ratio=1)
    for column in ("win rate", "95 % interval", "n", "order flips"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in scores.pairwise:
        if row.task is None:
            table.add_row(
                ARMS[row.b],
                percent(row.win_rate),
                f"{percent(row.low)} – {percent(row.high)}",
                f"{row.n:,}",
                percent(row.flip_rate),
            )
    return table


def print_diagnosis(console: Console, found: "Diagnosis") -> None:
    """Print what the student fails and why, where it is right, and advice; fits 60 columns."""
    from orcinus.evaluation.diagnosis.outcomes import OUTCOMES
    from orcinus.reports.diagnosis import summary

    console.print(summary(found), style="bold", markup=False)
    for note in found.notes:
        console.print(note, style="yellow", markup=False)
    if found.causes:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("why", ratio=1)
        table.add_column("failures", justify="right")
        table.add_column("also applies to", justify="right")
        for count in found.causes:
            table.add_row(count.cause, f"{count.first:,}", f"{count.applies - count.first:,}")
        console.print(table)
    shown = [outcome for outcome in OUTCOMES if any(outcome in row.counts for row in found.errors)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("answers")
    for outcome in shown:
        table.add_column(outcome, justify="right")
    for row in found.errors:
        cells = [f"{row.counts.get(outcome, 0):,}" for outcome in shown]
        table.add_row(Text(f"{row.items}, {row.arm}"), *cells)
    console.print(table)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("right by", ratio=1)
    for column in ("n", "before", "after", "95 %"):
        table.add_column(column, justify="right", no_wrap=True)
    for part in found.slices:
        interval = f"{100 * part.low:.0f}–{100 * part.high:.0f}"
        name = Text(f"{part.items}, {part.by} {part.value}")
        table.add_row(name, f"{part.n:,}", percent(part.before), percent(part.after), interval)
    console.print(table)
    for i, item in enumerate(found.advice, 1):
        console.print(
            f"{i}. {item.words} ({item.failures} of {found.failed} failures)", markup=False
        )
        for line in (*item.edit.splitlines(), item.command):
            console.print(f"   {line}", style="cyan", markup=False, soft_wrap=True)


def print_lint(console: Console, found: "Lint") -> None:
    """Print the signals of each stage, what kept traces have in common, and the flags."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("signals from outside", ratio=1)
    for signals in found.stages:
        inside = f"; from inside: {', '.join(signals.inside)}" if signals.inside else ""
        table.add_row(signals.stage, Text(f"{', '.join(signals.outside) or 'none'}{inside}"))
    console.print(table)
    if found.kept is not None:
        console.print(f"\n{found.kept.kept:,} of {found.kept.traces:,} traces kept", markup=False)
        if found.kept.efficiency is not None:
            share = percent(found.kept.efficiency)
            console.print(f"being right explains {share} of that choice", markup=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("kept, by", no_wrap=True)
        for column in ("r", "bits", "p"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("", ratio=1)
        for row in found.kept.features:
            r = "" if row.association.r is None else f"{row.association.r:+.3f}"
            bits, p_value = f"{row.association.bits:.3f}", f"{row.association.p_value:.3f}"
            table.add_row(row.feature, r, bits, p_value, Text(row.detail))
        console.print(table)
    console.print()
    for flag in found.flags:
        console.print(f"! {flag}", style="yellow", markup=False)
    if not found.flags:
        console.print("nothing to flag", markup=False)


def print_found(console: Console, found: "Found") -> None:
    """Print the history of a lesson, an attempt or an example."""
    if found.lesson is not None:
        print_lineage(console, found.lesson)
        return
    if found.example is not None:
        _print_example(console, found.example)
    for judged in found.written:
        _print_call(console, judged)
    for judged in found.attempts:
        attempt = judged.attempt
        title = f"{attempt.model} under {attempt.strategy}: {_verdict(judged)}"
        _panel(console, title, attempt.text or attempt.error or "")
    for event in found.events:
        trace = f"  trace {event.trace[:12]}" if event.trace else ""
        console.print(
            f"{event.step}  {event.task}/{event.example}{trace}  {event.what}",
            markup=False,
            soft_wrap=True,
        )
    for lesson in found.lessons:
        console.print(f"lesson {lesson}", markup=False)


def _print_call(console: Console, judged: Judged) -> None:
    """Print a call that wrote or checked a question: what was asked, answered and paid."""
    attempt = judged.attempt
    asked = "\n".join(f"[{message.role}] {message.content}" for message in attempt.messages)
    _panel(console, f"Asked of the {attempt.strategy}", asked)
    usage = attempt.usage
    paid = f"${attempt.cost_usd:.6f}, {usage.tokens_in} tokens in, {usage.tokens_out} out"
    verdict = "" if judged.verdict.verifier == "author" else f": {_verdict(judged)}"
    replied = f"{attempt.model} replied{verdict} ({paid})"
    _panel(console, replied, attempt.text or attempt.error or "")


def print_lineage(console: Console, found: "Lineage") -> None:
    """Print a lesson's history, from the example to the text the student was trained on."""
    example, assignment, trace = found.example, found.assignment, found.trace
    _print_example(console, example)
    if assignment is not None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("strategy", "prompted", "n", "format ok", "tokens", "learned", "n"):
            table.add_column(column)
        for item in assignment.evidence:
            name = f"→ {item.strategy}" if item.strategy == assignment.strategy else item.strategy
            score, learned = item.score, item.learned
            table.add_row(
                name,
                percent(score.mean),
                str(score.n),
                percent(score.format_ok),
                f"{item.tokens_out:.0f}",
                "–" if learned is None else percent(learned.mean),
                "–" if learned is None else str(learned.n),
            )
        console.print(
            Panel(table, title=f"The student's probe of {assignment.group}", title_align="left")
        )
        console.print(f"chosen: {assignment.strategy}; {assignment.reason}", markup=False)
    for judged in found.probe:
        _panel(
            console,
            f"The student under {judged.attempt.strategy}: {_verdict(judged)}",
            judged.attempt.text,
        )
    author = "student" if found.lesson.meta.get("role") == "self" else "teacher"
    _panel(
        console,
        f"The {author} {trace.attempt.model} under {trace.attempt.strategy}: {_verdict(trace)}",
        trace.attempt.text,
    )
    for judged in found.siblings:
        _panel(console, f"Another trace: {_verdict(judged)}", judged.attempt.text)
    for drop in found.drops:
        console.print(f"dropped {drop.attempt_id} by {drop.filter}: {drop.reason}", markup=False)
    if found.rehearsal:
        console.print(_rehearsed(found), markup=False)
    for judged in found.rehearsal:
        _panel(console, f"The student before it learned: {_verdict(judged)}", judged.attempt.text)
    lesson = found.lesson
    given = "\n".join(f"[{message.role}] {message.content}" for message in lesson.messages)
    _panel(
        console,
        f"Lesson {lesson.id}, prompt {lesson.erased}",
        f"{given}\n[assistant] {lesson.completion}",
    )
    for boundary in lesson.meta.get("boundaries", ()):
        console.print(_boundary(boundary), markup=False)
    licence = example.meta.get("licence") or "not stated"
    console.print(
        f"cost ${trace.attempt.cost_usd:.6f}; licence of the example: {licence}", markup=False
    )


def _rehearsed(found: "Lineage") -> str:
    came = [judged for judged in found.rehearsal if judged.attempt.finish != "error"]
    right = sum(judged.verdict.right for judged in came)
    return f"rehearsed: {right} of {len(came)} answers of the student right before training"


def _boundary(found: Mapping[str, Any]) -> str:
    """Return a line on one step that ``weigh`` measured."""

    def side(who: str) -> str:
        ends = found[f"{who}_right"]
        right = sum(value == 1 for value in ends)
        return f"the {who}'s {found[who].strip()!r} ends right in {right} of {len(ends)}"

    weight = "none" if found["weight"] is None else f"{found['weight']:.2f}"
    return f"step {found['step'] + 1}: {side('teacher')}, {side('student')}; weight {weight}"


def _print_example(console: Console, example: Example) -> None:
    text = f"{example.whole_prompt}\n\nreference: {example.reference}"
    _panel(console, f"Example {example.task} / {example.id}", text)


def _verdict(judged: Judged) -> str:
    word = {1.0: "right", 0.0: "wrong", None: "not judged"}[judged.verdict.value]
    return f"{word} (answer {judged.verdict.answer!r}, rule {judged.verdict.reason})"


def _panel(console: Console, title: str, text: str) -> None:
    # Text, not markup: model output is untrusted.
    console.print(Panel(Text(text), title=Text(title), title_align="left"))
