"""Products in blocks give what ``nn.Linear`` gives."""

import pytest
import torch
from torch import nn

from orcinus.models.local.products import BlockedLinear, multiply_in_blocks

WIDE = 4099
"""Outputs that no block divides; by 512 inputs they are more weights than ``LEAST``."""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 0), (1, 1), (2, 1), (3, 7)])
def test_a_wide_layer_gives_the_same_numbers_in_blocks(
    shape: tuple[int, int], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    torch.manual_seed(0)
    layer = nn.Linear(512, WIDE, bias=bias)
    rows = torch.randn(*shape, 512)
    with torch.inference_mode():
        wanted = layer(rows)
        multiply_in_blocks(layer)
        found = layer(rows)
    assert type(layer) is BlockedLinear
    assert found.shape == wanted.shape == (*shape, WIDE)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_wide_layer_keeps_its_gradients() -> None:
    layer = nn.Linear(512, WIDE)
    multiply_in_blocks(layer)
    layer(torch.ones(3, 512)).sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, torch.full((WIDE, 512), 3.0))


def test_other_layers_stay_as_they_are() -> None:
    class Own(nn.Linear):
        pass

    layers = nn.ModuleList(
        [
            nn.Linear(512, 512),
            nn.Linear(WIDE, 512),
            nn.Linear(512, WIDE, dtype=torch.bfloat16),
            Own(512, WIDE),
        ]
    )
    kinds = [type(layer) for layer in layers]
    multiply_in_blocks(layers)
    assert [type(layer) for layer in layers] == kinds
