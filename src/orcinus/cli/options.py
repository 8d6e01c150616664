"""Options that several commands share, and the runtime they describe."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from orcinus.core.errors import ConfigError
from orcinus.runs import layout

if TYPE_CHECKING:
    from orcinus.runs.context import Runtime


T = TypeVar("T")


class Interrupted(Exception):
    """The user pressed Ctrl-C."""


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on uvloop where it is installed, else on asyncio.

    Raises:
        Interrupted: The user pressed Ctrl-C. Typer would print a traceback for KeyboardInterrupt.
    """
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


RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, or its name under --runs.")
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of the runs.")]
LedgerPath = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="PATH", help="The ledger. Default: RUNS/ledger.sqlite."),
]
Concurrency = Annotated[int, typer.Option(min=1, help="Calls in flight to a remote model.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 … or auto.")]
MicroBatch = Annotated[
    int | None,
    typer.Option(min=1, help="Packed rows in one forward pass. Default: the trainer chooses."),
]
Processes = Annotated[
    int, typer.Option(min=1, help="Training processes on this machine, usually one for each GPU.")
]
Executor = Annotated[
    str,
    typer.Option("--executor", metavar="local|ray[:ADDRESS]", help="Where to process rows."),
]
Replicas = Annotated[
    int,
    typer.Option(min=0, help="Copies of a local model on the Ray cluster; 0 keeps it here."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]

DEFAULT_RUNS = Path("runs")


def runtime(
    *,
    runs: Path = DEFAULT_RUNS,
    ledger: Path | None = None,
    concurrency: int = 64,
    device: str = "auto",
    micro_batch: int | None = None,
    processes: int = 1,
    executor: str = "local",
    replicas: int = 0,
) -> "Runtime":
    """Return the options as a Runtime. The environment is read here and nowhere else.

    Raises:
        ConfigError: There is no such executor, or replicas without a Ray cluster.
    """
    # Imported here: it loads the ledger and Arrow, and `--help` must not wait for them.
    from orcinus.runs.context import Runtime
    from orcinus.runs.executors.open import open_executor

    if replicas and executor == "local":
        raise ConfigError(
            f"--replicas {replicas} needs a Ray cluster: add --executor ray, or ray:ADDRESS"
        )
    return Runtime(
        workspace=runs,
        ledger_path=ledger or runs / layout.LEDGER,
        concurrency=concurrency,
        device=device,
        micro_batch=micro_batch,
        processes=processes,
        executor=open_executor(executor),
        replicas=replicas,
        secrets=dict(os.environ),
    )


def run_folder(run: Path, runs: Path) -> Path:
    """Return the folder of ``run``: a path, or a name under ``runs``.

    Raises:
        ConfigError: There is no such run.
    """
    for folder in (run, runs / run):
        if (folder / layout.RECIPE).is_file():
            return folder
    known = sorted(path.parent.name for path in runs.glob("*/recipe.yaml"))
    hint = f"known under {runs}: {', '.join(known)}" if known else f"there is none under {runs} yet"
    raise ConfigError(f"no run at {run}; {hint}")


def out_console() -> Console:
    """Return the console for results."""
    return Console(highlight=False)


def error_console() -> Console:
    """Return the console for progress: standard error, so that results can be piped."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    import orjson

    typer.echo(
        orjson.dumps(
            value, option=orjson.OPT_SERIALIZE_DATACLASS | orjson.OPT_NON_STR_KEYS
        ).decode()
    )
