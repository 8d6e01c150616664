"""Multiply by wide weights in blocks that stay in the processor's cache.

    logits_nV = rows_nD @ weight_VD.T      →      the same, 2^18 weights at a time

MKL seems to copy the weights into an order of its own first. A whole copy of a vocabulary's
projection goes out to memory and comes back; a block's copy does not. The numbers are the same to
the last bit, or to rounding with fewer than four rows. Several threads wait for each other after
each block: on a busy machine that was slower than one product, so they take no blocks.

Measured with an EPYC (AVX2), float32, one thread, GFLOP per CPU second, ``linear`` and in blocks:

    weights           16 rows      48 rows      100 rows
    49,152 × 576      10 → 15      19 → 25      27 → 36       SmolLM2's projection
    4,096 × 512       14 → 18      23 → 32      33 → 49
    8,192 × 2,048     10 → 20      20 → 38      28 → 47       a layer of a model of 1 billion
"""

import torch
from torch import nn

BLOCK = 2**18
"""Weights of a block: 1 MiB. Half and twice as many are as fast, within noise."""
LEAST = 2**21
"""Weights of a layer from which on blocks are used: 8 MiB. With 3.5 MiB nothing is gained."""


def multiply_in_blocks(model: nn.Module) -> None:
    """Let the wide layers of a model on a CPU multiply in blocks, without gradients.

    Layers narrower than their input gain nothing, and 16 bits have kernels of their own.
    """
    for module in model.modules():
        if (
            type(module) is nn.Linear
            and module.weight.device.type == "cpu"
            and module.weight.dtype == torch.float32
            and module.weight.numel() >= LEAST
            and module.out_features > module.in_features
        ):
            module.__class__ = BlockedLinear


class BlockedLinear(nn.Linear):
    """A linear layer that multiplies in blocks on one thread where no gradient is asked for."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return what ``nn.Linear`` returns."""
        rows_nD = input.reshape(-1, self.in_features)
        if len(rows_nD) < 2 or torch.is_grad_enabled() or torch.get_num_threads() > 1:
            return super().forward(input)
        out_nV = rows_nD.new_empty(len(rows_nD), self.out_features)
        block = max(1, BLOCK // self.in_features)
        parts = (torch.split(out_nV, block, dim=1), torch.split(self.weight, block))
        for out_nB, weight_BD in zip(*parts, strict=True):
            torch.mm(rows_nD, weight_BD.T, out=out_nB)
        if self.bias is not None:
            out_nV += self.bias
        return out_nV.view(*input.shape[:-1], self.out_features)
