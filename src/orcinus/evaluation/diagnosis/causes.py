"""Explain why a student fails a lesson that it was taught, by rules in a fixed order.

    untaught       no training stage used the lesson, or it was too long for a row
    contradiction  another lesson teaches a different answer to the question, or its own is wrong
    conflict       most lessons of its group use another style, which is right more often
    forgetting     the student was right before training, or after an earlier stage
    truncation     the answer was cut off, and the lesson (nearly) exceeds the token limit
    optimisation   the lesson's loss is still more than half of its loss before training
    format         the lesson is learnt, but the student's reply contains no answer
    prerequisite   the lesson is learnt, but questions of its difficulty are still too hard
    belief         the student still gives the wrong answer that it gave before training
    optimisation   similar questions are right, or the loss was still falling when training ended

After "Why supervised fine-tuning fails to learn" (arXiv:2604.10079), which separates five causes:
missing prerequisites, conflict with earlier knowledge, contradictions in the data, forgetting and
too little optimisation. The first rule that applies counts as the cause. Rules are indications,
not proof.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from orcinus.core.types import Example, Judged, Lesson
from orcinus.evaluation.diagnosis.contradictions import Rival
from orcinus.evaluation.diagnosis.outcomes import Outcome, is_right, outcome_of
from orcinus.verifiers.guessing import guess_rate

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
"""A lesson is learnt when training brought its loss down to at most this share."""
NEARLY_FULL = 0.8
"""A lesson is nearly too long above this share of the tokens that the student may write."""
CLEARLY_MORE = 0.1
"""One style is clearly better when its accuracy is higher by at least this much."""
FEW = 3
"""Rules that compare a lesson with others need at least this many of them."""
TREND_ALPHA = 0.05
"""Significance level of the test that accuracy falls with difficulty."""


class Style(NamedTuple):
    """The way in which a lesson is taught."""

    strategy: str
    answer_rule: str
    """The verifier's rule that finds the answer, or ``a judge``."""

    def __str__(self) -> str:
        return f"{self.strategy} (answer found by {self.answer_rule})"


class Accuracy(NamedTuple):
    """Right answers out of n."""

    right: int = 0
    n: int = 0

    @property
    def share(self) -> float:
        """The share right; 0 when n is 0."""
        return self.right / self.n if self.n else 0.0

    def __str__(self) -> str:
        return f"{self.right} of {self.n}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtLesson:
    """One lesson, and how the students answered its question when they were asked again."""

    lesson: Lesson
    example: Example
    value: float | None
    """Verdict on the lesson itself: 1.0 right, 0.0 wrong, None not judged."""
    answer: str | None
    """The answer that the lesson ends in; None when none was found."""
    style: Style
    group: str
    """The task or cluster that its strategy was assigned to."""
    level: int
    """Difficulty within its task, from 0 for the easiest; see ``levels_of``."""
    attempts: Mapping[str, Judged]
    """By arm in the order of training: ``before`` (where it could be asked), then each stage."""
    used: bool = True
    """True when a training stage used it."""
    tokens: int = 0
    """Prompt and response."""
    response_tokens: int = 0
    fits: bool = True
    """False when it was too long for a row and was dropped."""
    loss_before: float | None = None
    loss_after: float | None = None
    """Nats per response token; None where it was not measured."""
    rivals: tuple[Rival, ...] = ()
    """Lessons that teach another answer to the same question."""

    @property
    def outcome(self) -> Outcome:
        """Outcome of the trained student's attempt."""
        return outcome_of(self.example, self.last)

    @property
    def last(self) -> Judged:
        """The trained student's attempt."""
        return list(self.attempts.values())[-1]

    @property
    def learnt(self) -> bool:
        """True when training brought its loss down, and where the loss was not measured."""
        if self.loss_after is None or self.loss_before is None:
            return True
        return self.loss_after <= LEARNT * self.loss_before

    @property
    def fault(self) -> Literal["wrong", "unjudged", ""]:
        """The lesson's own fault: its answer is wrong, or could not be judged."""
        if self.value == 0.0:
            return "wrong"
        unjudged = self.value is None and self.example.reference is not None
        return "unjudged" if unjudged else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Facts of the whole run that single lessons are compared with."""

    styles: Mapping[str, Mapping[Style, int]]
    """By group, the number of lessons in each style."""
    right_by_style: Mapping[tuple[str, Style], Accuracy]
    """By group and style, over the lessons asked again."""
    right_by_level: Mapping[tuple[str, int], Accuracy]
    """By task and level, over the lessons asked again and the held-out questions."""
    trend: Mapping[str, float]
    """By task, the p-value that accuracy does not fall with difficulty."""
    guessed: frozenset[tuple[str, str]]
    """(arm, task) whose right answers may be guesses: accuracy is not clearly above chance."""
    loss_falling: bool
    """True when the loss was still falling at the end of the last stage."""
    max_tokens: int
    """Tokens that the student may write per answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureDetails:
    """The facts that advice needs beside the cause."""

    lost: str
    """The last arm that was right; empty when none was."""
    lesson: str
    """The lesson's own fault; see ``TaughtLesson.fault``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A lesson that the student fails, and why."""

    lesson: str
    """Id of the lesson."""
    task: str
    example: str
    """Id of the example."""
    outcome: Outcome
    answer: str | None
    """The trained student's answer."""
    reference: str | tuple[str, ...] | None
    causes: tuple[Cause, ...]
    """All that apply; the first one counts."""
    why: tuple[str, ...]
    """A sentence for each cause."""
    details: FailureDetails = field(default_factory=lambda: FailureDetails(lost="", lesson=""))


def explain(lesson: TaughtLesson, run: RunFacts) -> Failure:
    """Return the causes of one failure, in the order of the rules."""
    found: dict[Cause, str] = {}
    for cause, rule in RULES:
        if cause not in found and (words := rule(lesson, run)) is not None:
            found[cause] = words
    if not found:
        found["unexplained"] = "it was learnt like the others, and no rule explains why it fails"
    return Failure(
        lesson=lesson.lesson.id,
        task=lesson.lesson.task,
        example=lesson.lesson.example_id,
        outcome=lesson.outcome,
        answer=lesson.last.verdict.answer,
        reference=lesson.example.reference,
        causes=tuple(found),
        why=tuple(found.values()),
        details=FailureDetails(lost=_last_right(lesson, run) or "", lesson=lesson.fault),
    )


Rule = Callable[[TaughtLesson, RunFacts], str | None]
"""Returns the reason in words where the rule applies, else None."""


def untaught(lesson: TaughtLesson, _: RunFacts) -> str | None:
    """No stage used the lesson, or it was too long and was dropped."""
    if not lesson.used:
        return "no stage of train.stages uses it, because of its filters or its share of a mix"
    if not lesson.fits:
        return f"it has {lesson.tokens:,} tokens, more than train.context_length, and was dropped"
    return None


def contradiction(lesson: TaughtLesson, _: RunFacts) -> str | None:
    """Return the reason if another lesson or the reference contradicts it, or it has no verdict."""
    if lesson.rivals:
        rival = lesson.rivals[0]
        return (
            f"it teaches {lesson.answer!r:.60}, and lesson {rival.lesson[:12]} teaches "
            f"{rival.answer!r:.60} to the same question"
        )
    if lesson.fault == "wrong":
        return (
            f"it teaches {lesson.answer!r:.60}, and the reference is "
            f"{lesson.example.reference!r:.60}"
        )
    return "the answer that it teaches could not be judged" if lesson.fault else None


def conflict(lesson: TaughtLesson, run: RunFacts) -> str | None:
    """Return the reason if most lessons of its group use another style that is right more often."""
    counts = run.styles.get(lesson.group, {})
    common = max(counts, key=counts.__getitem__, default=lesson.style)
    if counts.get(lesson.style, 0) >= counts.get(common, 0):
        return None
    this = run.right_by_style.get((lesson.group, lesson.style), Accuracy())
    other = run.right_by_style.get((lesson.group, common), Accuracy())
    if min(this.n, other.n) < FEW or other.share - this.share < CLEARLY_MORE:
        return None
    return (
        f"most lessons of {lesson.group} are taught by {common} ({other} right), "
        f"this one by {lesson.style} ({this} right)"
    )


def forgetting(lesson: TaughtLesson, run: RunFacts) -> str | None:
    """Return the reason if an earlier student was right, probably not by a guess."""
    arm = _last_right(lesson, run)
    if arm is None:
        return None
    arms = list(lesson.attempts)
    when = "before training" if arm == "before" else f"after stage {arm}"
    return f"it was right {when}, and wrong after stage {arms[arms.index(arm) + 1]}"


def _last_right(lesson: TaughtLesson, run: RunFacts) -> str | None:
    """Return the last arm that was right, other than by guessing."""
    for arm, judged in reversed(list(lesson.attempts.items())):
        if is_right(judged) and (arm, lesson.lesson.task) not in run.guessed:
            return arm
    return None


def truncation(lesson: TaughtLesson, run: RunFacts) -> str | None:
    """Return the reason if the answer was cut off and the lesson itself is (nearly) too long."""
    # A lesson that is learnt is imitated in length too, so that already a nearly full one is cut.
    limit = NEARLY_FULL * run.max_tokens if lesson.learnt else run.max_tokens
    if lesson.outcome != "cut off" or lesson.response_tokens <= limit:
        return None
    return f"cut off at {run.max_tokens:,} tokens; the lesson itself has {lesson.response_tokens:,}"


def not_learnt(lesson: TaughtLesson, _: RunFacts) -> str | None:
    """Return the reason if training did not bring the lesson's loss down to half."""
    if lesson.learnt:
        return None
    return (
        f"its loss is still {lesson.loss_after:.2f} nats per token, "
        f"after {lesson.loss_before:.2f} before training"
    )


def no_answer(lesson: TaughtLesson, run: RunFacts) -> str | None:
    """Return the reason if the lesson is learnt, but the reply contains no answer."""
    if not lesson.learnt or truncation(lesson, run) is not None:
        return None
    match lesson.outcome:
        case "no answer":
            fault = "its reply contains no answer"
        case "refusal":
            fault = "it refuses to answer"
        case "loop":
            fault = "it repeats itself without end"
        case "cut off":
            fault = (
                f"it writes past the {lesson.response_tokens:,} tokens of the lesson and is cut "
                f"off at {run.max_tokens:,}"
            )
        case _:
            return None
    return f"the student has learnt the lesson, but {fault}"


def prerequisite(lesson: TaughtLesson, run: RunFacts) -> str | None:
    """Return the reason if most questions of its difficulty are wrong, and easier ones fit that."""
    task = lesson.lesson.task
    here = run.right_by_level.get((task, lesson.level), Accuracy())
    if not lesson.learnt or here.n < FEW or 2 * here.right >= here.n:
        return None
    easiest = run.right_by_level.get((task, 0), Accuracy())
    p_value = run.trend.get(task, 1.0)
    if p_value < TREND_ALPHA:
        return (
            f"{here} are right at its difficulty, {easiest} at the lowest: accuracy falls with "
            f"difficulty (one-sided p {p_value:.1g})"
        )
    if easiest.n >= FEW and 2 * easiest.right < easiest.n and not run.loss_falling:
        return f"{here} are right at its difficulty, and only {easiest} at the lowest"
    return None


def belief(lesson: TaughtLesson, _: RunFacts) -> str | None:
    """Return the reason if the student gives the wrong answer that it gave before training."""
    before, answer = lesson.attempts.get("before"), lesson.last.verdict.answer
    if before is None or answer is None or before.verdict.answer != answer:
        return None
    if guess_rate(lesson.example) > 0:
        return None  # among few options two wrong answers are often the same
    return f"the student answers {answer!r:.60}, as it did before training"


def not_yet(lesson: TaughtLesson, run: RunFacts) -> str | None:
    """Return the reason if most questions as hard are right, or the loss was still falling."""
    here = run.right_by_level.get((lesson.lesson.task, lesson.level), Accuracy())
    if here.n > FEW and 2 * here.right >= here.n:
        return f"others of its difficulty are right ({here})"
    return "the loss was still falling when training ended" if run.loss_falling else None


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
"""In the order in which they are tried."""
