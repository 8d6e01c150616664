"""Overlap with a set of texts that must stay unseen: whole texts, and shared runs of n words.

    Overlap(["What is 17 + 25? …"], n=13).mark(examples, prompt_of)  →  (example, overlaps) …

The 13-gram rule is GPT-3's (Brown et al. 2020, appendix C); a text shorter than n words counts as one run. A run that
several of the texts have in common is the wording of their template and tells nothing: it is left out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from orcinus.curation.text import ngrams, normal
from orcinus.executors.local import LOCAL
from orcinus.protocols import Executor
from orcinus.tasks.seen import hash_of

T = TypeVar("T")
ROWS_PER_BATCH = 2048
TEMPLATE_TEXTS = 3
"""A run that so many texts share belongs to their template. BIG-Bench Hard asks 250 questions in the same words."""


class Overlap:
    """The runs of words of texts that must stay unseen."""

    def __init__(self, texts: Iterable[str], *, n: int | None) -> None:
        self._n = n
        self._whole: set[int] = set()
        hashes: list[npt.NDArray[np.uint64]] = []
        for batch in _batched(texts, ROWS_PER_BATCH):
            self._whole.update(hash_of(normal(text)) for text in batch)
            if n is not None:
                grams = ngrams(batch, n)
                hashes += [np.unique(grams.of(i)) for i in range(len(batch))]
        runs, texts_with = (
            np.unique(np.concatenate(hashes), return_counts=True) if hashes else (np.empty(0, np.uint64), 0)
        )
        self._runs = runs[texts_with < TEMPLATE_TEXTS] if hashes else runs

    def mark(
        self, items: Iterable[T], text_of: Callable[[T], str], *, executor: Executor = LOCAL
    ) -> Iterator[tuple[T, bool]]:
        """The ``items`` in order, each with whether it overlaps; their texts alone go to ``executor``."""
        if not self._whole:
            yield from ((item, False) for item in items)
            return
        kept, sent = tee(_batched(items, ROWS_PER_BATCH))  # a batch waits here until its marks come back
        marks = executor.map(self.of, ([text_of(item) for item in batch] for batch in sent))
        for batch, found in zip(kept, marks, strict=True):
            yield from zip(batch, found, strict=True)

    def of(self, texts: Sequence[str]) -> list[bool]:
        """Which of ``texts`` overlap."""
        found = [hash_of(normal(text)) in self._whole for text in texts]
        if self._n is None:
            return found
        grams = ngrams(texts, self._n)
        hits = np.isin(grams.hashes, self._runs)
        shared = np.bincount(grams.rows[hits], minlength=len(texts)) > 0
        return [a or bool(b) for a, b in zip(found, shared, strict=True)]


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
