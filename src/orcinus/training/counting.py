"""Count the optimizer steps of a training before it begins, without loading the model.

    lessons.parquet, the student's tokenizer  ──►  StagePlan("lessons", lessons=315, steps=100)

Of many lessons the first ``SAMPLED`` are tokenized, and the others count as long as these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.runs import layout, tables
from orcinus.training.config import StageConfig, TrainConfig
from orcinus.training.schedule import expected_steps

SAMPLED = 2000
"""Lessons. Tokenizing them takes about a second; their mean length is known to 2 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """The length of one stage."""

    name: str
    lessons: int
    epochs: float
    """Passes over the lessons."""
    steps: int
    """Optimizer steps, about."""


def plan_stages(config: TrainConfig, student: LocalConfig, lessons: Path) -> Iterator[StagePlan]:
    """Yield the length of each stage that has lessons.

    The share of a mix and replays are left out: they change which lessons are learned.

    Args:
        config: How to train.
        student: Its tokenizer counts.
        lessons: The folder of ``lessons.parquet``.
    """
    from orcinus.models.local.weights import read_tokenizer

    chat = Chat(read_tokenizer(student), fallback=student.chat_template)
    for stage in config.stages:
        found = _plan_stage(config, stage, chat, lessons / layout.LESSONS)
        if found is not None:
            yield found


def _plan_stage(
    config: TrainConfig, stage: StageConfig, chat: Chat, path: Path
) -> StagePlan | None:
    mine = (lesson for lesson in tables.read_lessons(path) if stage.offers(lesson))
    lengths = np.array(
        [
            (len(tokens), len(tokens) - prompt)
            for tokens, prompt in (
                chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
                for lesson in islice(mine, SAMPLED)
            )
        ]
    ).reshape(-1, 2)
    if not len(lengths):
        return None
    count = len(lengths) + sum(1 for _ in mine)
    tokens, responses = lengths.mean(0) * count
    epochs = stage.epochs if stage.tokens is None else stage.tokens / responses
    steps = expected_steps(config, lessons=count, tokens=int(tokens), epochs=epochs)
    return StagePlan(name=stage.name, lessons=count, epochs=epochs, steps=steps)
