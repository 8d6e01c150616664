"""Commands that plan and run a recipe: plan, run, demo."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.options import run_async
from orcinus.cli.progress import progress_for
from orcinus.runs import layout

if TYPE_CHECKING:
    from orcinus.pipeline.plan import Plan
    from orcinus.runs.context import Runtime

Step = Literal[
    "sample",
    "student",
    "probe",
    "assign",
    "skills",
    "select",
    "teach",
    "curate",
    "erase",
    "train",
    "evaluate",
    "report",
]
"""The steps of a run in order, as ``pipeline.method.VERBS`` has them."""


def plan(
    recipe: flags.RecipeArgument,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    nodes: Annotated[
        int, typer.Option(min=1, help="Also print the command that trains on this many machines.")
    ] = 1,
    processes: flags.Processes = 1,
    as_json: flags.AsJson = False,
) -> None:
    """Show what a run would do, with calls, tokens and dollars. Asks no model, spends nothing."""
    from orcinus.pipeline.plan import plan_recipe
    from orcinus.pipeline.recipe_file import load_recipe

    progress = progress_for(flags.error_console(), as_json=False)
    runtime = flags.runtime(runs=runs, ledger=ledger, processes=processes)
    try:
        planned = run_async(
            plan_recipe(load_recipe(recipe), recipe, runtime, progress, nodes=nodes)
        )
    finally:
        progress.close()
    if as_json:
        flags.print_json(planned)
    else:
        _print_plan(planned)


def run(
    recipe: flags.RecipeArgument,
    until: Annotated[
        Step | None,
        typer.Option(metavar="STEP", help=f"Stop after this step: {', '.join(get_args(Step))}."),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    concurrency: flags.Concurrency = 64,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    processes: flags.Processes = 1,
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    as_json: flags.AsJson = False,
) -> None:
    """Run a recipe, or resume it where it stopped. Nothing is paid for twice."""
    runtime = flags.runtime(
        runs=runs,
        ledger=ledger,
        concurrency=concurrency,
        device=device,
        micro_batch=micro_batch,
        processes=processes,
        executor=executor,
        replicas=replicas,
    )
    run_and_print(recipe, runtime, until=until, as_json=as_json)


def demo(
    runs: flags.Runs = flags.DEFAULT_RUNS,
    device: flags.Device = "auto",
    open_report: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the report in a browser.")
    ] = True,
    as_json: flags.AsJson = False,
) -> None:
    """Run the whole method offline in minutes, with a tiny student and a program as teacher."""
    from orcinus.pipeline.demo import recipe_path

    with recipe_path() as path:
        runtime = flags.runtime(runs=runs, concurrency=512, device=device)
        run_dir = run_and_print(path, runtime, until=None, as_json=as_json)
    if open_report and flags.out_console().is_terminal:
        webbrowser.open((run_dir / layout.report("html")).resolve().as_uri())


def run_and_print(
    recipe_path: Path, runtime: "Runtime", *, until: str | None, as_json: bool
) -> Path:
    """Run a recipe up to the step ``until`` (None: all of it), print the result, return its folder.

    Args:
        recipe_path: The recipe's YAML file.
        runtime: Where and how fast.
        until: The last step to run.
        as_json: Print one JSON object in place of tables.
    """
    from orcinus.cli.tables import print_scores
    from orcinus.evaluation.scores import latest_scores, scores_content
    from orcinus.pipeline.recipe_file import load_recipe
    from orcinus.pipeline.run import run_recipe

    recipe = load_recipe(recipe_path)
    progress = progress_for(flags.error_console(), as_json=as_json)
    try:
        run_dir = run_async(run_recipe(recipe, recipe_path, runtime, progress, until=until))
    finally:
        progress.close()
    scores = latest_scores(run_dir)
    if as_json:
        content = None if scores is None else scores_content(scores)
        flags.print_json({"event": "done", "run": str(run_dir), "scores": content})
        return run_dir
    if until in (None, "evaluate", "report") and scores is not None:
        print_scores(flags.out_console(), scores)
        typer.echo()
    if until not in (None, "report"):
        typer.echo(f"run:     {run_dir} (up to the step {until})")
        return run_dir
    for what, name in (("student", "student"), ("report", layout.report("html"))):
        if (run_dir / name).exists():
            typer.echo(f"{what + ':':<9}{run_dir / name}")
    return run_dir


def _print_plan(planned: "Plan") -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("step", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for column in ("calls", "known", "tokens in", "tokens out"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("dollars", justify="right")
    for row in planned.rows:
        table.add_row(
            row.step,
            row.state,
            "" if row.calls is None else f"{row.calls:,}",
            "" if row.known_calls is None else f"{row.known_calls:,}",
            _range(row.tokens_in, row.tokens_in),
            _range(row.tokens_out_low, row.tokens_out_high),
            _dollars(row.usd_low, row.usd_high),
        )
    console = flags.out_console()
    console.print(table)
    for note in planned.notes:
        console.print(note, markup=False)


def _range(low: int | None, high: int | None) -> str:
    if low is None or high is None:
        return ""
    return _short(low) if low == high else f"{_short(low)} – {_short(high)}"


def _short(number: int) -> str:
    """Return a number with a unit in at most four characters: 758,784 → 759k."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= 10 * unit:
            return f"{number / unit:,.0f}{name}"
        if number >= unit:
            return f"{number / unit:.1f}{name}"
    return str(number)


def _dollars(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return "0.00" if high == 0 else f"{low:,.2f} – {high:,.2f}"
