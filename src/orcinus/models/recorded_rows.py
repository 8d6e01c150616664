"""Rows that already hold an answer as a teacher: OpenOrca, SlimOrca, ShareGPT, Alpaca.

    {"system_prompt": "You are a teacher …", "question": "What is 17 + 25?", "response": "First …"}
        →  a trace, without a call to any model

The answer stands in the example itself (``meta.response``), so that millions of rows stream.
"""

from typing import Any, Literal

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError
from orcinus.core.types import Completion, Request, Traits, WorstCase
from orcinus.models.bounds import free_call
from orcinus.models.recorded import recorded_completion
from orcinus.models.remote.thinking import split_thinking


class AnsweredConfig(Config):
    """The tasks' own answers as traces, under their own system messages (strategy ``recorded``)."""

    kind: Literal["answered"] = "answered"
    """The rows of the tasks already hold a teacher's answers; no model is asked."""
    model: str = "recorded"
    """The name of the model that answered, for the report and the lessons."""

    def identity(self) -> dict[str, Any]:
        """Return what decides the answers, the rows themselves left out."""
        return {"model": self.model}


class AnsweredRows:
    """The Completer of rows that hold their answers."""

    def __init__(self, *, model: str) -> None:
        self._model = model

    @property
    def model(self) -> str:
        """The name of the model that answered."""
        return self._model

    @property
    def traits(self) -> Traits:
        """None: a row holds one whole answer."""
        return Traits()

    async def complete(self, request: Request) -> Completion:
        """Return the answer in the example's row.

        Raises:
            CompleterError: The row has none.
        """
        example = request.example
        response = example.meta.get("response")
        if not isinstance(response, str):
            raise CompleterError(
                "not_found", f"the row of {example.task}/{example.id} has no answer", permanent=True
            )
        reasoning, text = split_thinking(response)
        reasoning = reasoning or example.meta.get("reasoning")
        return recorded_completion(request, response, text, reasoning)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs nothing."""
        return free_call(request)

    async def aclose(self) -> None:
        """Do nothing: the answers are in the examples."""
