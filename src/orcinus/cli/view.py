"""Looking at runs in the browser."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from orcinus.cli import options as flags
from orcinus.runs import layout


def view(
    run: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]…", help="Runs' folders, or names under --runs; all if none given."
        ),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 0,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in a browser.")
    ] = True,
) -> None:
    """Look at runs in the browser, also while they go on: compare them, search their attempts, open a lesson's whole history."""
    from orcinus.reports.viewer.server import serve
    from orcinus.reports.viewer.workspace import Workspace

    def on_ready(url: str) -> None:
        typer.echo(
            f"{url}\nonly this machine can open it, and only with the whole address; stop with Ctrl-C"
        )
        if open_page and flags.out_console().is_terminal:
            webbrowser.open(url)

    chosen = [flags.run_folder(path, runs) for path in run or ()]
    with Workspace(
        runs, chosen, ledger or (runs / layout.LEDGER if not chosen else None)
    ) as workspace:
        serve(workspace, port=port, on_ready=on_ready)
