"""Decoding in slots: rows of different lengths side by side in one preallocated cache, a finished one replaced at once.

    slot 0   system … question … the answer is 4        ← finished: its slot gets the next question
    slot 1   system … longer question … first we        ← goes on undisturbed
    slot 2   system … question …

A prompt is read without its last token; that one is fed with the first decoding step, so that rows of all lengths share every
step and no logits are computed that nobody needs. Nothing is copied when rows end or begin, and the cache never grows.

Shapes: S slots, n of them in use, T tokens of the longest new prompt, W tokens of a slot, H key-value heads, D width of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache


def fits(model: Any) -> bool:
    """Whether every layer of ``model`` is full attention over all tokens; windows and state-space layers need caches of their own."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return set(kinds) == {"full_attention"}
    return getattr(config, "sliding_window", None) is None and hasattr(config, "num_attention_heads")


class SlotCache(Cache):
    """Keys and values of all slots, written at each row's own position."""

    def __init__(self, model: Any, slots: int, width: int) -> None:
        super().__init__(layers=[])
        config = model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        options: Any = {"dtype": model.dtype, "device": model.device}
        shape = (config.num_hidden_layers, slots, heads, width, head)
        self.keys_LSHWD = torch.zeros(shape, **options)
        self.values_LSHWD = torch.zeros(shape, **options)
        self.slots, self.width = slots, width
        self._model = model
        self._rows: torch.Tensor = torch.empty(0, dtype=torch.long)
        self._positions: torch.Tensor | None = None
        self._seen = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store one layer's new keys and values (n, H, T or 1, D), and return those to attend to."""
        keys, values = self.keys_LSHWD[layer_idx], self.values_LSHWD[layer_idx]
        if self._positions is None:
            keys[self._rows, :, : key_states.shape[2]] = key_states
            values[self._rows, :, : value_states.shape[2]] = value_states
            return key_states, value_states
        keys[self._rows, :, self._positions] = key_states[:, :, 0]
        values[self._rows, :, self._positions] = value_states[:, :, 0]
        used = len(self._rows)
        return keys[:used, :, : self._seen], values[:used, :, : self._seen]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions are always given, so that nothing is derived from a common length."""
        return 0

    def read(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Read prompts into slots, all but each one's last token."""
        longest = max(len(prompt) for prompt in prompts) - 1
        if longest == 0:
            return
        device = self._model.device
        tokens_nT = torch.zeros(len(prompts), longest, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            tokens_nT[i, : len(prompt) - 1] = torch.tensor(prompt[:-1])
        self._rows, self._positions = torch.tensor(rows, device=device), None
        positions_T = torch.arange(longest, device=device)
        # What stands right of a prompt is padding: it is behind everything that could attend to it, and is overwritten later.
        self._forward(
            tokens_nT.to(device), positions_T[None].expand(len(prompts), -1), positions_T[:, None] >= positions_T
        )

    def step(self, tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        """Feed the first ``len(tokens)`` slots a token each at its position, and return the logits (n, V) of what follows."""
        device = self._model.device
        self._rows = torch.arange(len(tokens), device=device)
        self._positions = torch.tensor(positions, device=device)
        self._seen = max(positions) + 1
        seen_1W = torch.arange(self._seen, device=device)[None]
        allowed_n11W = (seen_1W <= self._positions[:, None])[:, None, None]
        logits = self._forward(torch.tensor(tokens, device=device)[:, None], self._positions[:, None], allowed_n11W)
        return logits[:, -1]

    def move(self, source: int, target: int) -> None:
        """Copy a row to another slot."""
        self.keys_LSHWD[:, target] = self.keys_LSHWD[:, source]
        self.values_LSHWD[:, target] = self.values_LSHWD[:, source]

    def _forward(self, tokens: torch.Tensor, positions: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        bias = torch.zeros(allowed.shape, dtype=self._model.dtype, device=allowed.device)
        bias.masked_fill_(~allowed, torch.finfo(bias.dtype).min)
        while bias.ndim < 4:
            bias = bias[None]
        logits: torch.Tensor = self._model(
            input_ids=tokens,
            attention_mask=bias.expand(len(tokens), -1, -1, -1),
            position_ids=positions,
            past_key_values=self,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits
