"""Count each token by a number that a step gave to its part of the text.

    weigh: {boundaries: 2}      objective: {name: token_weight, settings: {of: validity}}

``validity`` is the weight of the token's step of reasoning: see ``training/weigh.py`` (VCRD). A
token without a number, such as the end of the turn, takes its lesson's mean.
"""

from typing import TYPE_CHECKING, Literal

from orcinus.core.registry import declare
from orcinus.training.objectives.interface import (
    LossInputs,
    LossOutput,
    Needs,
    scale_to_mean_one,
    sums_by,
    weighted,
)

if TYPE_CHECKING:
    import torch


@declare("objective", needs=Needs(token_numbers=("validity",)))
def loss(
    inputs: LossInputs, *, of: Literal["validity"] = "validity", normalise: bool = True
) -> LossOutput:
    """Return the cross-entropy with the lessons' weights, times the tokens' numbers.

    Args:
        inputs: The micro-batch.
        of: Name of the number.
        normalise: Scale the numbers of each packed row to mean 1.
    """
    numbers_N = _filled(inputs.evidence[of], inputs.lesson_N)
    if normalise:
        numbers_N = scale_to_mean_one(numbers_N, inputs.row_N)
    return weighted(inputs, inputs.weights_N * numbers_N)


def _filled(numbers_N: "torch.Tensor", lesson_N: "torch.Tensor") -> "torch.Tensor":
    """Return the numbers with each missing one replaced by its lesson's mean; 1 without any."""
    import torch

    known_N = ~numbers_N.isnan()
    sums_L = sums_by(numbers_N.nan_to_num(), lesson_N)
    counts_L = sums_by(known_N.to(numbers_N.dtype), lesson_N)
    means_L = torch.where(counts_L > 0, sums_L / counts_L.clamp(min=1), torch.ones_like(sums_L))
    return torch.where(known_N, numbers_N, means_L[lesson_N])
