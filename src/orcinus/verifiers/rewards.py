"""Score a complete or partial answer from 0 to 1 without a reference, for choosing and tree search.

logprob          exp(mean log-probability of the model's own tokens); costs nothing
judge            the judge's rating r from 1 to 10, as (r - 1) / 9; one call for each different text
module:function  (example, text) -> number from 0 to 1, or a coroutine; also by a registered name
"""

import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orcinus.core import registry
from orcinus.core.errors import StepError
from orcinus.core.imports import import_later
from orcinus.core.protocols import Reward
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import Attempt, Example
from orcinus.runs.context import StepContext
from orcinus.verifiers.judge_prompts import FACTS

if TYPE_CHECKING:
    from orcinus.verifiers import judge as judging
else:
    judging = import_later("orcinus.verifiers.judge")


BUILT_IN = ("logprob", "judge")
"""Rewards that are more than a function of a text: they need log-probabilities, or a judge."""
LOW, HIGH = SCALE = (1, 10)
PROMISE = (
    f"You are rating a solution that may be unfinished. Rate from {LOW} to {HIGH} how likely it is "
    "that the solution, gone on with from where it stands, ends in the right answer: "
    f"{HIGH} where every step so far is right, {LOW} where a step is wrong. "
    "Judge the steps and not the style."
)
"""The judge's instruction, unless ``judging.instructions.rating`` replaces it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A complete or partial answer that is to be scored."""

    example: Example
    text: str
    """From the first word of the answer."""
    logprobs: tuple[float, ...] | None
    """The log-probabilities of its tokens, if the model gave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """A score, and the judge's call that gave it."""

    value: float | None
    """From 0 to 1; None if the judge gave no readable rating."""
    reply: Attempt | None = None
    """The judge's call, if it was asked."""


Rewarding = Callable[[Sequence[Written]], Awaitable[list[Worth]]]
"""Scores many answers at once."""


def open_reward(name: str, context: StepContext, *, step: str) -> Rewarding:
    """Return the reward called ``name``.

    Args:
        name: ``logprob``, ``judge``, a registered name, or ``module:function``.
        context: The step's context; its judge is asked.
        step: The step that spending is booked under; the judge's is ``STEP (judge)``.

    Raises:
        ConfigError: There is no such reward, or no judge.
    """
    if name == "logprob":
        return _by_logprob
    if name == "judge":
        judge = judging.judge_of(context.judging or JudgingConfig(), context, step=step)
        judge = replace(judge, instructions={"rating": PROMISE, **judge.instructions})

        async def by_judge(items: Sequence[Written]) -> list[Worth]:
            shown = [(_blind(item.example), item.text) for item in items]
            return [
                Worth(
                    value=None if r.value is None else (r.value - LOW) / (HIGH - LOW), reply=r.reply
                )
                for r in await judging.rate(shown, judge, scale=SCALE)
            ]

        return by_judge
    function = find_reward(name)

    async def by_function(items: Sequence[Written]) -> list[Worth]:
        return [Worth(value=await _reward_of(function, item, name)) for item in items]

    return by_function


def _blind(example: Example) -> Example:
    """Return an example without its reference and its facts: at test time there are none."""
    meta = {name: value for name, value in example.meta.items() if name != FACTS}
    return replace(example, reference=None, meta=meta)


def find_reward(name: str) -> Reward:
    """Return the reward of a registered name, or at ``module:function``.

    Raises:
        ConfigError: There is none, or it does not have the shape of a reward.
    """
    found: Reward = registry.find("reward", name, {})
    return found


async def _by_logprob(items: Sequence[Written]) -> list[Worth]:
    return [Worth(value=_mean_probability(item)) for item in items]


def _mean_probability(item: Written) -> float:
    """Return the geometric mean of the probabilities of a text's tokens."""
    if item.logprobs is None:
        raise StepError(
            "reward: logprob needs the log-probability of each token, and the model gives none; "
            "use another reward, or a server that supports logprobs: true"
        )
    return (
        math.exp(min(0.0, math.fsum(item.logprobs) / len(item.logprobs))) if item.logprobs else 0.0
    )


async def _reward_of(function: Reward, item: Written, name: str) -> float:
    value: Any = function(item.example, item.text)
    if inspect.isawaitable(value):
        value = await value
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise StepError(f"reward: {name} gives {value!r}; a reward is a number from 0 to 1")
    return float(value)
