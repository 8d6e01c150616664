"""Choose the strategy that suits the student, group by group: pure functions on outcomes.

    outcomes of 27 tasks × 2 strategies × 20 shared examples
      ──believe──►    mean and covariance of each task's true accuracies
      ──best──►       the best strategy of each task
      ──next_wave──►  the tasks in which further probes are worth most

Orca 2 (section 3) chose by hand and did not say how. Taking the best observed mean is both noisy
and too optimistic: with 5 probes a task it is worse than one strategy for all. So each group's
means are shrunk towards the means of all groups (empirical Bayes, Efron and Morris 1973). How far
is decided by the spread between groups and the noise within them. A group needs evidence to leave
the winner of all groups, and the shrunk mean of the chosen strategy carries no winner's curse.

Shapes: G groups, S strategies, n examples of a group. Values are 1 right, 0 not right, NaN not
asked.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TYPICAL_SPREAD = 0.2
"""Standard deviation of accuracy between tasks, assumed as far as the groups are too few to show
their own. Measured for code-davinci-002 on BIG-Bench Hard: 0.25 under either prompt."""
TYPICAL_DIFFERENCE = 0.15
"""Standard deviation of the difference between two strategies. Measured there: 0.21."""
ASSUMED_GROUPS = 3
"""Groups. The two assumed deviations weigh as much as this many measured groups."""
ASSUMED_EXAMPLES = 10
"""Examples. The covariance pooled over all groups weighs as much as this many of a group's own."""
SURE = 0.95
"""Probability. A group leaves its usual strategy only for one that is better with this
probability, so that noise chooses nothing. Measured where all strategies are equal: 3 to 5 %
of groups leave with 30 examples, 8 to 11 % with 12."""
EQUAL_ANSWERS = 8
"""Shared examples. Strategies that were right on the same ones, so many or more, are tied."""
DRAWS = 4000
"""Samples from the posterior, for probabilities without a closed form. Their standard error is 0.8
%."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """The posterior of every group's true accuracies."""

    groups: tuple[str, ...]
    observed: Array
    """(G, S) observed means; NaN where nothing was asked."""
    counts: NDArray[np.int64]
    """(G, S) examples that were asked."""
    mean: Array
    """(G, S) posterior means."""
    covariance: Array
    """(G, S, S) posterior covariances."""
    tied: NDArray[np.bool_]
    """(G, S, S) pairs that were right on the same ``EQUAL_ANSWERS`` or more examples."""

    def chances(self, *, seed: int) -> Array:
        """Return the (G, S) probability of each strategy to be the group's best."""
        draws = self.draws(seed)
        best = draws.argmax(2)
        return np.stack([(best == s).mean(0) for s in range(draws.shape[2])], axis=1)

    def regrets(self, *, seed: int) -> Array:
        """Return the (G,) accuracy expected to be lost by choosing now."""
        draws = self.draws(seed)
        chosen = np.where(self.counts > 0, self.mean, -1.0).argmax(1)
        picked = np.take_along_axis(draws, chosen[None, :, None], axis=2)[..., 0]
        lost: Array = (draws.max(2) - picked).mean(0)
        return lost

    def draws(self, seed: int) -> Array:
        """Return (DRAWS, G, S) draws from the posterior; -1 for a strategy that was not asked."""
        rng = np.random.default_rng(seed)
        groups, strategies = self.mean.shape
        roots = np.stack([_root(covariance) for covariance in self.covariance])
        normal = rng.standard_normal((DRAWS, groups, strategies))
        drawn: Array = self.mean + np.einsum("gst,dgt->dgs", roots, normal)
        return np.where(self.counts > 0, drawn, -1.0)


def believe(outcomes: Mapping[str, Array]) -> Belief:
    """Compute the posterior of every group's accuracies.

    Args:
        outcomes: By group an (S, n) array of 1, 0 and NaN. Column i is the same example under every
            strategy. With k samples of an example the value is their mean.

    Raises:
        ValueError: There is no group, or the groups have different strategies.
    """
    if not outcomes or len({values.shape[0] for values in outcomes.values()}) != 1:
        raise ValueError("needs at least one group, and the same strategies in all of them")
    arrays = list(outcomes.values())
    strategies = arrays[0].shape[0]
    counts = np.stack([(~np.isnan(values)).sum(1) for values in arrays])
    sums = np.stack([np.nansum(values, axis=1) for values in arrays])
    observed = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    noise = _noise(arrays, counts)
    centre, spread = _between_groups(observed, counts, noise)
    mean, covariance = (
        np.empty((len(arrays), strategies)),
        np.empty((len(arrays), strategies, strategies)),
    )
    for g in range(len(arrays)):
        known = counts[g] > 0
        gain = spread[:, known] @ np.linalg.pinv(
            spread[np.ix_(known, known)] + noise[g][np.ix_(known, known)]
        )
        mean[g] = centre + gain @ (observed[g, known] - centre[known])
        covariance[g] = spread - gain @ spread[known]
    return Belief(
        groups=tuple(outcomes),
        observed=observed,
        counts=counts,
        mean=np.clip(mean, 0.0, 1.0),
        covariance=covariance,
        tied=np.stack([_ties(values) for values in arrays]),
    )


def _ties(values: Array) -> NDArray[np.bool_]:
    """Return the (S, S) pairs of strategies with the same outcome on every shared example."""
    shared = ~np.isnan(values[:, None]) & ~np.isnan(values[None])
    differ = shared & (values[:, None] != values[None])
    ties: NDArray[np.bool_] = (shared.sum(2) >= EQUAL_ANSWERS) & ~differ.any(2)
    return ties


def _noise(arrays: Sequence[Array], counts: NDArray[np.int64]) -> Array:
    """Return the (G, S, S) covariance of each group's observed means.

    It comes from the spread of the group's examples, shrunk towards the spread in all groups.
    """
    within = [_example_covariance(values) for values in arrays]
    weights = np.stack([weight for _, weight in within]).astype(float)
    covariances = np.stack([covariance for covariance, _ in within])
    total = weights.sum(0)
    pooled = np.divide(
        (covariances * weights).sum(0), total, out=np.zeros_like(total), where=total > 0
    )
    np.fill_diagonal(pooled, np.maximum(np.diagonal(pooled), 1e-3))
    noise = np.empty_like(covariances)
    for g, values in enumerate(arrays):
        own = (covariances[g] * weights[g] + pooled * ASSUMED_EXAMPLES) / (
            weights[g] + ASSUMED_EXAMPLES
        )
        asked = (~np.isnan(values)).astype(float)
        shared = asked @ asked.T
        sizes = np.outer(np.maximum(counts[g], 1), np.maximum(counts[g], 1))
        noise[g] = own * shared / sizes
    return noise


def _example_covariance(values: Array) -> tuple[Array, NDArray[np.int64]]:
    """Return the (S, S) covariance over a group's examples, and its degrees of freedom."""
    asked = (~np.isnan(values)).astype(float)
    shared = (asked @ asked.T).astype(np.int64)
    means = np.divide(
        np.nansum(values, axis=1), asked.sum(1), out=np.zeros(len(values)), where=asked.sum(1) > 0
    )
    centred = np.where(np.isnan(values), 0.0, values - means[:, None])
    covariance = np.divide(
        centred @ centred.T, shared - 1, out=np.zeros(shared.shape, dtype=float), where=shared > 1
    )
    return covariance, np.maximum(shared - 1, 0)


def _between_groups(
    observed: Array, counts: NDArray[np.int64], noise: Array
) -> tuple[Array, Array]:
    """Estimate the mean of all groups (S,) and the spread of true accuracies around it (S, S).

    Method of moments. Two strategies are compared only over groups that were asked both: a strategy
    written for a single group says nothing about the others.
    """
    known = counts > 0
    strategies = observed.shape[1]
    overall = np.array(
        [
            observed[known[:, s], s].mean() if known[:, s].any() else np.nanmean(observed)
            for s in range(strategies)
        ]
    )
    assumed = np.full((strategies, strategies), TYPICAL_SPREAD**2 - TYPICAL_DIFFERENCE**2 / 2)
    np.fill_diagonal(assumed, TYPICAL_SPREAD**2)
    shared = known.T.astype(float) @ known
    both = known[:, :, None] & known[:, None, :]
    centred = np.where(known, observed - overall, 0.0)
    weight = np.maximum(shared - 1, 0.0)
    noise_of_mean = np.where(both, noise, 0.0).sum(0) / np.maximum(shared, 1.0)
    seen = np.where(
        weight > 0, centred.T @ centred / np.maximum(weight, 1.0) - noise_of_mean, assumed
    )
    spread = (weight * _positive(seen) + ASSUMED_GROUPS * assumed) / (weight + ASSUMED_GROUPS)
    return overall, _positive(spread)


def _positive(matrix: Array) -> Array:
    """Return the covariance matrix nearest to a symmetric matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    positive: Array = (vectors * np.maximum(values, 1e-6)) @ vectors.T
    return positive


def _root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def best(belief: Belief, costs: Array, *, margin: float = 0.0) -> NDArray[np.int64]:
    """Choose each group's cheapest strategy within ``margin`` of its highest posterior mean.

    Args:
        belief: The posterior after the probe.
        costs: (G, S) mean tokens written.
        margin: Accuracy worth giving up for a cheaper strategy, 0 to 1.

    Returns:
        (G,) positions of strategies. Among equally cheap ones the one with the higher mean is
        chosen.
    """
    # A strategy that was never asked in a group is not meant for it.
    means = np.where(belief.counts > 0, belief.mean, -1.0)
    close = means >= means.max(1, keepdims=True) - margin - 1e-12
    priced = np.where(close, costs, np.inf)
    chosen: NDArray[np.int64] = np.where(
        priced == priced.min(1, keepdims=True), means, -2.0
    ).argmax(1)
    return chosen


def chance_to_beat(belief: Belief, first: NDArray[np.int64], second: NDArray[np.int64]) -> Array:
    """Return the (G,) probability that each group's ``first`` strategy beats its ``second``.

    One half where both are the same.
    """
    from scipy.special import ndtr

    g = np.arange(len(belief.groups))
    lead = belief.mean[g, first] - belief.mean[g, second]
    variance = (
        belief.covariance[g, first, first]
        + belief.covariance[g, second, second]
        - 2 * belief.covariance[g, first, second]
    )
    chance: Array = ndtr(lead / np.sqrt(np.maximum(variance, 1e-12)))
    return chance


def best_if_sure(
    belief: Belief, costs: Array, *, usual: int, margin: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Choose each group's best strategy, and the usual one where noise would choose.

    A group leaves its usual strategy only for one that is better with a probability of ``SURE``,
    after a correction for the number of rivals.

    Args:
        belief: The posterior.
        costs: (G, S) mean tokens written.
        usual: The position of the usual strategy. Where it was not asked, the best one is chosen.
        margin: As for ``best``.

    Returns:
        (G,) positions of strategies; and (G,) True where the chosen one surely beats its rival.
    """
    wanted = best(belief, costs, margin=margin)
    fallback = np.where(belief.counts[:, usual] > 0, usual, wanted)
    rivals = (belief.counts > 0).sum(1) - 1
    needed = 1 - (1 - SURE) / np.maximum(rivals, 1)  # the best of several is partly luck
    leaves = chance_to_beat(belief, wanted, fallback) >= needed
    chosen = np.where(leaves, wanted, fallback)
    others = np.where(belief.counts > 0, belief.mean, -1.0)
    others[np.arange(len(chosen)), chosen] = -2.0
    sure = chance_to_beat(belief, chosen, others.argmax(1)) >= needed
    return chosen, (rivals == 0) | leaves | sure


def contenders(belief: Belief, *, loss: float, keep: Collection[int], seed: int) -> tuple[int, ...]:
    """Return the strategies that are worth a longer trial (successive halving).

    One after another, the strategy goes whose absence costs all groups together least.

    Args:
        belief: The posterior after the trials so far.
        loss: Expected accuracy, mean over groups, that the absence of all that went may cost.
        keep: Strategies that stay.
        seed: Of the posterior draws.
    """
    draws = belief.draws(seed)
    everything = draws.max(2).mean()
    left = list(range(draws.shape[2]))
    while len(left) > 1:
        costs = {
            s: everything - draws[:, :, [t for t in left if t != s]].max(2).mean()
            for s in left
            if s not in keep
        }
        cheapest = min(costs, key=lambda s: costs[s], default=None)
        if cheapest is None or costs[cheapest] > loss:
            break
        left.remove(cheapest)
    return tuple(left)


def first_near_best(outcomes: Array, *, errors: float) -> int:
    """Return the first candidate that the noise does not tell apart from the best one.

    The best of several observed means is partly luck. So the preferred candidate is left only for
    one that beats it by more than the noise. This is the one-standard-error rule on paired
    differences (Breiman et al. 1984, section 3.4.3).

    Args:
        outcomes: (C, n) candidates in order of preference, on the same n >= 2 examples; no NaN.
        errors: Standard errors of the paired difference that count as noise.

    Returns:
        A position in ``outcomes``. Its mean is behind the best by at most the noise.
    """
    best = outcomes[outcomes.mean(1).argmax()]
    behind = best - outcomes
    error = behind.std(1, ddof=1) / np.sqrt(outcomes.shape[1])
    return int(np.flatnonzero(behind.mean(1) <= errors * error + 1e-12)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """The probes to make next: by group, the strategies that still have a chance."""

    strategies: Mapping[str, tuple[int, ...]]


def next_wave(
    belief: Belief, *, budget: int, size: int, room: Mapping[str, int], hopeless: float, seed: int
) -> Wave:
    """Choose the groups in which ``size`` more examples reduce the expected loss most.

    A strategy whose probability to be the best is below ``hopeless`` is not asked again in that
    group (successive elimination). A group whose choice is clear leaves its probes to the others.

    Args:
        belief: The posterior after the probes so far.
        budget: Calls left; one example under one strategy is a call.
        size: Examples that a group gets in one wave.
        room: By group, the number of examples that were not asked yet.
        hopeless: Probability to be the best under which a strategy is dropped.
        seed: Of the posterior draws.
    """
    chances, regrets = belief.chances(seed=seed), belief.regrets(seed=seed)
    chosen: dict[str, tuple[int, ...]] = {}
    for g in np.argsort(-regrets, kind="stable"):
        group = belief.groups[g]
        running = tuple(int(s) for s in np.flatnonzero(chances[g] >= hopeless))
        asked = min(size, room.get(group, 0))
        # Strategies with equal answers are no open question: the cheapest is chosen.
        if belief.tied[g][np.ix_(running, running)].all():
            continue
        if len(running) < 2 or asked == 0 or budget < len(running) * asked:
            continue
        budget -= len(running) * asked
        chosen[group] = running
        if len(chosen) >= max(1, len(belief.groups) // 3):
            break  # Every wave changes the posterior: serve a third of the groups at a time.
    return Wave(strategies=chosen)
