"""The place and the way in which a recipe runs, as each step receives it. Changes no result."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orcinus.core.protocols import Completer, Executor
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import Request
from orcinus.runs import layout
from orcinus.runs.executors.local import LOCAL
from orcinus.runs.sharing import Share

if TYPE_CHECKING:  # Loading them takes half the time in which a worker process starts.
    from orcinus.runs.budget import Budget
    from orcinus.runs.ledger import Ledger


class Progress(Protocol):
    """A receiver of a step's progress: bars on the command line, a log of a service, a test."""

    def start(self, what: str, total: int | None) -> None:
        """Start a phase of ``total`` units; None when the number is unknown."""
        ...

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """Count ``n`` more units as done; ``recalled`` ones came from the ledger."""
        ...

    def note(self, text: str) -> None:
        """Show one line to the user: a warning, a decision."""
        ...


def show_detail(progress: Progress, text: str) -> None:
    """Have a Progress show a text beside its count, if it has a method ``detail`` for that."""
    if (show := getattr(progress, "detail", None)) is not None:
        show(text)


class Silent:
    """A Progress that reports nothing."""

    def start(self, what: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The flags of a run. They decide where and how fast it runs, never its results."""

    workspace: Path
    """Folder of the runs. Relative paths in a recipe start at the recipe's own folder, not here."""
    ledger_path: Path
    concurrency: int = 64
    """Calls in flight to a remote model, at most."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1`` … or ``auto``."""
    micro_batch: int | None = None
    """Packed rows in one forward pass; None leaves it to the trainer."""
    processes: int = 1
    """Training processes on this machine, usually one per GPU."""
    executor: Executor = LOCAL
    """Where files are sampled, replies judged, row groups curated and erased, tokens computed."""
    replicas: int = 0
    """Copies of a local model on the Ray cluster; 0 keeps it in this process."""
    share: Share | None = None
    """The store from which finished steps are taken and to which they are given."""
    fresh: bool = False
    """Ask again what the ledger has answers to from before; a benchmark evaluation heeds it."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The environment variables that recipes can name for keys. They are never written."""

    @property
    def batch_journal(self) -> Path:
        """Folder of the batches that a provider is working on, beside the ledger."""
        return self.ledger_path.parent / layout.BATCHES


class OpenCompleter(Protocol):
    """A function that opens the models of a recipe."""

    def __call__(self, role: str, folder: Path | None = None) -> Completer:
        """Return the recipe's model of a role; the pipeline closes it.

        Args:
            role: ``teacher``, ``student``, ``assistant`` or ``judge``.
            folder: Folder of a model, or of a finished step that made one, to open in its place.
        """
        ...


class Size(NamedTuple):
    """What ``plan`` counts of requests."""

    calls: int
    characters: int
    """Characters of all messages."""
    bound: int
    """Upper bound on the tokens of the replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The calls that a step would make to one model, for ``plan`` to count."""

    role: str
    """The model: ``student``, ``teacher``, ``assistant`` or ``judge``."""
    requests: Iterable[Request]
    """Generated lazily; can be read once."""
    exact: bool
    """True: the step will send exactly these, so the ledger knows which are cached. False: the step
    sends at most as many, and none longer."""
    scores: bool = False
    """True: the model scores texts, which are the last messages, and writes nothing."""
    size: Callable[[], Size] | None = None
    """Counts the requests without making them; None where only making them tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """The surroundings of a step: folders, models, ledger and flags."""

    out: Path
    """The step's own folder. Files already there come from an interrupted run of the same step."""
    inputs: Mapping[str, Path] = field(default_factory=dict)
    """Folders of the finished steps it reads, by role: ``{"sample": runs/NAME/sample-1f0c…}``."""
    run: str
    """Name of the run, to which the ledger books the spending."""
    seed: int
    ledger: "Ledger"
    runtime: Runtime
    progress: Progress
    completer: OpenCompleter
    budget: "Budget | None" = None
    """The run's hard cap on spending; None if the recipe sets none."""
    judging: JudgingConfig | None = None
    """Settings of the recipe's judge; None if it has no judge."""
