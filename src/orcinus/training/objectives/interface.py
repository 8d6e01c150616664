"""The shape of an objective: its inputs, its output, and the needs that it declares.

    def loss(inputs: LossInputs, *, factor: float = 3.0) -> LossOutput:
        return weighted(inputs, inputs.weights_N * (1 + (factor - 1) * inputs.evidence["answer"]))

An objective is called once for each micro-batch and returns a *sum* over its response tokens. The
trainer divides by the number of tokens in the global batch. The settings of ``train.objective`` in
a recipe arrive as keyword arguments. A further term is added to ``LossOutput.total``.

Shapes: N response tokens of the micro-batch, D hidden width, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orcinus.core.errors import ConfigError, StepError
from orcinus.training.head import Head

if TYPE_CHECKING:
    import torch

TOKEN_NUMBERS = ("answer", "validity", "teacher_logprob", "teacher_group")
"""Numbers that response tokens can have of their own.

* ``answer``: 1 in the final answer, else 0.
* ``validity``: the weight of the token's step; the step ``weigh`` makes it.
* ``teacher_logprob``: the teacher's log-probability in nats; ``erase`` or ``weigh`` makes it.
* ``teacher_group``: 1 where a group begins whose bytes are those of whole teacher's tokens, else 0.
"""

REHEARSED = ("right", "came", "own")
"""Numbers of a lesson that the step ``rehearse`` makes. ``came``: the student's answers to its
question before training; ``right``: those of them that are right; ``own``: 1 in a lesson that is
one of them, else 0. ``right`` and ``came`` are nan where no answer came."""
REFERENCE_LOGPROB, LIKENESS = MEASURED = ("reference_logprob", "likeness")
"""Numbers of a lesson that its stage measures when it starts. ``reference_logprob``: the mean
log-probability of its response tokens under the student as the stage finds it, in nats.
``likeness``: its BM25 score for the anchors; nan where hidden states tell the likeness."""


PREFERRED = "preferred"
"""A number of a lesson in a ``prefer`` stage: 1 for a right or chosen answer, -1 for a wrong or
rejected one. With ``loss: kto`` 0 is an answer to another question, which shows how far the student
has moved."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's distributions over the vocabulary at N positions, as hidden states and a head.

    They are kept apart so that the (N, V) logits need never exist at once.
    """

    hidden_ND: "torch.Tensor"
    head: Head

    def logprobs(self, targets_N: "torch.Tensor") -> "torch.Tensor":
        """Return the log-probability (N,) of each target, in nats, without graph."""
        import torch

        from orcinus.training.loss import head_loss

        # The dtype of the weights is the precision of the softmax.
        dtype = torch.promote_types(self.hidden_ND.dtype, torch.float32)
        ones_N = self.hidden_ND.new_ones(len(targets_N), dtype=dtype)
        with torch.no_grad():
            _, losses_N = head_loss(self.hidden_ND, self.head, targets_N, ones_N)
        return -losses_N


@dataclass(frozen=True, slots=True)
class TopLogprobs:
    """What is known of a teacher's distributions at N positions: K tokens each, without graph."""

    tokens_NK: "torch.Tensor"
    """The text's own token first."""
    logprobs_NK: "torch.Tensor"
    """Their log-probabilities in nats; −inf in places without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """One micro-batch as an objective sees it: every tensor has one row for each response token."""

    hidden_ND: "torch.Tensor"
    """The student's last hidden states at the positions that predict the targets; with graph."""
    head: Head
    """The student's vocabulary projection; with graph."""
    targets_N: "torch.Tensor"
    """The response tokens."""
    weights_N: "torch.Tensor"
    """The weight of each token's lesson. The dtype, float32 or wider, is the loss's precision."""
    lesson_N: "torch.Tensor"
    """The number, within the micro-batch, of the lesson that each token belongs to."""
    row_N: "torch.Tensor"
    """The number, within the micro-batch, of the packed row that each token belongs to. A row is
    the same whatever the micro-batch is."""
    evidence: Mapping[str, "torch.Tensor"] = field(default_factory=dict)
    """The numbers that the objective needs, by name, (N,) each: nan where a lesson has none."""
    logprobs_N: "torch.Tensor | None" = None
    """The student's log-probability of each target, in nats, without graph; None unless needed."""
    teacher: Predictions | TopLogprobs | None = None
    """The teacher's predictions at the same positions, without graph; None unless needed. Of a
    teacher behind a server only the likeliest tokens are known."""
    prepared: Mapping[str, Any] = field(default_factory=dict)
    """What ``Needs.before_step`` returned for this optimizer step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOutput:
    """The loss of one micro-batch."""

    total: "torch.Tensor"
    """Scalar: the sum over the micro-batch, in nats, with its gradient."""
    losses_N: "torch.Tensor"
    """Each token's own, unweighted loss, in nats, without graph, for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The needs of an objective beside hidden states, targets and weights, which it always gets."""

    logprobs: bool = False
    """The student's own log-probabilities. They cost one more projection onto the vocabulary."""
    teacher: bool = False
    """A teacher's log-probabilities of all tokens. Only on-policy stages have a teacher."""
    lesson_numbers: tuple[str, ...] = ()
    """Names of numbers of a lesson, which its tokens get: those of ``REHEARSED`` and ``MEASURED``,
    ``pass_rate`` of ``select`` or ``rehearse``, or a column of the tasks' rows."""
    token_numbers: tuple[str, ...] = ()
    """Names of numbers that each token has of its own; see ``TOKEN_NUMBERS``."""
    prompted: bool = False
    """The states of the student before the stage, which reads each question under its strategy's
    message, as ``LossInputs.teacher``. They cost a forward pass."""
    anchors: bool = False
    """Questions to compare lessons with; the setting ``anchors`` names their tasks. Where it is
    None there are none."""
    before_step: Callable[..., Mapping[str, Any]] | None = None
    """Called before each optimizer step as ``(model, optimizer_step, prepared, **settings)``.

    ``prepared`` is what it returned last. At first and after a resume it is what the stage gives
    to an objective that needs anchors, and empty for others. What it returns reaches every
    micro-batch of the step as ``LossInputs.prepared``.
    """

    @property
    def evidence(self) -> tuple[str, ...]:
        """Names of all numbers to store beside the tokens."""
        return self.lesson_numbers + self.token_numbers

    @property
    def from_steps(self) -> bool:
        """True for what a step before training makes: numbers of tokens, strategies' messages."""
        return self.prompted or any(name != "answer" for name in self.token_numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """An objective: its function, what the function needs, and the settings of a recipe."""

    function: Callable[..., LossOutput]
    """``loss(inputs: LossInputs, **settings) -> LossOutput``."""
    needs: Needs = Needs()
    settings: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    """What the stage gives it before the first step."""

    @property
    def anchors(self) -> Any:
        """The anchors that it compares lessons with; None without any."""
        return self.settings.get("anchors") if self.needs.anchors else None

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the loss of one micro-batch.

        Raises:
            ConfigError: The function returns something else than a LossOutput.
        """
        out = self.function(inputs, **self.settings)
        if not isinstance(out, LossOutput):
            name = getattr(self.function, "__qualname__", repr(self.function))
            raise ConfigError(
                f"train.objective: {name} returned {type(out).__name__}; "
                "it must return LossOutput(total=…, losses_N=…)"
            )
        return out

    def prepare(
        self, model: Any, optimizer_step: int, prepared: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return what ``needs.before_step`` prepares for one optimizer step."""
        if self.needs.before_step is None:
            return prepared
        return self.needs.before_step(
            model, optimizer_step, prepared or self.given, **self.settings
        )


def weighted(inputs: LossInputs, weights_N: "torch.Tensor") -> LossOutput:
    """Return the cross-entropy in which each token has its own weight.

    Args:
        inputs: The micro-batch.
        weights_N: Any sign; no gradient flows into them.
    """
    from orcinus.training.loss import head_loss

    total, losses_N = head_loss(
        inputs.hidden_ND,
        inputs.head,
        inputs.targets_N,
        weights_N.detach().to(inputs.weights_N.dtype),
    )
    return LossOutput(total=total, losses_N=losses_N)


def sums_by(values: "torch.Tensor", group_N: "torch.Tensor") -> "torch.Tensor":
    """Return for each group, such as a lesson or a row, the sum of ``values`` (N, …)."""
    count = int(group_N.max()) + 1 if len(group_N) else 0
    return values.new_zeros(count, *values.shape[1:]).index_add(0, group_N, values)


def means_by(values_N: "torch.Tensor", group_N: "torch.Tensor") -> "torch.Tensor":
    """Return for each token (N,) the mean of ``values_N`` over its group, such as its lesson."""
    sums_G = sums_by(values_N, group_N)
    sizes_G = sums_by(values_N.new_ones(len(group_N)), group_N)
    return (sums_G / sizes_G.clamp(min=1))[group_N]


def scale_to_mean_one(weights_N: "torch.Tensor", row_N: "torch.Tensor") -> "torch.Tensor":
    """Return weights scaled so that their mean over each packed row is 1.

    Over a row, and not over the micro-batch, which must not change the result.

    Raises:
        StepError: All weights of a row are 0, or one is not a number.
    """
    import torch

    sums_R = sums_by(weights_N, row_N)
    counts_R = sums_by(torch.ones_like(weights_N), row_N)
    if not bool((sums_R[counts_R > 0] > 0).all()):
        raise StepError(
            "train.objective: all token weights of a batch are 0, or one of them is not a number; "
            "look at the numbers in the lessons' meta"
        )
    return weights_N * (counts_R / sums_R)[row_N]
