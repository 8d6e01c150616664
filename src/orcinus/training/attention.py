"""Attention that stays within each packed lesson, plugged into Transformers under the name ``orcinus_segments``.

A row holds several lessons one after the other; each attends to itself alone, so that packing changes nothing but speed. No
mask over the whole row is ever made: every lesson is a small causal attention of its own.

Shapes: H heads, K key-value heads, T positions, D width of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

NAME = "orcinus_segments"


def segment_attention(
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Sequence[int],
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each of ``segments``, the lengths of a row's lessons in order.

    The other arguments are those of every Transformers attention function; there is no mask, for none is needed.
    """
    out_1HTD = torch.empty_like(query_1HTD)
    start = 0
    for length in segments:
        part = slice(start, start + length)
        start += length
        q, k, v = query_1HTD[:, :, part], key_1KTD[:, :, part], value_1KTD[:, :, part]
        out_1HTD[:, :, part] = _causal(q, k, v, scaling, dropout if module.training else 0.0, sliding_window, softcap)
    return out_1HTD.transpose(1, 2).contiguous(), None


def _causal(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scaling: float | None,
    dropout: float,
    sliding_window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """One lesson's attention (1, H, T, D)."""
    grouped = q.shape[1] != k.shape[1]
    length = q.shape[2]
    windowed = sliding_window is not None and length > sliding_window
    if softcap is None and not windowed:
        return scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
    distance_TT = torch.arange(length, device=q.device)[:, None] - torch.arange(length, device=q.device)
    seen_TT = (distance_TT >= 0) & (distance_TT < (sliding_window or length))
    if softcap is None:
        return scaled_dot_product_attention(q, k, v, seen_TT, scale=scaling, dropout_p=dropout, enable_gqa=grouped)
    if grouped:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) * (q.shape[3] ** -0.5 if scaling is None else scaling)
    scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~seen_TT, float("-inf"))
    weights = torch.nn.functional.dropout(scores.softmax(3, dtype=torch.float32).to(q.dtype), dropout)
    return weights @ v


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def install() -> None:
    """Make ``orcinus_segments`` known to Transformers; twice is as good as once."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
