"""Spans as answers: finding and comparing them, and DROP's own exact match and F1."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from tests.conftest import read_jsonl
from tests.verifiers.test_official import attempt

from orcinus.core.results import RuleScore
from orcinus.core.types import Example, Judged, Verdict
from orcinus.evaluation.scores import scores_by_rule
from orcinus.verifiers.answers.spans import Spans, exact_match, f1, normalised
from orcinus.verifiers.official import NAMES, RULES, points
from orcinus.verifiers.rules import judge

RIGHT: list[tuple[str | tuple[str, ...], str]] = [
    ("Ann Lee and Bob", "Ann ran first and Bob second. So the answer is both Bob and Ann Lee."),
    ("Ann Lee and Bob", "Both scored.\nAnswer:\n- Ann Lee\n- Bob"),
    ("Ann Lee and Bob", '{"answer": ["Bob", "Ann Lee"]}'),
    ("under 18 and 25 to 44 and 45 to 64", "The answer is under 18, 25-44, and 45-64."),
    ("St. Louis Rams", "Answer: St. Louis Rams. They won by three."),
    ("George W. Bush", "It was George W. Bush."),
    ("Bears", "\\boxed{\\text{the Bears}}"),
    ("Bears", "The answer is the Bears, who led at half-time."),
    ("3", "He threw 5 and dropped 2, so 5 - 2 = 3. The answer is three touchdowns."),
    ("1234", "The answer is $1,234."),
    ("12.5", "The answer is 12.5%."),
    (("48-yard", "48"), "The answer is 48 yards."),
    (("2", "two field goals"), "Answer: 2 field goals (in the first and third quarters)"),
    ("23 March 1999", "The answer is March 23rd, 1999."),
]
WRONG: list[tuple[str | tuple[str, ...], str]] = [
    ("Ann Lee and Bob", "The answer is Ann Lee."),
    ("Bears", "The answer is the Bears and the Lions."),
    ("Bears", "The answer is the Chicago Bears."),
    (("2", "two of them"), "The answer is between 2 and 4."),
    (("4", "four goals"), "The answer is 4 goals and 3 touchdowns."),
    ("23 March 1999", "The answer is 22 March 1999."),
    ("3", "The answer is 3 or 4."),
]


@pytest.mark.parametrize(("reference", "text"), RIGHT)
def test_right(reference: str | tuple[str, ...], text: str) -> None:
    outcome = judge(text, "spans", None, reference)
    assert outcome.value == 1.0, outcome


@pytest.mark.parametrize(("reference", "text"), WRONG)
def test_wrong(reference: str | tuple[str, ...], text: str) -> None:
    outcome = judge(text, "spans", None, reference)
    assert outcome.value == 0.0, outcome


@pytest.mark.parametrize(
    "text", ["", "I'm sorry, but I cannot help with that.", "<think>The answer is the Bears."]
)
def test_what_cannot_be_judged_is_none(text: str) -> None:
    assert judge(text, "spans", None, "Bears").value is None


def test_a_cut_off_text_counts_only_when_it_announced_its_answer() -> None:
    assert judge("First the Bears", "spans", None, "Bears", cut_off=True).value is None
    assert judge("The answer is the Bears. They", "spans", None, "Bears", cut_off=True).value == 1.0


@pytest.mark.parametrize(
    ("span", "form"),
    [
        ("The 48-yard run", "48.0 yard run"),
        ("$1,234", "1234.0"),
        ("U.S. Army", "us army"),
        ("an A-B test", "b test"),
        ("3.5%", "35.0"),  # the sign goes, and with it the point: a fault of the rule, kept
    ],
)
def test_normalised_as_by_the_authors(span: str, form: str) -> None:
    assert normalised(span) == form


@pytest.mark.parametrize(
    ("answer", "reference", "em", "points"),
    [
        (("the Bears",), ("Bears",), True, 1.0),
        (("Bears",), ("Chicago Bears",), False, 0.67),
        (("a", "b c"), ("b c", "x"), False, 0.5),
        (("Ann", "Bob"), ("Bob", "Ann"), True, 1.0),
        (("Ann and Bob",), ("Ann", "Bob"), False, 0.25),
        (
            ("24 yards",),
            ("25 yards",),
            False,
            0.0,
        ),  # shared words do not count beside another number
        (("yards",), ("yards gained",), False, 0.67),
    ],
)
def test_exact_match_and_f1_by_the_authors_rule(
    answer: Spans, reference: Spans, em: bool, points: float
) -> None:
    assert exact_match(answer, reference) is em
    assert f1(answer, reference) == points


def test_f1_pairs_spans_for_the_highest_score() -> None:
    spans = ("red dog", "red cat", "big red dog")
    assert {f1(tuple(order), spans) for order in permutations(spans)} == {1.0}


def example(reference: str | tuple[str, ...], **meta: object) -> Example:
    return Example(
        id="d", task="drop", prompt="?", answer_type="spans", reference=reference, meta=meta
    )


def test_the_best_of_the_annotators_answers_counts() -> None:
    question = example(("Bears", "Chicago Bears"), spans=[["Bears"], ["Chicago Bears"]])
    assert points("drop_f1", question, "The answer is the Chicago Bears.") == 1.0
    assert points("drop_f1", question, "The answer is the Chicago Bulls.") == 0.5
    assert points("drop_em", question, "The answer is the Chicago Bulls.") == 0.0
    assert points("drop_f1", question, "") == 0.0


def test_spans_of_the_source_count_before_a_reading_of_the_reference() -> None:
    question = example("rock and roll", spans=[["rock and roll"]])
    assert points("drop_em", question, "The answer is roll, rock.") == 0.0
    assert judge("The answer is roll, rock.", "spans", None, "rock and roll").value == 1.0


def test_f1_stands_in_the_report_as_a_mean_and_never_is_a_verdict() -> None:
    question, asked = (
        example("Chicago Bears"),
        replace(attempt("The answer is the Bears."), task="drop", example_id="d"),
    )
    verdict = Verdict(
        attempt_id="a", verifier="spans@1", value=0.0, answer="the Bears", reason="marker"
    )
    rules = scores_by_rule([Judged(attempt=asked, verdict=verdict)], {("drop", "d"): question})
    assert rules["drop_f1"] == RuleScore(n=1, mean=0.67, ours=0.0)
    assert set(NAMES) - set(RULES) == {"drop_f1"}


@pytest.mark.shared
def test_every_reference_of_drop_is_right_in_a_sentence(shared_data: Path) -> None:
    wrong, count = [], 0
    for row in read_jsonl(shared_data / "tasks" / "drop.jsonl.gz"):
        reference = tuple(row["reference"])
        for answer in reference:
            for text in (
                f"Let me see.\n\nThe answer is {answer}.",
                answer,
                f"Answer: {answer}",
                f"**Answer:** {answer.title()}",
            ):
                count += 1
                if (
                    judge(
                        text, "spans", None, reference if len(reference) > 1 else reference[0]
                    ).value
                    != 1.0
                ):
                    wrong.append((text, reference))
    assert len(wrong) <= 0.005 * count, wrong[:30]  # clauses of a sentence and more as a span
