"""Turn what a user's function raises into one line: which function, where, on what, and why.

    filter my_rules:short raises KeyError: 'colour' in /work/my_rules.py:7, on example sums-12 of
    task sums; fix it and run the same command again: finished work is kept

``registry.find`` returns users' functions guarded; a model's function is guarded where it is asked.
"""

import functools
import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from orcinus.core.errors import OrcinusError, StepError
from orcinus.core.types import Example, Judged

OURS = Path(__file__).parents[1]
"""The folder of this package."""
RUNS_OURS = ("executor", "selector")
"""Kinds whose functions call back into this package; what fails there is a defect of ours."""


@contextmanager
def guard(
    kind: str, name: str, function: Callable[..., Any], on: Callable[[], str]
) -> Iterator[None]:
    """Turn what the function raises while the block runs into a StepError.

    Errors of ours pass, which tell their cause in one line, and so does a lack of memory, for which
    training has a remedy.

    Args:
        kind: The kind of function.
        name: Its name in the recipe.
        function: The function.
        on: Says what it was called with.

    Raises:
        StepError: It raised, or it exited.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 (raised in one line)
        raise_in_one_line(error, kind, name, function, on)


def raise_in_one_line(
    error: BaseException,
    kind: str,
    name: str,
    function: Callable[..., Any],
    on: Callable[[], str],
) -> NoReturn:
    """Raise what ``guard`` makes of an error: for code that runs so often that a block is dear."""
    if isinstance(error, OrcinusError) or _lacks_memory(error):
        raise error
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    if kind in RUNS_OURS and OURS in Path(innermost).parents:
        raise error
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    raise StepError(
        f"{kind} {name} raises {said} in {place_of(error, function)}{on()}; "
        "fix it and run the same command again: finished work is kept"
    ) from error


def _lacks_memory(error: BaseException) -> bool:
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error)
    return isinstance(error, MemoryError) or of_torch


def place_of(error: BaseException, function: Callable[..., Any]) -> str:
    """Return the file and line of a user's code that an error came from.

    That is the innermost line that lies beside the function's file, or else the innermost.
    """
    frames = traceback.extract_tb(error.__traceback__)
    try:
        home = Path(inspect.getsourcefile(inspect.unwrap(function)) or "").parent
    except TypeError:  # written in C, or an object
        home = None
    theirs = [frame for frame in frames if Path(frame.filename).parent == home]
    frame = (theirs or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


def describe(example: Example) -> str:
    """Return the words that name an example.

    >>> describe(Example(id="a", task="sums", prompt="?", answer_type="free"))
    ', on example a of task sums'
    """
    return f", on example {example.id} of task {example.task}"


class Guarded:
    """A user's function that tells in one line what it raises; else it is like the function."""

    def __init__(self, kind: str, name: str, function: Callable[..., Any]) -> None:
        """Take a function.

        Args:
            kind: The kind of function.
            name: Its name in the recipe.
            function: The function.
        """
        functools.update_wrapper(self, function)
        self._kind, self._name, self._function = kind, name, function

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Call the function; guard the coroutine or the iterator that it may return, too."""
        with self._guard(args):
            result = self._function(*args, **settings)
        if inspect.isawaitable(result):
            return self._wait(result, args)
        if isinstance(result, Iterator):
            return self._iterate(result)
        return result

    async def _wait(self, result: Any, args: tuple[Any, ...]) -> Any:
        with self._guard(args):
            return await result

    def _iterate(self, results: Iterator[Any]) -> Iterator[Any]:
        given = 0

        def count_results() -> str:
            return f", after {given} results"

        while True:
            with guard(self._kind, self._name, self._function, count_results):
                try:
                    item = next(results)
                except StopIteration:
                    return
            yield item
            given += 1

    def _guard(self, args: tuple[Any, ...]) -> Any:
        return guard(self._kind, self._name, self._function, lambda: _subject(args))


@functools.lru_cache(maxsize=256)
def guarded(kind: str, name: str, function: Callable[..., Any]) -> Guarded:
    """Return a user's function, guarded."""
    return Guarded(kind, name, function)


def _subject(args: tuple[Any, ...]) -> str:
    """Say which row a function was called with, where its arguments tell."""
    first = args[0] if args else None
    if isinstance(first, Example):
        return describe(first)
    if isinstance(first, list | tuple) and first and isinstance(first[0], Judged):
        return f", on {len(first)} attempts, the first at example {first[0].attempt.example_id}"
    return ""
