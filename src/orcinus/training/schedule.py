"""Decide how long a stage is and how its lessons are packed. Imports no torch.

    315 lessons, 23,560 tokens, 3 passes  ──►  100 optimizer steps of about 9 lessons each

A batch of 65,536 tokens suits large sets of lessons. With a few hundred of them it would make two
or three optimizer steps in all, and the student would hardly change.
"""

import math
from dataclasses import dataclass

from orcinus.training.config import StageConfig, TrainConfig

LARGEST_BATCH = 65_536
"""Tokens. The batch of a large set of lessons where the recipe names none."""
USUAL_STEPS = 100
"""Optimizer steps of a stage with few lessons. Measured: 60 to 113 steps taught SmolLM2-135M from
192 to 315 lessons; with 2 steps it learned nothing."""
FEW_STEPS = 50
"""Optimizer steps below which a stage is called short."""
WIDTH_OF_LORA_RATE, LORA_RATE, LORA_POWER = 576, 1e-3, 0.8
"""A LoRA student of this width (hidden size) learns at this rate, a wider one at a lower one:
rate × (576 / width) ^ 0.8. Measured: 1e-3 for SmolLM2-135M (width 576). The power gives 2e-4 at
width 4,096, which QLoRA (arXiv:2305.14314) uses for models of that width."""
FULL_RATE = 2e-5
"""Learning rate of full weights, as in most explanation-tuned models of 7 to 13 billion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The plan by which the lessons of one stage become optimizer steps."""

    context: int
    """Tokens of a packed row, at most."""
    rows_per_step: int
    """Packed rows of a global batch."""
    rows: int | None = None
    """All rows of the stage; None takes as many as its passes give."""


def schedule(
    config: TrainConfig,
    *,
    lessons: int,
    tokens: int,
    longest: int,
    epochs: float,
    steps: int | None = None,
) -> Schedule:
    """Return how a stage's lessons are packed and batched.

    Args:
        config: How to train.
        lessons: Their number, 1 or more.
        tokens: All their tokens.
        longest: Tokens of the longest one.
        epochs: Passes over them.
        steps: Make exactly so many optimizer steps; None lets the batch decide.
    """
    if steps is None and config.batch_tokens is not None:
        rows = max(1, config.batch_tokens // config.context_length)
        return Schedule(context=config.context_length, rows_per_step=rows)
    wanted = steps or usual_steps(lessons=lessons, tokens=tokens, epochs=epochs)
    batch = epochs * tokens / wanted
    rows_per_step = math.ceil(batch / config.context_length)
    context = min(config.context_length, max(longest, math.ceil(batch / rows_per_step)))
    return Schedule(
        context=context,
        rows_per_step=rows_per_step,
        rows=None if steps is None else steps * rows_per_step,
    )


def usual_steps(*, lessons: int, tokens: int, epochs: float) -> int:
    """Return the optimizer steps of a stage whose batch the recipe leaves open."""
    batch = min(LARGEST_BATCH, epochs * tokens / USUAL_STEPS)
    return max(1, min(math.ceil(epochs * lessons), round(epochs * tokens / batch)))


def expected_steps(config: TrainConfig, *, lessons: int, tokens: int, epochs: float) -> int:
    """Return about how many optimizer steps a stage takes."""
    if config.batch_tokens is None:
        return usual_steps(lessons=lessons, tokens=tokens, epochs=epochs)
    rows = max(1, config.batch_tokens // config.context_length)
    return max(1, math.ceil(epochs * tokens / (rows * config.context_length)))


def learning_rate(config: TrainConfig, stage: StageConfig, width: int | None = None) -> float:
    """Return the learning rate of a stage.

    Args:
        config: How to train.
        stage: The stage; its own rate is taken where it has one.
        width: Hidden size of the student; None assumes a small one.
    """
    if stage.learning_rate is not None:
        return stage.learning_rate
    if config.lora is None:
        return FULL_RATE
    ratio = WIDTH_OF_LORA_RATE / max(WIDTH_OF_LORA_RATE, width or 0)
    return float(LORA_RATE * ratio**LORA_POWER)


def describe_steps(stage: str, steps: int) -> str:
    """Return a sentence with a stage's number of optimizer steps, and a warning if it is small."""
    text = f"stage {stage}: {steps:,} optimizer {'step' if steps == 1 else 'steps'}"
    if steps >= FEW_STEPS:
        return text
    return (
        f"{text}; with fewer than {FEW_STEPS} the student may hardly change: lower "
        "train.batch_tokens or leave it out, raise epochs, or teach more examples"
    )
