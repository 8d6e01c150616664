"""Extend a judge's ratings of a few hundred traces to all others with a small classifier.

    fit(texts, good)                →  a Classifier, whose scores are higher for good texts
    validate(texts, good, groups)   →  Validation(area=0.81, p_value=0.001) on texts it did not see

Features are words and pairs of words, weighted by TF-IDF and hashed into ``FEATURES`` slots. The
model is ridge regression. Phi-1 used embeddings and a random forest (Gunasekar et al. 2023,
arXiv:2306.11644, section 2.1). On recorded answers logistic regression orders texts no better.
Least squares have a closed form, so that labels can be shuffled hundreds of times in a second. The
result is deterministic: the same texts and labels give the same scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.stats.ranking import Area, auc
from orcinus.tasks.duplicates.ngrams import ngrams

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FEATURES = 1 << 16
"""Slots of the feature hash, a power of two."""
FOLDS = 5
"""Folds of the cross-validation."""
PENALTY = 1.0
"""Weight of the squared weights against the summed squared errors, for texts of length one."""
SHUFFLES = 999
"""Shuffled labellings of the permutation test: with the true one they give p-values in steps of
0.001."""
CHANCE = 0.025
"""Highest p-value of a classifier that is used: shuffled labels do as well at most this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A linear model that tells good texts from others."""

    weights: F64
    bias: float
    rarity: F64
    """(FEATURES,) inverse document frequencies among the texts it learnt from."""

    def scores(self, texts: Sequence[str]) -> F64:
        """Return (n,) scores: about 1 for a text that is surely good, -1 for one that is not."""
        found: F64 = _weighted(_counts(texts), self.rarity) @ self.weights + self.bias
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The quality of a classifier's order on texts that it did not learn from."""

    area: Area
    """Area under the ROC curve within the folds. Its interval ignores that the training labels are
    random too; ``p_value`` accounts for that."""
    p_value: float
    """Share of shuffled labellings that are ordered as well: a permutation test, the true one
    included."""

    @property
    def clear(self) -> bool:
        """True when the classifier is clearly better than chance."""
        return self.p_value <= CHANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The result of learning from a judge's ratings."""

    classifier: Classifier | None = None
    """None where it would be no better than chance."""
    validation: Validation | None = None
    """None where the ratings do not tell good texts from others."""
    good: float | None = None
    """Share of the rated texts that count as good."""


def learn(
    texts: Sequence[str], ratings: Sequence[float], groups: Sequence[str], *, seed: int
) -> Learned:
    """Split the ratings in two, cross-validate a classifier, and fit it where it is worth using.

    Args:
        texts: The n rated texts.
        ratings: (n,) their ratings.
        groups: The group of each text. Texts of one group are in one fold.
        seed: Of the permutation test.
    """
    good = split_ratings(ratings)
    return Learned() if good is None else learn_labels(texts, good, groups, seed=seed)


def learn_labels(
    texts: Sequence[str], marked: Bools, groups: Sequence[str], *, seed: int
) -> Learned:
    """Cross-validate a classifier of marked texts, and fit it where it is worth using.

    Args:
        texts: The n texts.
        marked: (n,) bools: what should score high.
        groups: The group of each text. Texts of one group are in one fold.
        seed: Of the permutation test.
    """
    validation = validate(texts, marked, groups, seed=seed)
    if validation is None:
        return Learned()
    classifier = fit(texts, marked) if validation.clear else None
    return Learned(classifier=classifier, validation=validation, good=float(marked.mean()))


def fit(texts: Sequence[str], good: Bools) -> Classifier:
    """Fit a classifier to ``texts`` and their labels ``good`` (n,)."""
    features, rarity = _features(texts)
    signs = np.where(good, 1.0, -1.0)
    bias = float(signs.mean())
    gram = (features @ features.T).toarray()
    weights = features.T @ np.linalg.solve(gram + PENALTY * np.eye(len(texts)), signs - bias)
    return Classifier(weights=weights, bias=bias, rarity=rarity)


def validate(
    texts: Sequence[str], good: Bools, groups: Sequence[str], *, seed: int
) -> Validation | None:
    """Cross-validate ``fit``.

    Args:
        texts: The labelled texts.
        good: (n,) their labels.
        groups: The group of each text. Texts of one group are in one fold.
        seed: Of the shuffles.

    Returns:
        None where there are too few texts of either kind.
    """
    folds = np.array([int(FOLDS * stable_fraction("fold", group)) for group in groups], np.int64)
    random = np.random.default_rng(seed)
    labels = np.stack([good, *(random.permutation(good) for _ in range(SHUFFLES))], axis=1)
    scores = _out_of_fold(texts, labels, folds)
    areas = [auc(scores[:, i], labels[:, i], folds) for i in range(labels.shape[1])]
    if areas[0] is None:
        return None
    as_good = sum(area is not None and area.value >= areas[0].value for area in areas)
    return Validation(area=areas[0], p_value=as_good / len(areas))


def _out_of_fold(texts: Sequence[str], labels: Bools, folds: npt.NDArray[np.int64]) -> F64:
    """Score each text with a model fitted to the other folds, for all labellings at once.

    Args:
        texts: The n texts.
        labels: (n, m) labellings.
        folds: (n,) the fold of each text.

    Returns:
        (n, m) scores.
    """
    features, _ = _features(texts)
    gram = (features @ features.T).toarray()
    signs = np.where(labels, 1.0, -1.0)
    scores = np.zeros(signs.shape)
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(outside):
            known = signs[outside] - signs[outside].mean(axis=0)
            fitted = np.linalg.solve(
                gram[np.ix_(outside, outside)] + PENALTY * np.eye(len(outside)), known
            )
            scores[inside] = gram[np.ix_(inside, outside)] @ fitted
    return scores


def _features(texts: Sequence[str]) -> tuple[Any, F64]:
    """Return the (texts, slots) TF-IDF matrix and each slot's inverse document frequency."""
    counts = _counts(texts)
    documents = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log((1 + len(texts)) / (1 + documents)) + 1
    return _weighted(counts, rarity), rarity


def split_ratings(ratings: Sequence[float]) -> Bools | None:
    """Mark the good ratings (n,): those from the value on that splits them most evenly.

    Returns:
        None where all ratings are equal.
    """
    values = np.array(ratings)
    cuts = np.unique(values)[1:]
    if len(cuts) == 0:
        return None
    shares = np.array([(values >= cut).mean() for cut in cuts])
    good: Bools = values >= cuts[np.abs(shares - 0.5).argmin()]
    return good


def _counts(texts: Sequence[str]) -> Any:
    """Return the (texts, slots) counts of each word and each pair of words."""
    from scipy.sparse import csr_array, hstack

    parts = []
    for n in (1, 2):
        grams = ngrams(texts, n)
        slots = (grams.hashes & np.uint64(FEATURES - 1)).astype(np.int32)
        part = csr_array((np.ones(len(slots)), slots, grams.offsets), shape=(len(texts), FEATURES))
        part.sum_duplicates()
        parts.append(part)
    return hstack(parts, format="csr")


def _weighted(counts: Any, rarity: F64) -> Any:
    """Weight counts by TF-IDF with sublinear counts, and scale each text to length one."""
    from scipy.sparse import csr_array

    values = (1 + np.log(counts.data)) * rarity[counts.indices]
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    lengths = np.sqrt(np.bincount(rows, values**2, minlength=counts.shape[0]))
    return csr_array((values / lengths[rows], counts.indices, counts.indptr), shape=counts.shape)
