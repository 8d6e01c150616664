"""Scores by task and by published rule."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from orcinus.core import stats
from orcinus.core.types import Example, Judged
from orcinus.verifiers import official


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
