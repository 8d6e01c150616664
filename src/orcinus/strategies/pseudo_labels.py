"""Judge attempts at questions without a reference against a pseudo-label.

    "7", "7.0", "9" without a reference  →  the majority says 7: right, right, wrong

    agreement   the label is the answer that most of the student's attempts give, over all
                strategies (self-consistency, Wang et al. 2022). It shares the student's errors.
    teacher     the label is the teacher's own answer, which costs calls and may be wrong.

An assignment that rests on pseudo-labels says so, and so does the report.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orcinus.core.types import Example, Judged
from orcinus.verifiers.answers.quantities import value_of

MIN_ANSWERS = 3
"""Answers to a question. Two answers cannot have a majority against a third."""
AGREEMENT = "agreement"
TEACHER = "teacher"
MEANING: Mapping[str, str] = {
    AGREEMENT: "agreement with the majority",
    TEACHER: "agreement with the teacher",
}
"""The measure behind a verdict by each kind of pseudo-label, in words."""

Key = tuple[str, str]
"""(task, example id)."""


def key_of(judged: Judged) -> Key:
    """Return the task and the id of the example that an attempt answers."""
    return judged.attempt.task, judged.attempt.example_id


def label_by_agreement(judged: Sequence[Judged], examples: Mapping[Key, Example]) -> list[Judged]:
    """Judge attempts at questions without a reference by the answer that most attempts give.

    Args:
        judged: The student's attempts under all strategies.
        examples: By task and id.

    Returns:
        All attempts in their order. Those at a question without a majority keep their verdicts.
    """
    votes: dict[Key, Counter[str]] = {}
    for item in judged:
        example = examples[key_of(item)]
        unjudged = item.verdict.value is None and example.reference is None
        if unjudged and item.verdict.answer is not None:
            votes.setdefault(key_of(item), Counter())[_normal_answer(item, example)] += 1
    labels = {}
    for key, counts in votes.items():
        answer, count = min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        if counts.total() >= MIN_ANSWERS and count > 1:
            labels[key] = answer
    return _judge_by_labels(judged, examples, labels, AGREEMENT)


def label_by_teacher(
    judged: Sequence[Judged], examples: Mapping[Key, Example], teacher: Sequence[Judged]
) -> list[Judged]:
    """Judge attempts at questions without a reference by the teacher's answer.

    Args:
        judged: The student's attempts under all strategies.
        examples: By task and id.
        teacher: The teacher's attempts at the questions without a reference.

    Returns:
        All attempts in their order. Those at a question without a teacher's answer keep their
        verdicts.
    """
    labels = {
        key_of(item): _normal_answer(item, examples[key_of(item)])
        for item in teacher
        if item.verdict.answer is not None
    }
    return _judge_by_labels(judged, examples, labels, TEACHER)


def _judge_by_labels(
    judged: Sequence[Judged],
    examples: Mapping[Key, Example],
    labels: Mapping[Key, str],
    source: str,
) -> list[Judged]:
    """Give the attempts at labelled questions a verdict in the name of ``source``."""
    found = []
    for item in judged:
        label = labels.get(key_of(item))
        if label is not None:
            answered = item.verdict.answer is not None
            right = answered and _normal_answer(item, examples[key_of(item)]) == label
            verdict = replace(
                item.verdict, value=float(right), verifier=source, reason=MEANING[source]
            )
            item = replace(item, verdict=verdict)
        found.append(item)
    return found


def _normal_answer(item: Judged, example: Example) -> str:
    """Return the extracted answer in a form in which equal answers are equal strings."""
    answer = item.verdict.answer or ""
    if example.answer_type == "number" and (value := value_of(answer)) is not None:
        return str(value)
    return " ".join(answer.casefold().split())
