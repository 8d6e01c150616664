"""Write a Llama model as a GGUF file with the package ``gguf`` and without llama.cpp.

    student/  config.json, model.safetensors, tokenizer.json   ──►   student.gguf

llama.cpp's own converter knows more kinds of models, and it refuses every tokenizer that is not one
of a list: also those of students that orcinus makes from scratch.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.models.scratch import PIECES

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""Names of the tensors: Transformers' and llama.cpp's."""
_PLAIN = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
}
"""Settings of a model that this module can write. Those that a configuration leaves out fit."""
SPLITTING = "gpt-2"
"""How llama.cpp splits a text before it looks for tokens. It has a list of ways and no other."""


def can_write(folder: Path) -> bool:
    """Return whether a folder holds a Llama model of the plain kind with a byte-level tokenizer."""
    try:
        settings = orjson.loads((folder / "config.json").read_bytes())
        tokenizer = orjson.loads((folder / "tokenizer.json").read_bytes())
        rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
        return (
            all(settings.get(name, value) == value for name, value in _PLAIN.items())
            and rope.get("rope_type", rope.get("type", "default")) == "default"
            and tokenizer["model"]["type"] == "BPE"
            and tokenizer["decoder"]["type"] == "ByteLevel"
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def has_own_tokenizer(folder: Path) -> bool:
    """Return whether the tokenizer of a model was made by orcinus, so llama.cpp has no name for it.

    Split in the way of GPT-2 its tokens are the same, except where two blanks precede a word:
    its merges never join what the two ways split apart.
    """
    try:
        tokenizer = orjson.loads((folder / "tokenizer.json").read_bytes())
        return bool(tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] == PIECES)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write_llama(folder: Path, path: Path) -> None:
    """Write the model in ``folder`` to the file ``path``, its weights in 32 bits.

    Args:
        folder: A model for which ``can_write`` is true.
        path: The GGUF file.

    Raises:
        ConfigError: The folder holds no whole model.
        MissingExtraError: The package ``gguf`` is missing.
    """
    if find_spec("gguf") is None:
        raise MissingExtraError("a GGUF file", "train")
    import gguf
    import torch

    from orcinus.models.local.config import LocalConfig
    from orcinus.models.local.loading import quiet
    from orcinus.models.local.weights import read_model

    quiet()
    tokenizer, model = read_model(LocalConfig(path=str(folder)), torch.float32)
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(folder.name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer, folder, config.vocab_size)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if "q_proj" in name or "k_proj" in name:
            values = _interleave(values, config.head_dim)
        writer.add_tensor(_name_of(name), np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: Any, tokenizer: Any, folder: Path, size: int) -> None:
    """Write the tokens, how they merge, and the chat template."""
    from gguf import TokenType

    named = {number: token for token, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    kinds = [
        TokenType.UNUSED
        if number not in named
        else TokenType.NORMAL
        if number not in added
        else TokenType.CONTROL
        if added[number].special
        else TokenType.USER_DEFINED
        for number in range(size)
    ]
    merges = orjson.loads((folder / "tokenizer.json").read_bytes())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(SPLITTING)
    writer.add_token_list([named.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types(kinds)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None:
            add(number)
    first = tokenizer("a")["input_ids"][:1]
    writer.add_add_bos_token(first == [tokenizer.bos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _interleave(values: "np.ndarray[Any, Any]", width: int) -> "np.ndarray[Any, Any]":
    """Return the rows of each head in llama.cpp's order: its rotary pairs stand side by side."""
    rows, columns = values.shape
    halves = values.reshape(rows // width, 2, width // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _name_of(name: str) -> str:
    """Return llama.cpp's name of a tensor of Transformers.

    Raises:
        ConfigError: It is none of a plain Llama model.
    """
    part, _, kind = name.rpartition(".")
    layer = ""
    if part.startswith("model.layers."):
        _, _, number, part = part.split(".", 3)
        layer = f"blk.{number}."
    if part not in _NAMES:
        raise ConfigError(f"{name}: this tensor has no place in a GGUF file of a Llama model")
    return f"{layer}{_NAMES[part]}.{kind}"
