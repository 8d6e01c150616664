"""Let a lesson weigh what the student cannot do yet, and keep what it can: RASFT.

    s   = right / came                              the student's own answers before training
    r   = low + (1 - s) (high - low)                the teacher's answer, where s = 0: high
    A   = tanh(alpha (reward - mean) / sd)          over r, 1 for a right answer, 0 for a wrong one
    w   = A / (1 + right)                           1 where nothing is right
    token weight = w · p(token) · clip(exp(m_before - m_now), slowest, fastest)

``m`` is the mean log-probability of the lesson's tokens: a lesson that the student has moved
towards since the stage began counts less. Own right answers are lessons too (``rehearse: {lessons:
right}``), with ``own · clip(A / (1 + right), own_low, own_high)``.

RASFT's published code weighs a question that is always right by 1, like one that never is. That is
the opposite of the formula's limit. Here it weighs ``solved``, and an own answer ``own · own_low``.
Where no answer came, nothing is known, and the lesson weighs 1.

Every weight is multiplied by p, so the effective rate falls three- to tenfold: raise the learning
rate, or a comparison is one of rates.
"""

from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from orcinus.core.registry import declare
from orcinus.training.objectives.interface import (
    REFERENCE_LOGPROB,
    REHEARSED,
    LossInputs,
    LossOutput,
    Needs,
    means_by,
    weighted,
)

if TYPE_CHECKING:
    import torch

Above0 = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]


@declare("objective", needs=Needs(logprobs=True, lesson_numbers=(*REHEARSED, REFERENCE_LOGPROB)))
def loss(
    inputs: LossInputs,
    *,
    alpha: Above0 = 0.4,
    low: AtLeast0 = 1.0,
    high: Above0 = 3.0,
    solved: AtLeast0 = 0.02,
    own: AtLeast0 = 0.25,
    own_low: AtLeast0 = 0.02,
    own_high: Above0 = 0.15,
    slowest: AtLeast0 = 0.4,
    fastest: Above0 = 1.2,
) -> LossOutput:
    """Return the cross-entropy, each token weighted by what its lesson is worth to the student."""
    import torch

    evidence, logprobs_N = inputs.evidence, cast("torch.Tensor", inputs.logprobs_N)
    teachers_N, owns_N = lesson_weights(
        evidence["right"],
        evidence["came"],
        alpha=alpha,
        low=low,
        high=high,
        solved=solved,
        own=own,
        own_low=own_low,
        own_high=own_high,
    )
    worth_N = torch.where(evidence["own"] > 0, owns_N, teachers_N)
    moved_N = (evidence["reference_logprob"] - means_by(logprobs_N, inputs.lesson_N)).exp()
    return weighted(
        inputs, inputs.weights_N * worth_N * moved_N.clamp(slowest, fastest) * logprobs_N.exp()
    )


def lesson_weights(
    right: "torch.Tensor",
    came: "torch.Tensor",
    *,
    alpha: float = 0.4,
    low: float = 1.0,
    high: float = 3.0,
    solved: float = 0.02,
    own: float = 0.25,
    own_low: float = 0.02,
    own_high: float = 0.15,
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return the weight of a teacher's lesson, and of one of the student's own right answers.

    Args:
        right: Right answers to the question; nan where none came.
        came: Answers that came.
        alpha: Steepness of the weight in the standardised reward.
        low: Reward of the teacher's answer where the student is always right.
        high: Its reward where the student never is.
        solved: Weight of the teacher's answer where the student is always right.
        own: Factor of the student's own answers.
        own_low: Lowest weight of an own answer, before the factor.
        own_high: Highest weight of an own answer, before the factor.
    """
    import torch

    reward = low + (1 - right / came) * (high - low)
    mean = (reward + right) / (1 + came)
    spread = ((reward**2 + right) / (1 + came) - mean**2).clamp(min=0).sqrt() + 1e-6
    teachers = torch.tanh(alpha * (reward - mean) / spread) / (1 + right)
    owns = own * (torch.tanh(alpha * (1 - mean) / spread) / (1 + right)).clamp(own_low, own_high)
    is_solved, unknown = right >= came, right.isnan() | (right <= 0)
    teachers = torch.where(unknown, 1.0, torch.where(is_solved, solved, teachers))
    return teachers, torch.where(is_solved, own * own_low, owns)
