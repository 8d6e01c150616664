"""Learn the teacher's distribution on the student's own samples: the objective of on-policy stages.

    loss = Σ_n w_n KL_n(student ‖ teacher)

Agarwal et al. 2023 (arXiv:2306.13649), Gu et al. 2023 (arXiv:2306.08543). Every token of the
vocabulary teaches at every position, where cross-entropy teaches the one that was written.
"""

from typing import cast

from orcinus.core.registry import declare
from orcinus.training.objectives.interface import (
    LossInputs,
    LossOutput,
    Needs,
    Predictions,
    TopLogprobs,
)


@declare("objective", needs=Needs(teacher=True))
def loss(inputs: LossInputs) -> LossOutput:
    """Return the divergence from the teacher, weighted by the lessons."""
    from orcinus.training.divergence import reverse_kl

    teacher = cast(Predictions | TopLogprobs, inputs.teacher)  # declared, so never None
    losses_N = reverse_kl(Predictions(inputs.hidden_ND, inputs.head), teacher)
    return LossOutput(total=(losses_N * inputs.weights_N).sum(), losses_N=losses_N.detach())
