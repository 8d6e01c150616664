"""Training: the student learns the lessons, stage by stage, on the teacher's tokens only (Orca, section 3.2; Orca 2, section 4.2).

Each stage leaves a plain Hugging Face folder ``stage-N``; the last one is the student. An interrupted stage goes on from its
last checkpoint.
"""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orcinus.completers.local_config import LocalConfig
from orcinus.errors import MissingExtraError
from orcinus.runtime import Runtime, StepContext
from orcinus.training.config import TrainConfig
from orcinus.training.launch import TrainJob, launch

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
    job = job_of(config, student, context.inputs["erase"], context.out, context.seed, context.runtime)

    def on_step() -> None:
        context.progress.advance(1)

    if context.runtime.processes > 1:
        return await launch(job, processes=context.runtime.processes, on_start=context.progress.start, on_step=on_step)
    from orcinus.training.curriculum import train_curriculum

    return await asyncio.to_thread(
        train_curriculum,
        config,
        student,
        job.lessons,
        context.out,
        seed=job.seed,
        micro_batch=job.micro_batch,
        device=job.device,
        executor=context.runtime.executor,
        on_start=context.progress.start,
        on_step=on_step,
    )


def job_of(config: TrainConfig, student: LocalConfig, erased: Path, out: Path, seed: int, runtime: Runtime) -> TrainJob:
    """The step as a job for training processes, here or on other machines that see the same folders."""
    return TrainJob(
        config=config,
        student=student,
        lessons=(erased / "lessons.parquet").resolve(),
        out=out.resolve(),
        seed=seed,
        micro_batch=runtime.micro_batch,
        device=runtime.device,
    )
