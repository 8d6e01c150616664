"""Objectives: how much each response token counts in the loss. The door for re-weighting methods.

    plain             every token the same
    lesson_weight     every token as its lesson weighs (the default)
    answer_upweight   the final answer's tokens count ``factor`` times

An objective is a callable of the shape of ``protocols.Objective``, made by a factory with the recipe's settings and registered under
a name, here or through the entry-point group ``orcinus`` (``objectives.NAME``). Besides being called it may say:

    evidence       names of numbers in ``lesson.meta`` (or of a lesson's own) that it wants, a tensor (N,) each
    wants_logprobs whether it looks at the student's log-probabilities, which cost a further projection (default: no)
    auxiliary      (hidden_ND, batch, evidence) → a scalar that is added to the summed loss, with its gradient
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orcinus.core import registry

if TYPE_CHECKING:
    import torch


Tensors = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class Plain:
    """Every response token counts the same."""

    evidence: tuple[str, ...] = ()

    def __call__(
        self, batch: Tensors, logprobs_N: "torch.Tensor | None", evidence: Tensors
    ) -> "torch.Tensor":
        """Ones (N,)."""
        import torch

        return torch.ones_like(batch["weights"])


@dataclass(frozen=True, slots=True)
class LessonWeight:
    """Every response token counts as much as its lesson weighs."""

    evidence: tuple[str, ...] = ()

    def __call__(
        self, batch: Tensors, logprobs_N: "torch.Tensor | None", evidence: Tensors
    ) -> "torch.Tensor":
        """The lessons' weights (N,)."""
        return batch["weights"]


@dataclass(frozen=True, slots=True)
class AnswerUpweight:
    """The tokens of the final answer count ``factor`` times: one token of thirty decides whether a lesson is right.

    The answer is what follows the lesson's last announcement of one; in a lesson without one no token counts more.
    """

    factor: float = 3.0
    evidence: tuple[str, ...] = ("answer",)

    def __call__(
        self, batch: Tensors, logprobs_N: "torch.Tensor | None", evidence: Tensors
    ) -> "torch.Tensor":
        """The lessons' weights (N,), those of answer tokens times the factor."""
        return batch["weights"] * (1 + (self.factor - 1) * evidence["answer"])


registry.objectives.register("plain", Plain)
registry.objectives.register("lesson_weight", LessonWeight)
registry.objectives.register("answer_upweight", AnswerUpweight)
