"""Weigh a teacher's tokens by how likely the student finds them against the teacher (DisCorD).

    w_t = 2 σ((log p_student − log p_teacher) / tau)        p_teacher .9, p_student .6  →  0.8

A token that both find alike weighs 1. One that the student finds far less likely than the teacher
did weighs little: it is far from what the student would write. Where two tokenizers cut a text
differently, the tokens of a group share a weight: see ``core/token_bytes.py``.

That the weight is a sigmoid of the ratio, a token at a time, is DisCorD's. The factor 2, the
logarithm in it, the scaling to mean 1 and the cap are ours. The weights favour what the student
already does. A teacher that is a program is certain of every token: w is then 2 σ(log p_student).
"""

from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from orcinus.core.registry import declare
from orcinus.training.objectives.interface import (
    LossInputs,
    LossOutput,
    Needs,
    means_by,
    scale_to_mean_one,
    weighted,
)

if TYPE_CHECKING:
    import torch

CAP = 4.0
"""Highest weight after scaling: early in training a few tokens that agree would rule a row."""


@declare(
    "objective", needs=Needs(logprobs=True, token_numbers=("teacher_logprob", "teacher_group"))
)
def loss(
    inputs: LossInputs, *, tau: Annotated[float, Field(gt=0)] = 1.0, normalise: bool = True
) -> LossOutput:
    """Return the cross-entropy with the lessons' weights, times the ratio's; see the module.

    Args:
        inputs: The micro-batch.
        tau: Nats over which the weight changes; large ones make all weights 1.
        normalise: Scale the weights of each packed row to mean 1, and cap them.
    """
    import torch

    teacher_N = inputs.evidence["teacher_logprob"]
    own_N = _mean_of_groups(inputs)
    weights_N = 2 * torch.sigmoid((own_N - teacher_N) / tau)
    weights_N = torch.where(teacher_N.isnan(), torch.ones_like(weights_N), weights_N)
    if normalise:
        weights_N = scale_to_mean_one(weights_N, inputs.row_N).clamp(max=CAP)
    return weighted(inputs, inputs.weights_N * weights_N)


def _mean_of_groups(inputs: LossInputs) -> "torch.Tensor":
    """Return for each token the student's mean log-probability over its group."""
    logprobs_N = cast("torch.Tensor", inputs.logprobs_N)  # declared, so never None
    starts_N = inputs.evidence["teacher_group"] == 1
    starts_N = starts_N | (inputs.lesson_N != inputs.lesson_N.roll(1))
    return means_by(logprobs_N, starts_N.long().cumsum(0))
