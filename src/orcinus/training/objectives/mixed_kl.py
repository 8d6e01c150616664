"""Mix the reverse and the forward divergence from a teacher: the objective of on-policy erasing.

    loss = Σ_n w_n (beta KL_n(student ‖ teacher) + (1 − beta) KL_n(teacher ‖ student))

The reverse divergence keeps the student to what the teacher finds likely; the forward one asks it
to cover all that the teacher would write. The linear mix is ours. Self-distillation of a prompt on
the student's own samples: arXiv:2601.19897, arXiv:2602.12275.
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
def loss(inputs: LossInputs, *, beta: float = 0.5) -> LossOutput:
    """Return the mixed divergence from the teacher, weighted by the lessons."""
    from orcinus.training.divergence import mixed_kl

    teacher = cast(Predictions | TopLogprobs, inputs.teacher)  # declared, so never None
    losses_N = mixed_kl(Predictions(inputs.hidden_ND, inputs.head), teacher, beta=beta)
    return LossOutput(total=(losses_N * inputs.weights_N).sum(), losses_N=losses_N.detach())
