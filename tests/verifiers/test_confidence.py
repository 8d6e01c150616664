"""A verdict says how its answer was found, and a guess among several goes to the judge."""

import asyncio
import re
from dataclasses import replace
from itertools import islice

import pytest

from orcinus.core import stats
from orcinus.core.results import ArmScore, Scores, TaskScores
from orcinus.core.types import Attempt, Example, Judged, Sampling
from orcinus.evaluation.scores import score_arm
from orcinus.reports.warnings import warnings_of
from orcinus.runs.tables import judged_of, judged_row
from orcinus.verifiers.rules import judge
from orcinus.verifiers.verify import verify

GUESS = "He had 3 boxes with 4 pens and 5 clips."


def example(reference: str, **meta: str) -> Example:
    return Example(
        id="1", task="t", prompt="How many?", answer_type="number", reference=reference, meta=meta
    )


def attempt(text: str) -> Attempt:
    return Attempt(
        id="a",
        example_id="1",
        task="t",
        strategy="s",
        model="m",
        messages=(),
        sampling=Sampling(temperature=0.0, max_tokens=10),
        sample=0,
        text=text,
        finish="stop",
    )


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("The answer is 7.", "explicit"),
        ("\\boxed{7}", "explicit"),
        ("The answer is 6. Wait, it should be 7.", "explicit"),
        ("So she has 7 apples.", "only candidate"),
        (GUESS, "guessed"),
        ("I do not say.", None),
    ],
)
def test_how_a_number_was_found(text: str, confidence: str | None) -> None:
    assert judge(text, "number", None, "7").confidence == confidence


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("The answer is $\\frac{1}{2}$.", "explicit"),
        ("So $x = \\boxed{\\frac{1}{2}}$.", "explicit"),
        ("The area of $ABC$ is $\\frac{1}{2}$.", "only candidate"),
        ("Take $x$ with $2$ beside $\\frac{1}{2}$", "guessed"),
        ("I do not say.", None),
    ],
)
def test_how_an_expression_was_found(text: str, confidence: str | None) -> None:
    assert judge(text, "math", None, "1/2").confidence == confidence


def test_what_the_library_compares_keeps_how_it_was_found() -> None:
    asked = replace(example("\\frac{1}{3}"), answer_type="math")
    verdict = asyncio.run(verify(asked, attempt("So we get $\\int_0^1 x^2\\,dx$.")))
    assert verdict.confidence == "only candidate"


def test_several_numbers_without_a_sign_are_no_answer() -> None:
    outcome = judge("Boxes of 3, bags of 4, plus 5.", "number", None, "4")
    assert (outcome.value, outcome.answer) == (None, None)


def test_a_guess_is_left_to_the_judge_where_the_task_has_one() -> None:
    asked = example("3")
    alone = asyncio.run(verify(asked, attempt(GUESS)))
    assert (alone.value, alone.confidence) == (1.0, "guessed")
    asked = example("3", verifier="judge_fallback")
    left = asyncio.run(verify(asked, attempt(GUESS)))
    assert left.value is None
    assert left.reason.startswith("picked among several")


def test_a_row_keeps_the_confidence_and_an_older_row_has_none() -> None:
    asked = example("7")
    found = attempt("The answer is 7.")
    judged = Judged(attempt=found, verdict=asyncio.run(verify(asked, found)))
    row = judged_row(judged)
    assert judged_of(row).verdict.confidence == "explicit"
    del row["confidence"]
    assert judged_of(row).verdict.confidence is None


def test_the_scores_of_an_arm_count_how_answers_were_found() -> None:
    asked = example("7")
    texts = ["The answer is 7.", "So she has 7 apples.", GUESS, "I do not say."]
    judged = [
        Judged(attempt=attempt(text), verdict=asyncio.run(verify(asked, attempt(text))))
        for text in texts
    ]
    scored = score_arm(judged, {(asked.task, asked.id): asked}, has_judge=False)
    assert scored.confidence == {"explicit": 1, "guessed": 1, "only candidate": 1}


def test_the_report_says_how_many_answers_were_not_announced() -> None:
    score = stats.score([])
    accuracy = TaskScores(by_task={}, micro=score, macro=score)
    arm = ArmScore(accuracy=accuracy, confidence={"explicit": 7, "guessed": 1, "only candidate": 2})
    scores = Scores(arms={"after": arm}, comparisons=())
    warnings = warnings_of(scores, {"evaluate": {"config": {}}}, ())
    [line] = islice(warnings, 1)
    assert re.search(r"70.0\s% were announced; 20.0\s% were the only .* 10.0\s% were picked", line)
