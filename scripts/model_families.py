"""Write ``docs/models.md``: what orcinus does with each family of causal models in Transformers.

    python scripts/model_families.py                  all families, about five minutes
    python scripts/model_families.py llama mamba      these only, on the screen

Every family is built with random weights at a tiny size and given to the checks that a run makes
with its student.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any

if __name__ == "__main__":  # tests take functions from here, and go on in the same process
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from orcinus.core.errors import ConfigError
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.decoding import Decoder
from orcinus.models.local.self_check import TEXT, compare_ways
from orcinus.training.scratch_model import make_tokenizer
from orcinus.training.self_check import choose_path

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
VOCABULARY = 400
LARGEST = 20_000_000
"""Parameters. A family that is still larger has fields of size that SMALL does not know."""

SMALL: Mapping[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "embedding_size"), 32),
    **dict.fromkeys(("attention_hidden_size", "word_embed_proj_dim", "dense_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "dff", "d_ff", "ffn_hidden"), 48),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim", "intermediate_size_mlp"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "layers"), 2),
    **dict.fromkeys(("decoder_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads"), 4),
    **dict.fromkeys(("attention_heads", "decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "kv_n_heads"), 2),
    **dict.fromkeys(("head_dim", "global_head_dim", "query_pre_attn_scalar", "d_head"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 512),
    **dict.fromkeys(("context_length", "max_sequence_length", "axial_pos_shape"), 512),
    **dict.fromkeys(
        ("sliding_window", "attention_window_size", "window_size", "local_attention"), 16
    ),
    "attention_chunk_size": 16,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 24),
    **dict.fromkeys(("shared_intermediate_size", "moe_shared_expert_intermediate_size"), 24),
    **dict.fromkeys(("expert_ffn_hidden_size", "ffn_hidden_size"), 24),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "v_head_dim"), 8),
    "qk_rope_head_dim": 4,
    "rotary_dim": 4,
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("mamba_d_state", "state_size", "ssm_state_size"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_d_head", "mamba_num_heads", "mamba_head_dim"), 8),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "mamba_ngroups"), 1),
    **dict.fromkeys(("hidden_size_per_layer_input", "laurel_rank"), 8),
    "num_kv_shared_layers": 0,
    "lru_width": 32,
}
"""Small values by the name of the field; a family takes those of the fields that it has."""

LATENT = (
    *("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots3_note_text"),
    *("glm4_moe_lite", "glm_moe_dsa", "longcat_flash", "minicpm3", "sarvam_mla", "youtu"),
)
"""Families whose keys and values come out of a latent: a head has as many keys as queries."""
OWN: Mapping[str, Mapping[str, Any]] = {
    "falcon_h1": {"mamba_d_ssm": 64, "lm_head_multiplier": 0.3},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granite": {"logits_scaling": 8.0},
    "hyperclovax": {"logits_scaling": 0.3},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25},
    "phimoe": {"lm_head_bias": True},
    **{family: {"num_key_value_heads": 4, "head_dim": 4} for family in LATENT},
    "gemma3_text": {"final_logit_softcapping": 3.0},
    "gemma4_text": {"final_logit_softcapping": 3.0},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "logits_scaling": 8.0},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    **{
        family: {"layer_types": ["linear_attention", "full_attention"]}
        for family in ("qwen3_5_text", "qwen3_5_moe_text")
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "bamba": {"attn_layer_indices": [1]},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "mamba2": {"num_heads": 8, "expand": 2},
    "zamba": {"layers_block_type": ["mamba", "hybrid"], "layer_types": ["mamba", "hybrid"]},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "layer_types": ["mamba", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
    "prophetnet": {"num_encoder_layers": 1, "num_decoder_layers": 2},
    "openai-gpt": {"n_positions": 512},
}
"""What a family needs besides, or shows its peculiarity by."""


def tiny_config(family: str) -> PretrainedConfig:
    """Return the configuration of a tiny model of ``family``."""
    known = AutoConfig.for_model(family)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return AutoConfig.for_model(family, **_small(known) | ends | OWN.get(family, {}))


def _small(known: PretrainedConfig) -> dict[str, Any]:
    """Return small values for the fields of ``known`` and of the configurations inside it."""
    fields = set(known.to_dict()) | set(known.attribute_map)
    settings = {
        name: value
        for name, value in SMALL.items()
        if name in fields and not isinstance(getattr(type(known), name, None), property)
    }
    for name in known.sub_configs:
        inner = getattr(known, name, None)
        if isinstance(inner, PretrainedConfig):
            own = OWN.get(inner.model_type, {})
            settings[name] = {"model_type": inner.model_type, **_small(inner), **own}
    return settings


def tiny_model(family: str) -> Any:
    """Return a model of ``family`` with random weights, biases and scales included.

    Raises:
        ValueError: It is not tiny.
    """
    config = tiny_config(family)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size / 1e6:.0f} M parameters")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "A_log" not in name:
                parameter.normal_(0, 0.25)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.5)
    return model


def training_of(model: Any) -> str:
    """Return how a student like ``model`` is trained, in a few words."""
    try:
        path = choose_path(model)
    except ConfigError as error:
        return (
            f"refused: {str(error).partition('cannot be trained (')[2].partition('); choose')[0]}"
        )
    if not path.packed:
        return "one lesson at a time"
    return "packed, own head" if path.own_head else "packed"


@cache
def _chat() -> Chat:
    """Return a chat format whose tokens every tiny model knows."""
    return Chat(make_tokenizer([TEXT], VOCABULARY, context=512), fallback="plain")


def decoding_of(model: Any) -> str:
    """Return how a local model like ``model`` writes its answers, in a few words."""
    decoder = Decoder(_chat(), model, frozenset(), 1000)
    try:
        way, refused = compare_ways(decoder, _chat(), model, "it")
    except ConfigError as error:
        return f"refused: {str(error).partition(' fails (')[2].partition('); serve')[0]}"
    return f"{way}: {refused}" if refused else way


COLUMNS: Mapping[str, Callable[[Any], str]] = {"training": training_of, "decoding": decoding_of}
"""What is said of a family: a column's name, and what fills it from a tiny model."""


def row_of(family: str) -> list[str]:
    """Return a family's cells."""
    try:
        # Each check gets a model of its own, for it may leave its settings behind.
        models = [tiny_model(family) for _ in COLUMNS]
    except Exception as error:  # noqa: BLE001 (a family may fail to be built in any way)
        why = f"not tried: {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        return [family, *(why for _ in COLUMNS)]
    return [family, *(say(model) for say, model in zip(COLUMNS.values(), models, strict=True))]


PAGE_HEAD = """# Models

Any causal language model of Hugging Face Transformers can be the student. Families differ in how
they are trained:

| | what happens | cost |
|---|---|---|
| packed | lessons fill whole rows; a prompt with several responses is read once | none |
| packed, own head | the same; logits are made by the model's own code | about none |
| one lesson at a time | each lesson is read alone | shared prompts are read again; see below |
| refused | the run stops with one line before anything is paid | |

A lesson is read alone where a model's state or attention would run into the next lesson of the row.
A prompt with several responses is then read once for each, and short lessons fill a GPU less.
Batches, and so results, are those of packed rows.

`orcinus run` does not trust this table. Before anything is paid it reads two short lessons and a
third one along each way, and compares loss and gradient with the model's own forward pass. It takes
the first way that agrees, and says so where that costs something. `orcinus doctor RECIPE` does the
same check alone.

Answers of a local model are decoded in one of three ways:

| | what happens | cost |
|---|---|---|
| slots | rows of any length share a cache; a row that ends gives its place to the next | none |
| batch | rows are padded to one length; a place stays empty until the batch ends | some time |
| alone | the model's own `generate` writes one answer at a time | many times slower |
| refused | the command stops with one line before the first question | |

Before the first answer two short rows of unequal length are written each way, and their logits are
compared with those of `generate`. The first way that agrees is taken; a line says so if a faster
one was refused.

`python scripts/model_families.py` makes the table below from tiny models with random weights.
"""


def main(families: Sequence[str]) -> None:
    """Print the rows of ``families``, or write the page where none is named."""
    lines = ["| family | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for family in families or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        cells = [
            shorten(cell, 100, placeholder=" …").replace("|", "\\|") for cell in row_of(family)
        ]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if not families:
        head = f"{PAGE_HEAD}\n## Families of Transformers {transformers.__version__}\n\n"
        PAGE.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
