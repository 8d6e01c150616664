"""Make right answers likelier and wrong ones less likely, without pairs (KTO).

    moved  = log p(answer) − log p(answer) before the stage         over all its tokens
    drift  = max(0, mean of moved over answers to other questions)  of a packed row, no gradient
    loss   = Σ weight · (1 − σ(± beta (moved − drift)))             + for right answers, − for wrong

Ethayarajh et al. 2024 (arXiv:2402.01306). The drift estimates how far the student has moved from
what it was: KL(student ‖ student before the stage). The paper estimates it over a batch. Here a
packed row is used, which is the same whatever the micro-batch is. The slope in log p of a token is
∓ weight · beta σ(1 − σ). So the gradient is that of a cross-entropy with these weights.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from orcinus.core.registry import declare
from orcinus.training.objectives.interface import (
    PREFERRED,
    REFERENCE_LOGPROB,
    LossInputs,
    LossOutput,
    Needs,
    sums_by,
    weighted,
)

if TYPE_CHECKING:
    import torch


@declare("objective", needs=Needs(logprobs=True, lesson_numbers=(PREFERRED, REFERENCE_LOGPROB)))
def loss(inputs: LossInputs, *, beta: float = 0.1) -> LossOutput:
    """Return the sum of 1 − σ(± beta (moved − drift)) over the labelled answers.

    Args:
        inputs: The micro-batch.
        beta: How strongly the student is held to what it was before the stage.
    """
    import torch

    labels_N, lesson_N = inputs.evidence[PREFERRED], inputs.lesson_N
    moved_N = cast("torch.Tensor", inputs.logprobs_N) - inputs.evidence[REFERENCE_LOGPROB]
    moved_L = sums_by(moved_N, lesson_N)
    drift_R = row_drifts(moved_N, labels_N, lesson_N, inputs.row_N)
    first_L = torch.searchsorted(lesson_N, torch.arange(len(moved_L), device=lesson_N.device))
    labels_L, weights_L = labels_N[first_L], inputs.weights_N[first_L]
    margins_L = beta * labels_L * (moved_L - drift_R[inputs.row_N[first_L]])
    likes_L = torch.sigmoid(margins_L)
    slopes_L = weights_L * labels_L * beta * likes_L * (1 - likes_L)
    found = weighted(inputs, slopes_L[lesson_N])
    value = (weights_L * labels_L.abs() * (1 - likes_L)).sum()
    return replace(found, total=found.total + (value - found.total).detach())


def row_drifts(
    moved_N: "torch.Tensor",
    labels_N: "torch.Tensor",
    lesson_N: "torch.Tensor",
    row_N: "torch.Tensor",
) -> "torch.Tensor":
    """Return how far each packed row says that the student has moved, in nats, at least 0.

    Args:
        moved_N: By token, what its log-probability has gained since the stage began.
        labels_N: By token; 0 in answers to other questions, which alone are looked at.
        lesson_N: The number of each token's lesson; it never falls.
        row_N: The number of each token's row.
    """
    other_N = labels_N == 0
    new_N = lesson_N != lesson_N.roll(1)
    new_N[:1] = True
    counts_R = sums_by((other_N & new_N).to(moved_N.dtype), row_N)
    return (sums_by(moved_N * other_N, row_N) / counts_R.clamp(min=1)).clamp(min=0)
