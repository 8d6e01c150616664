"""The stages of a curriculum in order (Orca's progressive learning, section 3.2): each starts from the weights of the last.

    lessons.parquet ──stage 1──► stage-1/ ──stage 2──► stage-2/ …      the last folder is the student

A finished stage is not run again; an interrupted one goes on from its last checkpoint.
"""

import inspect
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from transformers import TrainingArguments

from orcinus.core import registry
from orcinus.core.errors import ConfigError, StepError, StoreError
from orcinus.core.protocols import Executor
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import quiet, stop_tokens
from orcinus.runs import layout, tables
from orcinus.runs.executors.local import LOCAL
from orcinus.training import processes
from orcinus.training.checkpoints import load_for_training, save_student, with_lora
from orcinus.training.config import OnPolicyConfig, StageConfig, TrainConfig
from orcinus.training.stages import lessons_of_stage, repeats
from orcinus.training.tokens import TokenizedLessons, tokenize_lessons
from orcinus.training.trainer import StageResult, train_stage


def train_curriculum(
    config: TrainConfig,
    student: LocalConfig,
    lessons: Path,
    out: Path,
    *,
    seed: int,
    micro_batch: int | None,
    device: str,
    executor: Executor = LOCAL,
    first: int = 0,
    on_start: Callable[[str, int | None], None],
    on_step: Callable[[], None],
) -> dict[str, Any]:
    """Train ``student`` on the lessons of a table, stage by stage.

    Args:
        config: How.
        student: The model to start from.
        lessons: A ``lessons.parquet``.
        out: The folder for the stages.
        seed: Of packing, order and adapters.
        micro_batch: Packed rows of one forward pass; None means one.
        device: ``auto``, ``cpu``, ``cuda`` …
        executor: Where lessons become tokens.
        first: Place of the first stage to learn; ``student`` has learnt those before it.
        on_start: Told each stage's name and number of optimizer steps.
        on_step: Called after each optimizer step.

    Returns:
        ``model``: name of the last stage's folder; ``stages``: what each did, by name.

    Raises:
        ConfigError: The student cannot be loaded, ``config.trainer`` names an unknown argument, or a stage's share is not chosen yet.
        StepError: A stage has no lesson, or training came apart.
        StoreError: A checkpoint or the student cannot be written.
    """
    quiet()
    _check_arguments(config)
    facts: dict[str, Any] = {}
    source = student
    for number, stage in enumerate(config.stages[first:], first + 1):
        folder = out / layout.stage(number)
        if not (folder / layout.DONE).exists():
            try:
                result = _train_one(
                    config,
                    number - 1,
                    source,
                    lessons,
                    folder,
                    seed,
                    micro_batch,
                    device,
                    executor,
                    on_start,
                    on_step,
                )
            except (SafetensorError, RuntimeError) as error:
                if not _is_full_disk(error):
                    raise
                raise StoreError(
                    f"{folder}: cannot be written: no space left on the device; free some"
                ) from error
            if processes.is_first():
                (folder / layout.DONE).write_bytes(orjson.dumps(result))
            processes.wait_for(folder / layout.DONE)
        facts[stage.name] = orjson.loads((folder / layout.DONE).read_bytes())
        source = student.model_copy(update={"path": str(folder), "revision": None, "adapter": None})
    return {"model": f"stage-{len(config.stages)}", "stages": facts}


def _is_full_disk(error: Exception) -> bool:
    """Whether a library's own error means that there is no space: neither safetensors nor torch raises an OSError."""
    text = str(error)
    return "No space left" in text or "PytorchStreamWriter" in text or "unexpected pos" in text


def _train_one(
    config: TrainConfig,
    place: int,
    source: LocalConfig,
    lessons: Path,
    folder: Path,
    seed: int,
    micro_batch: int | None,
    device: str,
    executor: Executor,
    on_start: Callable[[str, int | None], None],
    on_step: Callable[[], None],
) -> dict[str, Any]:
    torch.manual_seed(seed)
    stage = config.stages[place]
    model, tokenizer = load_for_training(source)
    chat = Chat(tokenizer, fallback=source.chat_template)
    work = folder.with_name(f"{folder.name}.work")
    objective = registry.objectives.get(config.objective.name)(**config.objective.settings)
    wanted = tuple(getattr(objective, "evidence", ()))
    tokenized = _tokenize(config, place, lessons, chat, work / "lessons", seed, wanted, executor)
    passes = stage.epochs * repeats(stage, lambda: tables.read_lessons(lessons))
    if config.lora is not None:
        model = with_lora(model, config.lora)
    kind = None if stage.on_policy is None else _on_policy(stage.on_policy, model, chat)
    result, gathered = train_stage(
        model,
        tokenized,
        name=stage.name,
        context=config.context_length,
        rows_per_step=max(1, config.batch_tokens // config.context_length),
        micro_batch=micro_batch or 1,
        epochs=passes if stage.tokens is None else stage.tokens / tokenized.response_tokens,
        seed=seed,
        share_prompts=config.share_prompts,
        objective=objective,
        kind=kind,
        arguments=_arguments(config, stage, device),
        work=work / "trainer",
        loss_log=folder.parent / layout.LOSS,
        on_start=lambda total: on_start(f"train {stage.name}", total),
        on_step=on_step,
    )
    if processes.is_first():
        save_student(model, tokenizer, source, folder, gathered)
        shutil.rmtree(work)
    return _facts(result, tokenized)


def _on_policy(config: OnPolicyConfig, model: Any, chat: Chat) -> Callable[..., Any]:
    """What makes the Trainer of an on-policy stage."""
    from orcinus.training.on_policy import OnPolicyTrainer, check_vocabulary

    teacher, tokenizer = load_for_training(config.teacher)
    check_vocabulary(chat.tokenizer, tokenizer)
    return partial(
        OnPolicyTrainer,
        teacher=teacher,
        end_ids=sorted(stop_tokens(model, chat.tokenizer)),
        pad_id=chat.tokenizer.pad_token_id,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
    )


def _tokenize(
    config: TrainConfig,
    place: int,
    lessons: Path,
    chat: Chat,
    folder: Path,
    seed: int,
    evidence: Sequence[str],
    executor: Executor,
) -> TokenizedLessons:
    stage = config.stages[place]
    chosen = lessons_of_stage(config.stages, place, lambda: tables.read_lessons(lessons), seed)
    if not processes.is_first():
        processes.wait_for(folder / layout.TOKEN_FACTS)
    tokenized = tokenize_lessons(
        chosen,
        chat,
        folder,
        context=config.context_length,
        truncation=config.too_long,
        evidence=evidence,
        executor=executor,
    )
    if len(tokenized) == 0:
        why = (
            f"{tokenized.too_long} are longer than context_length"
            if tokenized.too_long
            else "its filters take none"
        )
        raise StepError(f"stage {stage.name!r} has no lesson: {why}")
    return tokenized


def _facts(result: StageResult, lessons: TokenizedLessons) -> dict[str, Any]:
    return {
        **asdict(result),
        "lessons": len(lessons),
        "too_long": lessons.too_long,
        "tokens": int(lessons.lengths.sum()),
        "response_tokens": lessons.response_tokens,
    }


def _arguments(config: TrainConfig, stage: StageConfig, device: str) -> dict[str, Any]:
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    bf16 = config.precision == "bfloat16" or (
        config.precision == "auto" and on_gpu and torch.cuda.is_bf16_supported()
    )
    return {
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "bf16": bf16,
        "use_cpu": not on_gpu,
        **config.trainer,
    }


def _check_arguments(config: TrainConfig) -> None:
    known = set(inspect.signature(TrainingArguments).parameters)
    for name in config.trainer:
        if name not in known:
            raise ConfigError(
                f"train.trainer.{name}: Hugging Face's TrainingArguments has no such field"
            )
