"""Objectives by name: what a response token teaches. One file each, one function ``loss``.

    objective: {name: answer_upweight, settings: {factor: 2}} ──find_objective──► Objective

``interface.py`` holds the shape of the function and of what it can need. One of your own:

    @orcinus.register("objective", "hard", needs=Needs(lesson_numbers=("pass_rate",)))
    def hard(inputs: LossInputs) -> LossOutput:
        return weighted(inputs, inputs.weights_N * (1 - inputs.evidence["pass_rate"]))
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from orcinus.core import registry
from orcinus.core.errors import ConfigError
from orcinus.training.objectives import (
    anchored,
    answer_upweight,
    dft,
    distribution_corrected,
    feature_space,
    kto,
    lesson_weight,
    mixed_kl,
    outcome,
    plain,
    preferred,
    reverse_kl,
    rollout_adaptive,
    token_weight,
)
from orcinus.training.objectives.interface import (
    TOKEN_NUMBERS,
    LossInputs,
    LossOutput,
    Needs,
    Objective,
    weighted,
)

__all__ = [
    "BUILT_IN",
    "LossInputs",
    "LossOutput",
    "Needs",
    "Objective",
    "find_objective",
    "weighted",
]

BUILT_IN: Mapping[str, Callable[..., LossOutput]] = {
    "plain": plain.loss,
    "lesson_weight": lesson_weight.loss,
    "answer_upweight": answer_upweight.loss,
    "dft": dft.loss,
    "rollout_adaptive": rollout_adaptive.loss,
    "kto": kto.loss,
    "mixed_kl": mixed_kl.loss,
    "outcome": outcome.loss,
    "preferred": preferred.loss,
    "reverse_kl": reverse_kl.loss,
    "distribution_corrected": distribution_corrected.loss,
    "token_weight": token_weight.loss,
    "anchored": anchored.loss,
    "feature_space": feature_space.loss,
}
NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


def find_objective(name: str, settings: Mapping[str, Any] = NO_SETTINGS) -> Objective:
    """Return the objective that a recipe names, with its settings.

    Raises:
        ConfigError: There is none of that name, it has another shape, it does not take the
            settings, or it needs a number that lessons do not come with.
    """
    function = registry.find("objective", name, BUILT_IN)
    _check_first_parameter(name, function)
    needs = registry.declared_by(function).get("needs", Needs())
    _check_needs(name, needs)
    ready = registry.with_settings("objective", name, function, settings)
    converted = ready.keywords if isinstance(ready, partial) else {}
    return Objective(function=function, needs=needs, settings=converted)


def _check_first_parameter(name: str, function: Callable[..., Any]) -> None:
    """Refuse a factory, the shape of objectives before 0.2: it could be called with the inputs."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.default is not inspect.Parameter.empty:
        raise ConfigError(
            f"objective {name!r} takes {inspect.signature(function)}; its first parameter must be "
            "the inputs, without a default: (inputs, **settings) -> LossOutput"
        )


def _check_needs(name: str, needs: Any) -> None:
    if not isinstance(needs, Needs):
        raise ConfigError(
            f"objective {name!r} declares needs={needs!r}; it must be Needs(…), "
            "of orcinus.training.objectives"
        )
    unknown = sorted(set(needs.token_numbers) - set(TOKEN_NUMBERS))
    if unknown:
        raise ConfigError(
            f"objective {name!r} needs the number {unknown[0]!r} of each token, which lessons do "
            f"not come with; known: {', '.join(TOKEN_NUMBERS)}"
        )
