"""The forward pass of a student in training: from a packed batch to the loss of an objective.

    model(batch=collate(rows), objective=…)  ──►  {"loss": sum over response tokens, "losses": (N,)}

Only the hidden states of positions that predict a response token reach the objective, and through
it the vocabulary projection. The loss is computed inside the model's ``forward`` since that is what
DDP and FSDP wrap: parameters are gathered, and gradients reduced, around that call.

Shapes: T positions of the packed batch, N response tokens, D hidden width, V vocabulary.
"""

import functools
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from orcinus.training.head import Head
from orcinus.training.objectives.interface import LossInputs, Objective, Predictions, TopLogprobs
from orcinus.training.paths import use_attention
from orcinus.training.self_check import path_of


class _WithObjectiveForward:
    """Marks the classes that ``add_objective_forward`` makes."""


def add_objective_forward(model: PreTrainedModel) -> None:
    """Let ``model(batch=…, objective=…)`` return a loss; every other call stays as it was.

    The model's class becomes a subclass of itself, once, as FSDP does it too. Generation, and the
    signatures by which Transformers decides what a model accepts, see the original ``forward``.
    """
    plain = type(model)
    if issubclass(plain, _WithObjectiveForward):
        return

    @functools.wraps(plain.forward)
    def forward(self: Any, *args: Any, objective: Objective | None = None, **kwargs: Any) -> Any:
        if objective is None:
            return plain.forward(self, *args, **kwargs)
        return response_only_forward(
            self,
            kwargs["batch"],
            objective,
            teacher=kwargs.get("teacher"),
            prepared=kwargs.get("prepared"),
        )

    model.__class__ = type(  # saved as ``architectures`` in config.json: the name has to stay
        plain.__name__,
        (_WithObjectiveForward, plain),
        {"__module__": plain.__module__, "forward": forward},
    )


def response_only_forward(
    model: PreTrainedModel,
    batch: Mapping[str, Any],
    objective: Objective,
    *,
    teacher: Predictions | TopLogprobs | None = None,
    prepared: Mapping[str, Any] | None = None,
) -> dict[str, torch.Tensor]:
    """Return the loss of a packed batch without computing any other logits.

    Args:
        model: The bare causal language model.
        batch: What ``collate`` returns.
        objective: Computes the loss.
        teacher: The teacher's predictions at the same positions.
        prepared: What the objective prepared for this optimizer step.

    Returns:
        ``loss``: weighted sum over response tokens; ``losses`` (N,): each token's own, for logging.
    """
    hidden_ND, head = predictor_states(model, batch), head_of(model)
    targets_N = batch["input_ids"][0, batch["response"]]
    dtype = torch.promote_types(hidden_ND.dtype, torch.float32)
    logprobs_N = (
        Predictions(hidden_ND, head).logprobs(targets_N) if objective.needs.logprobs else None
    )
    out = objective.loss(
        LossInputs(
            hidden_ND=hidden_ND,
            head=head,
            targets_N=targets_N,
            weights_N=batch["weights"].to(dtype),
            lesson_N=batch["lesson"],
            row_N=batch["row"],
            evidence={name: values.to(dtype) for name, values in batch["evidence"].items()},
            logprobs_N=logprobs_N,
            teacher=teacher,
            prepared=prepared or {},
        )
    )
    return {"loss": out.total, "losses": out.losses_N}


def predictor_states(model: PreTrainedModel, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return the last hidden states (N, D) at the positions that predict a response token."""
    path = path_of(model)
    use_attention(model, path)
    return path.states(model, batch)


def head_of(model: PreTrainedModel) -> Head:
    """Return the model's map from hidden states to logits."""
    return path_of(model).head(model)


def unwrap_peft(model: Any) -> Any:
    """Return the causal language model inside a PEFT model, or ``model`` itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
