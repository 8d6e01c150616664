"""A judge's ratings of a few hundred traces, extended to all others by a small classifier (Gunasekar et al. 2023, arXiv:2306.11644, section 2.1).

    fit(texts, good)                     →  a Classifier; its scores(other texts) are higher for what the judge would call good
    validated(texts, good, groups)       →  how well it orders texts that it did not learn from, and the chance of that by luck

Words and pairs of words, weighted by TF-IDF, and least squares with a penalty: ``FEATURES`` slots by hash, so that nothing is kept of the texts. Phi-1
used embeddings and a random forest. On recorded answers logistic regression orders no better, and least squares have a closed form, so that the
labels can be shuffled hundreds of times in a second. There is no chance in the result: the same texts and labels give the same scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, hstack

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.stats.ranking import Area, auc
from orcinus.tasks.duplicates.ngrams import ngrams

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FEATURES = 1 << 16
FOLDS = 5
PENALTY = 1.0
"""Of the squared weights, against the summed squared errors; texts have length one."""
SHUFFLES = 999
CHANCE = 0.025
"""A classifier is used when labels dealt out at random do as well with at most this probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """What tells good texts from others."""

    weights: F64
    bias: float
    rarity: F64
    """By slot the inverse document frequency among the texts that were learnt from."""

    def scores(self, texts: Sequence[str]) -> F64:
        """About 1 for what is surely good, -1 for what is surely not."""
        found: F64 = _weighted(_counts(texts), self.rarity) @ self.weights + self.bias
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a classifier is worth on texts that it did not learn from."""

    area: Area
    """Within the folds. Its interval knows nothing of the chance in which labels were learnt from; ``p_value`` does."""
    p_value: float
    """Share of shuffled labels that are ordered as well (a permutation test, the true labels counted in)."""

    @property
    def clear(self) -> bool:
        """Whether it is better than chance."""
        return self.p_value <= CHANCE


def fit(texts: Sequence[str], good: Bools) -> Classifier:
    """Learn from ``texts`` and whether each is good."""
    features, rarity = _features(texts)
    signs = np.where(good, 1.0, -1.0)
    bias = float(signs.mean())
    gram = (features @ features.T).toarray()
    weights = features.T @ np.linalg.solve(gram + PENALTY * np.eye(len(texts)), signs - bias)
    return Classifier(weights=weights, bias=bias, rarity=rarity)


def validated(
    texts: Sequence[str], good: Bools, groups: Sequence[str], *, seed: int
) -> Worth | None:
    """What ``fit`` is worth, by cross-validation; None where there are too few texts of a kind.

    Args:
        texts: What was labelled.
        good: (n,) its labels.
        groups: Texts of one group are in one fold.
        seed: Of the shuffles.
    """
    folds = np.array([int(FOLDS * stable_fraction("fold", group)) for group in groups], np.int64)
    random = np.random.default_rng(seed)
    labels = np.stack([good, *(random.permutation(good) for _ in range(SHUFFLES))], axis=1)
    scores = _out_of_fold(texts, labels, folds)
    areas = [auc(scores[:, i], labels[:, i], folds) for i in range(labels.shape[1])]
    if areas[0] is None:
        return None
    as_good = sum(area is not None and area.value >= areas[0].value for area in areas)
    return Worth(area=areas[0], p_value=as_good / len(areas))


def _out_of_fold(texts: Sequence[str], labels: Bools, folds: npt.NDArray[np.int64]) -> F64:
    """(texts × columns of ``labels``) each text's score by what learnt from the other folds, for all labellings at once."""
    features, _ = _features(texts)
    gram = (features @ features.T).toarray()
    signs = np.where(labels, 1.0, -1.0)
    scores = np.zeros(signs.shape)
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(outside):
            known = signs[outside] - signs[outside].mean(axis=0)
            learnt = np.linalg.solve(
                gram[np.ix_(outside, outside)] + PENALTY * np.eye(len(outside)), known
            )
            scores[inside] = gram[np.ix_(inside, outside)] @ learnt
    return scores


def _features(texts: Sequence[str]) -> tuple[Any, F64]:
    """(texts × slots) TF-IDF, and each slot's inverse document frequency."""
    counts = _counts(texts)
    documents = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log((1 + len(texts)) / (1 + documents)) + 1
    return _weighted(counts, rarity), rarity


def good_of(ratings: Sequence[float]) -> Bools | None:
    """Which ratings are good: those from a value on that parts them most evenly; None where all are alike."""
    values = np.array(ratings)
    cuts = np.unique(values)[1:]
    if len(cuts) == 0:
        return None
    shares = np.array([(values >= cut).mean() for cut in cuts])
    good: Bools = values >= cuts[np.abs(shares - 0.5).argmin()]
    return good


def _counts(texts: Sequence[str]) -> Any:
    """(texts × slots) how often each word, and each pair of words, stands in each text."""
    parts = []
    for n in (1, 2):
        grams = ngrams(texts, n)
        slots = (grams.hashes & np.uint64(FEATURES - 1)).astype(np.int32)
        part = csr_array((np.ones(len(slots)), slots, grams.offsets), shape=(len(texts), FEATURES))
        part.sum_duplicates()
        parts.append(part)
    return hstack(parts, format="csr")


def _weighted(counts: Any, rarity: F64) -> Any:
    """TF-IDF with dampened counts, each text of length one."""
    values = (1 + np.log(counts.data)) * rarity[counts.indices]
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    lengths = np.sqrt(np.bincount(rows, values**2, minlength=counts.shape[0]))
    return csr_array((values / lengths[rows], counts.indices, counts.indptr), shape=counts.shape)
