"""Commands that look at runs: status, show, view, diagnose, lint, report."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.options import run_async
from orcinus.core.errors import ConfigError
from orcinus.runs import layout

if TYPE_CHECKING:
    from rich.console import Console

    from orcinus.runs.progress import Live


def status(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run's folder, or its name under --runs. Default: the latest run.",
        ),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    as_json: flags.AsJson = False,
) -> None:
    """Show how far a run is, also while it runs."""
    from orcinus.runs.model_names import has_name, model_name, model_names
    from orcinus.runs.status import run_status

    run_dir = _latest(runs) if run is None else flags.run_folder(run, runs)
    found = run_status(run_dir, ledger or runs / layout.LEDGER)
    if as_json:
        flags.print_json(found)
        return
    console = flags.out_console()
    console.print(f"{found.run}: {found.state}", style="bold", markup=False)
    if found.live is not None:
        console.print(_phase(found.live), markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("step", "state", "time"):
        table.add_column(column, no_wrap=True)
    table.add_column("result", ratio=1)
    for row in found.steps:
        table.add_row(row.step, row.state, row.time, escape(row.summary))
    console.print(table)
    # The names are in tables, and what reads tables takes longer to import than all else here.
    are_named = all(has_name(spend.model) for spend in found.spend)
    names = {} if are_named else model_names(run_dir)
    for spend in found.spend:
        console.print(
            f"{spend.step}: {spend.calls:,} calls to {model_name(spend.model, names)}, "
            f"{spend.tokens_in:,} tokens in, {spend.tokens_out:,} out, ${spend.cost_usd:,.4f}",
            markup=False,
        )
    if found.student is not None:
        console.print(f"student: {found.student}", markup=False, soft_wrap=True)
    journal = (ledger or runs / layout.LEDGER).parent / layout.BATCHES
    if journal.exists():
        _print_batches(console, journal)


def _print_batches(console: "Console", journal: Path) -> None:
    """Print the batches that a provider is working on."""
    from orcinus.cli.ledger import batch_line
    from orcinus.models.remote.batch_journal import read_journal

    for batch in read_journal(journal):
        if batch.state.progress in ("prepared", "sent"):
            console.print(f"at the provider: {batch_line(batch)}", markup=False, soft_wrap=True)


def _phase(now: "Live") -> str:
    """Return how far the current phase is, with the time left or the error that stopped it."""
    from orcinus.runs.progress import in_minutes

    if now.error:
        return f"failed: {now.error}"
    counts = f"{now.done:,}" if now.total is None else f"{now.done:,} of {now.total:,}"
    line = f"{now.what or 'starting'}: {counts}, {now.per_second:,.1f}/s"
    if now.detail:
        line += f", {now.detail}"
    if now.seconds_left and not now.stopped:
        line += f", about {in_minutes(now.seconds_left)} left"
    return line


def show(
    identity: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="The id of an example, attempt or lesson, or its beginning. "
            "Default: the first lesson.",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="Default: the latest run.")
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    as_json: flags.AsJson = False,
) -> None:
    """Show the history of an example, an attempt or a lesson: what each step did, and why."""
    from orcinus.cli.tables import print_found
    from orcinus.runs.lookup import look_up

    found = look_up(flags.run_folder(run, runs) if run is not None else _latest(runs), identity)
    if as_json:
        flags.print_json(found)
    else:
        print_found(flags.out_console(), found)


def view(
    run: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]…", help="Runs to show. Default: all under --runs."),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 0,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in a browser.")
    ] = True,
) -> None:
    """Look at runs in the browser: compare them, search their attempts, open a lesson's history."""
    from orcinus.reports.viewer.server import serve
    from orcinus.reports.viewer.workspace import Workspace

    def on_ready(url: str) -> None:
        flags.say(f"{url}\nonly this machine can open this address; stop with Ctrl-C")
        if open_page and flags.out_console().is_terminal:
            webbrowser.open(url)

    chosen = [flags.run_folder(path, runs) for path in run or ()]
    with Workspace(
        runs, chosen, ledger or (runs / layout.LEDGER if not chosen else None)
    ) as workspace:
        serve(workspace, port=port, on_ready=on_ready)


def diagnose(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN|RECIPE", help="A finished run, or the recipe it came from."),
    ],
    lessons: Annotated[
        int, typer.Option(min=1, help="How many lessons to ask the student again.")
    ] = 200,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    as_json: flags.AsJson = False,
) -> None:
    """Show which lessons the student still fails, why, and what to change."""
    from orcinus.cli.tables import print_diagnosis
    from orcinus.pipeline.diagnose import diagnose_run
    from orcinus.pipeline.recipe_file import load_recipe

    run_dir = flags.run_folder(Path(load_recipe(source).name) if source.is_file() else source, runs)
    runtime = flags.runtime(run_dir.parent, ledger=ledger, concurrency=512, device=device)
    with flags.shown_progress(as_json=as_json) as progress:
        found = run_async(diagnose_run(source, run_dir, runtime, progress, lessons=lessons))
    if as_json:
        flags.print_json(found)
    else:
        print_diagnosis(flags.out_console(), found)
        path = run_dir / layout.DIAGNOSIS_PAGE
        flags.out_console().print(f"also in {path}, .json", markup=False, soft_wrap=True)


def lint(
    source: Annotated[
        Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe's file, or a run.")
    ],
    runs: flags.Runs = flags.DEFAULT_RUNS,
    as_json: flags.AsJson = False,
) -> None:
    """Show each stage's signals from outside, and what filters in fact select by. Asks no model.

    Exit code 1 when something is flagged.
    """
    from orcinus.cli.tables import print_lint
    from orcinus.pipeline.lint import lint as find_faults

    found = find_faults(source if source.is_file() else flags.run_folder(source, runs))
    if as_json:
        flags.print_json(found)
    else:
        print_lint(flags.out_console(), found)
    if found.flags:
        raise typer.Exit(1)


def report(
    run: flags.RunArgument,
    formats: Annotated[
        str, typer.Option("--format", help="Any of html, md, json, separated by commas.")
    ] = "html",
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
) -> None:
    """Write the report of a finished run again. Asks no model."""
    from orcinus.core.files import write_atomically
    from orcinus.reports.facts import facts_of_run
    from orcinus.reports.pages import FORMATS
    from orcinus.runs.ledger import Ledger

    wanted = [name.strip() for name in formats.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise ConfigError(
                f"--format: there is no report format {name!r}; known: {', '.join(FORMATS)}"
            )
    if run.is_file():
        raise ConfigError(f"{run} is a recipe; `orcinus run {run}` runs it and writes the report")
    run_dir = flags.run_folder(run, runs)
    with Ledger(ledger or run_dir.parent / layout.LEDGER, read_only=True) as opened:
        facts = facts_of_run(run_dir, opened.spend(run_dir.name))
    for name in wanted:
        path = run_dir / layout.report(name)
        write_atomically(path, FORMATS[name](facts).encode())
        flags.say(str(path))


def _latest(runs: Path) -> Path:
    recipes = sorted(runs.glob("*/recipe.yaml"), key=lambda path: path.stat().st_mtime)
    if not recipes:
        raise ConfigError(
            f"{runs}: there is no run yet; `orcinus demo` makes one, or give --run or --runs"
        )
    return recipes[-1].parent
