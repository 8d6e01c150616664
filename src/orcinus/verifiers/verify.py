"""Judge one attempt by the verifier that its task names."""

from functools import cache

from orcinus.core import registry
from orcinus.core.protocols import Verifier
from orcinus.core.types import Attempt, Example, Verdict
from orcinus.verifiers import rules as judging

VERSION = 2
"""Raised when a rule changes, so that verdicts say which rules they were made by."""


async def by_answer_type(example: Example, attempt: Attempt) -> Verdict:
    """The verdict of the rules for the example's answer type."""
    if attempt.finish == "error":
        value, answer, reason = None, None, "no answer came"
    elif attempt.finish == "refusal":
        value, answer, reason = None, None, "refused"
    else:
        outcome = judging.judge(
            attempt.text,
            example.answer_type,
            example.choices,
            example.reference,
            cut_off=attempt.finish == "length",
        )
        value, answer, reason = outcome.value, outcome.answer, outcome.reason
    return Verdict(
        attempt_id=attempt.id,
        verifier=f"{example.answer_type}@{VERSION}",
        value=value,
        answer=answer,
        reason=reason,
    )


async def verify(example: Example, attempt: Attempt) -> Verdict:
    """The verdict of the verifier that the example's task names, or of the rules for its answer type."""
    name = example.meta.get("verifier")
    return await (by_answer_type if name is None else named(name))(example, attempt)


@cache
def named(name: str) -> Verifier:
    """The registered verifier called ``name``.

    Raises:
        ConfigError: There is none; the message lists those there are.
    """
    verifier: Verifier = registry.verifiers.get(name)()
    return verifier
