"""Draws by the smallest hash."""

import random

from orcinus.core.draw import draw, draw_by_group
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Example

EXAMPLES = [
    Example(id=str(i), task=f"task {i % 3}", prompt="?", answer_type="exact") for i in range(400)
]


def test_a_draw_by_group_does_not_depend_on_the_order_of_the_examples() -> None:
    def by_task(example: Example) -> str:
        return example.task

    shuffled = random.Random(0).sample(EXAMPLES, len(EXAMPLES))
    for count in (0, 1, 7, 1000, None):
        found = draw_by_group(EXAMPLES, "salt", by_task, count)
        assert found == draw_by_group(shuffled, "salt", by_task, count)
        for task, drawn in found.items():
            mine = [example for example in EXAMPLES if example.task == task]
            assert (
                drawn == sorted(mine, key=lambda e: stable_fraction("salt", e.task, e.id))[:count]
            )


def test_a_draw_starts_with_a_smaller_one_and_does_not_depend_on_the_order() -> None:
    def name_of(example: Example) -> tuple[str, ...]:
        return "salt", example.task, example.id

    drawn = draw(EXAMPLES, name_of)
    assert drawn == draw(reversed(EXAMPLES), name_of)
    assert sorted(example.id for example in drawn) == sorted(example.id for example in EXAMPLES)
    for count in (0, 1, 40):
        assert draw(EXAMPLES, name_of, count) == drawn[:count]
