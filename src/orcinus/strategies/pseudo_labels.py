"""What stands in for verdicts where nobody knows the right answer.

    agreement    the answer that most of the student's attempts at a question come to, under all strategies, counts as right
                 (self-consistency, Wang et al. 2022): it rewards strategies that do not wander, and it shares the student's errors
    teacher      the teacher's own answer counts as right; it has to be asked, and may be wrong

A choice that rests on a proxy says so, in the assignment and in the report.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orcinus.core.types import Example, Judged
from orcinus.verifiers.answers.number import value_of

MIN_ANSWERS = 3
"""With fewer answers to a question there is no majority to speak of."""
AGREEMENT = "agreement"
TEACHER = "teacher"


def by_agreement(
    judged: Sequence[Judged], examples: Mapping[tuple[str, str], Example]
) -> list[Judged]:
    """The attempts, those at questions without a reference judged by agreement with the majority.

    Args:
        judged: The student's, under all strategies.
        examples: By task and id.
    """
    answers: dict[tuple[str, str], Counter[str]] = {}
    for item in judged:
        key = item.attempt.task, item.attempt.example_id
        if (
            item.verdict.value is None
            and item.verdict.answer is not None
            and examples[key].reference is None
        ):
            answers.setdefault(key, Counter())[_same(item, examples[key])] += 1
    majority = {
        key: min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        for key, counts in answers.items()
        if counts.total() >= MIN_ANSWERS
    }
    wanted = {key: answer for key, (answer, votes) in majority.items() if votes > 1}
    return _compared(judged, examples, wanted, AGREEMENT, "agreement with the majority")


def by_teacher(
    judged: Sequence[Judged], examples: Mapping[tuple[str, str], Example], teacher: Sequence[Judged]
) -> list[Judged]:
    """The attempts, those at questions without a reference judged by agreement with the teacher's answer.

    Args:
        judged: The student's, under all strategies.
        examples: By task and id.
        teacher: The teacher's attempts at questions without a reference.
    """
    wanted = {
        (key := (item.attempt.task, item.attempt.example_id)): _same(item, examples[key])
        for item in teacher
        if item.verdict.answer is not None
    }
    return _compared(judged, examples, wanted, TEACHER, "agreement with the teacher")


def _compared(
    judged: Sequence[Judged],
    examples: Mapping[tuple[str, str], Example],
    wanted: Mapping[tuple[str, str], str],
    proxy: str,
    reason: str,
) -> list[Judged]:
    found = []
    for item in judged:
        key = item.attempt.task, item.attempt.example_id
        if key in wanted:
            agrees = item.verdict.answer is not None and _same(item, examples[key]) == wanted[key]
            verdict = replace(item.verdict, value=float(agrees), verifier=proxy, reason=reason)
            found.append(replace(item, verdict=verdict))
        else:
            found.append(item)
    return found


def _same(item: Judged, example: Example) -> str:
    """A form in which equal answers are equal texts."""
    answer = item.verdict.answer or ""
    if example.answer_type == "number" and (value := value_of(answer)) is not None:
        return str(value)
    return " ".join(answer.casefold().split())
