"""Reinforce answers by their advantage: the objective of ``reinforce`` stages.

    loss = −Σ_n A_n log p_n + kl Σ_n KL_n(student ‖ student before the stage)

A lesson is an answer of the student, and its weight is its advantage A, of either sign. Every batch
is written anew and makes one optimizer step, so there is no ratio of probabilities to clip. The
outline is that of Phi-4-reasoning's reinforcement learning (arXiv:2504.21318).
"""

from dataclasses import replace
from typing import cast

from orcinus.core.registry import declare
from orcinus.training.objectives.interface import (
    LossInputs,
    LossOutput,
    Needs,
    Predictions,
    weighted,
)


@declare("objective", needs=Needs(teacher=True))
def loss(inputs: LossInputs, *, kl: float = 0.001) -> LossOutput:
    """Return the cross-entropy weighted by advantages, and the divergence from the start."""
    found = weighted(inputs, inputs.weights_N)
    if kl == 0:
        return found
    from orcinus.training.divergence import reverse_kl

    start = cast(Predictions, inputs.teacher)  # declared, so never None
    moved_N = reverse_kl(Predictions(inputs.hidden_ND, inputs.head), start)
    return replace(found, total=found.total + kl * moved_N.sum())
