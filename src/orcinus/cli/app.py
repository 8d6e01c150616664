"""The commands, in the order in which a newcomer meets them."""

from typing import Annotated

import typer

import orcinus
from orcinus.cli import chat, data, evaluating, ledger, runs, view

app = typer.Typer(
    name="orcinus",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Teach a small model to reason with the strategy that works best for it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orcinus {orcinus.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


runs.add_commands(app)
app.command(rich_help_panel="Look")(view.view)
evaluating.add_commands(app)
app.command(rich_help_panel="Results")(chat.chat)
app.command(rich_help_panel="Results")(chat.serve)
data.add_commands(app)
app.add_typer(ledger.app, name="ledger", rich_help_panel="Look")
