"""orcinus: teach a small model to reason with the strategy that works best for it.

    import orcinus
    run = orcinus.run("recipe.yaml")
    run.scores["after"].mean

Names are loaded at their first use, so that ``import orcinus`` and ``orcinus --help`` are fast.
"""

__version__ = "0.2.0"

TYPE_CHECKING = False
"""True for type checkers, which know this name. Importing ``typing`` for it would cost 5 ms."""
if TYPE_CHECKING:
    from orcinus.core.errors import ConfigError, OrcinusError
    from orcinus.core.registry import register
    from orcinus.core.types import (
        Assignment,
        Attempt,
        Completion,
        Example,
        Lesson,
        Message,
        Request,
        Sampling,
        Score,
        Strategy,
        Verdict,
    )
    from orcinus.pipeline.api import (
        Run,
        evaluate,
        load_run,
        plan,
        probe,
        run,
        verify,
    )
    from orcinus.pipeline.plan import Plan
    from orcinus.pipeline.recipe import Recipe
    from orcinus.pipeline.recipe_file import load_recipe

__all__ = [
    "Assignment",
    "Attempt",
    "Completion",
    "ConfigError",
    "Example",
    "Lesson",
    "Message",
    "OrcinusError",
    "Plan",
    "Recipe",
    "Request",
    "Run",
    "Sampling",
    "Score",
    "Strategy",
    "Verdict",
    "__version__",
    "evaluate",
    "load_recipe",
    "load_run",
    "plan",
    "probe",
    "register",
    "run",
    "verify",
]

_MODULES = {
    "orcinus.core.errors": ("ConfigError", "OrcinusError"),
    "orcinus.core.registry": ("register",),
    "orcinus.core.types": (
        "Assignment",
        "Attempt",
        "Completion",
        "Example",
        "Lesson",
        "Message",
        "Request",
        "Sampling",
        "Score",
        "Strategy",
        "Verdict",
    ),
    "orcinus.pipeline.api": ("Run", "evaluate", "load_run", "plan", "probe", "run", "verify"),
    "orcinus.pipeline.plan": ("Plan",),
    "orcinus.pipeline.recipe": ("Recipe",),
    "orcinus.pipeline.recipe_file": ("load_recipe",),
}
"""The module of each name."""
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'orcinus' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
