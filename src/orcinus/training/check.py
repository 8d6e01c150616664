"""Check, before anything is paid, that a recipe's student can be trained, and how.

    check_training(recipe.train, student, "auto")   →   ["… are read one at a time …"]

The student is loaded as training loads it, and learns a few tokens of noise: see ``self_check.py``.
"""

from typing import Any

import torch

from orcinus.models.local.arithmetic import imitated
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.loading import position_limit, quiet
from orcinus.training.checkpoints import load_for_training, with_lora
from orcinus.training.config import TrainConfig
from orcinus.training.forward import unwrap_peft
from orcinus.training.on_policy import check_vocabulary
from orcinus.training.paths import Path
from orcinus.training.self_check import choose_path


def check_training(config: TrainConfig, student: LocalConfig, device: str) -> list[str]:
    """Return what is to be said of training ``student``, a line each; none where all is plain.

    Args:
        config: How it is to be trained.
        student: The model to start from.
        device: ``auto``, ``cpu``, ``cuda`` …

    Raises:
        ConfigError: It, its adapters, or the teacher of an on-policy stage cannot be used.
    """
    quiet()
    model, tokenizer = load_for_training(
        student, frozen=config.lora is not None, precision=config.precision
    )
    Chat(tokenizer, fallback=student.chat_template)
    notes = [] if (cut := longest_lesson(model, config)[1]) is None else [f"{student.path}: {cut}"]
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if on_cpu and (slow := imitated(config.precision)) is not None:
        notes.append(f"train.precision: {slow}")
    if config.lora is not None:
        model = with_lora(model, config.lora)
    notes += _check_model(model, config, device)
    del model
    for stage in config.stages:
        if stage.on_policy is not None and isinstance(stage.on_policy.teacher, LocalConfig):
            teacher, its_tokenizer = load_for_training(stage.on_policy.teacher, frozen=True)
            check_vocabulary(tokenizer, its_tokenizer)
            notes += _check_model(teacher.requires_grad_(False), config, device)
    return notes


def longest_lesson(model: Any, config: TrainConfig) -> tuple[int, str | None]:
    """Return the tokens of the longest lesson that ``model`` can learn, and a line on its limit.

    The line is None where a row of ``context_length`` tokens is within the model's positions.
    """
    limit, has_no_others = position_limit(model)
    wanted = config.context_length
    if limit is None or limit >= wanted:
        return wanted, None
    if has_no_others:
        what = "dropped" if config.too_long == "drop" else "cut"
        return limit, f"the model has {limit:,} positions; longer lessons are {what}"
    return wanted, (
        f"the model was made for {limit:,} positions, and train.context_length is {wanted:,}; "
        "longer lessons may teach it little"
    )


def _check_model(model: Any, config: TrainConfig, device: str) -> list[str]:
    on_gpu = torch.cuda.is_available() and device != "cpu"
    base = unwrap_peft(model)
    base.to("cuda" if on_gpu and device == "auto" else device if on_gpu else "cpu")
    path = choose_path(base, longest=config.context_length)
    return [] if (cost := cost_of(base, path)) is None else [cost]


def cost_of(model: Any, path: Path) -> str | None:
    """Return a line on what a path costs; None where it is the fastest one."""
    name, kind = model.config.name_or_path, model.config.model_type
    if not path.packed:
        return (
            f"{name}: models of type {kind!r} read each lesson alone in training, for lessons of "
            "one row would see each other; same results, but a prompt is read again for each of "
            "its responses, and short lessons fill a GPU less"
        )
    if path.own_head:
        return (
            f"{name}: models of type {kind!r} compute logits by their own code in training; same "
            "results, at about the same speed"
        )
    return None
