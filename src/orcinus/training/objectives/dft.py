"""Weigh each token by the student's own probability of it: Dynamic Fine-Tuning (DFT).

    weight = p(token)                              no gradient flows into it

Wu et al. 2025 (arXiv:2508.05629). The gradient of plain cross-entropy grows with 1 / p, so that
single unlikely tokens move the student most. This undoes it. Every weight is below 1: the effective
rate falls by the mean of p, and a comparison needs a higher learning rate.
"""

from typing import TYPE_CHECKING, cast

from orcinus.core.registry import declare
from orcinus.training.objectives.interface import LossInputs, LossOutput, Needs, weighted

if TYPE_CHECKING:
    import torch


@declare("objective", needs=Needs(logprobs=True))
def loss(inputs: LossInputs) -> LossOutput:
    """Return the cross-entropy with the lessons' weights, times the probability of each token."""
    logprobs_N = cast("torch.Tensor", inputs.logprobs_N)  # declared, so never None
    return weighted(inputs, inputs.weights_N * logprobs_N.exp())
