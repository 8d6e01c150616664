"""Verifiers: the final answer in a text, and whether it is right. What cannot be judged is None, never wrong."""

from functools import cache

from orcinus import registry
from orcinus.protocols import Verifier
from orcinus.types import Attempt, Example, Verdict
from orcinus.verifiers import gym as gym
from orcinus.verifiers import judging
from orcinus.verifiers import official as official
from orcinus.verifiers.ifeval import follows_all
from orcinus.verifiers.judge import left_to_judge

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
            attempt.text, example.answer_type, example.choices, example.reference, cut_off=attempt.finish == "length"
        )
        value, answer, reason = outcome.value, outcome.answer, outcome.reason
    return Verdict(
        attempt_id=attempt.id, verifier=f"{example.answer_type}@{VERSION}", value=value, answer=answer, reason=reason
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


registry.verifiers.register("answer_type", lambda: by_answer_type)
registry.verifiers.register("judge_fallback", lambda: by_answer_type)
registry.verifiers.register("judge", lambda: left_to_judge)
registry.verifiers.register("grounded", lambda: left_to_judge)
registry.verifiers.register("ifeval", lambda: follows_all)
