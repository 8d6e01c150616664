"""Accuracy by the depth of a question, and among the wordings of one question.

answers of "before", "after" … ──depth_curves──► by task and arm: share right at depth 1, 2, 3 …
                               ──consistencies─► by task and arm: how much wordings differ
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orcinus.core import stats
from orcinus.core.stats.consistency import consistency
from orcinus.core.types import Example, Judged
from orcinus.reports.answers import Answers, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthPoint:
    """Accuracy at one depth."""

    depth: int
    n: int
    mean: float
    low: float
    high: float
    """Bounds of Wilson's 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthCurve:
    """Accuracy of one arm on one task against ``meta.depth``."""

    task: str
    arm: str
    points: tuple[DepthPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """The spread of one arm's accuracy among wordings of the same questions of one task."""

    task: str
    arm: str
    sets: int
    """Questions asked in two wordings or more."""
    value: float
    """Mean population variance within a set; 0 where all wordings fare the same."""
    accuracy: Mapping[str, float]
    """Share right by domain, over the same sets."""


def depth_curves(
    answers: Answers, known: Mapping[Key, Example], arms: Sequence[str]
) -> Iterator[DepthCurve]:
    """Yield a curve for each task whose questions have a depth, and each arm.

    Args:
        answers: The answers; failed calls are left out.
        known: The questions.
        arms: The arms in order.
    """
    deep = {key: example for key, example in known.items() if _has_depth(example)}
    for task, by_arm in _by_task_and_arm(answers, deep, arms):
        for arm, answered in by_arm.items():
            by_depth: dict[int, list[bool]] = {}
            for example, judged in answered:
                by_depth.setdefault(example.meta["depth"], []).append(judged.verdict.right)
            points = []
            for depth, right in sorted(by_depth.items()):
                low, high = stats.wilson(sum(right), len(right))
                point = DepthPoint(depth=depth, n=len(right), mean=fmean(right), low=low, high=high)
                points.append(point)
            yield DepthCurve(task=task, arm=arm, points=tuple(points))


def consistencies(
    answers: Answers, known: Mapping[Key, Example], arms: Sequence[str]
) -> Iterator[Consistency]:
    """Yield how consistent each arm is on each task whose questions have several wordings."""
    reworded = {key: example for key, example in known.items() if example.meta.get("isomer")}
    for task, by_arm in _by_task_and_arm(answers, reworded, arms):
        for arm, answered in by_arm.items():
            sets: dict[str, dict[str, list[float]]] = {}
            for example, judged in answered:
                of_set = sets.setdefault(str(example.meta["isomer"]), {})
                domain = str(example.meta.get("domain", ""))
                of_set.setdefault(domain, []).append(judged.verdict.value or 0.0)
            compared = [of_set for of_set in sets.values() if len(of_set) >= 2]
            value = consistency([[*map(fmean, of_set.values())] for of_set in compared])
            if value is None:
                continue
            domains: dict[str, list[float]] = {}
            for of_set in compared:
                for domain, values in of_set.items():
                    domains.setdefault(domain, []).extend(values)
            yield Consistency(
                task=task,
                arm=arm,
                sets=len(compared),
                value=value,
                accuracy={domain: fmean(values) for domain, values in sorted(domains.items())},
            )


_Answered = list[tuple[Example, Judged]]


def _has_depth(example: Example) -> bool:
    depth = example.meta.get("depth")
    return isinstance(depth, int) and not isinstance(depth, bool)


def _by_task_and_arm(
    answers: Answers, known: Mapping[Key, Example], arms: Sequence[str]
) -> Iterator[tuple[str, dict[str, _Answered]]]:
    """Yield the answers to the ``known`` questions, by task and then by arm."""
    by_task: dict[str, dict[str, _Answered]] = {}
    for key, example in known.items():
        found = by_task.setdefault(example.task, {arm: [] for arm in arms})
        for arm, judged in answers.get(key, {}).items():
            if judged.attempt.finish != "error":
                found[arm].append((example, judged))
    for task, found in sorted(by_task.items()):
        yield task, {arm: answered for arm, answered in found.items() if answered}
