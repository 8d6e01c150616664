"""Numbers that may only grow on purpose: rooms, recipe keys, commands, options and public names.

A test here fails when something is added. Raise its number only on purpose, in the same commit.
Lower it when something is removed.
"""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import typer.main
from typer.core import TyperGroup, TyperOption

import orcinus
from orcinus.cli.app import app
from orcinus.core.config import Config
from orcinus.pipeline.recipe import Recipe

ROOMS = 12
"""Packages of ``src/orcinus``. Raise this number only on purpose."""
SECTIONS = 54
"""Configuration classes that a recipe can contain. Raise this number only on purpose."""
RECIPE_KEYS = 337
"""Their fields. Raise this number only on purpose."""
COMMANDS = 32
"""Commands shown in ``orcinus --help``, with those of groups. Raise this number only on purpose."""
OPTIONS = 136
"""Their options, without arguments and ``--help``. Raise this number only on purpose."""
PUBLIC_NAMES = 25
"""Names of ``orcinus.__all__``. Raise this number only on purpose."""


def test_the_tree_has_twelve_rooms() -> None:
    root = Path(orcinus.__file__).parent
    entries = {path.name for path in root.iterdir() if path.name != "__pycache__"}
    assert len(entries - {"__init__.py", "__main__.py", "py.typed"}) == ROOMS


def test_a_recipe_has_no_more_keys() -> None:
    sections = set(sections_of(Recipe))
    keys = sum(len(section.model_fields) for section in sections)
    assert (len(sections), keys) == (SECTIONS, RECIPE_KEYS)


def test_the_command_line_has_no_more_commands_and_options() -> None:
    commands = list(_commands(typer.main.get_command(app)))
    options = [
        option
        for command in commands
        for option in command.params
        if isinstance(option, TyperOption) and not option.hidden
    ]
    assert (len(commands), len(options)) == (COMMANDS, OPTIONS)


def test_the_python_api_has_no_more_names() -> None:
    assert len(orcinus.__all__) == PUBLIC_NAMES


def sections_of(annotation: Any) -> Iterator[type[Config]]:
    """Yield the configuration classes in an annotation, with those of their fields."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
        for field in annotation.model_fields.values():
            yield from sections_of(field.annotation)
    elif get_origin(annotation) is not None or isinstance(annotation, types.UnionType):
        for part in get_args(annotation):
            yield from sections_of(part)


def _commands(command: Any) -> Iterator[Any]:
    """Yield the commands in a group that its help shows."""
    if isinstance(command, TyperGroup):
        for part in command.commands.values():
            yield from _commands(part)
    elif not command.hidden:
        yield command
