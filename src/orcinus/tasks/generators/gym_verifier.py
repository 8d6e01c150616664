"""Judge answers to reasoning-gym tasks with the rule of the generator that made the question.

Many of these questions have more than one right answer; the generator's rule knows them all.
"""

from functools import lru_cache
from typing import Any

import orjson

from orcinus.core.types import Attempt, Example, Verdict
from orcinus.tasks.generators.gym import VERIFIER, open_gym
from orcinus.verifiers.rules import find_answer

VERSION = 1


async def by_generator(example: Example, attempt: Attempt) -> Verdict:
    """Judge an answer by its generator: right for full points, wrong for fewer."""
    value = answer = None
    if attempt.finish in ("error", "refusal"):
        reason = "no answer came" if attempt.finish == "error" else "refused"
    else:
        found = find_answer(
            attempt.text, example.answer_type, None, cut_off=attempt.finish == "length"
        )
        answer, reason = found.answer, found.rule
        if answer is not None:
            made = orjson.dumps(example.meta["gym"])
            points = open_gym(made).score_answer(answer, _entry(made, example.meta["place"]))
            value = 1.0 if points >= 1 else 0.0
    return Verdict(
        attempt_id=attempt.id,
        verifier=f"{VERIFIER}@{VERSION}",
        value=value,
        answer=answer,
        reason=reason,
    )


@lru_cache(maxsize=1024)
def _entry(made: bytes, place: int) -> Any:
    """Draw a question again, with what the generator knows of it."""
    return open_gym(made)[place]
