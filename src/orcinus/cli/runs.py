"""Commands about runs: make a recipe, plan it, run it, look at it."""

import asyncio
import webbrowser
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.progress import progress_for
from orcinus.errors import ConfigError

if TYPE_CHECKING:
    from orcinus.runtime import Runtime

T = TypeVar("T")
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


class Interrupted(Exception):
    """The user pressed Ctrl-C."""


def add_commands(app: typer.Typer) -> None:
    """Put this module's commands into ``app``."""
    app.command(rich_help_panel="Start")(init)
    app.command(rich_help_panel="Start")(demo)
    app.command(rich_help_panel="Run")(plan)
    app.command(rich_help_panel="Run")(run)
    app.command(rich_help_panel="Run")(ablate)
    app.command(rich_help_panel="Run")(improve)
    for verb, text in STEP_HELP.items():
        app.command(verb, help=f"{text} Runs the steps before it where needed.", rich_help_panel="One step")(
            _curate if verb == "curate" else _step(verb)
        )
    app.command(rich_help_panel="One step")(report)
    app.command(rich_help_panel="Look")(status)
    app.command(rich_help_panel="Look")(diagnose)
    app.command(rich_help_panel="Look")(trace)
    app.command(rich_help_panel="Look")(explain)
    app.command(rich_help_panel="Results")(export)
    app.command(rich_help_panel="Start")(doctor)
    app.command(rich_help_panel="Start")(schema)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on the fastest event loop there is. Ctrl-C becomes ``Interrupted``, which Typer lets through."""
    try:
        import uvloop
    except ImportError:
        runner: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run
    else:
        runner = uvloop.run
    try:
        return runner(work)
    except KeyboardInterrupt:
        raise Interrupted from None


def init(
    path: Annotated[Path, typer.Argument(metavar="RECIPE", help="Where to write it.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a commented recipe to start from."""
    from orcinus.scaffold import write_recipe

    write_recipe(path, force=force)
    typer.echo(f"wrote {path}; edit its tasks, student and teacher, then: orcinus plan {path}")


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
            "--explain", metavar="ID", help="Run nothing; show what became of this example or trace, and why."
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
    from orcinus.recipe import load_recipe

    explain(explain_id, flags.run_folder(runs / load_recipe(recipe).name, runs), runs, as_json)


def execute(recipe_path: Path, until: str | None, runtime: "Runtime", *, as_json: bool) -> Path:
    """Run a recipe up to the step ``until``, all of it for None, and print what came of it."""
    from orcinus.method import run_recipe
    from orcinus.recipe import load_recipe

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
        Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe, whose steps run where needed; or a finished run.")
    ],
    layouts: Annotated[str, typer.Option("--format", help="Any of html, md, json, with commas.")] = "html",
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    concurrency: flags.Concurrency = 64,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    as_json: flags.AsJson = False,
) -> None:
    """Write the report. Of a recipe it runs the steps before it where needed; of a run it asks nothing."""
    from orcinus.durable import write_atomically
    from orcinus.reporting.facts import facts_of_run
    from orcinus.reporting.pages import FORMATS
    from orcinus.store.ledger import Ledger

    wanted = [name.strip() for name in layouts.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise ConfigError(f"--format: no report is written as {name!r}; known: {', '.join(FORMATS)}")
    if source.is_file():
        runtime = flags.runtime(
            runs=runs, ledger=ledger, concurrency=concurrency, device=device, micro_batch=micro_batch
        )
        run_dir = execute(source, "report", runtime, as_json=as_json)
    else:
        run_dir = flags.run_folder(source, runs)
        with Ledger(ledger or run_dir.parent / "ledger.sqlite", read_only=True) as opened:
            facts = facts_of_run(run_dir, opened.spend(run_dir.name))
        for name in wanted:
            write_atomically(run_dir / f"report.{name}", FORMATS[name](facts).encode())
    if not as_json and (wanted != ["html"] or not source.is_file()):
        for name in wanted:
            typer.echo(f"{run_dir / f'report.{name}'}")


def demo(
    runs: flags.Runs = flags.DEFAULT_RUNS,
    device: flags.Device = "auto",
    open_report: Annotated[bool, typer.Option("--open/--no-open", help="Open the report in a browser.")] = True,
    as_json: flags.AsJson = False,
) -> None:
    """The whole method in a few minutes, offline: a tiny student, short tasks, a teacher that is a program."""
    from orcinus.demo import recipe_path

    with recipe_path() as path:
        runtime = flags.runtime(runs=runs, concurrency=512, device=device)
        run_dir = execute(path, None, runtime, as_json=as_json)
    if open_report and flags.out_console().is_terminal:
        webbrowser.open((run_dir / "report.html").resolve().as_uri())


def ablate(
    recipe: flags.RecipeArgument,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, counting up from the recipe's.")] = 3,
    arm: Annotated[
        list[str] | None, typer.Option(help="Only this arm beside the recipe itself; may be given several times.")
    ] = None,
    equal: Annotated[
        Literal["examples", "tokens"],
        typer.Option(help="What all arms have the same of: examples, or response tokens learnt from."),
    ] = "examples",
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    as_json: flags.AsJson = False,
) -> None:
    """Switch the parts of a recipe one at a time, and compare the students on the same items."""
    from orcinus.ablation import ablate as compare
    from orcinus.ablation import markdown
    from orcinus.recipe import load_recipe

    loaded = load_recipe(recipe)
    runtime = flags.runtime(
        runs=runs, ledger=ledger, concurrency=512, device=device, executor=executor, replicas=replicas
    )
    progress = progress_for(flags.error_console(), as_json=as_json)
    numbers = range(loaded.seed, loaded.seed + seeds)
    try:
        found = run_async(compare(loaded, recipe, runtime, progress, seeds=numbers, only=arm or (), equal=equal))
    finally:
        progress.close()
    if as_json:
        flags.print_json(found)
    else:
        flags.out_console().print(markdown(found), markup=False, soft_wrap=True)
        tokens = "-equal-tokens" if equal == "tokens" else ""
        flags.out_console().print(f"also in {runs / (loaded.name + '-ablation' + tokens)}.md, .svg", markup=False)


def improve(
    recipe: flags.RecipeArgument,
    rounds: Annotated[int, typer.Option(min=1, help="At most so many; it ends when the student gets no better.")] = 3,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    as_json: flags.AsJson = False,
) -> None:
    """Let the student teach itself in rounds: its own right answers under its best strategy, the instruction erased."""
    from orcinus.improving import improve as go_on
    from orcinus.improving import markdown
    from orcinus.recipe import load_recipe

    loaded = load_recipe(recipe)
    runtime = flags.runtime(
        runs=runs,
        ledger=ledger,
        concurrency=512,
        device=device,
        micro_batch=micro_batch,
        executor=executor,
        replicas=replicas,
    )
    progress = progress_for(flags.error_console(), as_json=as_json)
    try:
        found = run_async(go_on(loaded, recipe, runtime, progress, rounds=rounds))
    finally:
        progress.close()
    if as_json:
        flags.print_json(found)
    else:
        flags.out_console().print(markdown(found), markup=False, soft_wrap=True)
        flags.out_console().print(f"also in {runs / (loaded.name + '-improved.md')}", markup=False)


def plan(
    recipe: flags.RecipeArgument,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    nodes: Annotated[int, typer.Option(min=1, help="Also say how so many machines train together.")] = 1,
    processes: flags.Processes = 1,
    as_json: flags.AsJson = False,
) -> None:
    """Show what would run, with calls, tokens and dollars; asks no model and spends nothing."""
    from orcinus.planning import plan_recipe
    from orcinus.recipe import load_recipe

    progress = progress_for(flags.error_console(), as_json=False)
    runtime = flags.runtime(runs=runs, ledger=ledger, processes=processes)
    try:
        planned = run_async(plan_recipe(load_recipe(recipe), recipe, runtime, progress, nodes=nodes))
    finally:
        progress.close()
    if as_json:
        flags.print_json(planned)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in (("step", "left"), ("state", "left"), ("calls", "right"), ("known", "right")):
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


def status(
    run: flags.RunArgument,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    as_json: flags.AsJson = False,
) -> None:
    """Show how far a run is, also while it runs."""
    from orcinus.cli.ledger import line_of
    from orcinus.completers.batch import journaled
    from orcinus.reporting.models import model_name, model_names
    from orcinus.status import run_status

    run_dir = flags.run_folder(run, runs)
    found = run_status(run_dir, ledger or runs / "ledger.sqlite")
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
    for batch in journaled((ledger or runs / "ledger.sqlite").parent / "batches"):
        if batch.state.progress in ("prepared", "sent"):
            console.print(f"under way at the provider: {line_of(batch)}", markup=False, soft_wrap=True)


def diagnose(
    source: Annotated[Path, typer.Argument(metavar="RUN|RECIPE", help="A finished run, or the recipe it came from.")],
    lessons: Annotated[int, typer.Option(min=1, help="How many of its lessons the student is asked again.")] = 200,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    as_json: flags.AsJson = False,
) -> None:
    """Show which lessons the student still fails and why, where it is right, and what to do next."""
    from orcinus.cli.show import print_diagnosis
    from orcinus.diagnosis import diagnose as look_into
    from orcinus.recipe import load_recipe

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
        flags.out_console().print(f"also in {run_dir / 'diagnosis.md'}, .json", markup=False, soft_wrap=True)


def trace(
    lesson: Annotated[
        str | None,
        typer.Argument(metavar="[LESSON]", help="A lesson's id, or the start of it; the first if not given."),
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="The run; the latest if not given.")] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    as_json: flags.AsJson = False,
) -> None:
    """Show where a lesson came from: example, probe, choice, the teacher's words, verdict, cost."""
    from orcinus.cli.show import print_lineage
    from orcinus.lineage import trace_lesson

    found = trace_lesson(flags.run_folder(run, runs) if run is not None else _latest(runs), lesson)
    if as_json:
        flags.print_json(found)
    else:
        print_lineage(flags.out_console(), found)


def explain(
    identity: Annotated[str, typer.Argument(metavar="ID", help="An example's or a trace's id, or the start of it.")],
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="The run; the latest if not given.")] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    as_json: flags.AsJson = False,
) -> None:
    """Show what became of an example or of one of its traces: its split, and each filter that left something out, with the reason."""
    from orcinus.lineage import fate

    found = fate(flags.run_folder(run, runs) if run is not None else _latest(runs), identity)
    if as_json:
        flags.print_json(found)
        return
    for event in found:
        trace = f"  trace {event.trace[:12]}" if event.trace else ""
        flags.out_console().print(
            f"{event.step}  {event.task}/{event.example}{trace}  {event.what}", markup=False, soft_wrap=True
        )


def _latest(runs: Path) -> Path:
    recipes = sorted(runs.glob("*/recipe.yaml"), key=lambda path: path.stat().st_mtime)
    if not recipes:
        raise ConfigError(f"{runs}: there is no run yet; `orcinus demo` makes one, or give --run or --runs")
    return recipes[-1].parent


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
        Path | None, typer.Option("--out", metavar="PATH", help="Where to; RUN/lessons-FORMAT if not given.")
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
) -> None:
    """Write the lessons in a layout that other trainers read."""
    from orcinus.export import LAYOUTS, export_lessons
    from orcinus.lineage import finished_steps

    folder = flags.run_folder(run, runs)
    target = out or folder / (f"lessons-{layout}.jsonl" if layout in LAYOUTS else f"lessons-{layout}")
    lessons = finished_steps(folder, "erase")[0] / "lessons.parquet"
    count = export_lessons(lessons, layout, target, name=folder.name)
    typer.echo(f"{count:,} lessons in {target}")


def doctor(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE]", help="Also look at its endpoints and keys.")
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    as_json: flags.AsJson = False,
) -> None:
    """Show what is installed, devices, endpoints, keys and disk."""
    import os

    from orcinus.doctor import examine
    from orcinus.recipe import load_recipe

    findings = run_async(examine(runs, load_recipe(recipe) if recipe is not None else None, os.environ))
    if as_json:
        flags.print_json(findings)
    else:
        colours = {"ok": "green", "missing": "yellow", "problem": "red"}
        table = Table(box=None, show_header=False, pad_edge=False)
        for finding in findings:
            table.add_row(f"[{colours[finding.state]}]{finding.state}[/]", finding.what, escape(finding.detail))
        flags.out_console().print(table)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(2)


def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from orcinus.recipe import Recipe

    flags.print_json(Recipe.model_json_schema())


def _result(run_dir: Path) -> dict[str, Any]:
    from orcinus.lineage import scores_of

    return {"event": "done", "run": str(run_dir), "scores": scores_of(run_dir)}


def _print_result(run_dir: Path, until: str | None) -> None:
    from orcinus.cli.show import print_scores
    from orcinus.lineage import scores_of

    scores = scores_of(run_dir)
    if until in (None, "evaluate", "report") and scores is not None:
        print_scores(flags.out_console(), scores)
    report = run_dir / "report.html"
    typer.echo(f"report: {report}" if until in (None, "report") and report.exists() else f"run: {run_dir}")
