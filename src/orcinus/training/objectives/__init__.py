"""Objectives by name: what a response token teaches. One file each, one function ``loss``.

    objective: {name: answer_upweight, settings: {factor: 2}} ──find_objective──► Objective

``interface.py`` holds the shape of the function and what it can ask for.
"""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orcinus.core import registry
from orcinus.core.errors import ConfigError
from orcinus.training.objectives import answer_upweight, lesson_weight, plain, reverse_kl
from orcinus.training.objectives.interface import TOKEN_NUMBERS, Needs, Objective

BUILT_IN: Mapping[str, Objective] = {
    "plain": Objective(function=plain.loss),
    "lesson_weight": Objective(function=lesson_weight.loss),
    "answer_upweight": Objective(function=answer_upweight.loss, needs=answer_upweight.NEEDS),
    "reverse_kl": Objective(function=reverse_kl.loss, needs=reverse_kl.NEEDS),
}
_FUNCTIONS = {name: objective.function for name, objective in BUILT_IN.items()}


def find_objective(name: str, settings: Mapping[str, Any]) -> Objective:
    """Return the objective that a recipe names, with its settings.

    Raises:
        ConfigError: There is none of that name, it is no objective, or it does not take the
            settings.
    """
    function = registry.find("objective", name, _FUNCTIONS)
    found = BUILT_IN.get(name) or Objective(
        function=function, needs=registry.declared_by(function).get("needs", Needs())
    )
    _check(name, found, settings)
    return replace(found, settings=dict(settings))


def _check(name: str, found: Any, settings: Mapping[str, Any]) -> None:
    try:
        inspect.signature(found.function).bind("inputs", **settings)
    except TypeError as error:
        raise ConfigError(
            f"objective {name!r} does not take the settings {dict(settings)}: {error}"
        ) from error
    unknown = sorted(set(found.needs.token_numbers) - set(TOKEN_NUMBERS))
    if unknown:
        raise ConfigError(
            f"objective {name!r} needs the number {unknown[0]!r} of each token, which lessons do "
            f"not come with; known: {', '.join(TOKEN_NUMBERS)}"
        )
