"""Drop texts that nearly repeat a kept one, and measure how different the others are.

    similarity  = runs of words that two texts share / runs that either has        (Jaccard)
    distinct    ["1 + 2 = 3. So 3.", "1 + 2 = 3. So 3!", "Count on: 3."]  ──►  the first, the last
    vendi_score = exp(−Σ λ ln λ), λ the eigenvalues of similarity / n             1 (equal) … n

The Vendi score (Friedman and Dieng 2022, arXiv:2210.02410) is the number of different texts, where
similar ones count in part. The similarity by runs of words is ours: it needs no embedding model.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orcinus.tasks.duplicates.ngrams import ngrams

F64 = npt.NDArray[np.float64]
RUN = 5
"""Words in a run, as in ``curate.near_duplicates``."""


def similarities(texts: Sequence[str], *, run: int = RUN) -> F64:
    """Return the similarity (n, n) of every two texts, 0 to 1.

    A text shorter than a run is one run.
    """
    found = ngrams(texts, run)
    runs = [np.unique(found.of(i)) for i in range(len(texts))]
    similar = np.eye(len(texts))
    for i in range(len(texts)):
        for j in range(i):
            both = len(np.intersect1d(runs[i], runs[j], assume_unique=True))
            either = len(runs[i]) + len(runs[j]) - both
            similar[i, j] = similar[j, i] = both / either if either else texts[i] == texts[j]
    return similar


def distinct(texts: Sequence[str], limit: float, *, run: int = RUN) -> list[int]:
    """Return the places of the texts to keep, in order.

    A text is kept when its similarity to every one kept before it is below ``limit``.
    """
    similar, kept = similarities(texts, run=run), list[int]()
    for place in range(len(texts)):
        if all(similar[place, other] < limit for other in kept):
            kept.append(place)
    return kept


def vendi_score(similar: F64) -> float:
    """Return the effective number of different texts, given their similarities (n, n)."""
    values = np.linalg.eigvalsh(similar / len(similar))
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))
