"""Why a student fails lessons that it was taught: rules on what is known of each, in the order in which they are asked.

    untaught       no stage learnt it, or it was too long for a row
    contradiction  the same question is taught with another answer, or the lesson's own answer is wrong or was not judged
    conflict       its group is mostly taught another way (strategy, form of the answer), and that way is right more often
    forgetting     the student had it right before training, or after an earlier stage
    truncation     the answer was cut off, and the lesson itself does not fit what may be written (or, once learnt, hardly)
    optimisation   its words still cost more than half of what they cost before training
    format         it is learnt, yet no answer was found in what the student writes
    prerequisite   it is learnt, yet at its difficulty most are wrong, and accuracy falls with difficulty or starts low (and stays there)
    belief         the student gives the wrong answer that it gave before training
    optimisation   others like it are right, or the loss was still falling when training ended

After "Why supervised fine-tuning fails to learn" (arXiv:2604.10079), which tells five causes apart: missing prerequisites, conflict with
what was known, contradictions in the data, forgetting of what came early, too little optimisation. A failure's first cause is the one that
counts; the rules are signs and no proof.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

import numpy as np

from orcinus.core import stats
from orcinus.core.types import Example, Judged, Lesson
from orcinus.lessons import filters
from orcinus.tasks.duplicates.ngrams import normal

Outcome = Literal[
    "right", "wrong", "no answer", "cut off", "loop", "refusal", "not judged", "failed call"
]
OUTCOMES: tuple[Outcome, ...] = (
    "right",
    "wrong",
    "no answer",
    "cut off",
    "loop",
    "refusal",
    "not judged",
    "failed call",
)
Cause = Literal[
    "untaught",
    "contradiction",
    "conflict",
    "forgetting",
    "truncation",
    "optimisation",
    "format",
    "prerequisite",
    "belief",
    "unexplained",
]

LEARNT = 0.5
"""A lesson is learnt when its words cost at most this share of what they cost before training."""
HARDLY_FITS = 0.8
"""A lesson with more than this share of the tokens that may be written hardly fits."""
CLEARLY_MORE = 0.1
"""One way of teaching is right more often than another by at least this share."""
FEW = 3
"""With fewer others to compare with, no rule compares."""
TREND_SIZE = 0.05
"""Chance that accuracy is said to fall with difficulty where it does not."""
MOST_LEVELS = 5
REPEATS, REPEATED = 8, 60
"""A text that ends in so many repetitions of a piece, so many characters together, is a loop."""
_REPETITION = re.compile(rf"(.{{1,40}}?)\1{{{REPEATS - 1},}}.{{0,40}}\Z", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """One lesson that was asked again, and what is known of it."""

    lesson: Lesson
    example: Example
    value: float | None
    """The verdict on the lesson itself."""
    answer: str | None
    """The answer that the lesson ends in."""
    way: tuple[str, str]
    """(strategy, rule that finds the answer): how it is taught."""
    group: str
    level: int
    """How difficult it is among its task, from 0; see ``levels``."""
    attempts: Mapping[str, Judged]
    """By arm in the order of training: ``before`` (where it could be asked), the stages, the last of which is the student."""
    taken: bool = True
    """Whether a stage takes it."""
    tokens: int = 0
    response_tokens: int = 0
    fits: bool = True
    loss_before: float | None = None
    loss_after: float | None = None
    """Nats per response token; None where it was not measured."""
    rivals: tuple[tuple[str, str], ...] = ()
    """(lesson, answer) of lessons that teach another answer to the same question."""

    @property
    def outcome(self) -> Outcome:
        """What the trained student made of it."""
        return outcome_of(self.example, self.last)

    @property
    def last(self) -> Judged:
        """The trained student's attempt."""
        return list(self.attempts.values())[-1]

    @property
    def learnt(self) -> bool:
        """Whether training brought its loss down; where that was not measured it is taken to have."""
        if self.loss_after is None or self.loss_before is None:
            return True
        return self.loss_after <= LEARNT * self.loss_before


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of all lessons together."""

    ways: Mapping[str, Mapping[tuple[str, str], int]]
    """By group how many lessons are taught in each way."""
    right_by_way: Mapping[tuple[str, tuple[str, str]], tuple[int, int]]
    """(right, n) of the asked lessons by group and way."""
    right_by_level: Mapping[tuple[str, int], tuple[int, int]]
    """(right, n) by task and difficulty, held-out questions included."""
    trend: Mapping[str, float]
    """By task the chance of so clear a fall with difficulty if there were none."""
    lucky: frozenset[tuple[str, str]]
    """(arm, task) where being right may be a guess: accuracy is not clearly above chance."""
    falling: bool
    """The loss was still falling at the end of the last stage."""
    max_tokens: int
    """That may be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A lesson that the student fails, and why."""

    lesson: str
    task: str
    example: str
    outcome: Outcome
    answer: str | None
    reference: str | tuple[str, ...] | None
    causes: tuple[Cause, ...]
    """The first one counts."""
    why: tuple[str, ...]
    """In words, a sentence for each cause."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What advice needs to know: which kind of forgetting, of contradiction."""


def outcome_of(example: Example, judged: Judged) -> Outcome:
    """What became of one attempt."""
    attempt, verdict = judged.attempt, judged.verdict
    if attempt.finish == "error":
        return "failed call"
    if verdict.value == 1.0:
        return "right"
    if filters.refused(example, attempt, verdict):
        return "refusal"
    if filters.loops(example, attempt, verdict) or is_loop(attempt.text):
        return "loop"
    if attempt.finish == "length":
        return "cut off"
    if verdict.value == 0.0:
        return "wrong"
    return "not judged" if example.reference is None else "no answer"


def is_loop(text: str) -> bool:
    """Whether ``text`` ends in the same piece again and again.

    >>> is_loop("4 + 4 = 8, " * 20), is_loop("4 + 4 = 8, 8 + 1 = 9. The answer is 9.")
    (True, False)
    """
    found = _REPETITION.search(text.rstrip()[-400:])
    return found is not None and found.end() - found.start() >= REPEATED


def fails(example: Example, judged: Judged) -> bool:
    """Whether an attempt is known not to be right."""
    return outcome_of(example, judged) not in ("right", "not judged", "failed call")


def explain(taught: Taught, around: Surroundings) -> Failure:
    """The causes of one failure, the first that applies first."""
    found: dict[Cause, str] = {}
    for cause, rule in RULES:
        if cause not in found and (words := rule(taught, around)) is not None:
            found[cause] = words
    if not found:
        found["unexplained"] = "it is learnt like others, and no rule says why it fails"
    return Failure(
        lesson=taught.lesson.id,
        task=taught.lesson.task,
        example=taught.lesson.example_id,
        outcome=taught.outcome,
        answer=taught.last.verdict.answer,
        reference=taught.example.reference,
        causes=tuple(found),
        why=tuple(found.values()),
        details={"lost": _last_right(taught, around) or "", "lesson": _own_fault(taught)},
    )


Rule = Callable[[Taught, Surroundings], str | None]


def untaught(taught: Taught, _: Surroundings) -> str | None:
    """No stage learnt it."""
    if not taught.taken:
        return "no stage of train.stages takes it, by its filters or its share of a mix"
    return (
        None
        if taught.fits
        else f"it has {taught.tokens:,} tokens, more than train.context_length, and was dropped"
    )


def contradiction(taught: Taught, _: Surroundings) -> str | None:
    """Another lesson, or the reference, says otherwise."""
    if taught.rivals:
        other, answer = taught.rivals[0]
        return f"it teaches {taught.answer!r:.60}, and lesson {other[:12]} teaches {answer!r:.60} to the same question"
    fault = _own_fault(taught)
    if fault == "wrong":
        return f"it teaches {taught.answer!r:.60}, and the reference is {taught.example.reference!r:.60}"
    return "what it teaches could not be judged" if fault else None


def _own_fault(taught: Taught) -> str:
    if taught.value == 0.0:
        return "wrong"
    return "unjudged" if taught.value is None and taught.example.reference is not None else ""


def conflict(taught: Taught, around: Surroundings) -> str | None:
    """The group is mostly taught another way, with more success."""
    ways = around.ways.get(taught.group, {})
    usual = max(ways, key=ways.__getitem__, default=taught.way)
    if ways.get(taught.way, 0) >= ways.get(usual, 0):
        return None
    (right, n), (usually, of) = (
        around.right_by_way.get((taught.group, way), (0, 0)) for way in (taught.way, usual)
    )
    if min(n, of) < FEW or usually / of - right / n < CLEARLY_MORE:
        return None
    return (
        f"{taught.group} is mostly taught by {_named(usual)} ({usually} of {of} right), and this by {_named(taught.way)} "
        f"({right} of {n} right)"
    )


def _named(way: tuple[str, str]) -> str:
    return f"{way[0]} with the answer as {way[1]}"


def forgetting(taught: Taught, around: Surroundings) -> str | None:
    """It was right before."""
    arm = _last_right(taught, around)
    if arm is None:
        return None
    arms = list(taught.attempts)
    when = "before training" if arm == "before" else f"after stage {arm}"
    return f"it was right {when}, and wrong after stage {arms[arms.index(arm) + 1]}"


def _last_right(taught: Taught, around: Surroundings) -> str | None:
    """The last arm that had it right, where that was no guess."""
    for arm, judged in reversed(list(taught.attempts.items())):
        if judged.verdict.value == 1.0 and (arm, taught.lesson.task) not in around.lucky:
            return arm
    return None


def truncation(taught: Taught, around: Surroundings) -> str | None:
    """There was no room to answer."""
    room = HARDLY_FITS * around.max_tokens if taught.learnt else around.max_tokens
    if taught.outcome != "cut off" or taught.response_tokens <= room:
        return None
    return (
        f"cut off at {around.max_tokens:,} tokens; the lesson itself has {taught.response_tokens:,}"
    )


def not_learnt(taught: Taught, _: Surroundings) -> str | None:
    """Training has not brought its loss down."""
    if taught.learnt:
        return None
    return f"its loss is still {taught.loss_after:.2f} nats a token, {taught.loss_before:.2f} before training"


def no_answer(taught: Taught, around: Surroundings) -> str | None:
    """Nothing that the verifier takes for an answer."""
    if not taught.learnt or taught.outcome not in ("no answer", "cut off", "refusal", "loop"):
        return None
    if truncation(taught, around) is not None:
        return None
    said = {
        "no answer": "no answer is found in it",
        "refusal": "it declines",
        "loop": "it repeats itself without end",
    }
    cut = f"it goes on past the {taught.response_tokens:,} tokens of the lesson and is cut off at {around.max_tokens:,}"
    return (
        f"the student has learnt the lesson's words, but when asked {said.get(taught.outcome, cut)}"
    )


def prerequisite(taught: Taught, around: Surroundings) -> str | None:
    """Too difficult: what is as difficult fails as well, and easier ones do better, or fail too."""
    task = taught.lesson.task
    right, n = around.right_by_level.get((task, taught.level), (0, 0))
    if not taught.learnt or n < FEW or 2 * right >= n:
        return None
    easiest, of = around.right_by_level.get((task, 0), (0, 0))
    here = f"at its difficulty {right} of {n} are right"
    if around.trend.get(task, 1.0) < TREND_SIZE:
        return f"{here}, {easiest} of {of} of the easiest: accuracy falls with difficulty (one-sided p {around.trend[task]:.1g})"
    if of >= FEW and 2 * easiest < of and not around.falling:
        return f"{here}, and of the easiest only {easiest} of {of}"
    return None


def belief(taught: Taught, _: Surroundings) -> str | None:
    """The student holds on to what it said before."""
    before, answer = taught.attempts.get("before"), taught.last.verdict.answer
    if (
        before is None
        or answer is None
        or guess_rate(taught.example) > 0
        or before.verdict.answer != answer
    ):
        return None
    return f"the student answers {answer!r:.60}, as it did before training"


def not_yet(taught: Taught, around: Surroundings) -> str | None:
    """Others like it are right: more of the same training may do."""
    right, n = around.right_by_level.get((taught.lesson.task, taught.level), (0, 0))
    if n > FEW and 2 * right >= n:
        return f"others as difficult are right ({right} of {n})"
    return "the loss was still falling when training ended" if around.falling else None


RULES: tuple[tuple[Cause, Rule], ...] = (
    ("untaught", untaught),
    ("contradiction", contradiction),
    ("conflict", conflict),
    ("forgetting", forgetting),
    ("truncation", truncation),
    ("optimisation", not_learnt),
    ("format", no_answer),
    ("prerequisite", prerequisite),
    ("belief", belief),
    ("optimisation", not_yet),
)


def guess_rate(example: Example) -> float:
    """The chance of being right by guessing: 0 where answers are free."""
    if example.answer_type == "bool":
        return 0.5
    return 1 / len(example.choices) if example.choices else 0.0


def is_lucky(pairs: Sequence[tuple[Example, Judged]]) -> bool:
    """Whether so many right answers of one arm to one task may be guesses."""
    guess = sum(guess_rate(example) for example, _ in pairs) / len(pairs)
    right = sum(judged.verdict.value == 1.0 for _, judged in pairs)
    return guess > 0 and stats.wilson(right, len(pairs))[0] <= guess


def falls(levels: Sequence[int], right: Sequence[bool]) -> float:
    """One-sided p-value of the trend test that the share right falls with the level (Cochran 1954, Armitage 1955)."""
    x, y = np.asarray(levels, float), np.asarray(right, float)
    share = y.mean() if len(y) else 0.0
    spread = share * (1 - share) * float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
    if spread <= 0:
        return 1.0
    return NormalDist().cdf(float(((x - x.mean()) * (y - share)).sum()) / math.sqrt(spread))


def levels(values: Sequence[float]) -> tuple[list[int], list[str]]:
    """Values in a few levels: each distinct value one, or where there are many, equal shares of them.

    Returns:
        The level of each value, from 0, and the levels' names.

    >>> levels([3, 5, 3])
    ([0, 1, 0], ['3', '5'])
    """
    distinct = sorted(set(values))
    if len(distinct) <= MOST_LEVELS:
        return [distinct.index(value) for value in values], [f"{value:g}" for value in distinct]
    shares = [i / MOST_LEVELS for i in range(1, MOST_LEVELS + 1)]
    bounds = sorted({float(b) for b in np.quantile(values, shares, method="inverted_cdf")})
    return [int(i) for i in np.searchsorted(bounds, values)], [
        f"up to {bound:g}" for bound in bounds
    ]


def difficulty_of(example: Example) -> float | None:
    """``meta.difficulty`` as a number."""
    value = example.meta.get("difficulty")
    try:
        return float(value) if value is not None else None
    except (TypeError, ValueError):
        return None


def is_falling(losses: Sequence[float]) -> bool:
    """Whether the last fifth of a stage's losses is clearly (by 5 %) below the fifth before it."""
    fifth = len(losses) // 5
    return fifth >= 2 and float(np.mean(losses[-fifth:])) < 0.95 * float(
        np.mean(losses[-2 * fifth : -fifth])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one lesson teaches, for comparison with others."""

    lesson: str
    question: str
    answer: str | None
    value: float | None
    reference: str | tuple[str, ...] | None


def contradicts(a: Claim, b: Claim) -> bool:
    """Whether two lessons whose questions are equal or nearly so teach different answers.

    Questions that are only nearly equal must hold the same numbers, and their references, where both have one, must be the same:
    questions of one template with other numbers have other answers by right.
    """
    if (
        a.lesson == b.lesson
        or a.answer is None
        or b.answer is None
        or normal(a.answer) == normal(b.answer)
    ):
        return False
    if a.reference == b.reference and a.value == b.value == 1.0:
        return False  # one answer, written in two ways
    if normal(a.question) == normal(b.question):
        return True
    if a.reference is not None and b.reference is not None and a.reference != b.reference:
        return False
    return sorted(_NUMBER.findall(a.question)) == sorted(_NUMBER.findall(b.question))


def rivals(claims: Iterable[Claim]) -> dict[str, tuple[tuple[str, str], ...]]:
    """By lesson those of a group of nearly equal questions that contradict it, with what they teach."""
    group = list(claims)
    return {
        a.lesson: tuple((b.lesson, b.answer or "") for b in group if contradicts(a, b))
        for a in group
    }
