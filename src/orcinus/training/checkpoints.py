"""Load a student for training, add LoRA adapters, and save it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import ConfigError
from orcinus.models.local.chat_format import FALLBACKS
from orcinus.models.local.config import LocalConfig
from orcinus.training.config import LoraConfig


def load_for_training(source: LocalConfig) -> tuple[Any, Any]:
    """The model with its weights as they are stored, and its tokenizer with a padding token.

    Raises:
        ConfigError: The path is no causal language model.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.path, revision=source.revision)
        model = AutoModelForCausalLM.from_pretrained(
            source.path,
            revision=source.revision,
            dtype="auto" if torch.cuda.is_available() else torch.float32,
        )
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{source.path}: cannot be loaded as a causal language model: {first}"
        ) from error
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
    model: Any,
    tokenizer: Any,
    source: LocalConfig,
    folder: Path,
    gathered: Mapping[str, Any] | None = None,
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

            model, gathered = (
                PeftModel.from_pretrained(load_for_training(source)[0], part / "adapter"),
                None,
            )
        model = model.merge_and_unload()
    if not tokenizer.chat_template:
        tokenizer.chat_template = FALLBACKS[source.chat_template]
    model.save_pretrained(part, state_dict=gathered)
    tokenizer.save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
