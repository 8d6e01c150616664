"""Make the tokenizer and the random weights of a student from scratch.

ScratchConfig(layers=2, hidden=64, …), texts ──► a plain Hugging Face folder
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from orcinus.core.errors import ConfigError
from orcinus.models.local.chat_format import CHATML
from orcinus.models.local.loading import quiet
from orcinus.models.scratch import PIECES, ScratchConfig

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")


def make_student(config: ScratchConfig, texts: Iterable[str], out: Path) -> dict[str, Any]:
    """Make the student that ``config`` describes in the folder ``out``.

    Args:
        config: Its size and seed.
        texts: The tokenizer learns its merges from these.
        out: Created where it does not exist.

    Returns:
        ``parameters`` and ``vocabulary``: the sizes of model and tokenizer.

    Raises:
        ConfigError: The width cannot be divided among the heads.
    """
    if config.hidden % (2 * config.heads):
        raise ConfigError(
            f"student.hidden is {config.hidden}: it must be an even multiple of student.heads "
            f"({config.heads})"
        )
    quiet()
    tokenizer = make_tokenizer(texts, config.vocabulary, config.context)
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=config.hidden * 8 // 3 // 8 * 8,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {"parameters": model.num_parameters(), "vocabulary": len(tokenizer)}


def make_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with single digits and the ChatML template.

    A space belongs to the digit or word after it: "4 7" is two tokens, not three.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        model_max_length=context,
    )
    fast.add_special_tokens({"additional_special_tokens": [SPECIAL[1]]})
    fast.chat_template = CHATML
    tokenizer_with_template: PreTrainedTokenizerFast = fast
    return tokenizer_with_template
