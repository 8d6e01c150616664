"""Attention that stays within each packed lesson, known to Transformers as ``orcinus_segments``.

A row holds several units one after the other: a prompt and the responses to it, usually one. A
prompt attends to itself, a response to its prompt and itself. So packing, and sharing a prompt
among responses, change only speed. No mask over the whole row is made: every unit is a small
attention of its own, or one kernel of ``kernels.py`` does them all.

    row        prompt a | response a1 | response a2 | prompt b | response b1
    unit       (len a, len a1, len a2)               (len b, len b1)
    positions  0 …      | len a …     | len a …      | 0 …     | len b …

Shapes: H heads, K key-value heads, T positions, D width of a head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from orcinus.training.kernels import USED, Unit, attend_units, choose_kernel

NAME = "orcinus_segments"


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
    kernels: Mapping[str, str] = field(default_factory=lambda: {"units": USED})
    """What became of each kernel in the layer that was read last."""


_row = _Row()
"""One for the process: not every model hands arguments on to its attention, and a layer is run
again in the backward pass, by another thread, when it is checkpointed."""


def begin_row(units: Sequence[Unit]) -> None:
    """Tell attention the units of the row that is read next."""
    global _row
    _row = _Row(units=units)


def kernels_of_row() -> Mapping[str, str]:
    """Return the table by which the kernel of the last row was taken."""
    return _row.kernels


def keeps_masks(longest: int | None) -> bool:
    """Return True if attention does what the masks of the row's model say.

    Args:
        longest: Tokens of the longest lesson that matters; None for any length.
    """
    asked = {window for window in _row.windows_asked if longest is None or window < longest}
    return not _row.overlay and asked <= _row.windows_kept


# Or a compiled model would get a graph for each packing.
@torch.compiler.disable  # type: ignore[untyped-decorator]
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
    rows = (query_1HTD, key_1KTD, value_1KTD)
    dropout = dropout if module.training else 0.0
    if dropout or s_aux is not None:
        out_1HTD = attend_units(
            *rows, _row.units, scaling, sliding_window, softcap, dropout=dropout, sinks_H=s_aux
        )
    else:
        attend, _row.kernels = choose_kernel(query_1HTD, key_1KTD, softcap)
        out_1HTD = attend(*rows, _row.units, scaling, sliding_window, softcap)
    return out_1HTD.transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, local_size: int | None = None, use_vmap: bool = False, **__: Any) -> None:
    """Make no mask, but note what it would have said."""
    if local_size:  # some models name a window of 0 where they have none
        _row.windows_asked.add(local_size)
    _row.overlay |= use_vmap  # Transformers sets it for masks that a model adds to the causal one


def install() -> None:
    """Register ``orcinus_segments`` with Transformers. Calling it again changes nothing."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
