"""The cases of docs/verdicts.md get the verdicts that the page promises."""

from typing import get_args

import pytest
from tests.verifiers.cases import CASES, RIGHT, Case

from orcinus.core.types import AnswerType
from orcinus.verifiers.rules import judge


@pytest.mark.parametrize(
    ("kind", "case"), [(kind, case) for kind, cases in CASES.items() for case in cases]
)
def test_the_page_promises_this_verdict(kind: AnswerType, case: Case) -> None:
    outcome = judge(case.response, kind, case.choices, case.reference)
    assert outcome.value == case.value, outcome


def test_each_answer_type_has_ten_cases_of_right_and_wrong() -> None:
    assert set(CASES) == set(RIGHT) == set(get_args(AnswerType))
    for kind, cases in CASES.items():
        assert len(cases) >= 10, kind
        assert {case.value for case in cases} >= {1.0, None}, kind
