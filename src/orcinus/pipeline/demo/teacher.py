"""The demo's teacher and assistant: programs that explain the generated questions."""

from orcinus.core.types import Messages, Sampling
from orcinus.strategies.library import built_in
from orcinus.tasks.generators.procedural import explain

TEACHER_ERRORS = 0.04
"""Share of questions on which the demo's teacher is wrong, so that verification has something to find."""
ASSISTANT_ERRORS = 0.12
"""The same of its assistant."""


def teacher(messages: Messages, sampling: Sampling) -> str:
    """The demo's teacher as a function: reads the question and the strategy's message, and explains; wrong now and then.

    Raises:
        LookupError: It is a question of no family.
    """
    return explain(messages[-1].content, _strategy_in(messages), errors=TEACHER_ERRORS)


def assistant(messages: Messages, sampling: Sampling) -> str:
    """The teacher's assistant as a function: explains alike, and is wrong more often.

    Raises:
        LookupError: It is a question of no family.
    """
    return explain(messages[-1].content, _strategy_in(messages), errors=ASSISTANT_ERRORS)


def _strategy_in(messages: Messages) -> str:
    texts = {strategy.system: name for name, strategy in built_in().items()}
    return texts.get(messages[0].content if messages[0].role == "system" else "", "step_by_step")
