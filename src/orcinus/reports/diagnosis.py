"""Render a diagnosis as a Markdown page.

Diagnosis ──markdown──► "# Diagnosis of demo … 12 of 200 lessons failed … what to do next …"
"""

from collections.abc import Iterator, Sequence

from orcinus.core.printing import markdown_text
from orcinus.evaluation.diagnosis.outcomes import OUTCOMES
from orcinus.evaluation.diagnosis.tables import Diagnosis
from orcinus.reports.words import percent


def markdown(found: Diagnosis) -> str:
    """Return the diagnosis as a page. What models wrote stands on one line, escaped."""
    parts = (
        _notes(found),
        _advice(found),
        _causes(found),
        _outcomes(found),
        _slices(found),
        _checkpoints(found),
        _faults(found),
    )
    lines = [line for part in (*parts, _failures(found)) for line in part]
    return "\n".join(lines) + "\n"


def summary(found: Diagnosis) -> str:
    """Return the diagnosis in a sentence."""
    if not found.failed:
        return (
            f"The student passes all {found.asked:,} lessons that it was asked again, of the "
            f"{found.lessons:,} that it was taught."
        )
    return (
        f"The student fails {found.failed:,} ({100 * found.failed / found.asked:.0f} %) of the "
        f"{found.asked:,} lessons that it was asked again, of the {found.lessons:,} that it was "
        "taught."
    )


def _notes(found: Diagnosis) -> Iterator[str]:
    yield from (f"# Diagnosis of {markdown_text(found.run)}", "", summary(found), "")
    for note in found.notes:
        yield from (f"> {markdown_text(note)}", "")


def _advice(found: Diagnosis) -> Iterator[str]:
    yield from ("## What to do next", "")
    for i, item in enumerate(found.advice, 1):
        yield from (f"{i}. {item.words} ({item.failures} of {found.failed} failures)", "")
        if item.edit:
            yield from ("   ```yaml", *(f"   {line}" for line in item.edit.splitlines()))
            yield from ("   ```", "")
        yield from (f"   `{item.command}`", "")


def _causes(found: Diagnosis) -> Iterator[str]:
    yield from ("## Why lessons fail", "")
    yield from _head(["cause"], ["failures", "applies to"])
    for count in found.causes:
        yield _row([count.cause, count.first, count.applies])


def _outcomes(found: Diagnosis) -> Iterator[str]:
    yield from ("", "## Outcomes of the answers", "")
    yield from _head(["questions", "student"], ["n", *OUTCOMES])
    for row in found.errors:
        counts = [row.counts.get(outcome, 0) for outcome in OUTCOMES]
        yield _row([row.items, markdown_text(row.arm), row.n, *counts])


def _slices(found: Diagnosis) -> Iterator[str]:
    yield from ("", "## Where the student is right", "")
    yield from _head(["questions", "by", ""], ["n", "before", "after", "95 % interval"])
    for part in found.slices:
        interval = f"{percent(part.low)} – {percent(part.high)}"
        figures = [part.n, percent(part.before), percent(part.after), interval]
        yield _row([part.items, part.by, markdown_text(part.value), *figures])


def _checkpoints(found: Diagnosis) -> Iterator[str]:
    yield from ("", "## What each checkpoint makes of these lessons", "")
    yield from _head(
        ["student"], ["loss", "HE-SNR", "tokens that it hesitates at", "of", "loss there"]
    )
    for row in found.checkpoints:
        snr, there = (
            "–" if value is None else f"{value:.3f}" for value in (row.he_snr, row.loss_there)
        )
        figures = [f"{row.loss:.3f}", snr, row.hesitant, row.tokens, there]
        yield _row([markdown_text(row.arm), *figures])
    yield from (
        "",
        "HE-SNR: p(right token) / entropy of the ten most probable tokens, where the student "
        "hesitates. It compares checkpoints of one tokenizer, and is no accuracy.",
        "",
    )
    if (read := found.success_in_state) is not None:
        yield (
            f"How much of its success a ridge regression reads off the student's state before it "
            f"answers: R² {read.within:.2f} within tasks (p {read.p_value:.3f}, {read.n} "
            f"questions), {read.over:.2f} over tasks, which differ anyway."
        )


def _faults(found: Diagnosis) -> Iterator[str]:
    if not found.faults:
        return
    yield from ("", "## What it lacks for the chains that it fails", "")
    yield from _head(["question", "task", "fault", "parts to teach again"], [])
    for fault in found.faults:
        parts = markdown_text("; ".join(fault.parts))
        yield _row([f"`{fault.example}`", markdown_text(fault.task), fault.kind, parts])
    yield from (
        "",
        "Concept gap: it answers questions about these parts wrong, or was taught none. Reasoning "
        "break: it knows the parts. `orcinus improve RECIPE --patch` has lessons written about "
        "them.",
    )


def _failures(found: Diagnosis) -> Iterator[str]:
    yield from ("", "## The lessons that it fails", "")
    yield from _head(["lesson", "task", "outcome", "answer", "why"], [])
    for failure in found.failures:
        why = "; ".join(
            f"**{cause}**: {markdown_text(text)}"
            for cause, text in zip(failure.causes, failure.why, strict=True)
        )
        lesson, answer = f"`{failure.lesson[:12]}`", markdown_text(failure.answer or "–")
        yield _row([lesson, markdown_text(failure.task), failure.outcome, answer, why])


def _head(texts: Sequence[str], numbers: Sequence[str]) -> Iterator[str]:
    """Return the head of a table: columns of text, then columns of numbers."""
    yield _row([*texts, *numbers])
    yield f"|{'---|' * len(texts)}{'---:|' * len(numbers)}"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
