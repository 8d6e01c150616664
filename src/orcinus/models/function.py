"""A function as a model: for tests, for teachers that are programs, for models with an interface of their own.

def shout(messages, sampling): return messages[-1].content.upper()
ScriptedConfig(function="my_module:shout")
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError
from orcinus.core.registry import function_named
from orcinus.core.types import Completion, Messages, Sampling, Usage

Answer = str | Completion
Function = Callable[[Messages, Sampling], Answer | Awaitable[Answer]]


class ScriptedConfig(Config):
    """A function of (messages, sampling) that returns a text or a Completion, or a coroutine of one."""

    kind: Literal["function"] = "function"
    function: str
    """Where it is: ``package.module:name``."""
    version: str = "1"
    """Raise it when the function answers otherwise: the ledger remembers answers by it."""

    def identity(self) -> dict[str, Any]:
        """What decides the answers."""
        return {"function": self.function, "version": self.version}


class Scripted:
    """The Completer of a function."""

    def __init__(self, function: Function, *, model: str) -> None:
        self._function = function
        self._model = model

    @property
    def model(self) -> str:
        """The function's name and version."""
        return self._model

    @property
    def continues(self) -> bool:
        """The function is shown the beginning as the last message, and whether it goes on is its own affair."""
        return True

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Call the function.

        A ``LookupError`` of the function means that it has no answer to this question, ever; any other exception is a defect.
        """
        try:
            answer = self._function(messages, sampling)
            if inspect.isawaitable(answer):
                answer = await answer
        except LookupError as error:
            raise CompleterError(
                "bad_request", f"{self._model} has no answer: {error}", permanent=True
            ) from error
        if isinstance(answer, Completion):
            return answer
        words_in = sum(len(message.content.split()) for message in messages)
        return Completion(
            text=answer,
            finish="stop",
            usage=Usage(tokens_in=words_in, tokens_out=len(answer.split())),
        )

    async def aclose(self) -> None:
        """Nothing is open."""


def open_scripted(config: ScriptedConfig) -> Scripted:
    """The model of a ``ScriptedConfig``.

    Raises:
        ConfigError: There is no such function.
    """
    return Scripted(
        function_named(config.function), model=f"function:{config.function}@{config.version}"
    )
