"""A function as a model: for tests, for teachers that are programs, for models with another API.

    def shout(request):
        return request.example.prompt.upper()

    teacher: {kind: function, function: my_module:shout}

A function of ``(messages, sampling)`` works as well, and so does an object that has
``complete(request)``. Each may be sync or async.
"""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

from pydantic import field_validator

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError, ConfigError
from orcinus.core.guard import describe, place_of, raise_in_one_line
from orcinus.core.protocols import Completer, Model
from orcinus.core.registry import find
from orcinus.core.requests import as_sent
from orcinus.core.types import Completion, Request, Traits, Usage, WorstCase
from orcinus.models.bounds import free_call

_CONTINUES = Traits(continues=True)
_BLANKS = bytes(32 if chr(code).isspace() else code for code in range(256))
"""Maps what ``str.split`` splits ASCII at to a space."""
_SHAPES = "a function of (request) or of (messages, sampling), or an object with complete(request)"


class FunctionConfig(Config):
    """A function of ``(request)`` or ``(messages, sampling)`` that returns a text or Completion."""

    kind: Literal["function"] = "function"
    """A Python function answers."""
    function: str
    """A registered name, or ``module:function`` of an installed module or one beside the recipe."""
    version: str = "1"
    """Raise it when the function's answers change: the ledger keeps answers by it."""

    @field_validator("function")
    @classmethod
    def _function_is_a_model(cls, value: str) -> str:
        find("model", value, {})
        return value

    def identity(self) -> dict[str, Any]:
        """Return what decides the answers."""
        return {"function": self.function, "version": self.version}

    def open(self) -> Completer:
        """Return the function as a Completer, under the name and version of the recipe.

        Raises:
            ConfigError: There is no such function, or it does not have the shape of a model.
        """
        name = f"function:{self.function}@{self.version}"
        return as_completer(find("model", self.function, {}), name=name)


class FunctionModel:
    """The Completer of a function.

    A ``LookupError`` from the function means that it can never answer this question. Any other
    exception stops the run.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        model: str,
        traits: Traits = _CONTINUES,
        worst_case: Callable[[Request], WorstCase] = free_call,
    ) -> None:
        """Take a function of ``(request)`` or of ``(messages, sampling)``.

        Args:
            function: Returns a text or a Completion, or a coroutine of one.
            model: Identity, part of every fingerprint.
            traits: Its abilities. By default it continues partial replies (``request.partial``,
                or the assistant's message at the end of ``messages``).
            worst_case: Bounds of one call; by default it costs nothing.

        Raises:
            ConfigError: The function takes other arguments.
        """
        self._function, self._own = _by_request(function, model), function
        self._model, self._traits, self._worst_case = model, traits, worst_case

    @property
    def model(self) -> str:
        """The function's name and version."""
        return self._model

    @property
    def traits(self) -> Traits:
        """The traits that were given."""
        return self._traits

    async def complete(self, request: Request) -> Completion:
        """Call the function.

        Raises:
            CompleterError: The function has no answer to this question.
            ConfigError: It returned neither a text nor a Completion.
            StepError: It raised something else.
        """
        try:
            answer = self._function(request)
            if not isinstance(answer, str | Completion) and inspect.isawaitable(answer):
                answer = await answer
        except LookupError as error:
            why = str(error)
            if type(error) is not LookupError:  # perhaps a slip of the function
                why += f" ({type(error).__name__} in {place_of(error, self._own)})"
            raise CompleterError(
                "bad_request", f"{self._model} has no answer: {why}", permanent=True
            ) from error
        except (Exception, SystemExit) as error:  # noqa: BLE001 (raised in one line)
            example = request.example
            raise_in_one_line(error, "model", self._model, self._own, lambda: describe(example))
        if isinstance(answer, Completion):
            return answer
        if not isinstance(answer, str):
            raise ConfigError(
                f"{self._model} returned {type(answer).__name__}; return a str or a Completion"
            )
        words_in = 0
        for message in as_sent(request)[0]:
            count = _count_known if message.role == "system" else count_words
            words_in += count(message.content)
        usage = Usage(tokens_in=words_in, tokens_out=count_words(answer))
        return Completion(text=answer, finish="stop", usage=usage)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of one call."""
        return self._worst_case(request)

    async def aclose(self) -> None:
        """Do nothing: a function holds no connection."""


class _ObjectModel(FunctionModel):
    """The Completer of an object that has ``complete`` and perhaps some of the other members."""

    def __init__(self, owner: Any, *, model: str) -> None:
        super().__init__(
            owner.complete,
            model=model,
            traits=getattr(owner, "traits", Traits()),
            worst_case=getattr(owner, "worst_case", free_call),
        )
        self._owner = owner

    async def aclose(self) -> None:
        """Close the object if it can be closed."""
        if hasattr(self._owner, "aclose"):
            await self._owner.aclose()


def count_words(text: str) -> int:
    """Return ``len(text.split())``. For ASCII it makes no words, in a third of the time."""
    if not text.isascii():
        return len(text.split())
    plain = text.encode().translate(_BLANKS).strip()
    while b"  " in plain:
        plain = plain.replace(b"  ", b" ")
    return plain.count(b" ") + 1 if plain else 0


_count_known = lru_cache(maxsize=64)(count_words)
"""``count_words`` of system messages, which come again and again."""


def as_completer(model: object, *, name: str) -> Completer:
    """Return a function or an object with ``complete`` as a Completer.

    Args:
        model: A function, or an object with ``complete(request)``. Defaults fill the members of a
            Completer that the object lacks.
        name: Its identity, part of every fingerprint.

    Raises:
        ConfigError: It is neither.
    """
    if inspect.isclass(model):
        raise ConfigError(f"{name} is a class; a model is {_SHAPES}")
    if hasattr(model, "complete"):
        return _ObjectModel(model, model=name)
    if callable(model):
        return FunctionModel(model, model=name)
    raise ConfigError(f"{name} is a {type(model).__name__}; a model is {_SHAPES}")


def _by_request(function: Callable[..., Any], name: str) -> Model:
    """Return ``function`` as a function of the request, whichever of the two shapes it has."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} hides what it takes; a model is {_SHAPES}") from error
    takes_one, takes_two = _binds(signature, 1), _binds(signature, 2)
    if takes_one and (not takes_two or next(iter(signature.parameters)) == "request"):
        return function
    if takes_two:
        return lambda request: function(*as_sent(request))
    raise ConfigError(f"{name} takes {signature}; a model is {_SHAPES}")


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*(None,) * count)
    except TypeError:
        return False
    return True
