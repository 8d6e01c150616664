"""Weigh each lesson by its likeness to a few anchors: questions of the tasks that matter (ADAPT).

    objective: {name: anchored, settings: {anchors: {tasks: [sums]}, tau: 0.1, standardise: true}}

    φ = Σ_t (t / Σ_u u) h_t, normalised      over the positions that predict the response
    s = φ · mean of the anchors' φ
    w = min(most, max(least, σ(s / tau)))

The student's own hidden states say what is alike, and the anchors are read anew every ``refresh``
optimizer steps. ``signal: bm25`` counts common tokens instead, once, before the stage. Anchors come
from the probe split, so that no held-out question decides what is taught.

The paper pools all positions and uses w as it is. On small students all likenesses are close to
each other. So ours are that ``standardise`` subtracts the mean of the lessons' s and divides by
their spread, that ``normalise`` divides w by its mean, and BM25 over the student's tokens.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.registry import declare
from orcinus.training.objectives.interface import (
    LossInputs,
    LossOutput,
    Needs,
    sums_by,
    weighted,
)

if TYPE_CHECKING:
    import torch

SMALLEST_TAU = 1e-6
"""Of ``tau``: a smaller one would divide by nothing."""


class Anchors(Config):
    """The questions that lessons are compared with."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Tasks of the recipe. Their questions of the probe split are used, with the right answer."""
    count: int = Field(default=32, ge=2)
    """Questions of all these tasks together, at most."""


def prepare(
    model: Any, optimizer_step: int, prepared: Mapping[str, Any], **settings: Any
) -> Mapping[str, Any]:
    """Return the anchors' centre and the lessons' mean likeness, read anew now and then.

    Args:
        model: The student.
        optimizer_step: Its number, from 0.
        prepared: ``anchors`` and ``sample``, packed batches of the anchors and of some lessons; for
            ``bm25`` the scale already.
        settings: Those of ``loss``.
    """
    if settings.get("signal", "hidden") == "bm25":
        return prepared
    if "centre" in prepared and optimizer_step % max(1, settings.get("refresh", 50)):
        return prepared
    centre_D = pooled_states(model, prepared["anchors"]).mean(0)
    likeness_L = pooled_states(model, prepared["sample"]) @ centre_D
    return {**prepared, "centre": centre_D, **scale_of(likeness_L.tolist(), **settings)}


@declare(
    "objective",
    needs=Needs(anchors=True, lesson_numbers=("likeness",), before_step=prepare),
)
def loss(
    inputs: LossInputs,
    *,
    anchors: Anchors,
    signal: Literal["hidden", "bm25"] = "hidden",
    tau: Annotated[float, Field(ge=0)] = 0.1,
    refresh: Annotated[int, Field(ge=1)] = 50,
    standardise: bool = True,
    normalise: bool = True,
    least: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    most: Annotated[float, Field(gt=0)] = 10.0,
) -> LossOutput:
    """Return the cross-entropy with the lessons' weights, times their likeness to the anchors.

    Args:
        inputs: The micro-batch.
        anchors: What the lessons are compared with.
        signal: ``hidden`` states of the student, or ``bm25`` over tokens.
        tau: How sharply likeness becomes weight.
        refresh: Optimizer steps after which the anchors are read anew.
        standardise: Use the likeness as standard deviations from the lessons' mean.
        normalise: Divide the weights by their mean, so that the learning rate stays what it is.
        least: Lowest weight, before the division.
        most: Highest weight, before the division.
    """
    if signal == "bm25":
        likeness_N = inputs.evidence["likeness"]
    else:
        pooled_LD = pool(inputs.hidden_ND.detach(), inputs.lesson_N)
        centre_D = inputs.prepared["centre"].to(pooled_LD)
        likeness_N = (pooled_LD @ centre_D)[inputs.lesson_N]
    scale = inputs.prepared
    standard_N = (likeness_N - scale["mean"]) / scale["spread"]
    weights_N = (standard_N / max(tau, SMALLEST_TAU)).sigmoid().clamp(least, most)
    return weighted(inputs, inputs.weights_N * weights_N / scale["weight"])


def scale_of(
    likeness: Sequence[float],
    *,
    tau: float = 0.1,
    standardise: bool = True,
    normalise: bool = True,
    least: float = 0.0,
    most: float = 10.0,
    **_: Any,
) -> dict[str, float]:
    """Return ``mean`` and ``spread`` of the likeness of lessons, and their mean ``weight``.

    They are 0, 1 and 1 where the settings, those of ``loss``, do not ask for them.
    """
    import torch

    values_L = torch.tensor(likeness, dtype=torch.float64)
    mean = float(values_L.mean()) if standardise else 0.0
    spread = (float(values_L.std(correction=0)) or 1.0) if standardise else 1.0
    weights_L = ((values_L - mean) / spread / max(tau, SMALLEST_TAU)).sigmoid().clamp(least, most)
    weight = (float(weights_L.mean()) or 1.0) if normalise else 1.0
    return {"mean": mean, "spread": spread, "weight": weight}


def pool(hidden_ND: "torch.Tensor", lesson_N: "torch.Tensor") -> "torch.Tensor":
    """Return φ of each lesson (L, D), in float32 or wider: later positions count more."""
    import torch

    states_ND = hidden_ND.to(torch.promote_types(hidden_ND.dtype, torch.float32))
    ones_N = torch.ones_like(states_ND[:, 0])
    new_N = torch.ones_like(lesson_N, dtype=torch.bool)
    new_N[1:] = lesson_N[1:] != lesson_N[:-1]
    counted_N = ones_N.cumsum(0)
    before_N = torch.where(new_N, counted_N - 1, torch.zeros_like(counted_N)).cummax(0).values
    place_N = counted_N - before_N  # 1, 2 … within each lesson
    sums_LD = sums_by(states_ND * place_N[:, None], lesson_N)
    totals_L = sums_by(place_N, lesson_N)
    return torch.nn.functional.normalize(sums_LD / totals_L.clamp(min=1)[:, None], dim=1)


def pooled_states(model: Any, batch: Mapping[str, Any]) -> "torch.Tensor":
    """Return φ of each lesson of a packed batch under ``model``, without dropout or graph."""
    import torch

    from orcinus.training.batches import on_device
    from orcinus.training.forward import predictor_states, unwrap_peft

    base = unwrap_peft(model)
    training = base.training
    base.eval()
    try:
        with torch.no_grad():
            ready = on_device(batch, base.device)
            return pool(predictor_states(base, ready), ready["lesson"])
    finally:
        base.train(training)
