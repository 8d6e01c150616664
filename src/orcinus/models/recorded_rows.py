"""Rows that are already answered as a teacher: OpenOrca, SlimOrca, ShareGPT and Alpaca enter as traces.

    {"system_prompt": "You are a teacher …", "question": "What is 17 + 25?", "response": "First …"}   →   a trace, and nothing is asked

The answer is in the example itself (``meta.response``), so that millions of rows stream.
"""

from typing import Any, Literal

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError
from orcinus.core.types import Completion, Example, Messages, Sampling, Usage
from orcinus.models.recorded import CHARACTERS_PER_TOKEN
from orcinus.models.remote.replies import split_thinking


class AnsweredConfig(Config):
    """The tasks' rows are answered: their own answers are the traces, under their own system messages (the strategy ``recorded``)."""

    kind: Literal["answered"] = "answered"
    model: str = "recorded"
    """The name of the model that answered, for the report and the lessons."""

    def identity(self) -> dict[str, Any]:
        """What besides the rows decides the answers."""
        return {"model": self.model}


class Answered:
    """The Completer of rows that are answered."""

    def __init__(self, *, model: str) -> None:
        self._model = model

    @property
    def model(self) -> str:
        """The name of the model that answered."""
        return self._model

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Refuse: without its row no question has an answer."""
        raise CompleterError(
            "not_found", f"{self._model} answers only the rows of its tasks", permanent=True
        )

    async def complete_example(
        self, example: Example, messages: Messages, sampling: Sampling
    ) -> Completion:
        """The answer that the example's row holds."""
        response = example.meta.get("response")
        if not isinstance(response, str):
            raise CompleterError(
                "not_found", f"the row of {example.task}/{example.id} has no answer", permanent=True
            )
        reasoning, text = split_thinking(response)
        tokens_in = sum(len(message.content) for message in messages) // CHARACTERS_PER_TOKEN
        usage = Usage(tokens_in=tokens_in, tokens_out=len(response) // CHARACTERS_PER_TOKEN)
        return Completion(text=text, finish="stop", reasoning=reasoning, usage=usage)

    async def aclose(self) -> None:
        """Nothing is open."""
