"""Read a causal language model and its tokenizer from files, whole or not at all.

    read_model(LocalConfig(path=…), torch.float32)   →   tokenizer, model with its adapter merged

Transformers fills what a checkpoint lacks with random numbers and prints a table. Here a checkpoint
is refused in one line, which names the cause where the files show it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging
from transformers.utils.hub import cached_file

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.models.local.config import LocalConfig
from orcinus.runs import layout

_LFS_POINTER = b"version https://git-lfs"
_NAMED = 3
"""Missing tensors that an error names."""
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
_DRAWING = ("do_sample", "temperature", "top_k", "top_p", "min_p")
"""Settings that count only where a model's answers are drawn at random."""
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
_CUT = (SafetensorError, UnpicklingError, EOFError)
"""The errors of weights that are cut short or damaged."""


def read_model(config: LocalConfig, dtype: torch.dtype | str) -> tuple[Any, Any]:
    """Return the tokenizer and the model, in ``dtype``, on the CPU.

    Raises:
        ConfigError: The path holds no whole causal language model, or the adapter does not fit it.
        MissingExtraError: A LoRA adapter needs the extra ``train``.
    """
    tokenizer = read_tokenizer(config)
    try:
        with _quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                config.path,
                revision=config.revision,
                dtype=dtype,
                trust_remote_code=False,
                output_loading_info=True,
                generation_config=GenerationConfig(),  # type: ignore[no-untyped-call]
            )
    except _FAULTS as error:
        raise _not_loadable(Path(config.path), error) from error
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        named = ", ".join(missing[:_NAMED]) + (" …" if len(missing) > _NAMED else "")
        raise ConfigError(
            f"{config.path}: the checkpoint has no weights for {len(missing)} tensors ({named}); "
            "they would be random numbers. Take a whole checkpoint, or rename its tensors"
        )
    model.generation_config = _read_generation(config, model.config.get_text_config())
    return tokenizer, model if config.adapter is None else _merge(model, config.adapter)


def read_tokenizer(config: LocalConfig) -> Any:
    """Return the model's tokenizer.

    Raises:
        ConfigError: The path holds none that can be read.
    """
    try:
        # Without trust_remote_code=False Transformers asks on the terminal whether to run code.
        return AutoTokenizer.from_pretrained(
            config.path, revision=config.revision, trust_remote_code=False
        )
    except _FAULTS as error:
        raise _not_loadable(Path(config.path), error) from error


def _read_generation(config: LocalConfig, own: Any) -> GenerationConfig:
    """Return the tokens that end a model's answers, and how it recommends to draw them.

    Its penalties, forced tokens and limits are left out: nothing here is measured with them, and a
    server would apply them to the student. Settings that contradict each other are left out too:
    Transformers would refuse to save a checkpoint with them.

    Args:
        config: The model.
        own: Its configuration, which names the tokens where it has no file for them.
    """
    fields = _generation_fields(config)
    if fields is None:
        fields = {name: getattr(own, name, None) for name in _TOKENS}
    tokens = {name: value for name in _TOKENS if _is_token(value := fields.get(name))}
    drawing = {name: fields[name] for name in _DRAWING if fields.get(name) is not None}
    try:
        kept = tokens | (drawing if drawing.get("do_sample") is True else {})
        found = GenerationConfig(**kept)  # type: ignore[no-untyped-call]
        found.validate(strict=True)
    except (TypeError, ValueError):
        found = GenerationConfig(**tokens)  # type: ignore[no-untyped-call]
    return found


def _generation_fields(config: LocalConfig) -> Mapping[str, Any] | None:
    """Return what ``generation_config.json`` says; None where it is missing or no JSON."""
    try:
        path = cached_file(
            config.path,
            "generation_config.json",
            revision=config.revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        fields = None if path is None else orjson.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None


def _is_token(value: Any) -> bool:
    """Return whether a setting is a token's number, or a list of them."""
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(type(number) is int for number in several)


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


def _not_loadable(folder: Path, error: Exception) -> ConfigError:
    """Return the error for a folder without a usable model, with what to do about it."""
    made = folder.resolve()  # a run's ``student`` is a link
    said = f"{folder}: cannot be loaded as a causal language model: {_cause(folder, error)}"
    if not folder.exists():
        said += f"; {folder} is no folder or file here, so it was looked up on the Hugging Face hub"
    elif any((place / layout.DONE).exists() for place in (made, made.parent)):
        said += f"; a run made it: delete {made.parent} and run the recipe again"
    elif isinstance(error, _CUT):
        said += "; copy or download them again"
    return ConfigError(said)


def _cause(folder: Path, error: Exception) -> str:
    """Say in one line why files could not be read."""
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                return f"{path.name} is a git-lfs pointer, not the weights; run `git lfs pull`"
    if isinstance(error, _CUT):
        return f"its weights are cut short or damaged ({error})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
