"""The stages of a curriculum in order (Orca's progressive learning, section 3.2): each starts from the weights of the last.

    lessons.parquet ──stage 1──► stage-1/ ──stage 2──► stage-2/ …      the last folder is the student

A finished stage is not run again; an interrupted one goes on from its last checkpoint.
"""

import inspect
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from orcinus import registry
from orcinus.completers.chat import FALLBACKS, Chat
from orcinus.completers.local import quiet, stop_tokens
from orcinus.completers.local_config import LocalConfig
from orcinus.errors import ConfigError, StepError, StoreError
from orcinus.executors.local import LOCAL
from orcinus.fingerprint import stable_fraction
from orcinus.protocols import Executor
from orcinus.store import tables
from orcinus.training import processes
from orcinus.training.config import LoraConfig, OnPolicyConfig, StageConfig, TrainConfig
from orcinus.training.lessons import TokenizedLessons, tokenize_lessons
from orcinus.training.trainer import StageResult, train_stage
from orcinus.types import Lesson


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
        folder = out / f"stage-{number}"
        if not (folder / "_done").exists():
            try:
                result = _train_one(
                    config, number - 1, source, lessons, folder, seed, micro_batch, device, executor, on_start, on_step
                )
            except (SafetensorError, RuntimeError) as error:
                if not _is_full_disk(error):
                    raise
                raise StoreError(f"{folder}: cannot be written: no space left on the device; free some") from error
            if processes.is_first():
                (folder / "_done").write_bytes(orjson.dumps(result))
            processes.wait_for(folder / "_done")
        facts[stage.name] = orjson.loads((folder / "_done").read_bytes())
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
        loss_log=folder.parent / "loss.jsonl",
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
        processes.wait_for(folder / "facts.json")
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
        why = f"{tokenized.too_long} are longer than context_length" if tokenized.too_long else "its filters take none"
        raise StepError(f"stage {stage.name!r} has no lesson: {why}")
    return tokenized


def lessons_of_stage(
    stages: Sequence[StageConfig], place: int, read: Callable[[], Iterator[Lesson]], seed: int
) -> Iterator[Lesson]:
    """The lessons that the stage at ``place`` takes, of a source only its share, and as many of earlier stages' as its replay wants.

    Args:
        stages: The curriculum.
        place: Of the stage.
        read: Reads all lessons from the start.
        seed: Of the draw; the same lessons come again whatever their order, and of a smaller portion none that a larger one has not.

    Raises:
        ConfigError: The stage's share is not chosen yet.
        StepError: The source, or what it is mixed with, has no lesson.
    """
    stage, earlier = stages[place], stages[:place]
    of_own, of_source = _portions_of(stage, read)

    def drawn(lesson: Lesson) -> bool:
        portion = of_source if stage.from_source(lesson) else of_own
        chosen = portion == 1 or stable_fraction("mix", str(seed), stage.name, lesson.id) < portion
        return chosen and stage.offers(lesson)

    share = 0.0
    if stage.replay and earlier:
        own = seen_before = 0
        for lesson in read():
            own += drawn(lesson)
            seen_before += not stage.offers(lesson) and any(other.takes(lesson) for other in earlier)
        share = stage.replay / (1 - stage.replay) * own / seen_before if seen_before else 0.0
    for lesson in read():
        again = not stage.offers(lesson) and stable_fraction("replay", str(seed), stage.name, lesson.id) < share
        if drawn(lesson) or (again and any(other.takes(lesson) for other in earlier)):
            yield lesson


def portions(own: int, source: int, share: float) -> tuple[float, float]:
    """Of the stage's own lessons and of the source's, the portions that together hold ``share`` of the source; one of them is whole.

    Args:
        own: Lessons of the stage's own, 1 or more.
        source: Lessons of the source, 1 or more.
        share: Of the source among all that are learnt, 0 … 1.
    """
    if share == 1:
        return 0.0, 1.0
    wanted = share / (1 - share) * own
    return (1.0, wanted / source) if wanted <= source else (source / wanted, 1.0)


def repeats(stage: StageConfig, read: Callable[[], Iterator[Lesson]]) -> float:
    """How many times more often the drawn lessons come, so that the stage is as long as with all of them; 1 where nothing is mixed."""
    if stage.mix is None:
        return 1.0
    own, source = _counts(stage, read)
    of_own, of_source = portions(own, source, _share(stage))
    return (own + source) / (of_own * own + of_source * source)


def _portions_of(stage: StageConfig, read: Callable[[], Iterator[Lesson]]) -> tuple[float, float]:
    return (1.0, 1.0) if stage.mix is None else portions(*_counts(stage, read), _share(stage))


def _counts(stage: StageConfig, read: Callable[[], Iterator[Lesson]]) -> tuple[int, int]:
    """How many lessons are the stage's own, and how many the source has."""
    own = source = 0
    for lesson in read():
        from_source = stage.from_source(lesson)
        source += from_source
        own += not from_source and stage.fits(lesson)
    if not own or not source:
        missing = "own lesson to mix the source with" if source else "lesson of its mix.of"
        raise StepError(f"stage {stage.name!r} has no {missing}; mend its filters, or leave mix out")
    return own, source


def _share(stage: StageConfig) -> float:
    if stage.mix is None or len(stage.mix.shares) != 1:
        raise ConfigError(
            f"train.stages: the share of stage {stage.name!r} is chosen by trials, which `orcinus run` makes; here it needs a single one in mix.shares"
        )
    return stage.mix.shares[0]


def _facts(result: StageResult, lessons: TokenizedLessons) -> dict[str, Any]:
    return {
        **asdict(result),
        "lessons": len(lessons),
        "too_long": lessons.too_long,
        "tokens": int(lessons.lengths.sum()),
        "response_tokens": lessons.response_tokens,
    }


def load_for_training(source: LocalConfig) -> tuple[Any, Any]:
    """The model with its weights as they are stored, and its tokenizer with a padding token.

    Raises:
        ConfigError: The path is no causal language model.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.path, revision=source.revision)
        model = AutoModelForCausalLM.from_pretrained(
            source.path, revision=source.revision, dtype="auto" if torch.cuda.is_available() else torch.float32
        )
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"{source.path}: cannot be loaded as a causal language model: {first}") from error
    if tokenizer.pad_token_id is None:
        # As the papers did (a [[PAD]] of its own); the row it adds to the embedding is never learnt from.
        tokenizer.add_special_tokens({"pad_token": "[[PAD]]"})
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def with_lora(model: Any, config: LoraConfig) -> Any:
    """``model`` with fresh low-rank adapters, everything else frozen."""
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    return get_peft_model(
        model,
        PeftLoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]  # a scale; nothing in peft needs it whole
            lora_dropout=config.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        ),
    )


def save_student(
    model: Any, tokenizer: Any, source: LocalConfig, folder: Path, gathered: Mapping[str, Any] | None = None
) -> None:
    """A plain model folder (adapters merged, and kept beside it in ``adapter``) with tokenizer and chat template.

    Args:
        model: What was trained.
        tokenizer: The student's.
        source: What it was loaded from.
        folder: Replaced as a whole.
        gathered: All weights on the CPU, where the model's own are spread over processes.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(part / "adapter", state_dict=gathered)
        if gathered is not None:
            from peft import PeftModel

            model, gathered = PeftModel.from_pretrained(load_for_training(source)[0], part / "adapter"), None
        model = model.merge_and_unload()
    if not tokenizer.chat_template:
        tokenizer.chat_template = FALLBACKS[source.chat_template]
    model.save_pretrained(part, state_dict=gathered)
    tokenizer.save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _arguments(config: TrainConfig, stage: StageConfig, device: str) -> dict[str, Any]:
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    bf16 = config.precision == "bfloat16" or (config.precision == "auto" and on_gpu and torch.cuda.is_bf16_supported())
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
            raise ConfigError(f"train.trainer.{name}: Hugging Face's TrainingArguments has no such field")
