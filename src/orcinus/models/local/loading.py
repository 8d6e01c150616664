"""Load a causal language model for answering, and say what it can do.

load(LocalConfig(path=…), "cpu")   →   chat format, weights, the tokens that end an answer
"""

import itertools
import re
from typing import Any

import torch

from orcinus.core.errors import ConfigError
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import CONTEXT_FIELDS, LocalConfig
from orcinus.models.local.weights import read_model

_POSITION_TABLE = re.compile(r"(wpe|pos[a-z_]*)$|pos[a-z_]*\.weights$")
"""Names of modules and buffers that hold a vector for each position."""


def load(config: LocalConfig, device: str) -> tuple[Chat, Any, frozenset[int]]:
    """Return the chat format, the model on ``device``, and the tokens that end an answer.

    Raises:
        ConfigError: The path cannot be loaded as a causal language model.
        MissingExtraError: A LoRA adapter needs the extra ``train``.
    """
    quiet()
    dtype = torch.float32 if config.dtype == "auto" and device == "cpu" else config.dtype
    tokenizer, model = read_model(config, dtype)
    model.to(torch.device(device)).eval()
    try:
        chat = Chat(tokenizer, fallback=config.chat_template)
    except ConfigError as error:
        raise ConfigError(f"{config.path}: {error}") from error
    return chat, model, stop_tokens(model, chat)


def quiet() -> None:
    """Turn off Transformers' own progress bars."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def stop_tokens(model: Any, chat: Chat) -> frozenset[int]:
    """Return the tokens that end an answer, from the generation config and the chat format."""
    tokenizer = chat.tokenizer
    configured = model.generation_config.eos_token_id
    stops = set(configured if isinstance(configured, list) else [configured])
    stops |= chat.end_tokens | {tokenizer.convert_tokens_to_ids("<|im_end|>")}
    return frozenset(
        token for token in stops if token is not None and token != tokenizer.unk_token_id
    )


def position_limit(model: Any) -> tuple[int | None, bool]:
    """Return the number of positions that a model was made for, and True if it has no others.

    A table of learned or computed positions ends there; rotary ones go on.
    """
    config = model.config.get_text_config()
    limit = next(
        (
            value
            for name in CONTEXT_FIELDS
            if isinstance(value := getattr(config, name, None), int) and value > 0
        ),
        None,
    )
    if limit is None:
        return None, False
    tables = itertools.chain(
        (
            (name, module.num_embeddings)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Embedding)
        ),
        ((name, len(buffer)) for name, buffer in model.named_buffers() if buffer.ndim > 1),
    )
    return limit, any(
        _POSITION_TABLE.search(name) and limit <= size <= limit + 8 for name, size in tables
    )
