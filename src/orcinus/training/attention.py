"""Attention that stays within each packed lesson, known to Transformers as ``orcinus_segments``.

A row holds several units one after the other: a prompt and the responses to it, usually one. A
prompt attends to itself, a response to its prompt and itself. So packing, and sharing a prompt
among responses, change only speed. No mask over the whole row is made: every unit is a small
attention of its own.

    row        prompt a | response a1 | response a2 | prompt b | response b1
    unit       (len a, len a1, len a2)               (len b, len b1)
    positions  0 …      | len a …     | len a …      | 0 …     | len b …

Shapes: H heads, K key-value heads, T positions, D width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

NAME = "orcinus_segments"
Unit = tuple[int, ...]
"""Tokens of a prompt and of each response to it."""


@dataclass(slots=True)
class _Row:
    """The row that is being read, and what its model asked of attention."""

    units: Sequence[Unit] = ()
    windows_asked: set[int] = field(default_factory=set)
    """Windows or chunks of the masks that the model would have made."""
    windows_kept: set[int] = field(default_factory=set)
    """Windows that reached attention."""
    overlay: bool = False
    """True where the model's mask is more than causal and local."""


_row = _Row()
"""One for the process: not every model hands arguments on to its attention, and a layer is run
again in the backward pass, by another thread, when it is checkpointed."""


def begin_row(units: Sequence[Unit]) -> None:
    """Tell attention the units of the row that is read next."""
    global _row
    _row = _Row(units=units)


def keeps_masks(longest: int | None) -> bool:
    """Return True if attention does what the masks of the row's model say.

    Args:
        longest: Tokens of the longest lesson that matters; None for any length.
    """
    asked = {window for window in _row.windows_asked if longest is None or window < longest}
    return not _row.overlay and asked <= _row.windows_kept


def segment_attention(
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within each unit of the row that ``begin_row`` named.

    The arguments are those of every Transformers attention function. ``attention_mask`` is None;
    ``s_aux`` (H,) are the sinks of gpt-oss: logits that take part in the softmax alone.
    """
    if sliding_window is not None:
        _row.windows_kept.add(sliding_window)
    settings = (scaling, dropout if module.training else 0.0, sliding_window, softcap, s_aux)
    # Split once and joined once: a slice's gradient has the size of the whole row, so slices of
    # many short lessons cost their number times the row.
    lengths = [
        length for prompt, first, *others in _row.units for length in (prompt + first, *others)
    ]
    rows = (query_1HTD, key_1KTD, value_1KTD)
    parts = zip(*(torch.split(row, lengths, dim=2) for row in rows), strict=True)
    found = []
    for prompt, _first, *others in _row.units:
        q, k, v = next(parts)
        found.append(_attend(q, k, v, *settings))
        if not others:
            continue
        shared_k, shared_v = k[:, :, :prompt], v[:, :, :prompt]
        for _length in others:
            q, k, v = next(parts)
            k, v = torch.cat([shared_k, k], dim=2), torch.cat([shared_v, v], dim=2)
            found.append(_attend(q, k, v, *settings))
    out_1HTD = torch.cat(found, dim=2)
    return out_1HTD.transpose(1, 2).contiguous(), None


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scaling: float | None,
    dropout: float,
    sliding_window: int | None,
    softcap: float | None,
    sinks_H: torch.Tensor | None,
) -> torch.Tensor:
    """Attend causally from the last T positions (1, H, T, D) to all of at least T positions."""
    grouped = q.shape[1] != k.shape[1]
    length, seen = q.shape[2], k.shape[2]
    windowed = sliding_window is not None and seen > sliding_window
    explicit = softcap is not None or sinks_H is not None
    if not explicit and not windowed and length == seen:
        return scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
    places = torch.arange(seen, device=q.device)
    distance_TS = places[seen - length :, None] - places
    seen_TS = (distance_TS >= 0) & (distance_TS < (sliding_window or seen))
    if not explicit:
        return scaled_dot_product_attention(
            q, k, v, seen_TS, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
    if grouped:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) * (q.shape[3] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~seen_TS, float("-inf"))
    if sinks_H is not None:
        sinks_1HT1 = sinks_H.to(scores.dtype)[None, :, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks_1HT1], dim=3)
    weights = scores.softmax(3, dtype=_softmax_dtype(q)).to(q.dtype)
    return torch.nn.functional.dropout(weights[..., :seen], dropout) @ v


def _softmax_dtype(q: torch.Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


def _no_mask(*_: Any, local_size: int | None = None, use_vmap: bool = False, **__: Any) -> None:
    """Make no mask, but note what it would have said."""
    if local_size:  # some models name a window of 0 where they have none
        _row.windows_asked.add(local_size)
    _row.overlay |= use_vmap  # Transformers sets it for masks that a model adds to the causal one


def install() -> None:
    """Register ``orcinus_segments`` with Transformers. Calling it again changes nothing."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
