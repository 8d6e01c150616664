"""Commands about runs: make a recipe, plan it, run it, look at it."""

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.inspect import explain
from orcinus.cli.options import run_async
from orcinus.cli.progress import progress_for
from orcinus.core.errors import ConfigError
from orcinus.runs import layout

if TYPE_CHECKING:
    from orcinus.runs.context import Runtime


STEP_HELP = {
    "sample": "Draw probe, teach and held-out examples; take evaluation items out of the pool.",
    "probe": "Measure the student under every strategy.",
    "assign": "Choose each task's strategy from what was measured.",
    "skills": "Have instructions written for single tasks, and keep those that help the student.",
    "select": "Choose what of the teach split is taught: by the student's pass rate, by columns, by diversity.",
    "teach": "Have the teacher explain with the assigned strategy.",
    "curate": "Keep the traces worth learning from; record why others were dropped.",
    "erase": "Replace the strategy's prompt by the generic one.",
    "train": "Train the student in stages.",
}


def run(
    recipe: flags.RecipeArgument,
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
    """Do everything the recipe asks, or go on where it stopped."""
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
    execute(recipe, None, runtime, as_json=as_json)


def _step(verb: str) -> Callable[..., None]:
    def command(
        recipe: flags.RecipeArgument,
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
        execute(recipe, verb, runtime, as_json=as_json)

    return command


def _curate(
    recipe: flags.RecipeArgument,
    explain_id: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="ID",
            help="Run nothing; show what became of this example or trace, and why.",
        ),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    concurrency: flags.Concurrency = 64,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    as_json: flags.AsJson = False,
) -> None:
    if explain_id is None:
        runtime = flags.runtime(
            runs=runs,
            ledger=ledger,
            concurrency=concurrency,
            device=device,
            micro_batch=micro_batch,
            executor=executor,
            replicas=replicas,
        )
        execute(recipe, "curate", runtime, as_json=as_json)
        return
    from orcinus.pipeline.recipe_file import load_recipe

    explain(explain_id, flags.run_folder(runs / load_recipe(recipe).name, runs), runs, as_json)


def execute(recipe_path: Path, until: str | None, runtime: "Runtime", *, as_json: bool) -> Path:
    """Run a recipe up to the step ``until``, all of it for None, and print what came of it."""
    from orcinus.pipeline.recipe_file import load_recipe
    from orcinus.pipeline.run import run_recipe

    recipe = load_recipe(recipe_path)
    progress = progress_for(flags.error_console(), as_json=as_json)
    try:
        run_dir = run_async(run_recipe(recipe, recipe_path, runtime, progress, until=until))
    finally:
        progress.close()
    if as_json:
        flags.print_json(_result(run_dir))
    else:
        _print_result(run_dir, until)
    return run_dir


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE|RUN", help="A recipe, whose steps run where needed; or a finished run."
        ),
    ],
    layouts: Annotated[
        str, typer.Option("--format", help="Any of html, md, json, with commas.")
    ] = "html",
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    concurrency: flags.Concurrency = 64,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    as_json: flags.AsJson = False,
) -> None:
    """Write the report. Of a recipe it runs the steps before it where needed; of a run it asks nothing."""
    from orcinus.core.files import write_atomically
    from orcinus.reports.facts import facts_of_run
    from orcinus.reports.pages import FORMATS
    from orcinus.runs.ledger import Ledger

    wanted = [name.strip() for name in layouts.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise ConfigError(
                f"--format: no report is written as {name!r}; known: {', '.join(FORMATS)}"
            )
    if source.is_file():
        runtime = flags.runtime(
            runs=runs,
            ledger=ledger,
            concurrency=concurrency,
            device=device,
            micro_batch=micro_batch,
        )
        run_dir = execute(source, "report", runtime, as_json=as_json)
    else:
        run_dir = flags.run_folder(source, runs)
        with Ledger(ledger or run_dir.parent / layout.LEDGER, read_only=True) as opened:
            facts = facts_of_run(run_dir, opened.spend(run_dir.name))
        for name in wanted:
            write_atomically(run_dir / layout.report(name), FORMATS[name](facts).encode())
    if not as_json and (wanted != ["html"] or not source.is_file()):
        for name in wanted:
            typer.echo(f"{run_dir / f'report.{name}'}")


def demo(
    runs: flags.Runs = flags.DEFAULT_RUNS,
    device: flags.Device = "auto",
    open_report: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the report in a browser.")
    ] = True,
    as_json: flags.AsJson = False,
) -> None:
    """The whole method in a few minutes, offline: a tiny student, short tasks, a teacher that is a program."""
    from orcinus.pipeline.demo import recipe_path

    with recipe_path() as path:
        runtime = flags.runtime(runs=runs, concurrency=512, device=device)
        run_dir = execute(path, None, runtime, as_json=as_json)
    if open_report and flags.out_console().is_terminal:
        webbrowser.open((run_dir / layout.report("html")).resolve().as_uri())


def plan(
    recipe: flags.RecipeArgument,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    nodes: Annotated[
        int, typer.Option(min=1, help="Also say how so many machines train together.")
    ] = 1,
    processes: flags.Processes = 1,
    as_json: flags.AsJson = False,
) -> None:
    """Show what would run, with calls, tokens and dollars; asks no model and spends nothing."""
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
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in (
        ("step", "left"),
        ("state", "left"),
        ("calls", "right"),
        ("known", "right"),
    ):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("tokens in", justify="right", no_wrap=True)
    table.add_column("tokens out", justify="right", no_wrap=True)
    table.add_column("dollars", justify="right")
    for row in planned.rows:
        table.add_row(
            row.step,
            row.state,
            _count(row.calls),
            _count(row.known_calls),
            _range(row.tokens_in, row.tokens_in),
            _range(row.tokens_out_low, row.tokens_out_high),
            _money(row.usd_low, row.usd_high),
        )
    console = flags.out_console()
    console.print(table)
    for note in planned.notes:
        console.print(note, markup=False)


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _range(low: int | None, high: int | None) -> str:
    if low is None or high is None:
        return ""
    return _short(low) if low == high else f"{_short(low)} – {_short(high)}"


def _short(number: int) -> str:
    """Three digits and a unit: 758,784 → 759k."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= 10 * unit:
            return f"{number / unit:,.0f}{name}"
        if number >= unit:
            return f"{number / unit:.1f}{name}"
    return str(number)


def _money(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return "0.00" if high == 0 else f"{low:,.2f} – {high:,.2f}"


def export(
    run: flags.RunArgument,
    layout: Annotated[
        str,
        typer.Option(
            "--format",
            help="A file: messages, sharegpt, alpaca, trl. A folder: axolotl, llama-factory, dataset (Hugging Face).",
        ),
    ] = "messages",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="Where to; RUN/lessons-FORMAT if not given."),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
) -> None:
    """Write the lessons in a layout that other trainers read."""
    from orcinus.lessons.export import LAYOUTS, export_lessons
    from orcinus.runs.folders import finished_steps
    from orcinus.runs.layout import LESSONS

    folder = flags.run_folder(run, runs)
    target = out or folder / (
        f"lessons-{layout}.jsonl" if layout in LAYOUTS else f"lessons-{layout}"
    )
    lessons = finished_steps(folder, "erase")[0] / LESSONS
    count = export_lessons(lessons, layout, target, name=folder.name)
    typer.echo(f"{count:,} lessons in {target}")


def _result(run_dir: Path) -> dict[str, Any]:
    from orcinus.evaluation.scores import latest_scores, scores_content

    scores = latest_scores(run_dir)
    content = None if scores is None else scores_content(scores)
    return {"event": "done", "run": str(run_dir), "scores": content}


def _print_result(run_dir: Path, until: str | None) -> None:
    from orcinus.cli.show import print_scores
    from orcinus.evaluation.scores import latest_scores

    scores = latest_scores(run_dir)
    if until in (None, "evaluate", "report") and scores is not None:
        print_scores(flags.out_console(), scores)
    report = run_dir / layout.report("html")
    typer.echo(
        f"report: {report}" if until in (None, "report") and report.exists() else f"run: {run_dir}"
    )
