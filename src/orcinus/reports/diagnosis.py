"""What a diagnosis found: its tables, and the page made of them."""

from orcinus.evaluation.diagnosis.outcomes import OUTCOMES
from orcinus.evaluation.diagnosis.tables import Diagnosis
from orcinus.reports.words import percent


def markdown(found: Diagnosis) -> str:
    """The diagnosis as a page. What models wrote stands in backquotes, on one line."""
    lines = [f"# Diagnosis of {found.run}", "", summary(found), ""]
    lines += [f"> {note}\n" for note in found.notes]
    lines += ["## What to do next", ""]
    for i, item in enumerate(found.advice, 1):
        lines += [f"{i}. {item.words} ({item.failures} of {found.failed} failures)", ""]
        lines += (
            ["   ```yaml", *(f"   {line}" for line in item.edit.splitlines()), "   ```", ""]
            if item.edit
            else []
        )
        lines += [f"   `{item.command}`", ""]
    lines += ["## Why lessons fail", "", "| cause | failures | applies to |", "|---|---:|---:|"]
    lines += [f"| {count.cause} | {count.first} | {count.applies} |" for count in found.causes]
    lines += ["", "## What became of the answers", ""]
    lines += [
        f"| questions | student | n | {' | '.join(OUTCOMES)} |",
        f"|---|---|{'---:|' * (1 + len(OUTCOMES))}",
    ]
    for row in found.errors:
        cells = " | ".join(str(row.counts.get(outcome, 0)) for outcome in OUTCOMES)
        lines.append(f"| {row.items} | {_plain(row.arm)} | {row.n} | {cells} |")
    lines += ["", "## Where the student is right", ""]
    lines += [
        "| questions | by | | n | before | after | 95 % interval |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for part in found.slices:
        lines.append(
            f"| {part.items} | {part.by} | {_plain(part.value)} | {part.n} | {percent(part.before)} | {percent(part.after)} | "
            f"{percent(part.low)} – {percent(part.high)} |"
        )
    lines += [
        "",
        "## The lessons that it fails",
        "",
        "| lesson | task | outcome | answer | why |",
        "|---|---|---|---|---|",
    ]
    for failure in found.failures:
        why = "; ".join(
            f"**{cause}**: {_plain(text)}"
            for cause, text in zip(failure.causes, failure.why, strict=True)
        )
        lines.append(
            f"| `{failure.lesson[:12]}` | {_plain(failure.task)} | {failure.outcome} | {_plain(failure.answer or '–')} | {why} |"
        )
    return "\n".join(lines) + "\n"


def summary(found: Diagnosis) -> str:
    """The diagnosis in a sentence."""
    if not found.failed:
        return f"The student has all {found.asked:,} lessons right that it was asked again, of {found.lessons:,}."
    return (
        f"Asked again {found.asked:,} of the {found.lessons:,} lessons it was taught, the student fails {found.failed:,} "
        f"({100 * found.failed / found.asked:.0f} %)."
    )


def _plain(text: str) -> str:
    """Text for a cell of a Markdown table."""
    one_line = " ".join(text.split())
    return (
        one_line.replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("<", "&lt;")
        .replace("[", "\\[")
        .replace("`", "'")
    )
