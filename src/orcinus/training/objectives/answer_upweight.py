"""Count the tokens of the final answer several times: one token in thirty decides if it is right.

    Seventeen and twenty-five make … | The answer is | 42.
    1                                | 1             | factor

The final answer is what follows the lesson's last announcement of one. In a lesson that announces
none, no token counts more.
"""

from typing import Annotated

from pydantic import Field

from orcinus.core.registry import declare
from orcinus.training.objectives.interface import LossInputs, LossOutput, Needs, weighted


@declare("objective", needs=Needs(token_numbers=("answer",)))
def loss(inputs: LossInputs, *, factor: Annotated[float, Field(gt=0)] = 3.0) -> LossOutput:
    """Return the cross-entropy with the lessons' weights, ``factor`` times on answer tokens."""
    return weighted(inputs, inputs.weights_N * (1 + (factor - 1) * inputs.evidence["answer"]))
