"""The commands, in the order in which a newcomer meets them."""

from typing import Annotated

import typer

import orcinus
from orcinus.cli import chat, ledger, view
from orcinus.cli import evaluate as evaluating
from orcinus.cli import tasks as data
from orcinus.cli.inspect import diagnose, explain, status, trace
from orcinus.cli.runs import STEP_HELP, _curate, _step, demo, export, plan, report, run
from orcinus.cli.setup import doctor, init, schema
from orcinus.cli.studies import ablate, improve

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


def add_commands(app: typer.Typer) -> None:
    """Put this module's commands into ``app``."""
    app.command(rich_help_panel="Start")(init)
    app.command(rich_help_panel="Start")(demo)
    app.command(rich_help_panel="Run")(plan)
    app.command(rich_help_panel="Run")(run)
    app.command(rich_help_panel="Run")(ablate)
    app.command(rich_help_panel="Run")(improve)
    for verb, text in STEP_HELP.items():
        app.command(
            verb, help=f"{text} Runs the steps before it where needed.", rich_help_panel="One step"
        )(_curate if verb == "curate" else _step(verb))
    app.command(rich_help_panel="One step")(report)
    app.command(rich_help_panel="Look")(status)
    app.command(rich_help_panel="Look")(diagnose)
    app.command(rich_help_panel="Look")(trace)
    app.command(rich_help_panel="Look")(explain)
    app.command(rich_help_panel="Results")(export)
    app.command(rich_help_panel="Start")(doctor)
    app.command(rich_help_panel="Start")(schema)


add_commands(app)
app.command(rich_help_panel="Look")(view.view)
evaluating.add_commands(app)
app.command(rich_help_panel="Results")(chat.chat)
app.command(rich_help_panel="Results")(chat.serve)
data.add_commands(app)
app.add_typer(ledger.app, name="ledger", rich_help_panel="Look")
