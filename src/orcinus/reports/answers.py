"""Read the held-out answers of all arms: what a report's figures are made of.

attempts of "before", "after" … ──read_answers──► by question, by arm
    ──list_questions──► a row for each question: right, wrong or not judged, arm by arm
    ──confusions──────► how often the answer was "bug" where "billing" was right
    ──token_curves────► share right with at most t written tokens
    ──choose_traces───► the questions that are shown with every answer
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orcinus.core.types import Example, Judged, Verdict
from orcinus.runs import layout, tables
from orcinus.verifiers.answers.boolean import truth_of

LISTED_QUESTIONS = 1000
"""Questions listed in a report: about 0.3 MB. ``orcinus view`` lists all."""
LISTED_CHARACTERS = 160
"""Characters of a listed question: two lines on a wide page."""
MOST_LABELS = 12
"""Labels of a confusion matrix: more columns do not fit a page."""
ANSWERS_PER_LABEL = 4
"""Questions for each different reference from which on references count as labels."""
TRACE_SHARES = ((0, 3), (1, 3), (2, 2), (3, 1))
"""(kind of ``_interest``, ninths of the shown questions): most room for what training changed."""
NO_ANSWER = "no answer"
OTHER = "another answer"
Key = tuple[str, str]
"""Task and id of a question."""
Answers = Mapping[Key, Mapping[str, Judged]]
"""By question and arm the first sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One held-out question with the answers of all arms."""

    example: Example
    answers: tuple[tuple[str, Judged], ...]
    """(arm, answer with its verdict)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAnswer:
    """The part of one arm's answer that a list shows."""

    arm: str
    verdict: str
    """``right``, ``partly right``, ``wrong``, ``not judged`` or ``failed``."""
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedQuestion:
    """One row in the list of a task's held-out questions."""

    example_id: str
    prompt: str
    """Its beginning."""
    reference: str
    answers: tuple[ListedAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTask:
    """The held-out questions of one task, first those that training changed."""

    task: str
    n: int
    """All held-out questions of the task, listed or not."""
    questions: tuple[ListedQuestion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """The counts of an arm's answers, for each right answer of one task."""

    task: str
    arm: str
    answers: tuple[str, ...]
    """The columns: the labels, then ``another answer`` where there is one, then ``no answer``."""
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    """(right label, number of questions by answer)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCurve:
    """Share of questions that an arm answers right within a number of written tokens."""

    arm: str
    points: tuple[tuple[float, float], ...]
    """(written tokens, mean of tasks of the share right with at most as many)."""
    mean_tokens: float
    """Mean over the questions."""


def read_answers(folder: Path, arms: Sequence[str]) -> dict[Key, dict[str, Judged]]:
    """Return the first sample of each arm's answers, by question.

    Args:
        folder: Of a finished evaluation.
        arms: Its arms in order.
    """
    answers: dict[Key, dict[str, Judged]] = {}
    for arm in arms:
        for judged in tables.read_judged(folder / layout.attempts(arm)):
            if judged.attempt.sample == 0:
                key = (judged.attempt.task, judged.attempt.example_id)
                answers.setdefault(key, {})[arm] = judged
    return answers


def word_for(judged: Judged) -> str:
    """Return a verdict as a word: ``right``, ``wrong`` …"""
    return "failed" if judged.attempt.finish == "error" else word_for_value(judged.verdict)


def word_for_value(verdict: Verdict) -> str:
    """Return the word for a verdict's value."""
    if verdict.value is None:
        return "not judged"
    return "right" if verdict.value >= 1 else "wrong" if verdict.value <= 0 else "partly right"


def text_of_reference(example: Example) -> str:
    """Return an example's reference as a text."""
    reference = example.reference
    return reference if isinstance(reference, str) else " ".join(reference or ("none",))


def list_questions(answers: Answers, known: Mapping[Key, Example]) -> Iterator[ListedTask]:
    """Yield each task with its questions, at most ``LISTED_QUESTIONS`` in all."""
    by_task: dict[str, list[Key]] = {}
    for key in answers:
        by_task.setdefault(key[0], []).append(key)
    room = max(1, LISTED_QUESTIONS // max(1, len(by_task)))
    for task, keys in sorted(by_task.items()):
        keys.sort(key=lambda key: interest(answers[key]))
        listed = tuple(_listed(answers[key], known[key]) for key in keys[:room])
        yield ListedTask(task=task, n=len(keys), questions=listed)


def _listed(by_arm: Mapping[str, Judged], example: Example) -> ListedQuestion:
    prompt = " ".join(example.prompt.split())
    if len(prompt) > LISTED_CHARACTERS:
        prompt = prompt[:LISTED_CHARACTERS].rstrip() + " …"
    return ListedQuestion(
        example_id=example.id,
        prompt=prompt,
        reference=text_of_reference(example),
        answers=tuple(
            ListedAnswer(arm=arm, verdict=word_for(judged), answer=judged.verdict.answer)
            for arm, judged in by_arm.items()
        ),
    )


def confusions(
    answers: Answers, known: Mapping[Key, Example], arms: Sequence[str]
) -> Iterator[Confusion]:
    """Yield the confusion matrices of tasks whose references are a few labels.

    These are choices, yes or no, and texts of which few are different.
    """
    by_task: dict[str, list[Key]] = {}
    for key in answers:
        by_task.setdefault(key[0], []).append(key)
    for task, keys in sorted(by_task.items()):
        options = _shared_options([known[key] for key in keys])
        right = {key: _label(known[key], known[key].reference, options) for key in keys}
        labels = sorted(set(right.values()))
        if not _are_labels(labels, [known[key] for key in keys]):
            continue
        for arm in arms:
            counts: dict[str, Counter[str]] = {label: Counter() for label in labels}
            for key in keys:
                judged = answers[key].get(arm)
                if judged is None or judged.attempt.finish == "error":
                    continue
                found = judged.verdict.answer
                said = NO_ANSWER if found is None else _label(known[key], found, options)
                if said not in counts and said != NO_ANSWER:
                    said = OTHER
                counts[right[key]][said] += 1
            columns = [*labels, OTHER, NO_ANSWER]
            if not any(count[OTHER] for count in counts.values()):
                columns.remove(OTHER)
            yield Confusion(
                task=task,
                arm=arm,
                answers=tuple(columns),
                rows=tuple(
                    (label, tuple(counts[label][column] for column in columns)) for label in labels
                ),
            )


def _are_labels(references: Sequence[str], examples: Sequence[Example]) -> bool:
    """Return whether the references of a task are labels, of which there are a few."""
    kinds = {example.answer_type for example in examples}
    if not 2 <= len(references) <= MOST_LABELS:
        return False
    if kinds <= {"choice", "bool"}:
        return True
    return kinds == {"exact"} and len(examples) >= ANSWERS_PER_LABEL * len(references)


def _shared_options(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return the options of a choice task; empty where they differ from question to question."""
    first, *others = {example.choices for example in examples}
    return () if others or first is None else first


def _label(example: Example, answer: str | Sequence[str] | None, options: Sequence[str]) -> str:
    """Return an answer or a reference as a label: of a choice, the text of its shared option."""
    text = " ".join([answer] if isinstance(answer, str) else answer or ())
    if example.answer_type == "bool":
        return truth_of(text) or text
    if example.answer_type == "choice":
        letter = text.strip("() .").upper()
        place = ord(letter) - ord("A") if len(letter) == 1 else -1
        return " ".join(options[place].split()) if 0 <= place < len(options) else letter
    return " ".join(text.split()).casefold()


def token_curves(answers: Answers, arms: Sequence[str], points: int) -> Iterator[TokenCurve]:
    """Yield each arm's share of right answers against the tokens that it may write.

    Args:
        answers: The answers; failed calls are left out.
        arms: The arms to draw.
        points: Points of a curve at most.
    """
    for arm in arms:
        found = [
            (task, judged)
            for (task, _), by_arm in answers.items()
            if (judged := by_arm.get(arm)) is not None and judged.attempt.finish != "error"
        ]
        tokens = np.array([judged.attempt.usage.tokens_out for _, judged in found])
        if not found or not tokens.any():
            continue
        sizes = Counter(task for task, _ in found)
        worth = np.array(
            [(judged.verdict.value or 0.0) / sizes[task] / len(sizes) for task, judged in found]
        )
        order = np.argsort(tokens, kind="stable")
        steps = np.unique(tokens)
        if len(steps) > points:
            steps = steps[np.linspace(0, len(steps) - 1, points).astype(int)]
        reached = np.cumsum(worth[order])[np.searchsorted(tokens[order], steps, "right") - 1]
        yield TokenCurve(
            arm=arm,
            points=tuple(zip(map(float, steps), map(float, reached), strict=True)),
            mean_tokens=float(tokens.mean()),
        )


def choose_traces(
    answers: Answers, known: Mapping[Key, Example], arms: Sequence[str], wanted: int
) -> Iterator[Trace]:
    """Yield held-out questions with the answers of all arms, task by task.

    First those that training lost, then those it repaired, then wrong and then right ones.
    """
    by_interest: dict[int, dict[str, list[Key]]] = {}
    for key, by_arm in answers.items():
        by_interest.setdefault(interest(by_arm), {}).setdefault(key[0], []).append(key)
    chosen: list[Key] = []
    for kind, ninths in TRACE_SHARES:
        found = _in_turn(list(by_interest.get(kind, {}).values()))
        chosen += found[: max(1, wanted * ninths // 9)]
    for key in chosen:
        yield Trace(
            example=known[key],
            answers=tuple((arm, answers[key][arm]) for arm in arms if arm in answers[key]),
        )


def _in_turn(lists: Sequence[Sequence[Key]]) -> list[Key]:
    """Return the first of each list, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [items[i] for i in range(longest) for items in lists if i < len(items)]


def interest(by_arm: Mapping[str, Judged]) -> int:
    """Return what training changed: 0 lost, 1 repaired, 2 wrong before and after, 3 right."""
    before = "before" in by_arm and by_arm["before"].verdict.value == 1.0
    after = "after" in by_arm and by_arm["after"].verdict.value == 1.0
    return {(True, False): 0, (False, True): 1, (False, False): 2, (True, True): 3}[before, after]
