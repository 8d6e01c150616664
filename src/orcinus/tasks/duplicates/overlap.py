"""Find overlap with texts that must stay unseen, such as evaluation items.

    overlap = Overlap([("svamp/17", "Dan has 4 dollars. …")], n=13, fuzzy=0.6)
    overlap.reasons([prompt, …])    →  ["shares 2 runs of 13 words with …" or None, …]

A text overlaps if it equals one of them, shares a run of n words, or, with ``fuzzy``, holds most of
a text's runs of three words. The 13-gram rule is GPT-3's (Brown et al. 2020, appendix C); a text
shorter than n words counts as one run. A copy with one word changed in every thirteen escapes that
rule, but keeps most runs of three words. Measured on recorded questions with a tenth of the words
changed at random: the 13-gram rule finds 42 %, the fuzzy rule with a share of 0.6 finds 81 %
(docs/design/004-curation.md). A run that several of the texts share is the wording of their
template; it proves nothing and is ignored.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from orcinus.tasks.duplicates.ngrams import I64, ngrams, normal
from orcinus.tasks.duplicates.seen import hash_of

T = TypeVar("T")
ROWS_PER_BATCH = 2048
TEMPLATE_TEXTS = 3
"""A run that this many texts share belongs to their template. BIG-Bench Hard asks 250 questions in
the same words."""
FUZZY_WORDS = 3
"""Words in a run of the fuzzy rule."""
FUZZY_RUNS = 8
"""A text with fewer runs of three words of its own is too short for the fuzzy rule."""
OPENING_WORDS = 3
"""Words. A text that begins in other ones is not the text of a held-out item."""
TEXTS_AT_ONCE = 256
"""Texts whose words are hashed together: the arrays fit a core's cache. Measured: 55 µs a text of
190 words, and 74 µs with 4,096."""
SLOTS_PER_RUN = 8
"""Slots of the table that spares most searches, a byte each. With 8, at most one look in eight at
an unknown run ends in a search; a table of one size was two thirds full at 60,000 held-out texts,
and then 100,000 rows took twice as long."""


class Overlap:
    """An index of named texts that must stay unseen, for comparing other texts with them."""

    def __init__(
        self, texts: Iterable[tuple[str, str]], *, n: int | None, fuzzy: float | None = None
    ) -> None:
        """Index the texts, which are read once.

        Args:
            texts: (name, text) pairs.
            n: Words in a run; one shared run is an overlap. None compares whole texts only.
            fuzzy: Share of a text's runs of three words that is an overlap; None turns it off.
        """
        self._fuzzy = fuzzy
        self._names: list[str] = []
        self._whole: dict[int, int] = {}
        self._openings: set[int] = set()
        words, threes = _Runs(n), _Runs(FUZZY_WORDS if fuzzy is not None else None)
        for batch in batched(texts, ROWS_PER_BATCH):
            for at, (_, text) in enumerate(batch, len(self._names)):
                plain = normal(text)
                self._whole.setdefault(hash_of(plain), at)
                self._openings.add(_opening(plain))
            for runs in (words, threes):
                runs.add([text for _, text in batch], len(self._names))
            self._names += [name for name, _ in batch]
        self._words, self._threes = words.index(len(self._names)), threes.index(len(self._names))

    def reasons(self, texts: Sequence[str]) -> list[str | None]:
        """Return how each of ``texts`` overlaps, or None; a pure function of a shard."""
        if not self._names:
            return [None] * len(texts)
        return [
            reason
            for start in range(0, len(texts), TEXTS_AT_ONCE)
            for reason in self._reasons(texts[start : start + TEXTS_AT_ONCE])
        ]

    def _reasons(self, texts: Sequence[str]) -> list[str | None]:
        reasons: list[str | None] = [None] * len(texts)
        if self._threes is not None and self._fuzzy is not None:
            rows, owners, counts = self._threes.shared(texts)
            shares = np.where(
                self._threes.sizes[owners] < FUZZY_RUNS, 0, counts / self._threes.sizes[owners]
            )
            for row, owner, share in _best(rows, owners, shares):
                if share >= self._fuzzy:
                    reasons[row] = (
                        f"has {share:.0%} of the runs of {FUZZY_WORDS} words "
                        f"of {self._names[owner]}"
                    )
        if self._words is not None:
            for row, owner, count in _best(*self._words.shared(texts)):
                plural = "s" if count > 1 else ""
                reasons[row] = (
                    f"shares {count:.0f} run{plural} of {self._words.n} words "
                    f"with {self._names[owner]}"
                )
        for row, text in enumerate(texts):
            if text.isascii() and _opening(text.casefold()) not in self._openings:
                continue  # true of nearly all, and found without normalizing the text
            twin = self._whole.get(hash_of(normal(text)))
            if twin is not None:
                reasons[row] = f"is the text of {self._names[twin]}"
        return reasons


def _opening(text: str) -> int:
    """Return a hash of the first words of a text."""
    return hash_of(*text.split(None, OPENING_WORDS)[:OPENING_WORDS])


def touched(texts: Sequence[str], seen: Iterable[str], *, n: int) -> list[bool]:
    """Return which of ``texts`` share a run of ``n`` words with any text of ``seen``.

    A run that three or more of ``texts`` share belongs to their template and is ignored.

    Args:
        texts: Evaluation items; one shorter than ``n`` words counts as one run.
        seen: What a model was trained on, read as a stream.
        n: Words in a run.
    """
    grams = ngrams(texts, n)
    runs, counts = np.unique(
        np.concatenate(
            [np.unique(grams.of(i)) for i in range(len(texts))] or [np.empty(0, np.uint64)]
        ),
        return_counts=True,
    )
    runs = runs[counts < TEMPLATE_TEXTS]
    hit = np.zeros(len(runs), bool)
    for batch in batched(seen, ROWS_PER_BATCH):
        hit |= np.isin(runs, ngrams(batch, n).hashes)
    marked = np.isin(grams.hashes, runs[hit])
    return [bool(count) for count in np.bincount(grams.rows[marked], minlength=len(texts))]


class _Runs:
    """The runs of each text, collected for an index."""

    def __init__(self, n: int | None) -> None:
        self._n = n
        self._hashes: list[npt.NDArray[np.uint64]] = []
        self._owners: list[npt.NDArray[np.int32]] = []

    def add(self, texts: Sequence[str], first: int) -> None:
        """Add texts, numbered from ``first``."""
        if self._n is None:
            return
        grams = ngrams(texts, self._n)
        self._hashes.append(grams.hashes)
        self._owners.append((grams.rows + first).astype(np.int32))

    def index(self, texts: int) -> "_Index | None":
        """Return the index of the ``texts`` texts added; None if there is nothing to index."""
        if self._n is None or not self._hashes:
            return None
        return _Index(self._n, np.concatenate(self._hashes), np.concatenate(self._owners), texts)


class _Index:
    """A map from runs of words to the texts that hold them: 12 bytes a run."""

    def __init__(
        self, n: int, hashes: npt.NDArray[np.uint64], owners: npt.NDArray[np.int32], texts: int
    ) -> None:
        self.n = n
        order = np.argsort(hashes, kind="stable")
        hashes, owners = hashes[order], owners[order]
        is_new = np.ones(len(hashes), np.bool_)  # a run that a text repeats counts once
        is_new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
        hashes, owners = hashes[is_new], owners[is_new]
        starts = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)])
        counts = np.diff(np.append(starts, len(hashes)))
        own = np.repeat(counts < TEMPLATE_TEXTS, counts)
        self._hashes, self._owners = hashes[own], owners[own]
        self.sizes = np.bincount(self._owners, minlength=texts)
        """Runs of each text that do not belong to a template."""
        # Nearly all runs of other texts are unknown. This table settles that with one look.
        slots = 1 << (SLOTS_PER_RUN * len(self._hashes)).bit_length()
        self._known = np.zeros(slots, np.bool_)
        self._known[self._slot(self._hashes)] = True

    def shared(self, texts: Sequence[str]) -> tuple[I64, I64, I64]:
        """Return the pairs that share runs: rows of ``texts``, numbers of our texts, and counts."""
        grams = ngrams(texts, self.n)
        maybe = np.flatnonzero(self._known[self._slot(grams.hashes)])
        hashes = grams.hashes[maybe]
        rows = np.searchsorted(grams.offsets, maybe, "right") - 1
        first, last = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
        found = [np.empty(0, np.int64)]
        for k in range(TEMPLATE_TEXTS - 1):
            held = np.flatnonzero(first + k < last)
            found.append(rows[held] * len(self._hashes) + first[held] + k)
        row, place = np.divmod(np.unique(np.concatenate(found)), max(1, len(self._hashes)))
        pairs, counts = np.unique(row * len(self.sizes) + self._owners[place], return_counts=True)
        row, owner = np.divmod(pairs, len(self.sizes))
        return row, owner, counts

    def _slot(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return hashes & np.uint64(len(self._known) - 1)


def _best(
    rows: I64, owners: I64, values: npt.NDArray[np.generic]
) -> Iterator[tuple[int, int, float]]:
    """Yield for each row the owner with the largest value; among equals the first."""
    order = np.lexsort((owners, -values.astype(float), rows))
    _, first = np.unique(rows[order], return_index=True)
    for i in order[first]:
        yield int(rows[i]), int(owners[i]), float(values[i])


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the ``items`` in lists of ``size``; the last list may be shorter."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
