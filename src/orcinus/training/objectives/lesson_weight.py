"""Count every response token as much as its lesson weighs. The default."""

from orcinus.training.objectives.interface import LossInputs, LossOutput, weighted


def loss(inputs: LossInputs) -> LossOutput:
    """Return the cross-entropy with the lessons' weights."""
    return weighted(inputs, inputs.weights_N)
