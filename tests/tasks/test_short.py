"""The demo's questions: each is solved and explained in every strategy, the same everywhere."""

import pytest

from orcinus.core.errors import DataError
from orcinus.core.types import Sampling
from orcinus.pipeline import demo
from orcinus.strategies.library import built_in
from orcinus.strategies.prompts import conversation
from orcinus.tasks.generators.procedural import GENERATORS, ProceduralConfig, draw, explain
from orcinus.verifiers.rules import judge


@pytest.mark.parametrize("generator", sorted(GENERATORS))
def test_every_explanation_ends_in_the_right_answer(generator: str) -> None:
    for example in draw(ProceduralConfig(generator=generator, count=40, size=(3, 6))):
        for strategy in built_in():
            text = explain(example.prompt, strategy)
            assert judge(text, example.answer_type, None, example.reference).value == 1.0, (
                example.prompt,
                text,
            )


def test_more_examples_do_not_change_the_first() -> None:
    few = list(draw(ProceduralConfig(generator="sums", count=5)))
    assert list(draw(ProceduralConfig(generator="sums", count=50)))[:5] == few
    assert few != list(draw(ProceduralConfig(generator="sums", count=5, seed=1)))


def test_too_few_different_questions_are_an_error() -> None:
    with pytest.raises(DataError, match="only 12 different ones"):
        list(draw(ProceduralConfig(generator="logic", count=500, size=(2, 2))))


def test_the_teacher_is_sometimes_wrong_and_always_on_the_same_questions() -> None:
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


def test_a_question_that_no_generator_asks_is_a_lookup_error() -> None:
    with pytest.raises(LookupError):
        explain("What is love?", "direct")
