"""Which examples are asked."""

import random

from orcinus.core.draw import first_by_hash
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Example

EXAMPLES = [
    Example(id=str(i), task=f"task {i % 3}", prompt="?", answer_type="exact") for i in range(400)
]


def test_of_each_group_those_with_the_smallest_hashes_are_drawn_however_the_examples_are_sorted() -> (
    None
):
    def by_task(example: Example) -> str:
        return example.task

    shuffled = random.Random(0).sample(EXAMPLES, len(EXAMPLES))
    for count in (0, 1, 7, 1000, None):
        found = first_by_hash(EXAMPLES, "salt", by_task, count)
        assert found == first_by_hash(shuffled, "salt", by_task, count)
        for task, drawn in found.items():
            mine = [example for example in EXAMPLES if example.task == task]
            assert (
                drawn == sorted(mine, key=lambda e: stable_fraction("salt", e.task, e.id))[:count]
            )
