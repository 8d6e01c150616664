"""Train the student on the lessons, stage by stage, on the response tokens only.

    erase/lessons.parquet ──► stage-1/ stage-2/ …  loss.jsonl      the last stage is the student

Orca, section 3.2; Orca 2, section 4.2. Each stage leaves a plain Hugging Face folder. An
interrupted stage resumes from its last checkpoint. Where ``mix`` leaves open how much of a source a
stage learns, short trials decide before the stage is trained: see ``mix.py``.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from threading import Event
from typing import Any

import orjson

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.files import write_atomically
from orcinus.core.registry import current_folder
from orcinus.core.requests import SCORED, chat_request
from orcinus.core.types import Message, Messages, Request, Sampling, Strategy
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.trained import write_trained
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, Runtime, StepContext
from orcinus.runs.folders import summary_of
from orcinus.strategies.prompts import ask, chosen_strategy, erased_strategy
from orcinus.training.config import MixConfig, StageConfig, TrainConfig
from orcinus.training.distributed.launch import launch
from orcinus.training.job import TrainJob
from orcinus.training.mix import Choice, MixedStage, choose_share, trial_requests

Rehearse = Callable[[Path, Path, StepContext], Awaitable[dict[str, Any]]]
"""Asks the student in the first folder, writes lessons into the second one, and returns facts."""


async def train(
    config: TrainConfig,
    student: LocalConfig,
    generic: str,
    context: StepContext,
    *,
    strategies: tuple[Strategy, ...] = (),
    rehearse: Rehearse | None = None,
) -> dict[str, Any]:
    """Train ``student`` on the lessons of ``erase``.

    Args:
        config: How.
        student: The model to start from.
        generic: The system message of erased lessons. Trial students answer under it, and the
            trained student's folder carries it.
        context: With the input ``erase``, and ``sample`` where a share is to be chosen. An input
            ``train``, a finished training, sets the number of optimizer steps of each stage.
            Inputs ``sample`` and ``assign`` give the strategies' messages where a teacher reads
            them.
        strategies: The recipe's, and the skills that were written for it.
        rehearse: Makes the lessons of a stage with ``rehearse``.

    Returns:
        ``model``: the folder of the last stage; ``stages``: what each did; ``mix``: the shares that
        were chosen, with the evidence; ``rehearsed``: by stage, how the student that begins it
        answered the taught questions.

    Raises:
        ConfigError: The student cannot be loaded, or a Trainer argument does not exist.
        StepError: A stage has no lesson, trials have no example, or a loss is no longer a number.
    """
    require_packages()
    job = job_of(
        config, student, context.inputs["erase"], context.out, context.seed, context.runtime
    ).model_copy(update={"steps": _steps_to_match(config, context)})
    if config.reinforces:
        examples = (context.inputs["sample"] / layout.EXAMPLES).resolve()
        job = job.model_copy(update={"examples": examples})
    if config.reads_strategies:
        await asyncio.to_thread(_write_prompted, job.lessons, strategies, context)
        job = job.model_copy(update={"prompted": (context.out / layout.PROMPTED).resolve()})
    job = _with_anchors(job, generic, context)
    choices = []
    for place in range(len(config.stages)):
        if place in config.rehearsed_again and rehearse is not None:
            job = await _with_rehearsal(job, place, rehearse, context)
        if (mix := config.open_mixes.get(place)) is None:
            continue
        choice = await _choose_share(job, place, mix, generic, context)
        choices.append(asdict(choice))
        job = job.model_copy(update={"config": job.config.with_share(place, choice.share)})
    done = await run_job(job, context)
    await asyncio.to_thread(write_trained, context.out / done["model"], generic)
    again = {
        config.stages[place].name: orjson.loads((path.parent / layout.DONE).read_bytes())
        for place, path in job.rehearsed.items()
    }
    return {
        **done,
        **({"mix": choices} if choices else {}),
        **({"rehearsed": again} if again else {}),
    }


def _write_prompted(lessons: Path, strategies: tuple[Strategy, ...], context: StepContext) -> None:
    """Write the lessons with the messages that ask their questions under the assigned strategies.

    A lesson whose question has no strategy keeps its own messages.
    """
    strategy_of = chosen_strategy(strategies, context.inputs["assign"])
    examples = tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach")
    told = {
        (example.task, example.id): ask(example, strategy, seed=context.seed)
        for example in examples
        if (strategy := strategy_of(example)) is not None
    }
    with tables.TableWriter(context.out / layout.PROMPTED, tables.LESSONS) as writer:
        for lesson in tables.read_lessons(lessons):
            messages = told.get((lesson.task, lesson.example_id), lesson.messages)
            writer.write(tables.lesson_row(replace(lesson, messages=messages)))


def _with_anchors(job: TrainJob, generic: str, context: StepContext) -> TrainJob:
    """Return the job with the anchors that its objective needs, written beside the stages."""
    if (anchors := job.config.objective.find().anchors) is None:
        return job
    from orcinus.training.anchors import write_anchors

    path = job.out / layout.ANCHORS
    path.parent.mkdir(parents=True, exist_ok=True)
    examples = context.inputs["sample"] / layout.EXAMPLES
    write_anchors(anchors, examples, generic, context.seed, path)
    return job.model_copy(update={"anchors": path})


def requests(config: TrainConfig, generic: str, context: StepContext) -> list[Asking]:
    """List the calls to trial students, to the student before each mixed stage, and to the teacher.

    The arguments are those of ``train``. The students do not exist yet, so the ledger knows nothing
    of their answers.
    """

    def ask_all() -> Iterator[Request]:
        for mix in config.open_mixes.values():
            for _ in ("before", *mix.shares):
                yield from trial_requests(mix, generic, context)

    askings = []
    if config.open_mixes:
        askings.append(Asking(role="student", requests=ask_all(), exact=False))
    if config.asks_teacher:
        scored = _scored_texts(config, generic, context)
        askings.append(Asking(role="teacher", requests=scored, exact=False, scores=True))
    return askings


def _scored_texts(config: TrainConfig, generic: str, context: StepContext) -> Iterator[Request]:
    """Yield a request for each text that the recipe's teacher scores, at most.

    Of an answer that is not written yet, its longest length is known. Before there are lessons, one
    is counted for each question to teach.
    """
    for stage in config.stages:
        if stage.on_policy is None or stage.on_policy.teacher != "recipe":
            continue
        longest = Message(role="assistant", content=" " * 4 * stage.on_policy.max_tokens)
        own, passes = stage.on_policy.own, stage.epochs
        texts = math.ceil(own * passes) + (own < 1)  # a lesson's own text is paid once
        for messages in _prompts(stage, generic, context):
            request = chat_request((*messages, longest), Sampling(max_tokens=1), strategy=SCORED)
            yield from repeat(request, texts)


def _prompts(stage: StageConfig, generic: str, context: StepContext) -> Iterator[Messages]:
    if "erase" in context.inputs:
        lessons = tables.read_lessons(context.inputs["erase"] / layout.LESSONS)
        yield from (lesson.messages for lesson in lessons if stage.takes(lesson))
        return
    erased = erased_strategy(generic)
    for example in tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach"):
        if not stage.tasks or example.task in stage.tasks:
            yield ask(example, erased, seed=context.seed)


def require_packages() -> None:
    """Raise MissingExtraError where the packages that train are not installed."""
    if any(find_spec(package) is None for package in ("torch", "transformers", "accelerate")):
        raise MissingExtraError("training", "train")


def _steps_to_match(config: TrainConfig, context: StepContext) -> tuple[int, ...]:
    """Return the optimizer steps of another student's stages; nothing where none is to match.

    Bare answers have fewer tokens than explanations. In batches of as many tokens their student
    would make fewer optimizer steps, and a comparison would measure that too. Stages that are told
    their number of tokens keep it.
    """
    other = context.inputs.get("train")
    if other is None or any(stage.tokens is not None for stage in config.stages):
        return ()
    stages = summary_of(other)["summary"]["stages"]
    return tuple(stages[stage.name]["optimizer_steps"] for stage in config.stages)


async def _with_rehearsal(
    job: TrainJob, place: int, rehearse: Rehearse, context: StepContext
) -> TrainJob:
    """Return the job with the lessons of the stage at ``place``, made by the student before it."""
    out = context.out / layout.rehearsal(place + 1)
    if not (out / layout.DONE).exists():
        out.mkdir(parents=True, exist_ok=True)
        done = await rehearse(await _train_before(job, place, context), out, context)
        write_atomically(out / layout.DONE, orjson.dumps(done))
    lessons = (out / layout.LESSONS).resolve()
    return job.model_copy(update={"rehearsed": {**job.rehearsed, place: lessons}})


async def _train_before(job: TrainJob, place: int, context: StepContext) -> Path:
    """Train the stages before ``place`` and return the student's folder."""
    before = job.config.model_copy(update={"stages": job.config.stages[:place]})
    done = await run_job(job.model_copy(update={"config": before}), context)
    return context.out / str(done["model"])


async def _choose_share(
    job: TrainJob, place: int, mix: MixConfig, generic: str, context: StepContext
) -> Choice:
    """Choose the share of the stage at ``place``, on the student as the stages before leave it."""
    stage, student, start = job.config.stages[place], job.student, None
    if place:
        start = await _train_before(job, place, context)
        student = student.model_copy(update={"path": str(start), "revision": None, "adapter": None})

    async def train_trial(share: float, folder: Path) -> dict[str, Any]:
        stages = (*job.config.stages[:place], stage.at_share(share, part=mix.trial))
        config = job.config.model_copy(update={"stages": stages})
        update: dict[str, Any] = {
            "config": config,
            "student": student,
            "out": folder.resolve(),
            "first": place,
            "steps": (),  # a trial is a part of the stage
        }
        return await run_job(job.model_copy(update=update), context)

    mixed = MixedStage(name=stage.name, number=place + 1, mix=mix, generic=generic)
    return await choose_share(mixed, start, train_trial, context)


async def run_job(job: TrainJob, context: StepContext) -> dict[str, Any]:
    """Train in this process or in several; skip stages that are done.

    A cancelled training first stops at its next optimizer step and saves a checkpoint.
    """
    if context.runtime.processes > 1 and job.config.asks_teacher:
        raise ConfigError(
            "train.stages: on_policy: {teacher: recipe} asks the teacher from one process; leave "
            "--processes out, or name a local model as the stage's teacher"
        )
    if context.runtime.processes > 1:
        return await launch(job, processes=context.runtime.processes, progress=context.progress)
    from orcinus.training.curriculum import train_curriculum
    from orcinus.training.stopping import Stopped
    from orcinus.training.teacher_scores import ask_from_thread

    ask = ask_from_thread(context) if job.config.asks_teacher else None
    job.out.mkdir(parents=True, exist_ok=True)
    stop = Event()
    training = asyncio.ensure_future(
        asyncio.to_thread(
            train_curriculum, job, context.progress, context.runtime.executor, stop, ask
        )
    )
    try:
        return await asyncio.shield(training)
    except asyncio.CancelledError:
        stop.set()
        with suppress(Stopped):
            await training
        raise


def job_of(
    config: TrainConfig, student: LocalConfig, erased: Path, out: Path, seed: int, runtime: Runtime
) -> TrainJob:
    """Return the step as a job for processes, here or on machines that share the run's folder."""
    return TrainJob(
        config=config,
        student=student,
        lessons=(erased / layout.LESSONS).resolve(),
        out=out.resolve(),
        seed=seed,
        micro_batch=runtime.micro_batch,
        device=runtime.device,
        modules=current_folder(),
    )
