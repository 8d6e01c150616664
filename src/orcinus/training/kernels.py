"""Kernels that attend within the units of a row, and the table by which one is taken.

    varlen    all units in one call       FlashAttention of torch: CUDA, 16 bits, no soft cap
    flex      all units in one call       FlexAttention, compiled: CUDA
    units     a small attention a unit    everywhere

``choose_kernel`` takes the first one that works on a device and agrees there with ``units``, in
what it returns and in its gradients. Nothing here is compiled for a certain packing.

Shapes: H heads, K key-value heads, T positions, D width of a head, S segments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

Unit = tuple[int, ...]
"""Tokens of a prompt and of each response to it."""
Attend = Callable[..., torch.Tensor]
"""Attends: (q, k, v, units, scaling, window, softcap) -> (1, H, T, D)."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 3e-2}
"""Largest difference from ``units``, as a share of the largest entry, by precision."""
CHECKED_UNITS: Sequence[Unit] = ((70, 30, 11, 50), (5, 3), (1, 140))
"""Units of the check: one with a shared prompt, and one longer than a block of 128."""
CHECKED_WINDOW = 64
_SAME_ROW = 4
"""Layouts kept: all layers of a row have the same one, for each of a few windows."""


def attend_units(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    units: Sequence[Unit],
    scaling: float | None,
    window: int | None,
    softcap: float | None = None,
    *,
    dropout: float = 0.0,
    sinks_H: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attend with a small attention for each unit; return (1, H, T, D)."""
    settings = (scaling, dropout, window, softcap, sinks_H)
    # Split once and joined once: a slice's gradient has the size of the whole row, so slices of
    # many short lessons cost their number times the row.
    lengths = [length for prompt, first, *others in units for length in (prompt + first, *others)]
    parts = zip(*(torch.split(row, lengths, dim=2) for row in (q, k, v)), strict=True)
    found = []
    for prompt, _first, *others in units:
        q, k, v = next(parts)
        found.append(_attend(q, k, v, *settings))
        if not others:
            continue
        shared_k, shared_v = k[:, :, :prompt], v[:, :, :prompt]
        for _length in others:
            q, k, v = next(parts)
            k, v = torch.cat([shared_k, k], dim=2), torch.cat([shared_v, v], dim=2)
            found.append(_attend(q, k, v, *settings))
    return torch.cat(found, dim=2)


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


@dataclass(frozen=True, slots=True)
class Segments:
    """The units of a row as sequences of queries, and of the keys that they may see."""

    queries_S: list[int]
    keys_S: list[int]
    places: list[int] | None
    """The position in the row of each key; None where keys and queries are the same."""

    @classmethod
    def of(cls, units: Sequence[Unit]) -> "Segments":
        """Return the segments: a prompt with its first response, then each further response.

        A further response sees the prompt, whose keys are repeated for it.
        """
        queries: list[int] = []
        keys: list[int] = []
        places: list[int] = []
        start = 0
        for prompt, first, *others in units:
            own = start + prompt + first
            queries.append(prompt + first)
            keys.append(prompt + first)
            places += range(start, own)
            for length in others:
                queries.append(length)
                keys.append(prompt + length)
                places += [*range(start, start + prompt), *range(own, own + length)]
                own += length
            start = own
        return cls(queries, keys, None if queries == keys else places)


def attend_varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    units: Sequence[Unit],
    scaling: float | None,
    window: int | None,
    softcap: float | None = None,
    *,
    kernel: Callable[..., Any] | None = None,
) -> torch.Tensor:
    """Attend with torch's FlashAttention for sequences of many lengths.

    Args:
        q: (1, H, T, D).
        k: (1, K, T, D).
        v: (1, K, T, D).
        units: Of the row.
        scaling: Of the scores; None is 1 / sqrt(D).
        window: Positions that a query sees, itself included; None for all before it.
        softcap: None: it has none.
        kernel: Takes the place of torch's, which needs CUDA.
    """
    if softcap is not None:
        raise NotImplementedError("it has no soft cap")
    kernel = kernel or _varlen_kernel()
    segments, starts_q, starts_k, places = _segments_on(tuple(units), q.device)
    grouped = q.shape[1] != k.shape[1]
    q, k, v = (x[0].transpose(0, 1) for x in (q, k, v))
    if places is not None:
        k, v = k[places], v[places]
    out_THD: torch.Tensor = kernel(
        q.contiguous(),
        k.contiguous(),
        v.contiguous(),
        starts_q,
        starts_k,
        max(segments.queries_S),
        max(segments.keys_S),
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=grouped,
    )
    return out_THD.transpose(0, 1)[None]


def _varlen_kernel() -> Callable[..., Any]:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


@lru_cache(maxsize=_SAME_ROW)
def _segments_on(
    units: tuple[Unit, ...], device: torch.device
) -> tuple[Segments, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return a row's segments, where each begins among queries and keys, and the keys' places."""
    segments = Segments.of(units)
    starts_q, starts_k = (
        torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        for lengths in (segments.queries_S, segments.keys_S)
    )
    if segments.places is None:
        return segments, starts_q, starts_k, None
    return segments, starts_q, starts_k, torch.tensor(segments.places, device=device)


def attend_flex(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    units: Sequence[Unit],
    scaling: float | None,
    window: int | None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Attend with FlexAttention, whose block mask leaves out what no query of a block may see.

    The arguments are those of ``attend_varlen``; ``softcap`` bounds the scores.
    """

    def bounded(score: Any, *_: Any) -> Any:
        return score if softcap is None else softcap * torch.tanh(score / softcap)

    flex, _ = _flex(q.device.type)
    out: torch.Tensor = flex(
        q,
        k,
        v,
        score_mod=None if softcap is None else bounded,
        block_mask=_block_mask(tuple(units), window, q.device),
        scale=scaling,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out


@lru_cache(maxsize=_SAME_ROW)
def _block_mask(units: tuple[Unit, ...], window: int | None, device: torch.device) -> Any:
    _, make_mask = _flex(device.type)
    length = sum(map(sum, units))
    return make_mask(may_see(units, window, device), None, None, length, length, device=device)


def may_see(units: Sequence[Unit], window: int | None, device: torch.device) -> Callable[..., Any]:
    """Return the mask of a row in the shape of FlexAttention: (_, _, query, key) -> allowed."""
    unit: list[int] = []
    part: list[int] = []
    position: list[int] = []
    for number, (prompt, *responses) in enumerate(units):
        unit += [number] * (prompt + sum(responses))
        part += [0] * prompt
        position += range(prompt)
        for own, length in enumerate(responses, 1):
            part += [own] * length
            position += range(prompt, prompt + length)
    unit_T, part_T, position_T = (torch.tensor(x, device=device) for x in (unit, part, position))

    def allowed(_: Any, __: Any, query: Any, key: Any) -> Any:
        distance = position_T[query] - position_T[key]
        mine = (part_T[key] == 0) | (part_T[key] == part_T[query])
        near = distance >= 0 if window is None else (distance >= 0) & (distance < window)
        return (unit_T[key] == unit_T[query]) & mine & near

    return allowed


@cache
def _flex(device: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return FlexAttention and the maker of its masks, compiled on a GPU for rows of any length."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if device == "cpu":
        return flex_attention, create_block_mask
    compiled: Any = torch.compile
    return compiled(flex_attention, dynamic=True), compiled(create_block_mask, dynamic=True)


def _why_no_varlen(device: torch.device, dtype: torch.dtype) -> str:
    if device.type != "cuda":
        return "needs CUDA"
    if dtype not in (torch.bfloat16, torch.float16):
        return "needs arithmetic in 16 bits"
    return "" if find_spec("torch.nn.attention.varlen") else "this torch has none"


def _why_no_flex(device: torch.device, dtype: torch.dtype) -> str:
    if device.type != "cuda":
        return "needs CUDA: it has no gradients on a CPU"
    if dtype not in TOLERANCE:
        return f"is not used in {dtype}"
    return "" if find_spec("triton") else "needs triton"


KERNELS: Mapping[str, tuple[Attend, Callable[[torch.device, torch.dtype], str]]] = {
    "varlen": (attend_varlen, _why_no_varlen),
    "flex": (attend_flex, _why_no_flex),
    "units": (attend_units, lambda *_: ""),
}
"""The kernels, the fastest first, each with what says why it cannot run."""


def choose_kernel(
    q: torch.Tensor, k: torch.Tensor, softcap: float | None
) -> tuple[Attend, Mapping[str, str]]:
    """Return the fastest kernel that is right for such queries and keys, and the table."""
    table = kernel_table(q.device, q.dtype, q.shape[1], k.shape[1], q.shape[3], softcap is not None)
    return KERNELS[next(name for name, state in table.items() if state == USED)][0], table


USED, RIGHT = "used", "right, not used"


@cache
def kernel_table(
    device: torch.device,
    dtype: torch.dtype,
    heads: int = 4,
    kv_heads: int = 2,
    width: int = 64,
    softcap: bool = False,
) -> Mapping[str, str]:
    """Return what becomes of each kernel: ``USED``, ``RIGHT``, or why it is not used.

    Args:
        device: Where.
        dtype: Precision of the arithmetic.
        heads: Of the queries.
        kv_heads: Of keys and values.
        width: Of a head.
        softcap: Scores are bounded.
    """
    table: dict[str, str] = {}
    for name, (attend, why_not) in KERNELS.items():
        fault = why_not(device, dtype)
        if not fault and attend is not attend_units:
            try:
                fault = _disagreement(attend, device, dtype, (heads, kv_heads, width), softcap)
            except Exception as error:  # noqa: BLE001 (a kernel that fails need not run)
                fault = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        table[name] = fault or (RIGHT if USED in table.values() else USED)
    return table


def _disagreement(
    attend: Attend,
    device: torch.device,
    dtype: torch.dtype,
    shape: tuple[int, int, int],
    softcap: bool,
) -> str:
    """Say how far a kernel is from ``units``, forward or backward; nothing where it is near."""
    heads, kv_heads, width = shape
    length, draw = sum(map(sum, CHECKED_UNITS)), torch.Generator().manual_seed(0)
    *inputs, weight = (
        torch.randn(1, n, length, width, generator=draw).to(device, dtype)
        for n in (heads, kv_heads, kv_heads, heads)
    )

    def results(kernel: Attend, window: int | None) -> list[torch.Tensor]:
        rows = [row.clone().requires_grad_() for row in inputs]
        out = kernel(*rows, CHECKED_UNITS, None, window, 5.0 if softcap else None)
        return [out.detach(), *torch.autograd.grad((out * weight).sum(), rows)]

    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, None, False):
        worst = max(
            float((found - right).abs().max() / right.abs().max())
            for window in (None, CHECKED_WINDOW)
            for found, right in zip(
                results(attend, window), results(attend_units, window), strict=True
            )
        )
    return "" if worst <= TOLERANCE[dtype] else f"differs by {worst:.1g}"
