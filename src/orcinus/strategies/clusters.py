"""Cluster questions by their words, deterministically.

    texts  ──TF-IDF──►  64 directions (truncated SVD)  ──k-means──►  a cluster for each text

The number of clusters is given, or it is the one with the best mean silhouette on a sample
(Rousseeuw 1987).
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from orcinus.core.types import Example

if TYPE_CHECKING:
    from scipy.sparse import csr_array

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

VOCABULARY = 20_000
"""Words. The most frequent of those in at least two texts are used."""
DIRECTIONS = 64
"""Dimensions that the truncated SVD keeps."""
FITTED_ON = 20_000
"""Texts. Words, directions and centres are learnt from a sample of this size; every other text gets
the nearest centre."""
SCORED_ON = 1000
"""Texts on which a number of clusters is scored: the silhouette compares all pairs."""
ROUNDS, STARTS = 50, 4
"""Iterations of k-means at most, and random starts, of which the best counts."""
CLEAR = 0.05
"""Silhouette, -1 to 1. Clusters with a lower mean are hardly separated at all."""
_WORD = re.compile(r"[^\W\d_]{2,}")


class Clusters:
    """Cluster centres in the space of words, learnt from texts."""

    def __init__(self, texts: Sequence[str], *, count: int | None, most: int, seed: int) -> None:
        """Learn the centres from ``texts``.

        Args:
            texts: The texts to cluster.
            count: The number of clusters. None picks the one with the best silhouette, or 1 when
                nothing separates the texts.
            most: The largest number that may be picked.
            seed: Of samples and starts.
        """
        from scipy.sparse.linalg import svds

        random = np.random.default_rng(seed)
        places = np.sort(random.permutation(len(texts))[:FITTED_ON])
        fitted = [texts[place] for place in places]
        self._vocabulary = _vocabulary(fitted)
        present = _counts(fitted, self._vocabulary)
        rarity = (
            np.log(
                (1 + len(fitted)) / (1 + np.bincount(present.indices, minlength=present.shape[1]))
            )
            + 1
        )
        self._rarity = rarity
        weighed = self._weigh(present)
        size = min(DIRECTIONS, min(weighed.shape) - 1)
        # A fixed start vector makes the decomposition reproducible.
        start = np.random.default_rng(seed).normal(size=min(weighed.shape))
        _, _, directions = (
            svds(weighed, k=size, v0=start) if size >= 1 else (None, None, np.eye(weighed.shape[1]))
        )
        self._directions: F64 = directions
        points = self._project(weighed)
        if count is None:
            count = _best_count(points, most, seed)
        self.centres = _k_means(points, min(count, len(points)), seed)

    def of(self, texts: Sequence[str]) -> I64:
        """Return the (n,) cluster numbers of ``texts``."""
        found = [
            _nearest(
                self._project(self._weigh(_counts(texts[at : at + 4096], self._vocabulary))),
                self.centres,
            )
            for at in range(0, len(texts), 4096)
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def words(self, cluster: int, count: int = 3) -> list[str]:
        """Return the words that distinguish a cluster most, for its name."""
        weights = self._directions.T @ (self.centres[cluster] - self.centres.mean(axis=0))
        names = list(self._vocabulary)
        return [names[at] for at in np.argsort(-weights, kind="stable")[:count]]

    def _weigh(self, counts: "csr_array") -> "csr_array":
        weighed = counts.multiply(self._rarity[None, :]).tocsr()
        norms = np.sqrt(weighed.multiply(weighed).sum(axis=1))
        return (weighed.multiply(1 / np.maximum(norms, 1e-12)[:, None])).tocsr()

    def _project(self, weighed: "csr_array") -> F64:
        points = np.asarray(weighed @ self._directions.T)
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        normal: F64 = points / np.maximum(norms, 1e-12)
        return normal


def _vocabulary(texts: Sequence[str]) -> dict[str, int]:
    texts_with = Counter(word for text in texts for word in set(_words(text)))
    usual = sorted(((-count, word) for word, count in texts_with.items() if count > 1))[:VOCABULARY]
    return {word: number for number, word in enumerate(sorted(word for _, word in usual))}


def _words(text: str) -> Iterator[str]:
    return (match.group() for match in _WORD.finditer(text.casefold()))


def _counts(texts: Sequence[str], vocabulary: dict[str, int]) -> "csr_array":
    """Return the (texts, words) sparse matrix of 1 + log(count)."""
    from scipy.sparse import csr_array

    rows, columns, values = [], [], []
    for row, text in enumerate(texts):
        found = Counter(vocabulary[word] for word in _words(text) if word in vocabulary)
        rows += [row] * len(found)
        columns += list(found)
        values += [1 + np.log(count) for count in found.values()]
    shape = (len(texts), max(1, len(vocabulary)))
    return csr_array(
        (np.array(values, float), (np.array(rows, int), np.array(columns, int))), shape=shape
    )


def _k_means(points: F64, count: int, seed: int) -> F64:
    """Return the centres of the best of several starts (Lloyd's algorithm, k-means++ seeds)."""
    best, best_cost = points[:count], np.inf
    for start in range(STARTS):
        random = np.random.default_rng([seed, start])
        centres = _draw_seeds(points, count, random)
        for _ in range(ROUNDS):
            labels = _nearest(points, centres)
            sums = np.zeros_like(centres)
            np.add.at(sums, labels, points)
            sizes = np.bincount(labels, minlength=count)[:, None]
            moved = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres)
            if np.allclose(moved, centres, atol=1e-9):
                break
            centres = moved
        cost = float(((points - centres[_nearest(points, centres)]) ** 2).sum())
        if cost < best_cost:
            best, best_cost = centres, cost
    return best


def _draw_seeds(points: F64, count: int, random: np.random.Generator) -> F64:
    """Draw k-means++ seeds: points far from each other (Arthur and Vassilvitskii 2007)."""
    chosen = [int(random.integers(len(points)))]
    distance = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count:
        total = distance.sum()
        share = distance / total if total > 0 else np.full(len(points), 1 / len(points))
        chosen.append(int(random.choice(len(points), p=share)))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen].copy()


def _nearest(points: F64, centres: F64) -> I64:
    squares = (centres**2).sum(axis=1)
    return np.asarray((squares - 2 * points @ centres.T).argmin(axis=1), np.int64)


def _best_count(points: F64, most: int, seed: int) -> int:
    """Return the number of clusters with the best mean silhouette; 1 when none is ``CLEAR``."""
    sample = points[np.random.default_rng(seed).permutation(len(points))[:SCORED_ON]]
    best, best_score = 1, CLEAR
    count = 2
    while count <= min(most, len(sample) - 1):
        score = _silhouette(sample, _nearest(sample, _k_means(sample, count, seed)))
        if score > best_score:
            best, best_score = count, score
        count = max(count + 1, round(count * 1.25))
    return best


def _silhouette(points: F64, labels: I64) -> float:
    """Return the mean silhouette: how much nearer a point's own cluster is than the next one."""
    if len(np.unique(labels)) < 2:
        return 0.0
    squares = (points**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))
    members = np.zeros((labels.max() + 1, len(points)))
    members[labels, np.arange(len(points))] = 1
    sizes = members.sum(axis=1)
    totals = distances @ members.T
    own = sizes[labels]
    within = totals[np.arange(len(points)), labels] / np.maximum(own - 1, 1)
    means = totals / np.maximum(sizes, 1)
    means[np.arange(len(points)), labels] = np.inf
    means[:, sizes == 0] = np.inf
    between = means.min(axis=1)
    scores = np.where(
        own > 1, (between - within) / np.maximum(np.maximum(between, within), 1e-12), 0.0
    )
    return float(scores.mean())


def grouping(
    probed: Collection[Example],
    examples: Callable[[], Iterator[Example]],
    *,
    by: Literal["task", "category", "cluster"],
    count: int | None,
    smallest: int,
    seed: int,
) -> Callable[[Example], str]:
    """Return the function that gives the group of an example.

    Args:
        probed: The examples that the student was asked.
        examples: Iterates over all examples. Only clusters use it; they hold all prompts in memory.
        by: What a group is: a task, a ``meta.category`` of a task, or a cluster of questions.
        count: The number of clusters. None takes the number that separates best, with at least
            twice ``smallest`` probed examples in a cluster on average.
        smallest: Probed examples that a category or cluster needs. The examples of smaller ones
            stay with their task.
        seed: Of the clusters.
    """
    if by == "task":
        return lambda example: example.task
    most = max(1, len(probed) // (2 * smallest))
    fine = _category if by == "category" else _clustered(examples, count, most, seed)
    sizes = Counter(map(fine, probed))
    return lambda example: group if sizes[group := fine(example)] >= smallest else example.task


def _category(example: Example) -> str:
    return (
        f"{example.task}/{example.meta['category']}"
        if example.meta.get("category")
        else example.task
    )


def _clustered(
    examples: Callable[[], Iterator[Example]], count: int | None, most: int, seed: int
) -> Callable[[Example], str]:
    prompts = [example.prompt for example in examples()]
    clusters = Clusters(prompts, count=count, most=most, seed=seed)
    names = [
        f"cluster {number + 1}: {' '.join(clusters.words(number))}"
        for number in range(len(clusters.centres))
    ]
    number_of = {
        (e.task, e.id): number for e, number in zip(examples(), clusters.of(prompts), strict=True)
    }
    return lambda example: names[number_of[example.task, example.id]]
