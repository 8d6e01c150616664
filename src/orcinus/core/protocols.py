"""The extension points on one screen: the shape of each kind of function, to write your own.

There is nothing to inherit. A function of the right shape gets a name with ``@orcinus.register``,
or a recipe names its place as ``module:function``; see ``registry.py``. The ninth kind, an
objective, is ``loss(inputs: LossInputs, **settings) -> LossOutput``; see
``training/objectives/interface.py``. What a function raises stops the run in one line; see
``guard.py``.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from orcinus.core.types import (
    AnswerType,
    Assignment,
    Attempt,
    Completion,
    Example,
    Judged,
    Request,
    Traits,
    Verdict,
    WorstCase,
)

A = TypeVar("A")
B = TypeVar("B")

Model = Callable[[Request], str | Completion | Awaitable[str | Completion]]
"""Answers one request. An object with this method as ``complete`` is a model too; with the other
members it is a ``Completer``."""

Task = Callable[..., Iterable[Example]]
"""Returns the examples of a task, the same in the same order at each call. Settings are keyword
arguments."""

Verifier = Callable[[Example, Attempt], Awaitable[Verdict]]
"""Judges one attempt. An attempt that cannot be judged gets a Verdict with the value None; an
exception stops the run."""

Filter = Callable[[Example, Attempt, Verdict], str | None]
"""Returns the reason to drop a trace, or None to keep it."""

Selector = Callable[..., Iterator[Example]]
"""Yields the examples to teach, out of an iterable of examples that it may read more than once.
Settings are keyword arguments. With ``needs_pass_rate=True`` declared, ``meta.pass_rate`` is the
student's share of right answers to the example."""

Chooser = Callable[[Sequence[Judged]], Assignment]
"""Returns the strategy for one group, given the student's judged attempts at it. ``assign`` sets
``group``, ``evidence`` and ``proxy`` of the Assignment."""

Reward = Callable[[Example, str], float | Awaitable[float]]
"""Scores a complete or partial answer from 0 to 1, without looking at the example's reference."""


class Completer(Protocol):
    """A model as the engine uses it. It holds settings, not connections, so that it pickles."""

    @property
    def model(self) -> str:
        """Identity of the model with its revision: part of every fingerprint."""
        ...

    @property
    def traits(self) -> Traits:
        """Abilities beyond answering one request."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer one request. The first call opens the connection.

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


class Asked(Protocol):
    """What decides how a question is asked: an Example, or a question without its texts."""

    @property
    def id(self) -> str:
        """Unique within its task."""
        ...

    @property
    def task(self) -> str:
        """Name of its task."""
        ...

    @property
    def answer_type(self) -> AnswerType:
        """How its answer is written."""
        ...

    @property
    def meta(self) -> Mapping[str, Any]:
        """Further facts from the source."""
        ...


class Executor(Protocol):
    """A runner of pure functions on shards. A function ``(fn, shards) -> Iterator`` becomes one."""

    def map(
        self,
        fn: Callable[[A], B],
        shards: Iterable[A],
        *,
        threaded: bool = False,
        processes: bool = False,
    ) -> Iterator[B]:
        """Yield ``fn`` of each shard, in the order of the shards.

        Nothing may depend on the number of workers.

        Args:
            fn: Pure and picklable. It can run in another process or on another machine, and twice
                when a worker is killed.
            shards: Read lazily, a bounded number ahead of the results taken.
            threaded: ``fn`` can run in several threads and mostly releases the interpreter lock.
            processes: ``fn`` holds that lock, and there is enough to do for worker processes.
        """
        ...
