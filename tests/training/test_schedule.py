"""How many optimizer steps a stage takes, and how its lessons are packed for that."""

import pytest
from tests.training.test_exactness import lessons_of

from orcinus.training.batches import PackedRows
from orcinus.training.config import LoraConfig, StageConfig, TrainConfig
from orcinus.training.schedule import (
    describe_steps,
    expected_steps,
    learning_rate,
    schedule,
    usual_steps,
)


@pytest.mark.parametrize(
    ("lessons", "tokens", "epochs", "steps"),
    [
        (315, 23_560, 3.0, 100),  # two steps in all with a batch of 65,536 tokens
        (12, 900, 3.0, 36),  # no step takes less than a lesson
        (1_000_000, 300_000_000, 3.0, 13_733),  # the large batch of a large set
    ],
)
def test_the_default_batch_follows_from_the_lessons(
    lessons: int, tokens: int, epochs: float, steps: int
) -> None:
    assert usual_steps(lessons=lessons, tokens=tokens, epochs=epochs) == steps
    assert expected_steps(TrainConfig(), lessons=lessons, tokens=tokens, epochs=epochs) == steps


def test_a_batch_that_the_recipe_names_is_kept() -> None:
    config = TrainConfig(batch_tokens=65_536)
    found = schedule(config, lessons=315, tokens=23_560, longest=200, epochs=3)
    assert (found.context, found.rows_per_step, found.rows) == (2048, 32, None)
    assert expected_steps(config, lessons=315, tokens=23_560, epochs=3) == 2


@pytest.mark.parametrize("samples", [1, 4])
def test_few_lessons_are_packed_into_as_many_steps_as_planned(samples: int) -> None:
    lessons = lessons_of(samples=samples)
    found = schedule(
        TrainConfig(),
        lessons=len(lessons),
        tokens=int(lessons.lengths.sum()),
        longest=int(lessons.lengths.max()),
        epochs=3,
    )
    rows = PackedRows(lessons, context=found.context, epochs=3, seed=0)
    assert found.rows_per_step == 1
    assert 25 <= len(rows) <= 110
    assert rows.passes == 3


def test_two_arms_can_make_exactly_as_many_steps() -> None:
    """Explanations and bare answers: the same lessons, a quarter of the tokens."""
    lessons = lessons_of(samples=1)
    for tokens in (int(lessons.lengths.sum()), int(lessons.lengths.sum()) // 4):
        found = schedule(
            TrainConfig(batch_tokens=256),
            lessons=len(lessons),
            tokens=tokens,
            longest=int(lessons.lengths.max()),
            epochs=3,
            steps=17,
        )
        rows = PackedRows(lessons, context=found.context, epochs=3, seed=0, rows=found.rows)
        assert len(rows) / found.rows_per_step == 17


@pytest.mark.parametrize(
    ("lora", "own", "width", "rate"),
    [
        (False, None, 576, 2e-5),
        (True, None, 576, 1e-3),
        (True, None, 64, 1e-3),
        (True, None, 4096, 2e-4),
        (True, 3e-5, 4096, 3e-5),
    ],
)
def test_adapters_learn_faster_and_wide_students_slower(
    lora: bool, own: float | None, width: int, rate: float
) -> None:
    config = TrainConfig(lora=LoraConfig() if lora else None)
    found = learning_rate(config, StageConfig(learning_rate=own), width)
    assert found == pytest.approx(rate, rel=0.05)


def test_few_steps_are_said_before_they_are_wasted() -> None:
    assert "may hardly change" in describe_steps("s", 2)
    assert describe_steps("s", 100) == "stage s: 100 optimizer steps"
