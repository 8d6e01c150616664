"""Compare a predicted submission of a learner with the real one: does it fail in the same places?

    tests (a, b, c); the real code passes a, the prediction passes a and b  →  agreement 2 of 3

The verdict of ``verifier: next_submission`` is 1 where both pass and fail the same tests. Whether
the code is right does not matter: a learner's next submission often is not.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

from orcinus.core.types import Attempt, Example, Verdict
from orcinus.verifiers.programs import passes, program_in
from orcinus.verifiers.sandbox import NO_SANDBOX, has_sandbox

VERSION = 1


def functional_agreement(predicted: str, real: str, tests: Sequence[str]) -> tuple[int, int] | None:
    """Return on how many tests two programs agree, and how many could be judged for both.

    None where no test could be.

    Args:
        predicted: A program.
        real: Another one.
        tests: Assert statements, each judged alone.
    """
    pairs = [(passes(predicted, test).value, passes(real, test).value) for test in tests]
    judged = [(one, two) for one, two in pairs if one is not None and two is not None]
    return (sum(one == two for one, two in judged), len(judged)) if judged else None


def edit_similarity(predicted: str, real: str) -> float:
    """Return the similarity of two texts from 0 to 1: the share of characters in common blocks."""
    return SequenceMatcher(None, predicted, real, autojunk=False).ratio()


async def like_next_submission(example: Example, attempt: Attempt) -> Verdict:
    """Judge whether a prediction passes and fails the same tests as the real submission."""
    predicted = program_in(attempt.text) if attempt.finish != "error" else None
    real, tests = example.meta.get("next_submission"), example.meta.get("tests") or ()
    value = None
    if predicted is None:
        reason = "no program is given"
    elif not isinstance(real, str) or not tests:
        reason = "the row has no next submission or no tests; layout: history gives both"
    elif not has_sandbox():
        reason = NO_SANDBOX
    elif (agreed := functional_agreement(predicted, real, tests)) is None:
        reason = "no test could be run"
    else:
        value = float(agreed[0] == agreed[1])
        similar = edit_similarity(predicted, real)
        reason = f"agrees on {agreed[0]} of {agreed[1]} tests; edit similarity {similar:.2f}"
    return Verdict(
        attempt_id=attempt.id,
        verifier=f"next_submission@{VERSION}",
        value=value,
        answer=predicted,
        reason=reason,
    )
