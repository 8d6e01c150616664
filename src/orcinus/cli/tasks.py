"""Commands about data: inspect task files, judge recorded responses, serve recorded outputs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.options import run_async
from orcinus.core.errors import ConfigError, DataError
from orcinus.core.printing import printable

if TYPE_CHECKING:
    from orcinus.tasks.config import RecordsConfig
    from orcinus.tasks.inspection import FileReading, Inspection


SHOWN_CHARACTERS = 4000
"""Characters of a question that ``inspect`` shows: some fifty lines."""
SHOWN_ROWS = 20
"""Rows that cannot be used: list at most this many; --skip-bad lists all."""

app = typer.Typer(no_args_is_help=True, help="Inspect task files.", pretty_exceptions_enable=False)


def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help="Rows {id, answer_type, choices, reference, response}; plain or gzip.",
        ),
    ],
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Add the words that were read as the answer, and the reference as it was read.",
        ),
    ] = False,
) -> None:
    """Judge recorded responses. Prints one row {id, value, answer, reason} for each, in order.

    A row that cannot be used has an error in its place, and the exit code is 2.
    """
    import orjson

    from orcinus.evaluation.verify_file import verify_file

    rows, errors = 0, []
    for row in verify_file(file, explain=explain):
        rows += 1
        errors += [row["error"]] if "error" in row else []
        sys.stdout.write(printable(orjson.dumps(row).decode()) + "\n")
    sys.stdout.flush()
    if errors:
        count = f"{len(errors)} of {rows} rows cannot be used; " if rows > 1 else ""
        raise DataError(f"{count}{errors[0]}")


@app.command(
    "inspect",
    epilog="[bold]Example:[/]\n\n  $ orcinus tasks inspect sums.jsonl --column prompt=Question",
)
def inspect(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A file, a folder, a glob, a URL or hf:owner/name."),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART=COLUMN[,COLUMN]",
            help="The column that holds a part, as under columns: in a recipe. May be repeated.",
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="List every row that cannot be used, and do not fail (a recipe's skip_bad: true).",
        ),
    ] = False,
    as_json: flags.AsJson = False,
) -> None:
    """Show how task files are read: layout, columns, counts, answer types, examples, problems."""
    from orcinus.tasks.inspection import inspect_task

    report = inspect_task(_task(path, column or ()), Path())
    if as_json:
        flags.print_json(report)
    else:
        _print_inspection(report, SHOWN_ROWS if not skip_bad else len(report.unusable_rows))
    if report.unusable and not skip_bad:
        raise DataError(
            f"{report.unusable_rows[0]} ({report.unusable:,} of {report.rows:,} rows cannot be "
            "used; --skip-bad allows it here)"
        )


@app.command(
    "perturb",
    epilog="[bold]Example:[/]\n\n  $ orcinus tasks perturb test.jsonl --out copies.jsonl",
)
def perturb(
    path: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A file, a folder, a glob, a URL or hf:owner/name."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The JSON Lines to write.")],
    seed: Annotated[int, typer.Option(help="Another seed makes other copies.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Ask this model each item without its context, and leave out copies that it gets "
            "right.",
        ),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
) -> None:
    """Write fresh copies of the items in files: other names and numbers, the same task."""
    from orcinus.pipeline.perturb import perturb_file
    from orcinus.tasks.config import PerturbedRecords

    config = PerturbedRecords(path=path, seed=seed)
    runtime = flags.runtime(runs)
    with flags.shown_progress(as_json=False) as progress:
        found = run_async(perturb_file(config, out, runtime, progress, model=model))
    console = flags.out_console()
    console.print(f"{found.written:,} copies in {out}", style="bold", markup=False)
    for line in found.left_out[:SHOWN_ROWS]:
        console.print(f"no copy of {line}", style="yellow", markup=False, soft_wrap=True)
    if len(found.left_out) > SHOWN_ROWS:
        console.print(f"… and {len(found.left_out) - SHOWN_ROWS:,} more", style="yellow")
    if (leak := found.leakage) is not None:
        gone = "" if leak.removed is None else f"; the copies remove {leak.removed:.1%} of it"
        console.print(
            f"closed-book, {leak.asked:,} items: {leak.right_before:,} right before, "
            f"{leak.right_after:,} after: leakage {leak.before:.1%} and {leak.after:.1%}{gone}",
            markup=False,
        )
        console.print(f"{found.leaking:,} copies are known anyway and are left out", markup=False)


def _task(path: str, columns: Sequence[str]) -> "RecordsConfig":
    from pydantic import ValidationError

    from orcinus.tasks.config import RecordsConfig

    mapping: dict[str, str | tuple[str, ...]] = {}
    for text in columns:
        part, equals, names = text.partition("=")
        if not equals or not names:
            raise ConfigError(f"--column {text}: write PART=COLUMN, such as prompt=Question")
        several = tuple(name.strip() for name in names.split(","))
        mapping[part.strip()] = several if len(several) > 1 else several[0]
    try:
        return RecordsConfig(path=path, columns=mapping)
    except ValidationError as error:
        raise ConfigError(
            "--column: " + error.errors()[0]["msg"].removeprefix("Value error, ")
        ) from error


def _print_reading(console: Console, reading: "FileReading") -> None:
    from orcinus.tasks.files.layouts import LAYOUTS

    files = reading.files
    named = files[0] if len(files) == 1 else f"{len(files):,} files ({files[0]} … {files[-1]})"
    console.print(f"{named} ({reading.rows:,} rows)", style="bold", markup=False, soft_wrap=True)
    console.print(f"  layout: {reading.layout} ({LAYOUTS[reading.layout]})", markup=False)
    for part, columns in reading.columns.items():
        shown = (
            column if rows == reading.rows else f"{column} (in {rows:,} rows)"
            for column, rows in columns.items()
        )
        console.print(f"  {part:<12}← {', '.join(shown)}", markup=False, soft_wrap=True)
    if reading.unused:
        console.print(
            f"  {'not used':<12}: {', '.join(reading.unused)}", markup=False, soft_wrap=True
        )
    console.print()


def _print_inspection(report: "Inspection", shown_rows: int) -> None:
    console = flags.out_console()
    for reading in report.readings:
        _print_reading(console, reading)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        "task",
        "examples",
        "answer type",
        "prompt length (median, longest)",
        "options",
        "without reference",
    ):
        table.add_column(column)
    for task in report.tasks:
        table.add_row(
            escape(task.name),
            f"{task.count:,}",
            ", ".join(f"{kind} {count:,}" for kind, count in task.answer_types.items()),
            f"{task.prompt_median:,}, {task.prompt_longest:,}",
            task.options,
            f"{task.without_reference:,}",
        )
    console.print(table)
    for example in report.examples:
        console.print(
            f"\n{example.task} / {example.id} → {example.reference}", style="bold", markup=False
        )
        more = len(example.prompt) - SHOWN_CHARACTERS
        console.print(
            example.prompt[:SHOWN_CHARACTERS]
            + (f" … and {more:,} characters more" if more > 0 else ""),
            markup=False,
        )
    if report.unusable:
        console.print(
            f"\n{report.unusable:,} of {report.rows:,} rows cannot be used:", style="bold"
        )
    for row in report.unusable_rows[:shown_rows]:
        console.print(row, style="yellow", markup=False, soft_wrap=True)
    if report.unusable > shown_rows:
        console.print(f"… and {report.unusable - shown_rows:,} more", style="yellow")
    for problem in report.problems:
        console.print(problem, style="yellow", markup=False)


def serve_replay(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="[STRATEGY=]FILE…",
            help="Recorded outputs {prompt, response, …}, under one strategy or any.",
        ),
    ],
    model: Annotated[str, typer.Option(help="The model's name.")] = "replay",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8123,
) -> None:
    """Serve recorded outputs as an OpenAI-compatible endpoint, until interrupted."""
    from orcinus.core.requests import ANY_STRATEGY
    from orcinus.models.recorded import Recordings, Replay
    from orcinus.models.server.chat_api import serve_forever
    from orcinus.strategies.prompts import built_in_strategy_of

    by_strategy: dict[str, tuple[str, ...]] = {}
    for text in files:
        strategy, equals, path = text.partition("=")
        name, file = (strategy, path) if equals else (ANY_STRATEGY, text)
        by_strategy[name] = (*by_strategy.get(name, ()), file)
    replay = Replay(Recordings.read(by_strategy, Path()), model=model)

    def on_ready(url: str) -> None:
        flags.say(f"serving {model} at {url}; stop with Ctrl-C")

    run_async(
        serve_forever(
            replay, host=host, port=port, on_ready=on_ready, strategy_of=built_in_strategy_of
        )
    )
