"""Kernels that attend within units: the same as an attention a unit, and no graph per packing."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from orcinus.training import attention, kernels
from orcinus.training.kernels import Segments, Unit, attend_flex, attend_units, attend_varlen
from orcinus.training.micro_batch import largest_that_fits

UNITS: list[tuple[Unit, ...]] = [
    ((20, 9, 4, 11), (5, 3), (130, 17)),
    ((3, 2),),
    ((1, 4, 1), (7, 7, 7, 7)),
]


def rows(
    units: Sequence[Unit], *, grad: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    length = sum(map(sum, units))
    q, k, v = (
        torch.randn(1, n, length, 16, generator=draw).requires_grad_(grad) for n in (4, 2, 2)
    )
    return q, k, v


def plain_varlen(q: Any, k: Any, v: Any, starts_q: Any, starts_k: Any, *_: Any, **how: Any) -> Any:
    """Do what torch's kernel is documented to do: causal from the last key, a sequence a time."""
    found = []
    for at in range(len(starts_q) - 1):
        one_q = q[starts_q[at] : starts_q[at + 1]].transpose(0, 1)[None]
        one_k, one_v = (x[starts_k[at] : starts_k[at + 1]].transpose(0, 1)[None] for x in (k, v))
        ahead = one_k.shape[2] - one_q.shape[2]
        distance = torch.arange(one_q.shape[2])[:, None] + ahead - torch.arange(one_k.shape[2])
        left, right = how["window_size"]
        mask = (distance >= -right) & ((distance <= left) if left >= 0 else True)
        out = scaled_dot_product_attention(
            one_q, one_k, one_v, mask, scale=how["scale"], enable_gqa=how["enable_gqa"]
        )
        found.append(out[0].transpose(0, 1))
    return torch.cat(found)


def test_segments_repeat_the_keys_of_a_shared_prompt() -> None:
    assert Segments.of([(2, 1, 2), (1, 1)]) == Segments(
        [3, 2, 2], [3, 4, 2], [0, 1, 2, 0, 1, 3, 4, 5, 6]
    )
    assert Segments.of([(2, 1), (3, 4)]) == Segments([3, 7], [3, 7], None)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    ("units", "window", "softcap"),
    [
        (UNITS[0], 6, None),
        pytest.param(UNITS[2], None, 3.0, marks=pytest.mark.slow),
        pytest.param(UNITS[0], None, 3.0, marks=pytest.mark.slow),
        pytest.param(UNITS[1], 6, None, marks=pytest.mark.slow),
        pytest.param(UNITS[2], 6, 3.0, marks=pytest.mark.slow),
    ],
)
def test_flex_attention_equals_an_attention_a_unit(
    units: Sequence[Unit], window: int | None, softcap: float | None
) -> None:
    """Forward only: FlexAttention has no gradients on a CPU."""
    q, k, v = rows(units)
    found = attend_flex(q, k, v, units, 0.3, window, softcap)
    right = attend_units(q, k, v, units, 0.3, window, softcap)
    torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("units", UNITS)
def test_sequences_of_many_lengths_are_the_units(units: Sequence[Unit], window: int | None) -> None:
    results = []
    for attend in (partial(attend_varlen, kernel=plain_varlen), attend_units):
        q, k, v = rows(units, grad=True)
        out = attend(q, k, v, units, None, window)
        results.append([out, *torch.autograd.grad(out.square().sum(), [q, k, v])])
    for found, right in zip(*results, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)


def test_the_table_says_why_a_kernel_is_not_used() -> None:
    table = kernels.kernel_table(torch.device("cpu"), torch.float32)
    assert table == {
        "varlen": "needs CUDA",
        "flex": "needs CUDA: it has no gradients on a CPU",
        "units": "used",
    }


def test_a_kernel_that_differs_or_fails_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(q: Any, k: Any, v: Any, units: Any, *how: Any) -> torch.Tensor:
        return attend_units(q, k, v, [(sum(map(sum, units)) - 1, 1)], *how)

    def failing(*_: Any) -> torch.Tensor:
        raise NotImplementedError("no gradients here")

    def right(*arguments: Any) -> torch.Tensor:
        return attend_varlen(*arguments, kernel=plain_varlen)

    monkeypatch.setattr(
        kernels,
        "KERNELS",
        {
            "wrong": (wrong, lambda *_: ""),
            "flex": (failing, lambda *_: ""),
            "varlen": (right, lambda *_: ""),
            "units": (attend_units, lambda *_: ""),
        },
    )
    kernels.kernel_table.cache_clear()
    table = kernels.kernel_table(torch.device("cpu"), torch.float32)
    assert table["wrong"].startswith("differs by ")
    assert table["flex"] == "NotImplementedError: no gradients here"
    assert (table["varlen"], table["units"]) == ("used", "right, not used")
    q, k, _ = rows(UNITS[0])
    assert kernels.choose_kernel(q, k, None) == (right, table)
    assert kernels.choose_kernel(q, k, 3.0)[0] is attend_units
    kernels.kernel_table.cache_clear()


@pytest.mark.slow
def test_a_compiled_model_gets_no_graph_for_each_packing() -> None:
    from torch._dynamo.testing import CompileCounter

    class Layer(torch.nn.Module):
        def forward(self, x_THD: torch.Tensor) -> torch.Tensor:
            q = x_THD.transpose(1, 2) * 2
            out: torch.Tensor = attention.segment_attention(self, q, q, q, None)[0]
            return out + 1

    torch._dynamo.reset()
    counter = CompileCounter()
    layer: Any = torch.compile(Layer(), backend=counter)
    for units in ([(3, 3), (4, 2)], [(6, 6)], [(2, 1, 3), (5, 1)], [(1, 1)] * 6):
        attention.begin_row(units)
        layer(torch.ones(1, 12, 2, 8))
    assert counter.frame_count == 2  # before and after attention


@pytest.mark.parametrize(
    ("rows_per_step", "limit", "found", "tried"),
    [
        (8, 5, 4, [2, 4, 8]),
        (8, 100, 8, [2, 4, 8]),
        (12, 100, 4, [2, 4]),
        (7, 9, 1, []),
        (4, 1, 1, [2]),
    ],
)
def test_a_micro_batch_grows_until_memory_is_full(
    rows_per_step: int, limit: int, found: int, tried: list[int]
) -> None:
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= limit

    assert largest_that_fits(rows_per_step, fits) == found
    assert asked == tried
