"""The demo's teacher and assistant: programs that explain the generated questions."""

from orcinus.core.types import Messages, Sampling
from orcinus.strategies.library import built_in
from orcinus.tasks.generators.procedural import explain

TEACHER_ERRORS = 0.04
"""Share of questions that the teacher answers wrongly, so that verification has work to do."""
ASSISTANT_ERRORS = 0.12
"""Share of questions that the assistant answers wrongly."""


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Explain a generated question the way that the system message asks for.

    Raises:
        LookupError: No generator asks this question.
    """
    return explain(messages[-1].content, _strategy_name(messages), errors=TEACHER_ERRORS)


def assistant(messages: Messages, sampling: Sampling) -> str:
    """Explain like ``teacher``, with more wrong answers.

    Raises:
        LookupError: No generator asks this question.
    """
    return explain(messages[-1].content, _strategy_name(messages), errors=ASSISTANT_ERRORS)


def _strategy_name(messages: Messages) -> str:
    texts = {strategy.system: name for name, strategy in built_in().items()}
    return texts.get(messages[0].content if messages[0].role == "system" else "", "step_by_step")
