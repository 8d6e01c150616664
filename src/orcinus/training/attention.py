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
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

NAME = "orcinus_segments"
Unit = tuple[int, ...]
"""Tokens of a prompt and of each response to it."""


def segment_attention(
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    units: Sequence[Unit],
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within each of ``units``, the lengths of a row's prompts and responses.

    The other arguments are those of every Transformers attention function. ``attention_mask`` is
    None.
    """
    out_1HTD = torch.empty_like(query_1HTD)
    settings = (scaling, dropout if module.training else 0.0, sliding_window, softcap)
    start = 0
    for prompt, first, *others in units:
        part = slice(start, start + prompt + first)
        q, k, v = query_1HTD[:, :, part], key_1KTD[:, :, part], value_1KTD[:, :, part]
        out_1HTD[:, :, part] = _attend(q, k, v, *settings)
        shared = slice(start, start + prompt)
        start += prompt + first
        for length in others:
            part = slice(start, start + length)
            start += length
            k = torch.cat([key_1KTD[:, :, shared], key_1KTD[:, :, part]], dim=2)
            v = torch.cat([value_1KTD[:, :, shared], value_1KTD[:, :, part]], dim=2)
            out_1HTD[:, :, part] = _attend(query_1HTD[:, :, part], k, v, *settings)
    return out_1HTD.transpose(1, 2).contiguous(), None


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scaling: float | None,
    dropout: float,
    sliding_window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attend causally from the last T positions (1, H, T, D) to all of at least T positions."""
    grouped = q.shape[1] != k.shape[1]
    length, seen = q.shape[2], k.shape[2]
    windowed = sliding_window is not None and seen > sliding_window
    if softcap is None and not windowed and length == seen:
        return scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
    places = torch.arange(seen, device=q.device)
    distance_TS = places[seen - length :, None] - places
    seen_TS = (distance_TS >= 0) & (distance_TS < (sliding_window or seen))
    if softcap is None:
        return scaled_dot_product_attention(
            q, k, v, seen_TS, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
    if grouped:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) * (q.shape[3] ** -0.5 if scaling is None else scaling)
    scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~seen_TS, float("-inf"))
    weights = torch.nn.functional.dropout(
        scores.softmax(3, dtype=_softmax_dtype(q)).to(q.dtype), dropout
    )
    return weights @ v


def _softmax_dtype(q: torch.Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def install() -> None:
    """Register ``orcinus_segments`` with Transformers. Calling it again changes nothing."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
