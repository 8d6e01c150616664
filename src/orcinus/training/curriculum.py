"""Train the stages of a curriculum in order: each starts from the weights of the last.

    lessons.parquet ──stage 1──► stage-1/ ──stage 2──► stage-2/ …      the last one is the student

Orca's progressive learning, section 3.2. A finished stage is not run again. An
interrupted one resumes from its last checkpoint.
"""

import inspect
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import orjson
import torch
from safetensors import SafetensorError
from transformers import TrainingArguments

from orcinus.core.errors import ConfigError, OrcinusError, StepError, StoreError
from orcinus.core.files import is_whole, why_unwritable, write_atomically
from orcinus.core.protocols import Executor
from orcinus.core.types import Lesson
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.loading import quiet
from orcinus.runs import layout, tables
from orcinus.runs.context import Progress
from orcinus.runs.executors.local import LOCAL
from orcinus.training.anchors import with_anchors
from orcinus.training.attention import kernels_of_row
from orcinus.training.check import longest_lesson
from orcinus.training.checkpoints import load_for_training, save_student, with_lora
from orcinus.training.config import StageConfig, TrainConfig
from orcinus.training.distributed import processes
from orcinus.training.forward import unwrap_peft
from orcinus.training.invariant import invariant_trainer, with_domains
from orcinus.training.job import TrainJob
from orcinus.training.kernels import USED
from orcinus.training.objectives.interface import MEASURED, Objective
from orcinus.training.on_policy import on_policy_trainer
from orcinus.training.preferences import (
    LabelTrainer,
    PreferenceTrainer,
    balanced,
    whole_pairs,
    with_other_answers,
)
from orcinus.training.prompted import prompted_trainer
from orcinus.training.questions import by_prompt
from orcinus.training.reference import with_reference
from orcinus.training.reinforce import join_samples, outcome_trainer, read_questions
from orcinus.training.schedule import learning_rate, schedule
from orcinus.training.self_check import path_of
from orcinus.training.stages import lessons_of_stage, repeats
from orcinus.training.stopping import Stopped, until_stopped
from orcinus.training.teacher_scores import Ask
from orcinus.training.token_numbers import PARTS
from orcinus.training.tokens import TokenizedLessons, tokenize_lessons
from orcinus.training.trackers import check_trackers
from orcinus.training.trainer import (
    LessonTrainer,
    StageResult,
    StageSettings,
    train_stage,
    work_folder,
)


def train_curriculum(
    job: TrainJob,
    progress: Progress,
    executor: Executor = LOCAL,
    stop: Event | None = None,
    ask: Ask | None = None,
) -> dict[str, Any]:
    """Train a student on the lessons of a table, stage by stage.

    Args:
        job: What to train, and where.
        progress: Gets each stage's name and number of optimizer steps, then every step.
        executor: Where lessons become tokens.
        stop: Ends the training at the next optimizer step once it is set, with a checkpoint.
        ask: Asks the recipe's teacher to score texts, for on-policy stages of that teacher.

    Returns:
        ``model``: name of the last stage's folder; ``stages``: what each did, by name.

    Raises:
        ConfigError: The student cannot be loaded, ``config.trainer`` names an unknown argument, or
            a stage's share is not chosen yet.
        StepError: A stage has no lesson, or its loss is no longer a number.
        StoreError: A checkpoint or the student cannot be written.
        Stopped: ``stop`` was set.
    """
    stop = stop or Event()
    quiet()
    _check_arguments(job.config)
    facts: dict[str, Any] = {}
    source = job.student
    for place, stage in enumerate(job.config.stages[job.first :], job.first):
        out = job.out / layout.stage(place + 1)
        if not (out / layout.DONE).exists():
            if stop.is_set():
                raise Stopped
            with _explain_failure(out, job.micro_batch):
                result = _learn_stage(job, place, source, progress, executor, stop, ask)
            if processes.is_first():
                # Atomically: the other processes read it as soon as it exists.
                write_atomically(out / layout.DONE, orjson.dumps(result))
            processes.wait_for(out / layout.DONE)
        facts[stage.name] = _read_result(out / layout.DONE)
        source = job.student.model_copy(
            update={"path": str(out), "revision": None, "adapter": None}
        )
    return {"model": layout.stage(len(job.config.stages)), "stages": facts}


def _read_result(path: Path) -> Any:
    """Return what a finished stage did."""
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}); delete {path.parent} to train the stage again"
        ) from error


@contextmanager
def _explain_failure(out: Path, micro_batch: int | None) -> Iterator[None]:
    """Turn a full disk or memory into an error with a remedy: torch raises RuntimeErrors."""
    try:
        yield
    except OrcinusError:
        raise
    except (OSError, SafetensorError, RuntimeError, MemoryError) as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate" in text:
            smaller = "give --micro-batch 1, " if (micro_batch or 1) > 1 else ""
            raise StepError(
                f"{out.name}: not enough memory; {smaller}lower train.context_length, use "
                "train.lora or a smaller student, then run again: it resumes from the last "
                "checkpoint"
            ) from error
        if (why := why_unwritable(error)) is None:
            raise
        raise StoreError(
            f"{getattr(error, 'filename', None) or out}: cannot be written: {why}; fix that and "
            "run again: it resumes from the last checkpoint"
        ) from error


def _learn_stage(
    job: TrainJob,
    place: int,
    source: LocalConfig,
    progress: Progress,
    executor: Executor,
    stop: Event,
    ask: Ask | None,
) -> dict[str, Any]:
    """Train the stage at ``place`` on top of ``source`` and save the student that comes out."""
    torch.manual_seed(job.seed)
    config, stage, out = job.config, job.config.stages[place], job.out / layout.stage(place + 1)
    model, tokenizer = load_for_training(
        source, frozen=config.lora is not None, precision=config.precision
    )
    chat = Chat(tokenizer, fallback=source.chat_template)
    for note in chat.notes if processes.is_first() and place == job.first else ():
        progress.note(f"{source.path}: {note}")
    objective = config.objective_of(stage)
    tokenized = _tokenize_stage(
        job, place, chat, objective, longest_lesson(model, config)[0], executor, stop
    )
    if objective.anchors is not None:
        tokenized, objective = with_anchors(tokenized, objective, chat, _anchors_of(job), job.seed)
    tokenized = with_reference(
        tokenized, objective, model, _device(job.device), work_folder(out) / "lessons"
    )
    samples = work_folder(out) / "samples"
    if config.lora is not None:
        model = with_lora(model, config.lora)
    result, gathered = train_stage(
        model,
        tokenized,
        _stage_settings(job, place, tokenized, objective, _width(model)),
        out,
        progress,
        _trainer_of(job, place, tokenized, model, chat, source, samples, ask),
        stop,
    )
    if processes.is_first():
        if stage.reinforce is not None:
            join_samples(samples, out.parent / layout.attempts(out.name))
        save_student(model, tokenizer, source, out, gathered)
        shutil.rmtree(work_folder(out))
    return {**_summarize(result, tokenized), "attention": _attention_of(model)}


def _attention_of(model: Any) -> dict[str, str]:
    """Return which kernel attended, and why no other one did."""
    if path_of(unwrap_peft(model)).packed:
        return dict(kernels_of_row())
    return {"one lesson at a time, the model's own": USED}


def _trainer_of(
    job: TrainJob,
    place: int,
    tokenized: TokenizedLessons,
    model: Any,
    chat: Chat,
    source: LocalConfig,
    samples: Path,
    ask: Ask | None,
) -> Callable[..., LessonTrainer]:
    """Return what makes the Trainer of a stage."""
    stage = job.config.stages[place]
    if stage.reinforce is not None:
        if job.examples is None:
            raise ConfigError("train: the job has no table of examples (reinforce)")
        lessons = by_prompt(tokenized, job.lessons_at(place), lambda lesson: lesson)
        questions = read_questions(job.examples, lessons)
        return outcome_trainer(stage.reinforce, model, chat, source, questions, samples)
    if stage.prefer is not None:
        return LabelTrainer if stage.labels else PreferenceTrainer
    if stage.invariant is not None:
        if processes.count() > 1:
            raise ConfigError(
                f"stage {stage.name!r}: invariant compares gradients within one process, and this "
                f"training has {processes.count()}; start it with one process"
            )
        return invariant_trainer(stage.invariant)
    if stage.on_policy is None:
        if not job.config.objective_of(stage).needs.prompted:
            return LessonTrainer
        return prompted_trainer(source, _told(job, tokenized, chat))
    told = _told(job, tokenized, chat) if stage.on_policy.under == "assigned" else None
    return on_policy_trainer(stage.on_policy, model, chat, source, told, ask)


def _told(job: TrainJob, tokenized: TokenizedLessons, chat: Chat) -> dict[bytes, list[int]]:
    """Return by the tokens of a stage's prompts those under the strategies' messages."""
    if job.prompted is None:
        raise ConfigError("train: the job has no table of prompted lessons (assigned strategies)")
    return by_prompt(tokenized, job.prompted, lambda lesson: chat.prompt(lesson.messages))


def _anchors_of(job: TrainJob) -> Path:
    if job.anchors is None or not job.anchors.exists():
        raise StepError(
            f"objective {job.config.objective.name!r} needs anchors, which `orcinus run` writes; "
            "train on one machine"
        )
    return job.anchors


def _stage_settings(
    job: TrainJob,
    place: int,
    lessons: TokenizedLessons,
    objective: Objective,
    width: int | None,
) -> StageSettings:
    stage = job.config.stages[place]
    if stage.tokens is None:
        epochs = stage.epochs * repeats(stage, lambda: _read_lessons(job, place))
    else:
        epochs = stage.tokens / lessons.response_tokens
    batches = schedule(
        job.config,
        lessons=lessons.count,
        tokens=int(lessons.lengths.sum()),
        longest=lessons.longest,
        epochs=epochs,
        steps=job.steps[place] if job.steps else None,
    )
    return StageSettings(
        name=stage.name,
        context=batches.context,
        rows_per_step=batches.rows_per_step,
        rows=batches.rows,
        micro_batch=job.micro_batch,
        epochs=epochs,
        seed=job.seed,
        share_prompts=job.config.share_prompts,
        objective=objective,
        arguments=_training_arguments(job.config, stage, job.device, width),
    )


def _width(model: Any) -> int | None:
    """Return the hidden size of a model; None where its configuration does not say."""
    config = model.config.get_text_config() if hasattr(model, "config") else None
    width = getattr(config, "hidden_size", None)
    return width if isinstance(width, int) else None


def _tokenize_stage(
    job: TrainJob,
    place: int,
    chat: Chat,
    objective: Objective,
    longest: int,
    executor: Executor,
    stop: Event,
) -> TokenizedLessons:
    """Return the tokens of a stage's lessons; the first process writes them, the others wait."""
    config, stage = job.config, job.config.stages[place]
    folder = work_folder(job.out / layout.stage(place + 1)) / "lessons"
    chosen = lessons_of_stage(config.stages, place, lambda: _read_lessons(job, place), job.seed)
    if not processes.is_first():
        processes.wait_until(lambda: is_whole(folder))
    tokenized = tokenize_lessons(
        until_stopped(chosen, stop),
        chat,
        folder,
        context=longest,
        truncation=config.too_long if stage.prefer is None else "drop",
        evidence=[name for name in objective.needs.evidence if name not in MEASURED],
        executor=executor,
    )
    if stage.prefer is not None:
        tokenized = whole_pairs(tokenized, config.context_length)
    if len(tokenized) == 0:
        why = (
            f"{tokenized.too_long} are longer than {longest:,} tokens; raise train.context_length"
            if tokenized.too_long
            else "its filters take none"
        )
        raise StepError(f"stage {stage.name!r} has no lesson: {why}")
    if stage.labels:
        tokenized = balanced(tokenized, stage.name)
    if stage.invariant is not None:
        read = tables.read_lessons(job.lessons_at(place))
        tokenized = with_domains(tokenized, stage.name, read, config.context_length)
    for name, lessons in tokenized.given.items():
        if not lessons:
            raise StepError(
                f"objective {config.objective.name!r} needs the number {name!r} of each token, and "
                f"no lesson of stage {stage.name!r} has it; set "
                f"{PARTS[name].made_by}"
            )
    return tokenized


def _read_lessons(job: TrainJob, place: int) -> Iterator[Lesson]:
    """Yield all lessons that a stage may learn; those of a ``prefer`` stage stand in pairs.

    Raises:
        ConfigError: The lessons came without pairs or labels.
    """
    stage, lessons_path = job.config.stages[place], job.lessons_at(place)
    if stage.prefer is None:
        return tables.read_lessons(lessons_path)
    what, name = ("labels", layout.LABELS) if stage.labels else ("pairs", layout.PAIRS)
    path = lessons_path.with_name(name)
    if not path.exists():
        raise ConfigError(f"train: there is no table of {what} beside the lessons (prefer)")
    lessons = tables.read_lessons(path)
    return with_other_answers(lessons) if stage.labels else lessons


def _summarize(result: StageResult, lessons: TokenizedLessons) -> dict[str, Any]:
    return {
        **asdict(result),
        "lessons": lessons.count,
        "too_long": lessons.too_long,
        "tokens": int(lessons.lengths.sum()),
        "response_tokens": lessons.response_tokens,
        **_share_with_numbers(lessons),
    }


def _share_with_numbers(lessons: TokenizedLessons) -> dict[str, Any]:
    """Return, where tokens have numbers of their own, the share of tokens that have each."""
    shares = {
        name: round(1 - float(np.isnan(numbers).mean()), 4)
        for name, numbers in lessons.token_evidence.items()
    }
    return {"tokens_with": shares} if shares else {}


def _training_arguments(
    config: TrainConfig, stage: StageConfig, device: str, width: int | None
) -> dict[str, Any]:
    on_gpu = _device(device).startswith("cuda")
    bf16 = config.precision == "bfloat16" or (
        config.precision == "auto" and on_gpu and torch.cuda.is_bf16_supported()
    )
    return {
        "learning_rate": learning_rate(config, stage, width),
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "bf16": bf16,
        "use_cpu": not on_gpu,
        **config.trainer,
    }


def _device(device: str) -> str:
    """Return the device that ``auto`` stands for."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _check_arguments(config: TrainConfig) -> None:
    check_trackers(config.trainer)
    known = set(inspect.signature(TrainingArguments).parameters)
    for name in config.trainer:
        if name not in known:
            raise ConfigError(
                f"train.trainer.{name}: Hugging Face's TrainingArguments has no such field"
            )
