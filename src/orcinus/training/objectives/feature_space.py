"""Erase the strategy's message from the hidden states too, and not from the text alone (CoDA).

    objective: {name: feature_space, settings: {weight: 0.1}}

    h_e   the student's state, which reads the question under the erased message
    h_s   that of the student before the stage, frozen, under the strategy's message
    loss  = cross-entropy + weight · ‖h_e − h_s‖² / D  [+ across · MMD²(H_e, H_anchors)]

``at: prompt`` compares the states that predict the first token of a response, which the prompt
alone decides; ``at: response`` those that predict each of its tokens. With ``anchors``, questions
of another domain without their answers, the states of a packed row are also drawn towards theirs.

Of the paper only the abstract could be read, so the formulas are ours, and so are the last layer
(the paper adapts intermediate ones) and ``at: response``. A lesson counts as much as it has tokens.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field

from orcinus.core.registry import declare
from orcinus.training.objectives.anchored import Anchors
from orcinus.training.objectives.interface import (
    LossInputs,
    LossOutput,
    Needs,
    Predictions,
    weighted,
)

if TYPE_CHECKING:
    import torch


def prepare(model: Any, _: int, prepared: Mapping[str, Any], **settings: Any) -> Mapping[str, Any]:
    """Return the states of the anchors' prompts under the student as it is now, without graph."""
    if "anchors" not in prepared:
        return prepared
    import torch

    from orcinus.training.batches import on_device
    from orcinus.training.forward import predictor_states, unwrap_peft

    base = unwrap_peft(model)
    training = base.training
    base.eval()
    try:
        with torch.no_grad():
            batch = on_device(prepared["anchors"], base.device)
            states_ND = predictor_states(base, batch)[is_first(batch["lesson"])]
    finally:
        base.train(training)
    return {**prepared, "states": states_ND}


@declare("objective", needs=Needs(prompted=True, anchors=True, before_step=prepare))
def loss(
    inputs: LossInputs,
    *,
    weight: Annotated[float, Field(ge=0)] = 0.1,
    at: Literal["prompt", "response"] = "prompt",
    anchors: Anchors | None = None,
    across: Annotated[float, Field(gt=0)] = 0.1,
) -> LossOutput:
    """Return the cross-entropy and the distance of the student's states from the prompted ones.

    Args:
        inputs: The micro-batch; its teacher is the frozen student under the strategy's message.
        weight: Of the distance, beside the cross-entropy of a token.
        at: Where states are compared: at the end of the ``prompt``, or all over the ``response``.
        anchors: Questions of another domain; None leaves the second term out.
        across: Weight of the second term.
    """
    found = weighted(inputs, inputs.weights_N)
    prompted = cast(Predictions, inputs.teacher).hidden_ND  # declared, so never None
    states_ND = inputs.hidden_ND.to(inputs.weights_N.dtype)
    distance_N = ((states_ND - prompted.to(states_ND.dtype)) ** 2).mean(1)
    first_N = is_first(inputs.lesson_N)
    if at == "prompt":
        distance_N = distance_N[first_N][inputs.lesson_N]
    total = found.total + weight * (inputs.weights_N * distance_N).sum()
    if anchors is not None:
        towards_MD = inputs.prepared["states"].to(states_ND.dtype)
        for row in set(inputs.row_N.tolist()):  # a micro-batch may hold any number of rows
            mine_N = inputs.row_N == row
            apart = mmd2(states_ND[mine_N & first_N], towards_MD)
            total = total + across * mine_N.sum() * apart
    return replace(found, total=total)


def is_first(lesson_N: "torch.Tensor") -> "torch.Tensor":
    """Return True (N,) at the first token of each lesson."""
    import torch

    first_N = torch.ones_like(lesson_N, dtype=torch.bool)
    first_N[1:] = lesson_N[1:] != lesson_N[:-1]
    return first_N


def mmd2(x_ND: "torch.Tensor", y_MD: "torch.Tensor", sigma: float | None = None) -> "torch.Tensor":
    """Return the squared maximum mean discrepancy of two samples (biased, Gaussian kernel).

    Args:
        x_ND: One sample; with graph.
        y_MD: The other.
        sigma: Width of the kernel exp(−‖x − y‖² / 2 sigma²); None takes the median distance of
            different points of both.
    """
    import torch

    both = torch.cat([x_ND, y_MD])
    squares = ((both[:, None] - both[None]) ** 2).sum(2)
    if sigma is None:
        above = squares.detach()[squares.detach() > 0]
        width = above.median() if len(above) else squares.new_ones(())
    else:
        width = squares.new_tensor(sigma**2)
    kernel = torch.exp(-squares / (2 * width))
    n = len(x_ND)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
