"""Training: the student learns the lessons, stage by stage, on the teacher's tokens only (Orca, section 3.2; Orca 2, section 4.2).

Each stage leaves a plain Hugging Face folder ``stage-N``; the last one is the student. An interrupted stage goes on from its
last checkpoint. Where a stage leaves open how much of a source it learns (``mix``), short trials decide before it is trained: see ``trials.py``.
"""

import asyncio
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orcinus.core.errors import MissingExtraError
from orcinus.models.local.config import LocalConfig
from orcinus.runs import layout
from orcinus.runs.context import Runtime, StepContext
from orcinus.training.config import MixConfig, TrainConfig
from orcinus.training.distributed.launch import launch
from orcinus.training.job import TrainJob
from orcinus.training.mix import Choice, choose_share

VERSION = 1


async def train(
    config: TrainConfig, student: LocalConfig, generic: str, context: StepContext
) -> dict[str, Any]:
    """Train ``student`` on ``erase``'s lessons.

    Args:
        config: How.
        student: The model to start from.
        generic: The erased system message, under which trial students are asked.
        context: With the input ``erase``, and ``sample`` where a share is to be chosen.

    Returns:
        ``model``: the folder of the last stage; ``stages``: what each did; ``mix``: the shares that were chosen, with the evidence.

    Raises:
        ConfigError: The student is no model, or a Trainer argument does not exist.
        StepError: A stage has no lesson, trials have no example, or training came apart.
    """
    if any(find_spec(package) is None for package in ("torch", "transformers", "accelerate")):
        raise MissingExtraError("training", "train")
    job = job_of(
        config, student, context.inputs["erase"], context.out, context.seed, context.runtime
    )
    choices = []
    for place, mix in config.open_mixes.items():
        choice = await _choose(job, place, mix, generic, context)
        choices.append(asdict(choice))
        job = job.model_copy(update={"config": job.config.with_share(place, choice.share)})
    done = await _learn(job, context)
    return {**done, "mix": choices} if choices else done


async def _choose(
    job: TrainJob, place: int, mix: MixConfig, generic: str, context: StepContext
) -> Choice:
    """The share of the stage at ``place``, tried on the student as the stages before leave it."""
    stage, student, start = job.config.stages[place], job.student, None
    if place:
        before = job.config.model_copy(update={"stages": job.config.stages[:place]})
        done = await _learn(job.model_copy(update={"config": before}), context)
        start = context.out / done["model"]
        student = student.model_copy(update={"path": str(start), "revision": None, "adapter": None})

    async def trial(share: float, folder: Path) -> dict[str, Any]:
        stages = (*job.config.stages[:place], stage.at_share(share, part=mix.trial))
        config = job.config.model_copy(update={"stages": stages})
        update = {"config": config, "student": student, "out": folder.resolve(), "first": place}
        return await _learn(job.model_copy(update=update), context)

    return await choose_share(
        mix, generic, context, stage=stage.name, number=place + 1, start=start, learn=trial
    )


async def _learn(job: TrainJob, context: StepContext) -> dict[str, Any]:
    """Do ``job``, in this process or in several; stages that are done are not done again."""
    if context.runtime.processes > 1:
        return await launch(job, processes=context.runtime.processes, progress=context.progress)
    from orcinus.training.curriculum import train_curriculum

    job.out.mkdir(parents=True, exist_ok=True)
    return await asyncio.to_thread(
        train_curriculum, job, context.progress, context.runtime.executor
    )


def job_of(
    config: TrainConfig, student: LocalConfig, erased: Path, out: Path, seed: int, runtime: Runtime
) -> TrainJob:
    """The step as a job for training processes, here or on other machines that see the same folders."""
    return TrainJob(
        config=config,
        student=student,
        lessons=(erased / layout.LESSONS).resolve(),
        out=out.resolve(),
        seed=seed,
        micro_batch=runtime.micro_batch,
        device=runtime.device,
    )
