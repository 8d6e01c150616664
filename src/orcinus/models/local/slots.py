"""Decode in slots: rows of different lengths in one preallocated cache, each replaced when it ends.

    slot 0   system … question … the answer is 4        ← finished: takes the next request
    slot 1   system … longer question … first we        ← continues undisturbed
    slot 2   system … question …

A prompt is read without its last token. That one is fed with the first decoding step, so that rows
of all lengths share every step and no unused logits are computed. When a row ends, the last row
moves into the gap; nothing else is copied, and the cache never grows.

Prompts are read in groups of similar length, so that there is little padding. A prefix that many
prompts share, usually a strategy's system message, is read once and copied. So is a whole prompt
that stands in a slot already: several answers to a question cost one reading of it.

Shapes: S slots, L layers, P tokens of a shared prefix, n rows in use, T tokens of the longest new
prompt, W tokens of a slot, H key-value heads, D width of a head.
"""

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any

import torch
from transformers.cache_utils import Cache

ALIKE = 1.25
"""Prompts are read together if the longest is at most this many times the shortest."""
MIN_SHARED = 16
"""Tokens of a prefix, at least, for it to be worth keeping."""
KEPT = 16
"""Number of prefixes kept: those used last."""

_NO_WINDOW = {"max_window_layers", "chunk_size_feed_forward"}
"""Settings that are named like a window of attention and are none."""


def fits(model: Any) -> bool:
    """Return True if every layer of ``model`` is full attention over all tokens.

    Windowed and state-space layers need caches of their own. Only the configuration is read; the
    self-check shows whether the model's code is what it says.
    """
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return set(kinds) == {"full_attention"}
    windows = [
        value
        for name, value in config.to_dict().items()
        if ("window" in name or "chunk" in name)
        and not isinstance(value, bool)
        and name not in _NO_WINDOW
    ]
    return not any(windows) and hasattr(config, "num_attention_heads")


class _Prefix:
    """A prefix of several prompts, as keys and values of every layer, each (L, H, P, D)."""

    def __init__(self, keys_LHPD: torch.Tensor, values_LHPD: torch.Tensor) -> None:
        self.keys_LHPD, self.values_LHPD = keys_LHPD, values_LHPD
        self.length = keys_LHPD.shape[2]


class SlotCache(Cache):
    """Keys and values of all slots, written at each row's own position.

    ``read`` and ``step`` run the model with this object as its cache; the model then calls
    ``update`` for each layer.
    """

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
        self._model, self._cache_keyword = model, cache_keyword(model)
        self._held: list[tuple[int, ...]] = [()] * slots
        self._rows: torch.Tensor = torch.empty(0, dtype=torch.long)
        self._positions: torch.Tensor | None = None
        self._seen = 0
        self._shared: _Prefix | None = None
        self._kept: dict[tuple[int, ...], _Prefix] = {}
        self._capture: list[tuple[torch.Tensor, torch.Tensor]] | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values (n, H, T or 1, D); return those to attend to."""
        keys, values = self.keys_LSHWD[layer_idx], self.values_LSHWD[layer_idx]
        if self._capture is not None:
            self._capture.append((key_states[0], value_states[0]))
            return key_states, value_states
        if self._positions is None:
            if self._shared is not None:
                rows = len(key_states)
                key_states = torch.cat(
                    [self._shared.keys_LHPD[layer_idx].expand(rows, -1, -1, -1), key_states], dim=2
                )
                value_states = torch.cat(
                    [self._shared.values_LHPD[layer_idx].expand(rows, -1, -1, -1), value_states],
                    dim=2,
                )
            keys[self._rows, :, : key_states.shape[2]] = key_states
            values[self._rows, :, : value_states.shape[2]] = value_states
            return key_states, value_states
        keys[self._rows, :, self._positions] = key_states[:, :, 0]
        values[self._rows, :, self._positions] = value_states[:, :, 0]
        used = len(self._rows)
        return keys[:used, :, : self._seen], values[:used, :, : self._seen]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: positions are always passed, so no layer may derive them from a length."""
        return 0

    def read(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Read prompts into slots, without each one's last token.

        Args:
            rows: The slot of each prompt.
            prompts: Tokens.
        """
        for row in rows:
            self._held[row] = ()
        holders = {held: slot for slot, held in enumerate(self._held) if held}
        unread: list[int] = []
        copies: list[tuple[int, int]] = []
        for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            tokens = tuple(prompt[:-1])
            if (holder := holders.setdefault(tokens, row)) == row:
                self._held[row] = tokens
                unread.append(i)
            else:
                copies.append((holder, row))
        self._read_new([rows[i] for i in unread], [prompts[i] for i in unread])
        for holder, row in copies:
            self.move(holder, row)

    def _read_new(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Read prompts that stand in no slot."""
        for shared, members in self._group_by_prefix(prompts):
            start = shared.length if shared is not None else 0
            members.sort(key=lambda i: len(prompts[i]))
            while members:
                shortest = len(prompts[members[0]]) - start
                group = [i for i in members if len(prompts[i]) - start <= ALIKE * shortest]
                self._read_group(
                    [rows[i] for i in group], [prompts[i][start:-1] for i in group], shared
                )
                del members[: len(group)]

    def _group_by_prefix(
        self, prompts: Sequence[Sequence[int]]
    ) -> Iterator[tuple["_Prefix | None", list[int]]]:
        """Yield (prefix, places of the prompts that share it).

        The prefix has been read; it is None for prompts that share none of ``MIN_SHARED`` tokens.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, prompt in enumerate(prompts):
            groups.setdefault(tuple(prompt[:MIN_SHARED]), []).append(i)
        alone: list[int] = []
        for start, members in groups.items():
            known = [
                kept
                for kept in self._kept
                if all(tuple(prompts[i][: len(kept)]) == kept for i in members)
            ]
            common = max(known, key=len, default=())
            if not common and len(members) > 1 and len(start) == MIN_SHARED:
                # Each prompt's last token is left for the first decoding step.
                common = _common_prefix([prompts[i][:-1] for i in members])
            if len(common) < MIN_SHARED or any(len(prompts[i]) <= len(common) + 1 for i in members):
                alone += members
            else:
                yield self._read_prefix(common), members
        if alone:
            yield None, alone

    def _read_prefix(self, tokens: tuple[int, ...]) -> "_Prefix":
        """Return the keys and values of a prefix; read it unless it is kept."""
        shared = self._kept.pop(tokens, None)
        if shared is None:
            self._capture = []
            self._read_group([], [tokens], None)
            shared = _Prefix(
                torch.stack([keys for keys, _ in self._capture]),
                torch.stack([values for _, values in self._capture]),
            )
            self._capture = None
        self._kept[tokens] = shared
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return shared

    def _read_group(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]], shared: "_Prefix | None"
    ) -> None:
        """Read the prompts' tokens behind ``shared`` into slots; with no slots, capture them."""
        longest = max(map(len, prompts))
        if longest == 0:
            return
        device = self._model.device
        start = shared.length if shared is not None else 0
        tokens_nT = torch.zeros(len(prompts), longest, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            tokens_nT[i, : len(prompt)] = torch.tensor(prompt)
        self._rows, self._positions, self._shared = torch.tensor(rows, device=device), None, shared
        places = torch.arange(start + longest, device=device)
        # Padding stands right of a prompt: no token of the prompt attends to it, and decoding
        # overwrites it.
        self._forward(
            tokens_nT.to(device),
            places[None, start:].expand(len(prompts), -1),
            places[start:, None] >= places,
            logits_of=torch.empty(0, dtype=torch.long, device=device),
        )

    def step(self, tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        """Feed one token to each of the first n slots; return the next token's logits (n, V).

        Args:
            tokens: The n tokens.
            positions: Their positions.
        """
        device = self._model.device
        self._rows = torch.arange(len(tokens), device=device)
        self._positions = torch.tensor(positions, device=device)
        self._seen = max(positions) + 1
        seen_1W = torch.arange(self._seen, device=device)[None]
        allowed_n11W = (seen_1W <= self._positions[:, None])[:, None, None]
        logits = self._forward(
            torch.tensor(tokens, device=device)[:, None],
            self._positions[:, None],
            allowed_n11W,
            logits_of=1,
        )
        return logits[:, -1]

    def move(self, source: int, target: int) -> None:
        """Copy a row from one slot to another."""
        self.keys_LSHWD[:, target] = self.keys_LSHWD[:, source]
        self.values_LSHWD[:, target] = self.values_LSHWD[:, source]
        self._held[target] = self._held[source]

    def _forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        allowed: torch.Tensor,
        *,
        logits_of: int | torch.Tensor,
    ) -> torch.Tensor:
        """Run the model; return the logits of the last ``logits_of`` positions, or of those named.

        Reading asks for none: the projection is a fifth of a small model's arithmetic.
        """
        bias = torch.zeros(allowed.shape, dtype=self._model.dtype, device=allowed.device)
        bias.masked_fill_(~allowed, torch.finfo(bias.dtype).min)
        while bias.ndim < 4:
            bias = bias[None]
        logits: torch.Tensor = self._model(
            input_ids=tokens,
            attention_mask=bias.expand(len(tokens), -1, -1, -1),
            position_ids=positions,
            use_cache=True,
            logits_to_keep=logits_of,
            **{self._cache_keyword: self},
        ).logits
        return logits


def cache_keyword(model: Any) -> str:
    """Return the name of the forward pass's cache argument.

    It is ``cache`` since Transformers 5.24 and ``past_key_values`` before; Mamba has its own name.
    """
    known = signature(model.forward).parameters
    names = ("cache", "past_key_values", "cache_params")
    return next((name for name in names if name in known), "past_key_values")


def _common_prefix(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the longest prefix that all prompts share."""
    tuples = [tuple(prompt) for prompt in prompts]
    first, last = min(tuples), max(tuples)  # in lexical order: a prefix of these two is one of all
    for place, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return first[:place]
    return first
