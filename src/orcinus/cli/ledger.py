"""Commands about the ledger: what was spent, what went wrong, whether it is whole."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Look into the memory of every paid call.", pretty_exceptions_enable=False)
LedgerArgument = Annotated[Path, typer.Argument(metavar="[LEDGER]", help="The ledger's file.")]
DEFAULT_LEDGER = flags.DEFAULT_RUNS / "ledger.sqlite"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such ledger; runs make theirs in RUNS/ledger.sqlite")
    return path


@app.command()
def spend(
    path: LedgerArgument = DEFAULT_LEDGER,
    run: Annotated[str | None, typer.Option(help="Only this run.")] = None,
    as_json: flags.AsJson = False,
) -> None:
    """Show what was spent by run, step, model and task; errors by class; how long replies took."""
    from orcinus.store.ledger import Ledger

    with Ledger(_existing(path), read_only=True) as ledger:
        rows, errors, latencies = ledger.spend(run), ledger.errors(), ledger.latencies()
    if as_json:
        flags.print_json({"spend": rows, "errors": errors, "latencies": latencies})
        return
    console = flags.out_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "step", "model", "task"):
        table.add_column(column)
    for column in ("calls", "errors", "tokens in", "tokens out", "dollars"):
        table.add_column(column, justify="right")
    for row in rows:
        numbers = (
            f"{row.calls:,}",
            f"{row.errors:,}",
            f"{row.tokens_in:,}",
            f"{row.tokens_out:,}",
            f"{row.cost_usd:,.4f}",
        )
        table.add_row(row.run, row.step, row.model, row.task, *numbers)
    console.print(table)
    console.print(f"total ${sum(row.cost_usd for row in rows):,.4f} for {sum(row.calls for row in rows):,} calls")
    for model, kind, count in errors:
        console.print(f"{model}: {count:,} attempts end in {kind}; the next run asks them again", markup=False)
    for item in latencies:
        console.print(
            f"{item.model}: half of {item.calls:,} replies within {item.p50_s:.2f} s, 90 % within {item.p90_s:.2f} s, "
            f"99 % within {item.p99_s:.2f} s",
            markup=False,
        )


@app.command()
def verify(path: LedgerArgument = DEFAULT_LEDGER) -> None:
    """Derive every fingerprint anew and list what does not match."""
    from orcinus.store.ledger import Ledger

    with Ledger(_existing(path), read_only=True) as ledger:
        problems = list(ledger.verify())
    for problem in problems:
        typer.echo(problem)
    typer.echo(f"{path}: {f'{len(problems):,} problems' if problems else 'whole'}")
    if problems:
        raise typer.Exit(2)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="Where to write it.")],
    path: Annotated[Path, typer.Option("--ledger", metavar="LEDGER", help="The ledger's file.")] = DEFAULT_LEDGER,
) -> None:
    """Write every call, what was sent and what came back, to a Parquet file."""
    from orcinus.store.ledger import Ledger

    with Ledger(_existing(path), read_only=True) as ledger:
        typer.echo(f"{out}: {ledger.export(out):,} calls")


@app.command()
def compact(path: LedgerArgument = DEFAULT_LEDGER) -> None:
    """Give unused space back to the disk."""
    from orcinus.store.ledger import Ledger

    with Ledger(_existing(path)) as ledger:
        before, after = ledger.compact()
    typer.echo(f"{path}: {before:,} bytes before, {after:,} after")
