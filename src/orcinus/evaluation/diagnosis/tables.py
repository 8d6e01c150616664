"""Count failed lessons by cause and by slice of the data."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orcinus.core import stats
from orcinus.core.types import Example, Judged
from orcinus.evaluation.diagnosis import causes
from orcinus.evaluation.diagnosis.advice import Advice
from orcinus.evaluation.diagnosis.causes import Cause, Failure, Outcome

Key = tuple[str, str]
Pair = tuple[Example, Judged]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """What became of one arm's attempts."""

    items: str
    """``lessons`` or ``held out``."""
    arm: str
    n: int
    counts: Mapping[Outcome, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Accuracy over a part of the questions."""

    items: str
    by: str
    """difficulty, length (characters of the question) or strategy."""
    value: str
    n: int
    before: float | None
    """Share right before training; None where it was not asked."""
    after: float
    low: float
    high: float
    """Wilson's 95 % interval of ``after``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseCount:
    """How many failures one cause explains."""

    cause: Cause
    first: int
    """Failures whose first cause it is."""
    applies: int
    """Failures to which it applies at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found; also ``diagnosis.json`` and ``diagnosis.md`` in the run's folder."""

    run: str
    lessons: int
    """That the student was taught."""
    asked: int
    failed: int
    notes: tuple[str, ...]
    errors: tuple[Errors, ...]
    slices: tuple[Slice, ...]
    causes: tuple[CauseCount, ...]
    advice: tuple[Advice, ...]
    failures: tuple[Failure, ...]


def cause_counts(failures: Sequence[Failure]) -> tuple[CauseCount, ...]:
    """How many failures each cause explains, the most frequent first cause first."""
    first = Counter(failure.causes[0] for failure in failures)
    applies = Counter(cause for failure in failures for cause in failure.causes)
    ranked = sorted(applies, key=lambda cause: (-first[cause], -applies[cause], cause))
    return tuple(
        CauseCount(cause=cause, first=first[cause], applies=applies[cause]) for cause in ranked
    )


def errors_of(items: str, by_arm: Mapping[str, Sequence[Pair]]) -> Iterator[Errors]:
    """What became of each arm's attempts; ``items`` says of which questions."""
    for arm, pairs in by_arm.items():
        counts = Counter(causes.outcome_of(example, judged) for example, judged in pairs)
        yield Errors(
            items=items,
            arm=arm,
            n=len(pairs),
            counts={o: counts[o] for o in causes.OUTCOMES if counts[o]},
        )


def slices_of(
    items: str, by_arm: Mapping[str, Sequence[Pair]], strategies: Mapping[Key, str]
) -> Iterator[Slice]:
    """Accuracy before and after by level of difficulty, by length, and by the strategy that was taught."""
    after = by_arm.get("after", [])
    difficult = [(e, d) for e, _ in after if (d := causes.difficulty_of(e)) is not None]
    for by, chosen in (
        ("difficulty", difficult),
        ("length", [(e, float(len(e.prompt))) for e, _ in after]),
    ):
        levels, names = causes.levels([value for _, value in chosen])
        of = {(e.task, e.id): level for (e, _), level in zip(chosen, levels, strict=True)}
        for level, name in enumerate(names):
            yield from _slice(items, by, name, by_arm, partial(_is_at, of, level))
    for name in sorted(set(strategies.values())):
        yield from _slice(items, "strategy", name, by_arm, partial(_is_at, strategies, name))


def _is_at(places: Mapping[Key, Any], wanted: Any, key: Key) -> bool:
    """Return whether the item ``key`` has the value ``wanted`` in ``places``."""
    return bool(places.get(key) == wanted)


def in_words(
    lessons: Mapping[str, Sequence[Pair]], held_out: Mapping[str, Sequence[Pair]]
) -> Iterator[str]:
    """What the tables do not say: how many lessons were gained and lost, and whether lessons stay with the lessons."""
    if lessons["before"]:
        pairs = zip(lessons["before"], lessons["after"], strict=True)
        changes = Counter(
            (a.verdict.value == 1.0, b.verdict.value == 1.0) for (_, a), (_, b) in pairs
        )
        yield f"Of the lessons asked, {changes[False, True]:,} are right since training and {changes[True, False]:,} are wrong since."
    taught, unseen = (
        [j.verdict.value == 1.0 for _, j in items.get("after", ())] for items in (lessons, held_out)
    )
    if (
        taught
        and unseen
        and stats.wilson(sum(taught), len(taught))[0] > stats.wilson(sum(unseen), len(unseen))[1]
    ):
        yield (
            f"The student has {sum(taught):,} of {len(taught):,} lessons right and {sum(unseen):,} of {len(unseen):,} held-out questions: "
            "it has learnt lessons by heart; more questions, or more varied ones, would help (sample.per_task, tasks)."
        )


def _slice(
    items: str,
    by: str,
    value: str,
    by_arm: Mapping[str, Sequence[Pair]],
    takes: Callable[[Key], bool],
) -> Iterator[Slice]:
    right = {
        arm: [
            j.verdict.value == 1.0
            for e, j in pairs
            if takes((e.task, e.id)) and j.attempt.finish != "error"
        ]
        for arm, pairs in by_arm.items()
    }
    before, after = right.get("before"), right["after"]
    if after:
        low, high = stats.wilson(sum(after), len(after))
        yield Slice(
            items=items,
            by=by,
            value=value,
            n=len(after),
            before=sum(before) / len(before) if before else None,
            after=sum(after) / len(after),
            low=low,
            high=high,
        )
