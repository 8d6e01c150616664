"""Rows that are already answered as a teacher: OpenOrca, SlimOrca, ShareGPT and Alpaca enter as traces.

    {"system_prompt": "You are a teacher …", "question": "What is 17 + 25?", "response": "First …"}   →   a trace, and nothing is asked

The answer is in the example itself (``meta.response``), so that millions of rows stream.
"""

from typing import Any, Literal

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError
from orcinus.core.types import Completion, Request, Traits, WorstCase
from orcinus.models.bounds import free_call
from orcinus.models.recorded import recorded_completion
from orcinus.models.remote.replies import split_thinking


class AnsweredConfig(Config):
    """The tasks' rows are answered: their own answers are the traces, under their own system messages (the strategy ``recorded``)."""

    kind: Literal["answered"] = "answered"
    model: str = "recorded"
    """The name of the model that answered, for the report and the lessons."""

    def identity(self) -> dict[str, Any]:
        """What besides the rows decides the answers."""
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
        """None: a row has no other continuation."""
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
        return recorded_completion(request, response, text, reasoning)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs nothing."""
        return free_call(request)

    async def aclose(self) -> None:
        """Do nothing: the answers are in the examples."""
