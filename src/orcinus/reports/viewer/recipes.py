"""Show where the recipes of several runs differ, key by key.

train: {epochs: 2} and train: {epochs: 8} ──► ("train.epochs", ["2", "8"])
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orcinus.core.printing import printable
from orcinus.runs import layout

UNSET = "–"
"""What stands for a key that a recipe does not set."""


def recipe_differences(run_dirs: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """Return the keys whose values differ, each with its value in every run's recipe."""
    recipes = [dict(_flattened(_read(folder), "")) for folder in run_dirs]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    rows = ((key, [recipe.get(key, UNSET) for recipe in recipes]) for key in keys)
    return [(key, values) for key, values in rows if key != "name" and len(set(values)) > 1]


def _read(folder: Path) -> Any:
    try:
        return yaml.safe_load((folder / layout.RECIPE).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}


def _flattened(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the texts and numbers in a recipe with their full keys: ``train.stages[0].epochs``."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flattened(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for i, item in enumerate(value):
            yield from _flattened(item, f"{key}[{i}]")
    elif isinstance(value, list):
        yield key, ", ".join(map(_as_text, value))
    else:
        yield key, _as_text(value)


def _as_text(value: Any) -> str:
    """Return a value as text; 8.0 and 8 are one number."""
    whole = isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if whole else printable(str(value))
