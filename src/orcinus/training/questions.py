"""Find what belongs to a prompt in a batch, which holds tokens alone.

by_prompt(lessons of a stage, a table of lessons, value)  ──►  {tokens of a prompt: value}
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from orcinus.core.types import Lesson
from orcinus.runs import tables
from orcinus.training.tokens import TokenizedLessons

Value = TypeVar("Value")


def by_prompt(
    tokenized: TokenizedLessons, path: Path, value: Callable[[Lesson], Value]
) -> dict[bytes, Value]:
    """Return the value of each lesson of a stage by the tokens of its prompt.

    Args:
        tokenized: The stage's lessons as tokens.
        path: A table with lessons of the same ids.
        value: Is called once for each prompt, with its first lesson in the table.
    """
    number_of = {identity: number for number, identity in enumerate(tokenized.ids.to_pylist())}
    found: dict[bytes, Value] = {}
    for lesson in tables.read_lessons(path):
        if (number := number_of.get(lesson.id)) is None:
            continue
        tokens, prompt = tokenized.lesson(number)
        key = tokens[:prompt].astype(np.int64).tobytes()
        if key not in found:
            found[key] = value(lesson)
    return found


def prompt_key(prompt: torch.Tensor) -> bytes:
    """Return the key of a prompt (T,) of int64 tokens."""
    return prompt.cpu().numpy().tobytes()
