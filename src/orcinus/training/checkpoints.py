"""Load a student for training, add LoRA adapters, and save it as a plain Hugging Face folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orcinus.core.errors import ConfigError
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.loading import stop_tokens
from orcinus.models.local.weights import read_model
from orcinus.training.config import LoraConfig, Precision


def load_for_training(
    source: LocalConfig, *, frozen: bool = False, precision: Precision = "auto"
) -> tuple[Any, Any]:
    """Return the model, its adapter merged, and its tokenizer.

    Args:
        source: The model.
        frozen: Its weights do not learn, though adapters on them may.
        precision: As in ``TrainConfig``.

    Raises:
        ConfigError: The path holds no causal language model.
    """
    on_gpu = torch.cuda.is_available()
    dtype = weights_dtype(source.dtype, frozen=frozen, precision=precision, on_gpu=on_gpu)
    tokenizer, model = read_model(source, dtype)
    return model, tokenizer


def weights_dtype(
    stored: str, *, frozen: bool, precision: Precision, on_gpu: bool
) -> torch.dtype | str:
    """Return the precision in which a student's weights are held while it is trained.

    Weights that learn are float32: a step of 2e-5 is lost in the rounding of bfloat16, where 96 %
    of SmolLM's weights did not move. ``precision`` decides the arithmetic, by autocast. Only frozen
    weights keep their stored precision, on a GPU, unless float32 is asked for.
    """
    return stored if frozen and on_gpu and precision != "float32" else torch.float32


def with_lora(model: Any, config: LoraConfig) -> Any:
    """Return ``model`` with fresh low-rank adapters, in float32, and everything else frozen.

    Raises:
        ConfigError: The adapters do not fit the model.
    """
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    try:
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
    except ValueError as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"train.lora.targets: no adapters for {targets!r}: {first}; name other layers, or "
            "leave lora out to train all weights"
        ) from error


def save_student(
    model: Any,
    tokenizer: Any,
    source: LocalConfig,
    folder: Path,
    gathered: Mapping[str, Any] | None = None,
) -> None:
    """Write a plain model folder with tokenizer and chat template.

    Adapters are merged into the weights, in float32: what they add may be less than a step of
    bfloat16. They are also kept in the subfolder ``adapter``, unless they stand on another adapter.

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
        kept = part / "adapter"
        model.save_pretrained(kept, state_dict=gathered)
        if gathered is not None:
            from peft import PeftModel

            model, gathered = (
                PeftModel.from_pretrained(load_for_training(source)[0], kept),
                None,
            )
        model = model.to("cpu").float().merge_and_unload()
        if source.adapter is not None:
            shutil.rmtree(kept)
    chat = Chat(tokenizer, fallback=source.chat_template)
    # Any engine then ends answers where the lessons do.
    model.generation_config.eos_token_id = sorted(stop_tokens(model, chat)) or None
    if not tokenizer.chat_template:
        tokenizer.chat_template = chat.template
    model.save_pretrained(part, state_dict=gathered)
    tokenizer.save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
