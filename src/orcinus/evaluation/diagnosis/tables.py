"""Tables of a diagnosis: outcomes by arm, accuracy by part of the questions, failures by cause."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orcinus.core import stats
from orcinus.core.stats.ridge import Explained
from orcinus.evaluation.diagnosis.advice import Advice
from orcinus.evaluation.diagnosis.causes import Cause, Failure
from orcinus.evaluation.diagnosis.difficulty import Key, difficulty_of, split_into_levels
from orcinus.evaluation.diagnosis.faults import Fault
from orcinus.evaluation.diagnosis.outcomes import OUTCOMES, Outcome, Pair, is_right, outcome_of


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCounts:
    """The number of attempts of one arm by outcome."""

    items: str
    """``lessons`` or ``held out``."""
    arm: str
    n: int
    counts: Mapping[Outcome, int]
    """Outcomes that occurred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Accuracy over a part of the questions."""

    items: str
    """``lessons`` or ``held out``."""
    by: str
    """``difficulty``, ``length`` (characters of the question) or ``strategy``."""
    value: str
    n: int
    before: float | None
    """Accuracy before training; None where the untrained student was not asked."""
    after: float
    low: float
    high: float
    """Bounds of Wilson's 95 % interval of ``after``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseCount:
    """The number of failures that one cause explains."""

    cause: Cause
    first: int
    """Failures whose first cause it is."""
    applies: int
    """Failures to which it applies at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The loss of the asked lessons under the student before training, or after a stage."""

    arm: str
    lessons: int
    """Lessons that were measured; longer ones than a row are left out."""
    loss: float
    """Nats per response token."""
    he_snr: float | None
    """Mean of p(right token) / entropy where the student hesitates; None where it never does."""
    hesitant: int
    """Tokens at which it hesitates."""
    tokens: int
    """Tokens of the visible answers."""
    loss_there: float | None
    """Mean loss at the tokens at which it hesitates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Findings of a diagnosis: the content of ``diagnosis.json``."""

    run: str
    lessons: int
    """Lessons that the student was taught."""
    asked: int
    """Lessons whose question was asked again."""
    failed: int
    """Of them, those that the trained student fails."""
    notes: tuple[str, ...]
    errors: tuple[OutcomeCounts, ...]
    slices: tuple[Slice, ...]
    causes: tuple[CauseCount, ...]
    checkpoints: tuple[Checkpoint, ...]
    success_in_state: Explained | None
    """How well ridge regression predicts the trained student's success from its last hidden state
    before it answers; None where nothing varies."""
    advice: tuple[Advice, ...]
    failures: tuple[Failure, ...]
    faults: tuple[Fault, ...]
    """Of authored tasks with ``levels``: what the student lacks for the held-out chains that it
    fails."""


def count_causes(failures: Sequence[Failure]) -> tuple[CauseCount, ...]:
    """Count the failures that each cause explains, the most frequent first cause first."""
    first = Counter(failure.causes[0] for failure in failures)
    applies = Counter(cause for failure in failures for cause in failure.causes)
    ranked = sorted(applies, key=lambda cause: (-first[cause], -applies[cause], cause))
    return tuple(
        CauseCount(cause=cause, first=first[cause], applies=applies[cause]) for cause in ranked
    )


def count_outcomes(items: str, by_arm: Mapping[str, Sequence[Pair]]) -> Iterator[OutcomeCounts]:
    """Count the outcomes of each arm's attempts.

    Args:
        items: ``lessons`` or ``held out``.
        by_arm: Questions and attempts.
    """
    for arm, pairs in by_arm.items():
        counts = Counter(outcome_of(example, judged) for example, judged in pairs)
        yield OutcomeCounts(
            items=items,
            arm=arm,
            n=len(pairs),
            counts={outcome: counts[outcome] for outcome in OUTCOMES if counts[outcome]},
        )


def score_slices(
    items: str, by_arm: Mapping[str, Sequence[Pair]], strategies: Mapping[Key, str]
) -> Iterator[Slice]:
    """Score questions by difficulty, by length and by the strategy that was taught.

    Args:
        items: ``lessons`` or ``held out``.
        by_arm: Questions and attempts; arms ``before`` and ``after``.
        strategies: The strategy taught for each question.
    """
    after = by_arm.get("after", [])
    difficulties = [(e, d) for e, _ in after if (d := difficulty_of(e)) is not None]
    lengths = [(e, float(len(e.prompt))) for e, _ in after]
    for by, valued in (("difficulty", difficulties), ("length", lengths)):
        levels, names = split_into_levels([value for _, value in valued])
        level_of = {(e.task, e.id): level for (e, _), level in zip(valued, levels, strict=True)}
        for level, name in enumerate(names):
            yield from _slice(items, by, name, by_arm, _equals(level_of, level))
    for name in sorted(set(strategies.values())):
        yield from _slice(items, "strategy", name, by_arm, _equals(strategies, name))


def _equals(values: Mapping[Key, Hashable], wanted: Hashable) -> Callable[[Key], bool]:
    return lambda key: values.get(key) == wanted


def _slice(
    items: str,
    by: str,
    value: str,
    by_arm: Mapping[str, Sequence[Pair]],
    contains: Callable[[Key], bool],
) -> Iterator[Slice]:
    """Score the questions that the slice contains; yield nothing when there are none."""
    right = {
        arm: [
            is_right(judged)
            for example, judged in pairs
            if contains((example.task, example.id)) and judged.attempt.finish != "error"
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


def summarize_changes(
    lessons: Mapping[str, Sequence[Pair]], held_out: Mapping[str, Sequence[Pair]]
) -> Iterator[str]:
    """Say how many lessons were gained and lost, and whether the student memorised them.

    Args:
        lessons: Attempts at lessons by arm, ``before`` and ``after``.
        held_out: Attempts at held-out questions by the same arms.
    """
    if lessons["before"]:
        pairs = zip(lessons["before"], lessons["after"], strict=True)
        changes = Counter((is_right(a), is_right(b)) for (_, a), (_, b) in pairs)
        yield (
            f"Of the lessons asked, training turned {changes[False, True]:,} from wrong to right "
            f"and {changes[True, False]:,} from right to wrong."
        )
    taught, unseen = (
        [is_right(judged) for _, judged in items.get("after", ())] for items in (lessons, held_out)
    )
    if not taught or not unseen:
        return
    # The intervals must not overlap: lessons are only a sample, and a few points are noise.
    if stats.wilson(sum(taught), len(taught))[0] > stats.wilson(sum(unseen), len(unseen))[1]:
        yield (
            f"The student has {sum(taught):,} of {len(taught):,} lessons right, but only "
            f"{sum(unseen):,} of {len(unseen):,} held-out questions: it has memorised lessons. "
            "More questions, or more varied ones, would help (sample.per_task, tasks)."
        )
