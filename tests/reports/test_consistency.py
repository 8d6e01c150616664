"""Consistency among wordings and accuracy by depth agree with numbers worked out by hand."""

import pytest

from orcinus.core.stats.consistency import consistency
from orcinus.core.types import Attempt, Example, Judged, Sampling, Verdict
from orcinus.reports.wordings import consistencies, depth_curves

DOMAINS = ("plain", "shop", "clinic", "court")


def asked(identity: str, **meta: object) -> Example:
    return Example(
        id=identity, task="sums", prompt="", answer_type="number", reference="1", meta=meta
    )


def answered(example: Example, value: float) -> Judged:
    attempt = Attempt(
        id=example.id,
        example_id=example.id,
        task=example.task,
        strategy="",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text="",
        finish="stop",
    )
    verdict = Verdict(attempt_id=example.id, verifier="v", value=value, answer=None, reason="")
    return Judged(attempt=attempt, verdict=verdict)


def test_the_score_is_the_mean_variance_within_the_sets() -> None:
    assert consistency([(1, 1, 0, 1)]) == pytest.approx(0.1875)
    assert consistency([(1, 1, 0, 1), (1, 1, 1, 1)]) == pytest.approx(0.09375)
    assert consistency([(1, 1, 0, 1), (0,)]) == pytest.approx(0.1875)
    assert consistency([(1,), ()]) is None


def test_a_report_has_the_score_of_each_arm_and_the_accuracy_of_each_domain() -> None:
    rights = {"a": (1, 1, 0, 1), "b": (1, 1, 1, 1)}
    known = {
        ("sums", f"{name}-{domain}"): asked(f"{name}-{domain}", isomer=name, domain=domain)
        for name in rights
        for domain in DOMAINS
    }
    answers = {
        key: {
            "before": answered(example, 0.0),
            "after": answered(
                example, rights[example.meta["isomer"]][DOMAINS.index(example.meta["domain"])]
            ),
        }
        for key, example in known.items()
    }
    known["sums", "alone"] = alone = asked("alone", isomer="c", domain="plain")
    answers["sums", "alone"] = {"after": answered(alone, 0.0)}
    before, after = consistencies(answers, known, ["before", "after"])
    assert (before.arm, before.value, before.sets) == ("before", 0.0, 2)
    assert (after.arm, after.value, after.sets) == ("after", 0.09375, 2)
    assert after.accuracy == {"clinic": 0.5, "court": 1.0, "plain": 1.0, "shop": 1.0}


def test_accuracy_is_told_by_depth_where_questions_have_one() -> None:
    known = {
        ("sums", str(number)): asked(str(number), depth=1 + number // 2) for number in range(4)
    }
    known["sums", "none"] = asked("none")
    answers = {
        key: {"after": answered(example, float(example.id in "013"))}
        for key, example in known.items()
    }
    [curve] = depth_curves(answers, known, ["before", "after"])
    assert [(p.depth, p.n, p.mean) for p in curve.points] == [(1, 2, 1.0), (2, 2, 0.5)]
    assert curve.points[1].low < 0.5 < curve.points[1].high
