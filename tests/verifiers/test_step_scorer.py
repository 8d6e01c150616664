"""The scorer of steps that ``benchmarks/step_scorer.py`` measures: numbers, and what it reads."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.step_scorer import Head, Reader, score

from orcinus.core.types import Message
from orcinus.models.local.config import LocalConfig


@pytest.mark.parametrize(
    ("whole", "steps", "aggregate", "share", "expected"),
    [
        (1, [1, 1, 0, 1], "mean", 0.5, 0.875),
        (1, [1, 1, 0, 1], "min", 0.5, 0.5),
        (1, [1, 1, 0, 1], "last", 0.5, 1.0),
        (0, [0.9, 0.8, 0.5], "product", 0, 0.36),
        (0, [0.9, 0.8, 0.5], "mean", 0, 0.73333),
        (0.3, [0.9], "mean", 1, 0.3),
    ],
)
def test_the_score_weighs_the_whole_against_its_steps(
    whole: float, steps: list[float], aggregate: str, share: float, expected: float
) -> None:
    found = score(whole, steps, aggregate=aggregate, share=share)
    assert found == pytest.approx(expected, abs=5e-6)


def test_a_head_tells_good_states_from_others_and_stays_between_0_and_1() -> None:
    random = np.random.default_rng(0)
    states = random.normal(size=(80, 6))
    good = states[:, 2] > 0
    states[:, 5] = 7.0  # a column without spread
    head = Head([*states[:60]], [*good[:60]])
    found = np.array(head([*states[60:], 1e6 * states[60]]))
    assert found.min() >= 0
    assert found.max() <= 1
    assert ((found[:20] > 0.5) == good[60:]).mean() >= 0.8


def test_each_step_is_read_at_its_end(tiny_student: Path) -> None:
    reader = Reader(LocalConfig(path=str(tiny_student), chat_template="chatml"), -1)
    messages = (Message(role="user", content="Add 1 2 4."),)
    text = "1 + 2 = 3, 3 + 4 = 7."
    steps = [range(11), range(11, 21)]
    read = reader.read(messages, text, steps)
    assert read.lengths == (10, 10)  # what separates two steps is not counted
    assert len(read.places) == 2
    assert len(read.places[0]) == len(read.whole) + 1
    # The state at a step's end is that of a text which ends there: nothing later reaches it.
    alone = reader.read(messages, text[:10], [range(10)])
    np.testing.assert_allclose(read.places[0][:-2], alone.places[0][:-2], atol=1e-5)
    assert read.logprobs[0] == pytest.approx(alone.logprobs[0], abs=1e-5)
    assert read.places[0][-2:].tolist() == [0, 0.5]
    assert alone.places[0][-2:].tolist() == [0, 1]
