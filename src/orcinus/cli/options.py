"""Options that several commands share, and the runtime they describe."""

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Unpack

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from orcinus.core.errors import ConfigError
from orcinus.core.printing import printable
from orcinus.runs import layout
from orcinus.runs.sharing import refuse_store

if TYPE_CHECKING:
    from orcinus.cli.progress import Shown
    from orcinus.pipeline.api import Flags
    from orcinus.runs.context import Runtime


T = TypeVar("T")


class Interrupted(BaseException):
    """The user pressed Ctrl-C, or another signal asked the command to stop."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C into ``Interrupted``. Typer would print its own message for KeyboardInterrupt."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None


@contextmanager
def shown_progress(*, as_json: bool) -> Iterator["Shown"]:
    """Show the progress of the work inside, and let Ctrl-C interrupt it."""
    from orcinus.cli.progress import progress_for

    progress = progress_for(error_console(), as_json=as_json)
    try:
        with interruptible():
            yield progress
    finally:
        progress.close()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on the fastest event loop that is installed.

    Raises:
        Interrupted: The user pressed Ctrl-C.
    """
    from orcinus.pipeline.event_loop import run_coroutine

    with interruptible():
        return run_coroutine(work)


RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, or its name under --runs.")
]


def _on_disk(option: typer.CallbackParam, value: Path | None) -> Path | None:
    """Refuse the URL of a store."""
    refuse_store(option.name or "", value)
    return value


Runs = Annotated[
    Path,
    typer.Option("--runs", metavar="DIR", help="Folder of the runs.", callback=_on_disk),
]
LedgerPath = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="PATH",
        help="The ledger. Default: RUNS/ledger.sqlite.",
        callback=_on_disk,
    ),
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
    typer.Option(
        "--executor", metavar="local[:WORKERS]|ray[:ADDRESS]", help="Where to process rows."
    ),
]
Replicas = Annotated[
    int,
    typer.Option(min=0, help="Copies of a local model on the Ray cluster; 0 keeps it here."),
]
ShareUrl = Annotated[
    str | None,
    typer.Option(
        "--share",
        metavar="URL",
        help="Take finished steps from this place and give them there: s3://bucket/folder, or a "
        "folder on a shared disk.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]

DEFAULT_RUNS = Path("runs")


def runtime(runs: Path, **options: Unpack["Flags"]) -> "Runtime":
    """Return the options as a Runtime.

    Raises:
        ConfigError: There is no such executor, or there are replicas without a Ray cluster.
    """
    # Imported here: it loads every room below, and `--help` must not wait for that.
    from orcinus.pipeline.api import runtime_of

    return runtime_of(runs, **options)


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


class SafeConsole(Console):
    """A console that escapes the control characters of the texts it is given."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the segments of ``renderable``, which are escaped unless Rich made them."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def out_console() -> Console:
    """Return the console for results."""
    return SafeConsole(highlight=False)


def error_console() -> Console:
    """Return the console for progress: standard error, so that results can be piped."""
    return SafeConsole(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print ``text`` with its control characters escaped."""
    typer.echo(printable(text))


def show_note(text: str) -> None:
    """Show one line about how a result comes about, beside the results."""
    error_console().print(text, style="yellow", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    import orjson

    say(
        orjson.dumps(
            value, option=orjson.OPT_SERIALIZE_DATACLASS | orjson.OPT_NON_STR_KEYS
        ).decode()
    )
