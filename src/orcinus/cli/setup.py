"""Commands that prepare: init, doctor, schema."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.options import run_async
from orcinus.core.errors import ConfigError


def init(
    path: Annotated[Path, typer.Argument(metavar="RECIPE", help="Where to write it.")] = Path(
        "recipe.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented recipe to start from."""
    from orcinus.pipeline.scaffold import write_recipe

    write_recipe(path, force=force)
    flags.say(f"wrote {path}; edit its tasks, student and teacher, then: orcinus plan {path}")


def doctor(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE]", help="Also check its endpoints and keys.")
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Make one paid call to each endpoint of the recipe.")
    ] = False,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    as_json: flags.AsJson = False,
) -> None:
    """Show what is installed, devices, endpoints, keys and disk."""
    import os

    from orcinus.pipeline.doctor import INSTALL, examine
    from orcinus.pipeline.recipe_file import load_recipe

    read = None if recipe is None else load_recipe(recipe)
    if ask and read is None:
        raise ConfigError("--ask makes a call to the endpoints of a recipe; name the recipe")
    base = Path() if recipe is None else recipe.parent
    findings = run_async(examine(runs, read, os.environ, base, ask=ask))
    if as_json:
        flags.print_json(findings)
    else:
        colours = {"ok": "green", "missing": "yellow", "problem": "red"}
        console = flags.out_console()
        table = Table(box=None, show_header=False, pad_edge=False)
        for finding in findings:
            if finding.what != INSTALL:
                table.add_row(
                    f"[{colours[finding.state]}]{finding.state}[/]",
                    finding.what,
                    escape(finding.detail),
                )
        console.print(table)
        for finding in findings:
            if finding.what == INSTALL:  # a line of its own, to be copied
                flags.say(f"\nAdd the extras that you need:\n{finding.detail}")
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(2)


def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from orcinus.pipeline.recipe import Recipe

    flags.print_json(Recipe.model_json_schema())
