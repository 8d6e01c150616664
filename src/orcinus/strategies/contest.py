"""Let the strategies of a group compete on measured answers, and say which one wins and why.

The winner of many noisy means looks better than it is, so the means are shrunk (``choosing.py``).
A contest is held over prompted attempts, or over the answers of trial students.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Assignment, Example, Judged
from orcinus.strategies.choosing import Array, best, best_if_sure
from orcinus.strategies.config import USUAL, AssignConfig
from orcinus.strategies.evidence import Measurements, evidence_of, paired_p, proxy_of
from orcinus.strategies.groups import probe_tells
from orcinus.strategies.pseudo_labels import MEANING, Key, key_of
from orcinus.verifiers.guessing import mean_guess_rate

NEAR = 1.96
"""Standard deviations of the belief within which an accuracy is near the floor: 95 %."""
ABOVE_GUESSING = 0.05
"""Accuracy. A group is learnable by default from this much above guessing."""
FIXED_BY = {"random": "drawn at random", "longest": "the one under which most is written"}
"""Reasons of the fixed choices that are no strategy's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The strategies of one group as they were measured, and the one that was chosen.

    Strategies are positions 0 … S - 1 in ``names``.
    """

    group: str
    attempts: Sequence[Judged]
    names: tuple[str, ...]
    believed: Array
    """(S,) believed accuracies. One that was not asked here has what other groups predict."""
    counts: NDArray[np.int64]
    """(S,) examples that were asked."""
    chosen: int
    spread: float
    """Standard deviation of the belief in the chosen strategy's accuracy."""
    overall: int
    """The strategy that is best over all groups."""
    guess: float
    """The accuracy of guessing."""
    told: bool
    """False where nothing tells the strategies apart."""
    by: Literal["prompted", "learned"]
    """What was measured."""

    @property
    def measured(self) -> Array:
        """(S,) believed accuracies; -1 for a strategy that was not asked in this group."""
        return np.where(self.counts > 0, self.believed, -1.0)

    @property
    def ranked(self) -> list[int]:
        """All strategies: the chosen one, then the others from the best to the worst."""
        means = self.measured
        return sorted(range(len(means)), key=lambda s: (s != self.chosen, -means[s]))

    @property
    def rivals(self) -> list[int]:
        """The other strategies that were asked in this group, the best first."""
        return [s for s in self.ranked if s != self.chosen and self.counts[s] > 0]

    def is_near(self, floor: float) -> bool:
        """Return whether more answers could move the chosen strategy across ``floor``."""
        return abs(float(self.believed[self.chosen]) - floor) <= NEAR * self.spread

    @property
    def opponent(self) -> int | None:
        """The rival to test against: the best over all groups, or else the best in this group."""
        if self.overall in self.rivals:
            return self.overall
        return self.rivals[0] if self.rivals else None


def hold_contests(
    config: AssignConfig,
    prompted: Mapping[str, Sequence[Judged]],
    examples: Mapping[Key, Example],
    names: tuple[str, ...],
    seed: int,
) -> list[Contest]:
    """Choose each group's strategy by the answers of the untrained student.

    Args:
        config: How to choose.
        prompted: The judged attempts of each group.
        examples: The questions that were asked.
        names: The recipe's strategies, in its order.
        seed: The recipe's seed.
    """
    measured = Measurements.from_attempts(prompted, names)
    chosen = _choose(config, measured, seed)
    return [
        _contest(
            measured,
            g,
            int(chosen[g]),
            examples,
            told=probe_tells(measured.attempts[group], examples),
            by="prompted",
        )
        for g, group in enumerate(measured.attempts)
    ]


def hold_trials(
    config: AssignConfig,
    learned: Mapping[str, Sequence[Judged]],
    examples: Mapping[Key, Example],
    final: Collection[str],
    names: tuple[str, ...],
) -> list[Contest]:
    """Choose each group's strategy by the answers of trial students, and never out of noise.

    A group leaves step by step only for a strategy that is surely better (``best_if_sure``).

    Args:
        config: How to choose.
        learned: The judged attempts of each group's trial students.
        examples: The questions that were asked.
        final: Strategies of the last wave. Only they can be chosen: the others had shorter trials.
        names: The recipe's strategies, in its order.
    """
    comparable = {
        group: [item for item in items if item.attempt.strategy in final]
        for group, items in learned.items()
    }
    measured = Measurements.from_attempts(comparable, names)
    usual = names.index(USUAL) if USUAL in names else measured.overall
    chosen, told = best_if_sure(measured.belief, measured.tokens, usual=usual, margin=config.margin)
    return [
        _contest(measured, g, int(chosen[g]), examples, told=bool(told[g]), by="learned")
        for g in range(len(chosen))
    ]


def _contest(
    measured: Measurements,
    g: int,
    chosen: int,
    examples: Mapping[Key, Example],
    *,
    told: bool,
    by: Literal["prompted", "learned"],
) -> Contest:
    group, attempts = list(measured.attempts.items())[g]
    asked = [examples[key] for key in dict.fromkeys(map(key_of, attempts))]
    return Contest(
        group=group,
        attempts=attempts,
        names=measured.names,
        believed=measured.belief.mean[g],
        counts=measured.belief.counts[g],
        chosen=chosen,
        spread=float(measured.belief.covariance[g, chosen, chosen]) ** 0.5,
        overall=measured.overall,
        guess=mean_guess_rate(asked),
        told=told,
        by=by,
    )


def _choose(config: AssignConfig, measured: Measurements, seed: int) -> NDArray[np.int64]:
    """Choose each group's strategy: (G,) positions."""
    groups, tokens = measured.belief.groups, measured.tokens
    match config.fixed:
        case None:
            return best(measured.belief, tokens, margin=config.margin)
        case "random":
            return np.array([draw_position(seed, group, len(measured.names)) for group in groups])
        case "longest":
            longest_written: NDArray[np.int64] = np.where(np.isfinite(tokens), tokens, -1.0).argmax(
                1
            )
            return longest_written
        case name:
            return np.full(len(groups), measured.names.index(name))


def assignment_of(
    config: AssignConfig,
    contest: Contest,
    prompted: Sequence[Judged],
    learned: Sequence[Judged],
) -> Assignment:
    """Turn a contest into the group's assignment, the chosen strategy's evidence first."""
    names, opponent = contest.names, contest.opponent
    floor = floor_of(config, contest)
    learnable = bool(contest.measured[contest.chosen] >= floor)
    strategy: str | None = names[contest.chosen]
    if not learnable and config.below_floor != "best":
        strategy = None if config.below_floor == "skip" else config.below_floor
    p_value = None
    if opponent is not None:
        p_value = paired_p(contest.attempts, names[contest.chosen], names[opponent])
    return Assignment(
        group=contest.group,
        strategy=strategy,
        evidence=evidence_of(prompted, [names[s] for s in contest.ranked], learned),
        runner_up=names[contest.rivals[0]] if contest.rivals else None,
        p_value=p_value,
        reason=_reason(config, contest, floor, learnable),
        learnable=learnable,
        proxy=proxy_of(contest.attempts),
        measure=contest.by,
        told=contest.told or config.fixed is not None,
    )


def floor_of(config: AssignConfig, contest: Contest) -> float:
    """Return the accuracy under which a group is not yet learnable."""
    return contest.guess + ABOVE_GUESSING if config.floor is None else config.floor


def _reason(config: AssignConfig, contest: Contest, floor: float, learnable: bool) -> str:
    """Say in a sentence why the strategy was chosen."""
    if config.fixed is not None:
        return FIXED_BY.get(config.fixed, "fixed by the recipe")
    names, chosen, overall = contest.names, contest.chosen, contest.overall
    what = MEANING.get(proxy_of(contest.attempts) or "", "accuracy")
    after = "a trial student taught with it has " if contest.by == "learned" else ""
    believed = (
        f"{after}believed {what} {contest.believed[chosen]:.0%} "
        f"from {contest.counts[chosen]} examples"
    )
    if not learnable:
        best_one = "its best strategy" if contest.told else names[chosen]
        instead = {"best": f"taught with {best_one} anyway", "skip": "left out"}.get(
            config.below_floor, f"taught with {config.below_floor}"
        )
        if not contest.told:
            instead += "; nothing tells the strategies apart"
        return f"{believed}, under the floor of {floor:.0%}: not yet learnable, {instead}"
    if not contest.rivals:
        return f"{believed}; the only strategy"
    if contest.by == "learned":
        rival = contest.rivals[0]
        against = f"against {contest.believed[rival]:.0%} with {names[rival]}"
        if contest.told:
            return f"{believed}, {against}"
        return f"{believed}, {against}: the trial students cannot tell, so {names[chosen]} stays"
    unclear = "" if contest.told else "; the probe cannot tell it from the others"
    highest = int(contest.measured.argmax())
    if chosen != highest:
        return f"{believed}, within {config.margin:.0%} of {names[highest]} and cheaper{unclear}"
    if chosen == overall:
        return f"{believed}; also the best over all groups{unclear}"
    if overall in contest.rivals:
        return (
            f"{believed}, against {contest.believed[overall]:.0%} with {names[overall]}, "
            f"the best over all groups{unclear}"
        )
    rival = contest.rivals[0]
    return f"{believed}, against {contest.believed[rival]:.0%} with {names[rival]}{unclear}"


def draw_position(seed: int, group: str, count: int) -> int:
    """Draw the position of a group's random strategy."""
    return int(stable_fraction("random strategy", str(seed), group) * count)
