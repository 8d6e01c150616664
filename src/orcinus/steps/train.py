"""Training: the student learns the lessons, stage by stage, on the teacher's tokens only (Orca, section 3.2; Orca 2, section 4.2).

Each stage leaves a plain Hugging Face folder ``stage-N``; the last one is the student. An interrupted stage goes on from its
last checkpoint.
"""

import asyncio
from importlib.util import find_spec
from typing import Any

from orcinus.completers.local_config import LocalConfig
from orcinus.errors import MissingExtraError
from orcinus.runtime import StepContext
from orcinus.training.config import TrainConfig

VERSION = 1


async def train(config: TrainConfig, student: LocalConfig, context: StepContext) -> dict[str, Any]:
    """Train ``student`` on ``erase``'s lessons.

    Returns:
        ``model``: the folder of the last stage; ``stages``: what each did.

    Raises:
        ConfigError: The student is no model, or a Trainer argument does not exist.
        StepError: A stage has no lesson, or training came apart.
    """
    if any(find_spec(package) is None for package in ("torch", "transformers", "accelerate")):
        raise MissingExtraError("training", "train")
    from orcinus.training.curriculum import train_curriculum

    return await asyncio.to_thread(
        train_curriculum,
        config,
        student,
        context.inputs["erase"] / "lessons.parquet",
        context.out,
        seed=context.seed,
        micro_batch=context.runtime.micro_batch,
        device=context.runtime.device,
        executor=context.runtime.executor,
        on_start=context.progress.start,
        on_step=lambda: context.progress.advance(1),
    )
