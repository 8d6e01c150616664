"""Prefer one answer to another (DPO): the objective of ``prefer`` stages.

    moved  = log p(answer) − log p(answer) before the stage            over all its tokens
    margin = beta (moved of the chosen answer − moved of the rejected one)
    loss   = Σ −log σ(margin)                                          over pairs

Rafailov et al. 2023 (arXiv:2305.18290). Lessons 2i and 2i + 1 of a micro-batch are a pair, the
chosen answer first. The slope in log p of a token is ∓ beta σ(−margin). So the gradient is that of
a cross-entropy with these weights, and no logits are kept.
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
    """Return the sum of −log σ(margin) over the pairs.

    Args:
        inputs: The micro-batch.
        beta: How strongly the student is held to what it was before the stage.
    """
    import torch

    signs_N, pair_N = inputs.evidence[PREFERRED], inputs.lesson_N // 2
    moved_N = cast("torch.Tensor", inputs.logprobs_N) - inputs.evidence[REFERENCE_LOGPROB]
    margins_P = beta * sums_by(signs_N * moved_N, pair_N)
    slopes_P = beta * torch.sigmoid(-margins_P)
    found = weighted(inputs, signs_N * slopes_P[pair_N])
    value = -torch.nn.functional.logsigmoid(margins_P).sum()
    return replace(found, total=found.total + (value - found.total).detach())
