"""Judge answers to tasks of a `verifiers` environment with the rewards of the environment.

The sum of its weighted rewards decides: right from ``right`` on, else wrong. A reward function that
fails gives no verdict, where the package itself would count a zero.
"""

import logging
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import orjson

from orcinus.core.errors import one_line
from orcinus.core.types import Attempt, Example, Verdict
from orcinus.tasks.generators.environment import VERIFIER, open_environment, parts_of, rows_of
from orcinus.tasks.generators.tasksets import TasksetRows, score_reply

VERSION = 1
_faults: ContextVar[list[str] | None] = ContextVar("faults", default=None)


class _Faults(logging.Handler):
    """Keeps the errors of reward functions, which the package only logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Add a message to those of the verdict that is being made."""
        if (faults := _faults.get()) is not None:
            faults.append(record.getMessage())


async def by_rewards(example: Example, attempt: Attempt) -> Verdict:
    """Judge an answer by the rewards of the environment that asked."""
    value = answer = None
    if attempt.finish in ("error", "refusal"):
        reason = "no answer came" if attempt.finish == "error" else "refused"
    else:
        made = orjson.dumps(example.meta["environment"])
        reward, answer, faults = await _score(made, example.meta["place"], attempt.text)
        right = reward >= example.meta["right"]
        reason = f"reward {reward:g}, right from {example.meta['right']:g}"
        if faults:
            reason = f"a reward failed: {faults[0]:.120}"
        elif right or attempt.finish != "length":
            value = 1.0 if right else 0.0
        else:
            reason = f"cut off; {reason}"
    return Verdict(
        attempt_id=attempt.id,
        verifier=f"{VERIFIER}@{VERSION}",
        value=value,
        answer=answer,
        reason=reason,
    )


async def _score(made: bytes, place: int, text: str) -> tuple[float, str | None, list[str]]:
    """Return the reward of a text, the answer in it, and what went wrong."""
    environment = open_environment(made)
    if isinstance(environment, TasksetRows):
        try:
            return await score_reply(environment.task(place), text), None, []
        except Exception as error:  # noqa: BLE001 (a reward is anybody's code)
            return 0.0, None, [one_line(str(error))]
    from verifiers.types import State

    row = _row(made, place)
    completion = [{"role": "assistant", "content": text}]
    state = State(input=dict(row), completion=completion, trajectory=[], reward=0.0, metrics={})
    faults: list[str] = []
    _listen(environment.rubric)
    token = _faults.set(faults)
    try:
        await environment.rubric.score_rollout(state)
        answer = environment.parser.parse_answer(completion)
    finally:
        _faults.reset(token)
    return float(state["reward"] or 0.0), None if answer is None else str(answer), faults


@lru_cache(maxsize=1024)
def _row(made: bytes, place: int) -> Any:
    return rows_of(made)[place]


def _listen(rubric: Any) -> None:
    """Hear the errors that a rubric and its parts log, once each."""
    for part in parts_of(rubric):
        if not any(isinstance(handler, _Faults) for handler in part.logger.handlers):
            part.logger.addHandler(_Faults(logging.ERROR))
