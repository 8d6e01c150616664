"""Commands about the ledger: spending, errors, integrity, batches."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.core.errors import ConfigError
from orcinus.runs import layout

if TYPE_CHECKING:
    from orcinus.models.remote.batch_journal import Batch


app = typer.Typer(
    no_args_is_help=True,
    help="Inspect the ledger, the record of every paid call.",
    pretty_exceptions_enable=False,
)
LedgerArgument = Annotated[Path, typer.Argument(metavar="[LEDGER]", help="The ledger's file.")]
DEFAULT_LEDGER = flags.DEFAULT_RUNS / layout.LEDGER


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(
            f"{path}: there is no such ledger; runs make theirs in RUNS/ledger.sqlite"
        )
    return path


@app.command()
def spend(
    path: LedgerArgument = DEFAULT_LEDGER,
    run: Annotated[str | None, typer.Option(help="Only this run.")] = None,
    as_json: flags.AsJson = False,
) -> None:
    """Show spending by run, step, model and task, errors by class, and latencies."""
    from orcinus.runs.ledger import Ledger

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
    dollars, calls = sum(row.cost_usd for row in rows), sum(row.calls for row in rows)
    console.print(f"total ${dollars:,.4f} for {calls:,} calls")
    for model, kind, count, permanent in errors:
        kept = f"; {permanent:,} of them only with other settings" if permanent else ""
        console.print(
            f"{model}: {count:,} attempts ended in {kind}; the next run retries them{kept}",
            markup=False,
        )
    if any(permanent for *_, permanent in errors):
        console.print("`orcinus ledger forget --errors` has all of them retried", markup=False)
    for item in latencies:
        console.print(
            f"{item.model}: half of {item.calls:,} replies took at most {item.p50_s:.2f} s, "
            f"90 % at most {item.p90_s:.2f} s, 99 % at most {item.p99_s:.2f} s",
            markup=False,
        )


@app.command()
def verify(path: LedgerArgument = DEFAULT_LEDGER) -> None:
    """Compute every fingerprint again and list those that do not match."""
    from orcinus.runs.ledger import Ledger

    with Ledger(_existing(path), read_only=True) as ledger:
        problems = list(ledger.verify())
    for problem in problems:
        flags.say(problem)
    flags.say(f"{path}: {f'{len(problems):,} problems' if problems else 'intact'}")
    if problems:
        raise typer.Exit(2)


@app.command()
def forget(
    path: LedgerArgument = DEFAULT_LEDGER,
    errors: Annotated[
        bool,
        typer.Option(
            "--errors", help="Required: have the next run retry requests that ended in an error."
        ),
    ] = False,
    run: Annotated[str | None, typer.Option(help="Only this run.")] = None,
) -> None:
    """Forget errors, so that the next run asks again; answers and spending stay."""
    from orcinus.runs.ledger import Ledger

    if not errors:
        raise ConfigError("only errors can be forgotten; write: orcinus ledger forget --errors")
    with Ledger(_existing(path)) as ledger:
        count = ledger.forget_errors(run)
    flags.say(f"{path}: {count:,} errors forgotten; the next run asks these requests again")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="Where to write it.")],
    path: Annotated[
        Path, typer.Option("--ledger", metavar="LEDGER", help="The ledger's file.")
    ] = DEFAULT_LEDGER,
) -> None:
    """Write every call, with request and reply, to a Parquet file."""
    from orcinus.runs.ledger import Ledger

    with Ledger(_existing(path), read_only=True) as ledger:
        flags.say(f"{out}: {ledger.export(out):,} calls")


@app.command()
def batches(
    path: LedgerArgument = DEFAULT_LEDGER,
    cancel: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Ask the provider to stop this batch; finished answers are kept."
        ),
    ] = None,
    as_json: flags.AsJson = False,
) -> None:
    """List the batches sent to providers, with the progress this machine has last seen."""
    from orcinus.models.remote.batch_journal import read_journal

    found = read_journal(path.parent / layout.BATCHES)
    if cancel is not None:
        chosen = [batch for batch in found if cancel in (batch.state.batch_id, batch.state.key)]
        if not chosen:
            raise ConfigError(
                f"{cancel}: there is no such batch; orcinus ledger batches lists them"
            )
        _cancel(chosen[0])
    if as_json:
        flags.print_json([batch.state for batch in found])
        return
    for batch in found:
        flags.say(batch_line(batch))
    if not found:
        flags.say("no batches")


def batch_line(batch: "Batch") -> str:
    """Return a batch as one line."""
    state = batch.state
    sent = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.created))
    progress = f"{state.progress}, {state.answered:,} of {state.requests:,} answered"
    why = f"; {state.why}" if state.why else ""
    name = state.batch_id or state.key
    return f"{name}  {sent}  {state.model}  {state.status or 'not sent'} ({progress}){why}"


def _cancel(batch: "Batch") -> None:
    import asyncio
    import os

    from orcinus.models.remote.batch_provider import cancel

    if batch.state.progress != "sent":
        raise ConfigError(
            f"{batch.state.batch_id or batch.state.key}: is {batch.state.progress}; "
            "there is nothing to stop"
        )
    asyncio.run(cancel(batch, secrets=os.environ))


@app.command()
def compact(path: LedgerArgument = DEFAULT_LEDGER) -> None:
    """Return unused space to the disk, and drop batches whose answers are all in the ledger."""
    from orcinus.models.remote.batch_journal import clear
    from orcinus.runs.ledger import Ledger

    with Ledger(_existing(path)) as ledger:
        cleared = clear(path.parent / layout.BATCHES, ledger.known)
        before, after = ledger.compact()
    dropped = f"; {cleared:,} finished batches dropped" if cleared else ""
    flags.say(f"{path}: {before:,} bytes before, {after:,} after{dropped}")
