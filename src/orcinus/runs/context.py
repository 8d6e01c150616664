"""Where a recipe runs and what a step is handed. Nothing here may change a result."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orcinus.core.protocols import Completer, Executor
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import Request
from orcinus.runs import layout
from orcinus.runs.budget import Budget
from orcinus.runs.executors.local import LOCAL
from orcinus.runs.ledger import Ledger


class Progress(Protocol):
    """How a step says how far it is. The command line draws bars, a test collects, a service logs."""

    def start(self, what: str, total: int | None) -> None:
        """A new phase of ``total`` units; None when the number is not known."""
        ...

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """``n`` more units are done; ``recalled`` units came from the ledger and count for no rate."""
        ...

    def note(self, text: str) -> None:
        """One line a reader should see: a warning, a decision."""
        ...


class Silent:
    """Progress for nobody."""

    def start(self, what: str, total: int | None) -> None:
        """Say nothing."""

    def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The flags: they decide where and how fast, never what."""

    workspace: Path
    """Folder of the runs; relative paths in a recipe start at the recipe's own folder, not here."""
    ledger_path: Path
    concurrency: int = 64
    """Calls in flight to a remote model."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1`` … or ``auto``."""
    micro_batch: int | None = None
    """Packed rows in one forward pass; None lets the trainer choose."""
    processes: int = 1
    """Training processes on this machine, usually one for each GPU."""
    executor: Executor = LOCAL
    """Where signatures, overlaps and lessons' tokens are computed."""
    replicas: int = 0
    """Copies of a local model that answer on the Ray cluster; 0 keeps it in this process."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The environment variables that recipes may name for keys. Never written anywhere."""

    @property
    def batch_journal(self) -> Path:
        """Where batches under way at a provider are remembered: beside the ledger, into which their answers go."""
        return self.ledger_path.parent / layout.BATCHES


class OpenCompleter(Protocol):
    """Opens the models of a recipe."""

    def __call__(self, role: str, folder: Path | None = None) -> Completer:
        """The recipe's model of ``role`` (``teacher``, ``student``, ``judge``), closed by the pipeline.

        Args:
            role: Whose model.
            folder: The folder of a finished step that made a student, or of a model, to open in place of the recipe's own.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The calls that a step would make to one model, before any is made: what ``plan`` counts."""

    role: str
    """Who is asked: ``student``, ``teacher``, ``assistant`` or ``judge``."""
    requests: Iterable[Request]
    """Made lazily, once."""
    exact: bool
    """True where these are the very requests that the step will send, so that the ledger can say which
    it knows; False where they are as many, and as long, as the step can send at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What a step is handed besides its configuration."""

    out: Path
    """The step's own folder. Files that are there already come from an interrupted run of the same step."""
    inputs: Mapping[str, Path]
    """Folders of the finished steps it reads, by role, e.g. ``{"sample": runs/NAME/sample-1f0c…}``."""
    run: str
    """Name of the run, under which spending is booked."""
    seed: int
    ledger: Ledger
    runtime: Runtime
    progress: Progress
    completer: OpenCompleter
    budget: Budget | None = None
    """The run's hard cap on spending; None when the recipe sets none."""
    judging: JudgingConfig | None = None
    """How the recipe's judge is asked; None when the recipe has none."""
