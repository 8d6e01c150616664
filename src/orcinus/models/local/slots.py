"""Decoding in slots: rows of different lengths side by side in one preallocated cache, a finished one replaced at once.

    slot 0   system … question … the answer is 4        ← finished: its slot gets the next question
    slot 1   system … longer question … first we        ← goes on undisturbed
    slot 2   system … question …

A prompt is read without its last token; that one is fed with the first decoding step, so that rows of all lengths share every
step and no logits are computed that nobody needs. Nothing is copied when rows end or begin, and the cache never grows.

Prompts are read in groups of about the same length, so that little is padding; and what many prompts begin with, a strategy's system
message as a rule, is read once and copied.

Shapes: S slots, P tokens of a shared beginning, n of them in use, T tokens of the longest new prompt, W tokens of a slot, H key-value heads, D width of a head.
"""

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any

import torch
from transformers.cache_utils import Cache

ALIKE = 1.25
"""Prompts are read together while the longest is at most so many times the shortest."""
MIN_SHARED = 16
"""Tokens that a beginning must have to be worth keeping."""
KEPT = 16
"""Beginnings kept, the latest used."""


def fits(model: Any) -> bool:
    """Whether every layer of ``model`` is full attention over all tokens; windows and state-space layers need caches of their own."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return set(kinds) == {"full_attention"}
    return getattr(config, "sliding_window", None) is None and hasattr(
        config, "num_attention_heads"
    )


class _Shared:
    """What several prompts begin with, as keys and values of every layer."""

    def __init__(self, keys_LHPD: torch.Tensor, values_LHPD: torch.Tensor) -> None:
        self.keys_LHPD, self.values_LHPD = keys_LHPD, values_LHPD
        self.length = keys_LHPD.shape[2]


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
        self._model, self._cache_keyword = model, cache_keyword(model)
        self._rows: torch.Tensor = torch.empty(0, dtype=torch.long)
        self._positions: torch.Tensor | None = None
        self._seen = 0
        self._shared: _Shared | None = None
        self._kept: dict[tuple[int, ...], _Shared] = {}
        self._capture: list[tuple[torch.Tensor, torch.Tensor]] | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store one layer's new keys and values (n, H, T or 1, D), and return those to attend to."""
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
        """Positions are always given, so that nothing is derived from a common length."""
        return 0

    def read(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Read prompts into slots, all but each one's last token."""
        for shared, members in self._by_beginning(prompts):
            start = shared.length if shared is not None else 0
            members.sort(key=lambda i: len(prompts[i]))
            while members:
                shortest = len(prompts[members[0]]) - start
                group = [i for i in members if len(prompts[i]) - start <= ALIKE * shortest]
                self._read_together(
                    [rows[i] for i in group], [prompts[i][start:-1] for i in group], shared
                )
                del members[: len(group)]

    def _by_beginning(
        self, prompts: Sequence[Sequence[int]]
    ) -> Iterator[tuple["_Shared | None", list[int]]]:
        """The prompts in groups that share what they begin with, where that is long enough; and that beginning, read."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, prompt in enumerate(prompts):
            groups.setdefault(tuple(prompt[:MIN_SHARED]), []).append(i)
        alone: list[int] = []
        for beginning, members in groups.items():
            known = [
                kept
                for kept in self._kept
                if all(tuple(prompts[i][: len(kept)]) == kept for i in members)
            ]
            common = max(known, key=len, default=())
            if not common and len(members) > 1 and len(beginning) == MIN_SHARED:
                # Of each prompt the last token is left for the first step.
                common = _common([prompts[i][:-1] for i in members])
            if len(common) < MIN_SHARED or any(len(prompts[i]) <= len(common) + 1 for i in members):
                alone += members
            else:
                yield self._beginning(common), members
        if alone:
            yield None, alone

    def _beginning(self, tokens: tuple[int, ...]) -> "_Shared":
        """The keys and values of a beginning, read now unless they are kept."""
        shared = self._kept.pop(tokens, None)
        if shared is None:
            self._capture = []
            self._read_together([], [tokens], None)
            shared = _Shared(
                torch.stack([keys for keys, _ in self._capture]),
                torch.stack([values for _, values in self._capture]),
            )
            self._capture = None
        self._kept[tokens] = shared
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return shared

    def _read_together(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]], shared: "_Shared | None"
    ) -> None:
        """Read what follows ``shared`` into slots; without slots it is captured."""
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
        # What stands right of a prompt is padding: it is behind everything that could attend to it, and is overwritten later.
        self._forward(
            tokens_nT.to(device),
            places[None, start:].expand(len(prompts), -1),
            places[start:, None] >= places,
        )

    def step(self, tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        """Feed the first ``len(tokens)`` slots a token each at its position, and return the logits (n, V) of what follows."""
        device = self._model.device
        self._rows = torch.arange(len(tokens), device=device)
        self._positions = torch.tensor(positions, device=device)
        self._seen = max(positions) + 1
        seen_1W = torch.arange(self._seen, device=device)[None]
        allowed_n11W = (seen_1W <= self._positions[:, None])[:, None, None]
        logits = self._forward(
            torch.tensor(tokens, device=device)[:, None], self._positions[:, None], allowed_n11W
        )
        return logits[:, -1]

    def move(self, source: int, target: int) -> None:
        """Copy a row to another slot."""
        self.keys_LSHWD[:, target] = self.keys_LSHWD[:, source]
        self.values_LSHWD[:, target] = self.values_LSHWD[:, source]

    def _forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, allowed: torch.Tensor
    ) -> torch.Tensor:
        bias = torch.zeros(allowed.shape, dtype=self._model.dtype, device=allowed.device)
        bias.masked_fill_(~allowed, torch.finfo(bias.dtype).min)
        while bias.ndim < 4:
            bias = bias[None]
        logits: torch.Tensor = self._model(
            input_ids=tokens,
            attention_mask=bias.expand(len(tokens), -1, -1, -1),
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_keyword: self},
        ).logits
        return logits


def cache_keyword(model: Any) -> str:
    """Return the name of the forward pass's cache argument: ``cache`` since Transformers 5.24, ``past_key_values`` before."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


def _common(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The longest beginning of all."""
    tuples = [tuple(prompt) for prompt in prompts]
    first, last = min(tuples), max(tuples)  # in alphabetical order: what these two share, all share
    for place, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return first[:place]
    return first
