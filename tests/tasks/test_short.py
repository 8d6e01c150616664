"""The demo's questions: solvable, explained in every strategy, the same on every machine."""

import pytest

from orcinus.core.errors import DataError
from orcinus.core.types import Sampling
from orcinus.pipeline import demo
from orcinus.strategies.library import built_in
from orcinus.strategies.prompts import conversation
from orcinus.tasks.generators import short
from orcinus.tasks.generators.procedural import ProceduralConfig, draw
from orcinus.verifiers.rules import judge


@pytest.mark.parametrize("family", sorted(short.FAMILIES))
def test_every_explanation_ends_in_the_right_answer(family: str) -> None:
    for example in draw(ProceduralConfig(generator=family, count=40, size=(3, 6))):
        for strategy in built_in():
            text = short.explain(example.prompt, strategy)
            assert judge(text, example.answer_type, None, example.reference).value == 1.0, (
                example.prompt,
                text,
            )


def test_more_examples_do_not_change_the_first() -> None:
    few = list(draw(ProceduralConfig(generator="sums", count=5)))
    assert list(draw(ProceduralConfig(generator="sums", count=50)))[:5] == few
    assert few != list(draw(ProceduralConfig(generator="sums", count=5, seed=1)))


def test_a_family_that_runs_dry_says_so() -> None:
    with pytest.raises(DataError, match="only 12 different ones"):
        list(draw(ProceduralConfig(generator="logic", count=500, size=(2, 2))))


def test_the_teacher_is_wrong_now_and_then_and_always_on_the_same_questions() -> None:
    examples = list(draw(ProceduralConfig(generator="sums", count=400)))
    answers = [
        demo.teacher(conversation(built_in()["direct"].system, e, ()), Sampling()) for e in examples
    ]
    wrong = [
        judge(a, "number", None, e.reference).value == 0.0
        for a, e in zip(answers, examples, strict=True)
    ]
    assert 0.01 < sum(wrong) / len(wrong) < 0.08
    assert answers == [
        demo.teacher(conversation(built_in()["direct"].system, e, ()), Sampling()) for e in examples
    ]


def test_a_question_of_no_family_is_a_lookup_error() -> None:
    with pytest.raises(LookupError):
        short.explain("What is love?", "direct")
