"""Asking one model all of a list and keeping what it answered: what choosing and evaluating share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from orcinus import stats
from orcinus.judges import judged_attempts
from orcinus.protocols import Completer
from orcinus.runtime import StepContext
from orcinus.store import tables
from orcinus.types import Example, Judged, Request
from orcinus.verifiers import official


async def measure(
    requests: Iterable[Request],
    completer: Completer,
    path: Path,
    context: StepContext,
    *,
    step: str,
    what: str,
    total: int | None,
) -> list[Judged]:
    """Ask, judge, and write ``path``; the answers are kept in memory too, so only for what is measured, not for what is taught.

    Args:
        requests: In the order of the table's rows.
        completer: The model.
        path: The table of judged attempts.
        context: Of the step.
        step: Under which spending is booked.
        what: Said to whoever watches.
        total: How many requests there are.
    """
    context.progress.start(what, total)
    found = []
    with tables.TableWriter(path, tables.JUDGED) as writer:
        async for judged in judged_attempts(requests, completer, context, step=step):
            writer.write(tables.judged_row(judged))
            context.progress.advance(cost_usd=judged.attempt.cost_usd, recalled=judged.recalled)
            found.append(judged)
    return found


def scores_by_task(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Scores by task, over all items (``_micro``) and as the mean over tasks (``_macro``)."""
    by_task: dict[str, list[Judged]] = {}
    for item in judged:
        by_task.setdefault(item.attempt.task, []).append(item)
    scores = {task: stats.score(items) for task, items in sorted(by_task.items())}
    return {
        **{task: asdict(score) for task, score in scores.items()},
        "_micro": asdict(stats.score(judged)),
        "_macro": asdict(stats.macro_score(list(scores.values()))),
    }


def scores_by_rule(
    judged: Sequence[Judged], examples: Mapping[tuple[str, str], Example]
) -> dict[str, dict[str, float | int]]:
    """What published rules make of the same answers: by rule the items it is made for, its mean there, and ours."""
    answered = [
        (item, examples[item.attempt.task, item.attempt.example_id])
        for item in judged
        if item.attempt.finish != "error"
    ]
    found: dict[str, dict[str, float | int]] = {}
    for name in official.NAMES:
        pairs = [
            (official.points(name, example, item.attempt.text), item.verdict.value or 0.0)
            for item, example in answered
            if official.is_made_for(name, example)
        ]
        if pairs:
            theirs, ours = zip(*pairs, strict=True)
            found[name] = {"n": len(pairs), "mean": fmean(theirs), "ours": fmean(ours)}
    return found
