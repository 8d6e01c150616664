"""Read a causal language model and its tokenizer from files, whole or not at all.

    read_model(LocalConfig(path=…), torch.float32)   →   tokenizer, model with its adapter merged

Transformers fills what a checkpoint lacks with random numbers and prints a table. Here a checkpoint
is refused in one line, which names the cause where the files show it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.models.local.config import LocalConfig

_LFS_POINTER = b"version https://git-lfs"
_NAMED = 3
"""Missing tensors that an error names."""
_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    UnpicklingError,
    ValueError,
)
"""The errors of files that are no whole model."""


def read_model(config: LocalConfig, dtype: torch.dtype | str) -> tuple[Any, Any]:
    """Return the tokenizer and the model, in ``dtype``, on the CPU.

    Raises:
        ConfigError: The path holds no whole causal language model, or the adapter does not fit it.
        MissingExtraError: A LoRA adapter needs the extra ``train``.
    """
    try:
        # Without trust_remote_code=False Transformers asks on the terminal whether to run code.
        tokenizer = AutoTokenizer.from_pretrained(
            config.path, revision=config.revision, trust_remote_code=False
        )
        with _quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                config.path,
                revision=config.revision,
                dtype=dtype,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except _FAULTS as error:
        raise ConfigError(
            f"{config.path}: cannot be loaded as a causal language model: "
            f"{_cause(Path(config.path), error)}"
        ) from error
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        named = ", ".join(missing[:_NAMED]) + (" …" if len(missing) > _NAMED else "")
        raise ConfigError(
            f"{config.path}: the checkpoint has no weights for {len(missing)} tensors ({named}); "
            "they would be random numbers. Take a whole checkpoint, or rename its tensors"
        )
    return tokenizer, model if config.adapter is None else _merge(model, config.adapter)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Transformers' own table of missing tensors from the terminal."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _merge(model: Any, adapter: str) -> Any:
    """Return ``model`` with a LoRA adapter merged into its weights."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtraError("a LoRA adapter", "train") from error
    try:
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        return merged.requires_grad_(True)  # PEFT has frozen them
    except _FAULTS as error:
        cause = _cause(Path(adapter), error)
        raise ConfigError(f"{adapter}: the adapter does not fit its model: {cause}") from error


def _cause(folder: Path, error: Exception) -> str:
    """Say in one line why files could not be read."""
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                return f"{path.name} is a git-lfs pointer, not the weights; run `git lfs pull`"
    if isinstance(error, SafetensorError | UnpicklingError | EOFError):
        return f"its weights are cut short or damaged ({error}); copy or download them again"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
