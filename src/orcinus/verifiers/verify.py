"""Judge one attempt by the verifier that its task names."""

from collections.abc import Mapping
from dataclasses import replace

from orcinus.core import registry
from orcinus.core.errors import StepError
from orcinus.core.protocols import Verifier
from orcinus.core.types import Attempt, Example, Verdict
from orcinus.verifiers import official, rules
from orcinus.verifiers.answers.maths import NEEDS_LIBRARY
from orcinus.verifiers.ifeval import follows_all
from orcinus.verifiers.judge_prompts import left_to_judge
from orcinus.verifiers.submissions import like_next_submission


async def by_answer_type(example: Example, attempt: Attempt) -> Verdict:
    """Judge an attempt by the rules for the example's answer type."""
    outcome = rules.judge_reply(
        attempt.text, attempt.finish, example.answer_type, example.choices, example.reference
    )
    if outcome.reason == NEEDS_LIBRARY and outcome.answer and example.reference:
        compared = await rules.judge_by_library(outcome.answer, example.reference)
        outcome = replace(compared, confidence=outcome.confidence)
    return rules.verdict_of(outcome, example.answer_type, attempt.id)


async def by_answer_type_unless_guessed(example: Example, attempt: Attempt) -> Verdict:
    """Judge an attempt by rules, but leave an answer that was picked among several to a judge."""
    verdict = await by_answer_type(example, attempt)
    if verdict.confidence != "guessed":
        return verdict
    return replace(verdict, value=None, reason=f"picked among several: {verdict.reason}")


BUILT_IN: Mapping[str, Verifier | str] = {
    "answer_type": by_answer_type,
    "judge_fallback": by_answer_type_unless_guessed,
    "judge": left_to_judge,
    "grounded": left_to_judge,
    "ifeval": follows_all,
    "next_submission": like_next_submission,
    **official.VERIFIERS,
    "reasoning_gym": "orcinus.tasks.generators.gym_verifier:by_generator",
    "environment": "orcinus.tasks.generators.environment_verifier:by_rewards",
}
"""The built-in verifiers by name. The last two are imported on first use: they stand in the
room above, beside what draws their questions."""


async def verify(example: Example, attempt: Attempt) -> Verdict:
    """Judge an attempt by the verifier that its task names, or by the rules for its answer type.

    Raises:
        ConfigError: There is no such verifier.
        StepError: It returns something other than a Verdict.
    """
    name = example.meta.get("verifier")
    if name is None:
        return await by_answer_type(example, attempt)
    verdict: object = await find_verifier(name)(example, attempt)
    if not isinstance(verdict, Verdict):
        raise StepError(f"verifier {name!r} gives {verdict!r:.60}; a verifier gives a Verdict")
    return verdict


def find_verifier(name: str) -> Verifier:
    """Return the verifier of that name, or at ``module:function``.

    Raises:
        ConfigError: There is none, or it does not have the shape of a verifier.
    """
    verifier: Verifier = registry.find("verifier", name, BUILT_IN)
    return verifier
