"""Commands about the ledger: what was spent, what went wrong, whether it is whole."""

import typer

app = typer.Typer(no_args_is_help=True, help="Look into the memory of every paid call.", pretty_exceptions_enable=False)
