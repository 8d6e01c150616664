"""The extension points, on one screen. Give an object the right shape and a name; there is nothing to inherit.

Verifiers and filters have names: registered in ``registry.py``, or by another package through the entry-point group ``orcinus``
(``verifiers.NAME``, ``filters.NAME``), and then called by a recipe. A Completer of your own comes as a function (``kind: function``).
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from orcinus.types import (
    Assignment,
    Attempt,
    Completion,
    Example,
    Judged,
    Messages,
    Sampling,
    Split,
    Verdict,
    WorstCase,
)

if TYPE_CHECKING:
    import torch

A = TypeVar("A")
B = TypeVar("B")


class Completer(Protocol):
    """A model we can ask. Holds settings, not connections, so that it pickles; connections open on first use."""

    @property
    def model(self) -> str:
        """Identity of the model with its revision: part of every fingerprint."""
        ...

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Ask once.

        Raises:
            CompleterError: No answer came; the error says whether asking again can help.
        """
        ...

    async def aclose(self) -> None:
        """Close connections and stop helpers. May be called twice."""
        ...


@runtime_checkable
class Priced(Protocol):
    """A Completer whose calls cost money, and that knows what a call can cost at most."""

    def worst_case(self, messages: Messages, sampling: Sampling) -> WorstCase:
        """Bounds for one call."""
        ...


@runtime_checkable
class Gathering(Protocol):
    """A Completer that gathers many requests before it asks, and finds by their ids what an earlier process asked."""

    @property
    def at_once(self) -> int:
        """How many calls it wants in flight."""
        ...

    async def complete_as(self, identity: str, messages: Messages, sampling: Sampling) -> Completion:
        """Ask once under the attempt's id.

        Raises:
            CompleterError: No answer came.
        """
        ...


class Task(Protocol):
    """A named set of examples that share an answer format and a verifier."""

    @property
    def name(self) -> str: ...

    def examples(self, split: Split | None = None) -> Iterator[Example]:
        """All examples in a stable order, or those the source itself marks as ``split``."""
        ...


Verifier = Callable[[Example, Attempt], Awaitable[Verdict]]
"""Judges one attempt. Raises only for defects of its own; what cannot be judged is a Verdict with value None."""

Filter = Callable[[Example, Attempt, Verdict], str | None]
"""The reason to drop a trace, or None to keep it."""

Selector = Callable[[Iterable[Example], Mapping[str, Any]], Iterator[Example]]
"""Which examples to teach, given evidence by example id."""

Chooser = Callable[[Sequence[Judged]], Assignment]
"""The strategy for one group, given the student's judged attempts at it."""


class Objective(Protocol):
    """How a batch's response tokens are weighted in the loss: the door for re-weighting methods."""

    def __call__(
        self, batch: Mapping[str, "torch.Tensor"], logprobs_N: "torch.Tensor", evidence: Mapping[str, "torch.Tensor"]
    ) -> "torch.Tensor":
        """Weights (N,) for the N response tokens of the batch, detached from the graph."""
        ...


class Executor(Protocol):
    """Where pure functions of shards run."""

    def map(self, fn: Callable[[A], B], shards: Iterable[A], *, threaded: bool = False) -> Iterator[B]:
        """``fn`` of each shard, in the order of the shards, so that nothing depends on the number of workers.

        Args:
            fn: Pure and picklable: it may run in another process or on another machine, and twice where a worker is killed.
            shards: Read lazily, a bounded number ahead of the results that were taken.
            threaded: ``fn`` may run in several threads at once and mostly lets the interpreter go, as NumPy does.
        """
        ...
