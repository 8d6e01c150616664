"""Load a student for training, add LoRA adapters, and save it as a plain Hugging Face folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import ConfigError
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import stop_tokens
from orcinus.training.config import LoraConfig


def load_for_training(source: LocalConfig) -> tuple[Any, Any]:
    """Return the model, and its tokenizer with a padding token.

    The weights keep their stored precision on a GPU and become float32 on a CPU.

    Raises:
        ConfigError: The path holds no causal language model.
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
        # [[PAD]] as in the papers. No gradient reaches the row that it adds to the embedding.
        tokenizer.add_special_tokens({"pad_token": "[[PAD]]"})
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def with_lora(model: Any, config: LoraConfig) -> Any:
    """Return ``model`` with fresh low-rank adapters and everything else frozen."""
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    return get_peft_model(
        model,
        PeftLoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]  # peft works with any float
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
    """Write a plain model folder with tokenizer and chat template.

    Adapters are merged into the weights, and also kept in the subfolder ``adapter``.

    Args:
        model: The trained model.
        tokenizer: The student's.
        source: The model that training started from.
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
    chat = Chat(tokenizer, fallback=source.chat_template)
    # Any engine then ends answers where the lessons do.
    model.generation_config.eos_token_id = sorted(stop_tokens(model, chat)) or None
    if not tokenizer.chat_template:
        tokenizer.chat_template = chat.template
    model.save_pretrained(part, state_dict=gathered)
    tokenizer.save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
