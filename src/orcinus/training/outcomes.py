"""Compute the reward of an answer in outcome RL, and its advantage over its group.

rewards of one question's answers  1, 0, 0, 0  ──►  advantages  1.73, −0.58, −0.58, −0.58
"""

import math
from collections.abc import Sequence
from statistics import fmean, pstdev

EPSILON = 1e-6
"""Is added to a standard deviation, so that nothing is divided by 0."""
LONG, SHORT = 0.81, 0.12
"""Shares of the longest answer. A right answer beyond the first loses reward; a wrong one below the
second loses less the longer it is."""
REPEATED_RUN = 5
"""Tokens in a run that counts as repeated when it occurs again."""
BROKEN, UNFINISHED = -1.0, -0.5
"""Rewards of an answer with an open think tag, and of one that is cut off."""


def advantages(rewards: Sequence[float]) -> list[float]:
    """Return how much better each answer is than its group's mean, in standard deviations.

    All zero where the rewards are equal: such a group teaches nothing.
    """
    mean, spread = fmean(rewards), pstdev(rewards)
    return [(reward - mean) / (spread + EPSILON) for reward in rewards]


def phi4_reward(
    *,
    right: bool,
    tokens: Sequence[int],
    finished: bool,
    broken: bool,
    longest: int,
) -> float:
    """Return a reward by correctness, length, form and repetition.

    The shape of Phi-4-reasoning's reward (arXiv:2504.21318), its constants from memory.

    Args:
        right: Whether the answer is right.
        tokens: The answer.
        finished: Whether it ends by itself.
        broken: Whether it opens or closes a think tag without the other.
        longest: Tokens of the longest answer.
    """
    if broken:
        accuracy = BROKEN
    elif not finished:
        accuracy = UNFINISHED
    else:
        accuracy = length_reward(
            right, len(tokens), longest=longest, long=LONG * longest, short=SHORT * longest
        )
    return (8 * accuracy + repetition(tokens)) / 13


def length_reward(
    right: bool, length: float, *, longest: float, long: float, short: float
) -> float:
    """Return the reward of a finished answer: 1 to 0.5 if right, −1 to −0.5 if wrong.

    Args:
        right: Whether it is right.
        length: Its tokens.
        longest: Of the longest answer.
        long: A right answer loses reward from here on.
        short: A wrong answer gains none from here on.
    """
    if right:
        share = min(1.0, max(0.0, (length - long) / (longest - long)))
        return 0.5 + 0.25 * (1 + math.cos(math.pi * share))
    share = min(1.0, length / short)
    return -1 + 0.25 * (1 - math.cos(math.pi * share))


def repetition(tokens: Sequence[int]) -> float:
    """Return minus the share of runs that repeat an earlier one: 0 to −1."""
    runs = [tuple(tokens[i : i + REPEATED_RUN]) for i in range(len(tokens) - REPEATED_RUN + 1)]
    return len(set(runs)) / len(runs) - 1 if runs else 0.0
