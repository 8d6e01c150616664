"""The extension points, on one screen. Give an object the right shape and a name; there is nothing to inherit.

Verifiers, filters, selectors, objectives and rewards have names: registered in ``registry.py``, or by another package through the entry-point group
``orcinus`` (``verifiers.NAME``, ``filters.NAME``, ``selectors.NAME``, ``objectives.NAME``, ``rewards.NAME``), and then called by a recipe. A filter, a
reward, and a Completer of your own (``kind: function``), may also come as a function, ``package.module:name``.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from orcinus.core.types import (
    Assignment,
    Attempt,
    Completion,
    Example,
    Judged,
    Request,
    Split,
    Traits,
    Verdict,
    WorstCase,
)

if TYPE_CHECKING:
    import torch


A = TypeVar("A")
B = TypeVar("B")


class Completer(Protocol):
    """A model that answers requests. Holds settings, not connections, so that it pickles; connections open on first use.

    A function ``request -> str | Completion``, or an object with only ``complete``, becomes one where it is opened
    (``models/function.py``).
    """

    @property
    def model(self) -> str:
        """Identity of the model with its revision: part of every fingerprint."""
        ...

    @property
    def traits(self) -> Traits:
        """Abilities beyond answering one request."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer one request.

        Raises:
            CompleterError: No answer came; the error says whether a retry can help.
        """
        ...

    def worst_case(self, request: Request) -> WorstCase:
        """Return upper bounds of what the call can use."""
        ...

    async def aclose(self) -> None:
        """Close connections and stop helpers. May be called twice."""
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

Selector = Callable[[Iterable[Example]], Iterator[Example]]
"""Which examples to teach, of examples that it can go through more than once. With an attribute ``needs_pass_rate = True`` it finds the share
of the student's right answers as ``meta.pass_rate``."""

Reward = Callable[[Example, str], float | Awaitable[float]]
"""What an answer, finished or not, is held to be worth, from 0 to 1. It is handed the example and should not look at its reference."""

Chooser = Callable[[Sequence[Judged]], Assignment]
"""The strategy for one group, given the student's judged attempts at it. Group, evidence and proxy of the Assignment are filled in."""


class Objective(Protocol):
    """How a micro-batch's response tokens are weighted in the loss: the door for re-weighting methods.

    May also have ``evidence`` (names of numbers of a lesson that it wants), ``wants_logprobs`` and ``auxiliary``: see
    ``training/objectives.py``.
    """

    def __call__(
        self,
        batch: Mapping[str, "torch.Tensor"],
        logprobs_N: "torch.Tensor | None",
        evidence: Mapping[str, "torch.Tensor"],
    ) -> "torch.Tensor":
        """Weights (N,) for the N response tokens of the micro-batch, without a graph.

        Args:
            batch: ``weights`` (N,), the lessons' own; ``targets`` (N,), the tokens; ``lesson`` (N,), which lesson of the
                micro-batch a token belongs to.
            logprobs_N: What the student gives each token now; None unless asked for.
            evidence: By name, (N,) each: a number of the token's lesson, or of the token (``answer``: 1 in the final answer).
        """
        ...


class Executor(Protocol):
    """Where pure functions of shards run."""

    def map(
        self, fn: Callable[[A], B], shards: Iterable[A], *, threaded: bool = False
    ) -> Iterator[B]:
        """``fn`` of each shard, in the order of the shards, so that nothing depends on the number of workers.

        Args:
            fn: Pure and picklable: it may run in another process or on another machine, and twice where a worker is killed.
            shards: Read lazily, a bounded number ahead of the results that were taken.
            threaded: ``fn`` may run in several threads at once and mostly lets the interpreter go, as NumPy does.
        """
        ...
