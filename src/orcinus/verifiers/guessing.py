"""Say how often guessing is right: half of the yes-or-no questions, a quarter of four options."""

from collections.abc import Collection

from orcinus.core.types import Example


def guess_rate(example: Example) -> float:
    """Return the probability of a right answer by guessing; 0 where answers are free."""
    if example.answer_type == "bool":
        return 0.5
    return 1 / len(example.choices) if example.choices else 0.0


def mean_guess_rate(examples: Collection[Example]) -> float:
    """Return the accuracy of guessing on several examples; 0 for none."""
    return sum(map(guess_rate, examples)) / len(examples) if examples else 0.0
