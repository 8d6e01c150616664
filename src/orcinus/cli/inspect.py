"""Commands that look at a run: status, diagnose, trace, explain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.options import run_async
from orcinus.cli.progress import progress_for
from orcinus.core.errors import ConfigError
from orcinus.runs import layout

if TYPE_CHECKING:
    pass


def status(
    run: flags.RunArgument,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    as_json: flags.AsJson = False,
) -> None:
    """Show how far a run is, also while it runs."""
    from orcinus.cli.ledger import line_of
    from orcinus.models.remote.batch import journaled
    from orcinus.reports.model_names import model_name, model_names
    from orcinus.runs.status import run_status

    run_dir = flags.run_folder(run, runs)
    found = run_status(run_dir, ledger or runs / layout.LEDGER)
    if as_json:
        flags.print_json(found)
        return
    console = flags.out_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("step", "state", "time", "what came of it"):
        table.add_column(column)
    for row in found.steps:
        table.add_row(row.step, row.state, row.time, escape(row.summary))
    console.print(table)
    names = model_names(run_dir)
    for spend in found.spend:
        console.print(
            f"{spend.step}: {spend.calls:,} calls to {model_name(spend.model, names)}, {spend.tokens_in:,} tokens in, "
            f"{spend.tokens_out:,} out, ${spend.cost_usd:,.4f}",
            markup=False,
        )
    for batch in journaled((ledger or runs / layout.LEDGER).parent / layout.BATCHES):
        if batch.state.progress in ("prepared", "sent"):
            console.print(
                f"under way at the provider: {line_of(batch)}", markup=False, soft_wrap=True
            )


def diagnose(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN|RECIPE", help="A finished run, or the recipe it came from."),
    ],
    lessons: Annotated[
        int, typer.Option(min=1, help="How many of its lessons the student is asked again.")
    ] = 200,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    as_json: flags.AsJson = False,
) -> None:
    """Show which lessons the student still fails and why, where it is right, and what to do next."""
    from orcinus.cli.show import print_diagnosis
    from orcinus.evaluation.diagnosis.diagnose import diagnose as look_into
    from orcinus.pipeline.recipe_file import load_recipe

    run_dir = flags.run_folder(Path(load_recipe(source).name) if source.is_file() else source, runs)
    runtime = flags.runtime(runs=run_dir.parent, ledger=ledger, concurrency=512, device=device)
    progress = progress_for(flags.error_console(), as_json=as_json)
    try:
        found = run_async(look_into(source, run_dir, runtime, progress, lessons=lessons))
    finally:
        progress.close()
    if as_json:
        flags.print_json(found)
    else:
        print_diagnosis(flags.out_console(), found)
        flags.out_console().print(
            f"also in {run_dir / layout.DIAGNOSIS_PAGE}, .json", markup=False, soft_wrap=True
        )


def trace(
    lesson: Annotated[
        str | None,
        typer.Argument(
            metavar="[LESSON]", help="A lesson's id, or the start of it; the first if not given."
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="The run; the latest if not given.")
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    as_json: flags.AsJson = False,
) -> None:
    """Show where a lesson came from: example, probe, choice, the teacher's words, verdict, cost."""
    from orcinus.cli.show import print_lineage
    from orcinus.runs.lineage import trace_lesson

    found = trace_lesson(flags.run_folder(run, runs) if run is not None else _latest(runs), lesson)
    if as_json:
        flags.print_json(found)
    else:
        print_lineage(flags.out_console(), found)


def explain(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="An example's or a trace's id, or the start of it.")
    ],
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="The run; the latest if not given.")
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    as_json: flags.AsJson = False,
) -> None:
    """Show what became of an example or of one of its traces: its split, and each filter that left something out, with the reason."""
    from orcinus.runs.lineage import fate

    found = fate(flags.run_folder(run, runs) if run is not None else _latest(runs), identity)
    if as_json:
        flags.print_json(found)
        return
    for event in found:
        trace = f"  trace {event.trace[:12]}" if event.trace else ""
        flags.out_console().print(
            f"{event.step}  {event.task}/{event.example}{trace}  {event.what}",
            markup=False,
            soft_wrap=True,
        )


def _latest(runs: Path) -> Path:
    recipes = sorted(runs.glob("*/recipe.yaml"), key=lambda path: path.stat().st_mtime)
    if not recipes:
        raise ConfigError(
            f"{runs}: there is no run yet; `orcinus demo` makes one, or give --run or --runs"
        )
    return recipes[-1].parent
