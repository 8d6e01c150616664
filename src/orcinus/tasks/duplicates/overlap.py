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

from orcinus.tasks.duplicates.ngrams import I64, U64, Words, hashed_words, ngrams, normal
from orcinus.tasks.duplicates.seen import hash_of

T = TypeVar("T")
U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
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
BITS_PER_RUN = 8
"""Bits of the table that spares most searches. With 8, at most one look in eight at an unknown run
ends in a search; a table of one size was two thirds full at 60,000 held-out texts, and then 100,000
rows took twice as long."""
RUNS_PER_PART = 1 << 18
"""Runs that are sorted at once, on average. An index of more is made in parts, so that little is
held in memory twice."""


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
            hashed = hashed_words([text for _, text in batch])
            for runs in (words, threes):
                runs.add(hashed, len(self._names))
            self._names += [name for name, _ in batch]
        self._words, self._threes = words.index(len(self._names)), threes.index(len(self._names))

    def reasons(
        self, texts: Sequence[str], words: Iterable[Words] | None = None
    ) -> list[str | None]:
        """Return how each of ``texts`` overlaps, or None; a pure function of a shard.

        Args:
            texts: The texts.
            words: ``words_in_parts`` of them, where they are known.
        """
        if not self._names:
            return [None] * len(texts)
        return [
            reason
            for part, of_part in zip(
                batched(texts, TEXTS_AT_ONCE), words or words_in_parts(texts), strict=True
            )
            for reason in self._reasons(part, of_part)
        ]

    def _reasons(self, texts: Sequence[str], words: Words) -> list[str | None]:
        reasons: list[str | None] = [None] * len(texts)
        if self._threes is not None and self._fuzzy is not None:
            rows, owners, counts = self._threes.shared(words)
            shares = np.where(
                self._threes.sizes[owners] < FUZZY_RUNS, 0, counts / self._threes.sizes[owners]
            )
            much = shares >= self._fuzzy
            for row, owner, share in _best(rows[much], owners[much], shares[much]):
                reasons[row] = (
                    f"has {share:.0%} of the runs of {FUZZY_WORDS} words of {self._names[owner]}"
                )
        if self._words is not None:
            for row, owner, count in _best(*self._words.shared(words)):
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


def words_in_parts(texts: Sequence[str]) -> Iterator[Words]:
    """Yield the hashes of the words of every ``TEXTS_AT_ONCE`` texts."""
    return map(hashed_words, batched(texts, TEXTS_AT_ONCE))


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
    """The runs of each text, collected for an index: 10 bytes a run."""

    def __init__(self, n: int | None) -> None:
        self._n = n
        # A bytearray grows in place; joining arrays would hold them in memory twice.
        self._hashes, self._owners = bytearray(), bytearray()
        self._batches: list[tuple[int, I64]] = []
        """Of each batch the number of its first text, and where its runs with each first byte
        begin, and end."""

    def add(self, words: Words, first: int) -> None:
        """Add a batch of at most 65,536 texts, numbered from ``first``."""
        if self._n is None:
            return
        grams = words.runs(self._n)
        first_bytes = (grams.hashes >> np.uint64(56)).astype(np.uint8)
        order = np.argsort(first_bytes, kind="stable")
        starts = len(self._owners) // 2 + np.searchsorted(first_bytes[order], np.arange(257))
        self._hashes += grams.hashes[order].data
        self._owners += grams.rows.astype(np.uint16)[order].data
        self._batches.append((first, starts))

    def index(self, texts: int) -> "_Index | None":
        """Return the index of the ``texts`` texts added, and forget them; None if it is empty."""
        if self._n is None or not self._batches:
            return None
        found = _Index(self._n, texts, len(self._owners) // 2, self._in_order())
        self._hashes, self._owners = bytearray(), bytearray()
        return found

    def _in_order(self) -> Iterator[tuple[U64, I32]]:
        """Yield the runs by hash, then by the numbers of their texts, in parts of less memory."""
        hashes = np.frombuffer(self._hashes, np.uint64)
        owners = np.frombuffer(self._owners, np.uint16)
        known = min(8, (len(hashes) // RUNS_PER_PART).bit_length())
        for byte in range(0, 256, 256 >> known):
            spans = [
                (first, slice(starts[byte], starts[byte + (256 >> known)]))
                for first, starts in self._batches
            ]
            of_part = np.concatenate([hashes[span] for _, span in spans])
            numbers = np.concatenate([owners[span] + np.int32(first) for first, span in spans])
            order = _order_of(of_part, known)
            yield of_part[order], numbers[order]


def _order_of(hashes: U64, known: int) -> I64:
    """Return the places of hashes in ascending order, equal ones as they stand.

    A sort of numbers takes a third of the time of a sort of their places. So a hash and its place
    are put into one number, without the last digits of the hash.

    Args:
        hashes: Their first bits are the same.
        known: The number of these bits.
    """
    width = np.uint64(len(hashes).bit_length())
    keys = (hashes << np.uint64(known) >> width << width) | np.arange(len(hashes), dtype=np.uint64)
    keys.sort()
    order = (keys & ((np.uint64(1) << width) - np.uint64(1))).view(np.int64)
    ordered = hashes[order]
    if (ordered[1:] < ordered[:-1]).any():  # two of them differ in the last digits alone
        return np.argsort(hashes, kind="stable")
    return order


class _Index:
    """A map from runs of words to the texts that hold them: 12 bytes a run, and at most 3 more."""

    def __init__(self, n: int, texts: int, runs: int, parts: Iterable[tuple[U64, I32]]) -> None:
        """Index the runs of texts.

        Args:
            n: Words in a run.
            texts: Number of texts.
            runs: Number of runs.
            parts: Their hashes in ascending order, and the numbers of their texts; of equal runs
                also in ascending order.
        """
        self.n = n
        self.sizes = np.zeros(texts, np.int64)
        """Runs of each text that do not belong to a template."""
        # Nearly all runs of other texts are unknown. This table settles that with one look.
        size = max(1, (BITS_PER_RUN * runs).bit_length() - 3)
        self._known, self._shift = np.zeros(1 << size, np.uint8), np.uint64(64 - size)
        hashes, owners, used = np.empty(runs, np.uint64), np.empty(runs, np.int32), 0
        for of_part, numbers in parts:
            is_new = np.ones(len(of_part), np.bool_)  # a run that a text repeats counts once
            is_new[1:] = (of_part[1:] != of_part[:-1]) | (numbers[1:] != numbers[:-1])
            of_part, numbers = of_part[is_new], numbers[is_new]
            starts = np.flatnonzero(np.append(True, of_part[1:] != of_part[:-1])[: len(of_part)])
            counts = np.diff(np.append(starts, len(of_part)))
            own = np.repeat(counts < TEMPLATE_TEXTS, counts)
            end = used + int(own.sum())
            hashes[used:end], owners[used:end] = of_part[own], numbers[own]
            self.sizes += np.bincount(owners[used:end], minlength=texts)
            self._mark(hashes[used:end])
            used = end
        self._hashes, self._owners = hashes[:used], owners[:used]
        self._stretch = np.uint64(min(63, 64 - size + 3))
        self._starts = _starts_of(self._hashes, self._stretch)
        self._halvings = int(np.diff(self._starts).max()).bit_length()

    def _mark(self, hashes: U64) -> None:
        """Set the bit of each hash: its lowest digits say which, and its highest ones the byte."""
        places, bits = self._look(hashes)
        starts = np.flatnonzero(np.append(True, places[1:] != places[:-1])[: len(places)])
        if len(starts):
            self._known[places[starts]] |= np.bitwise_or.reduceat(np.uint8(1) << bits, starts)

    def _look(self, hashes: U64) -> tuple[I64, U8]:
        """Return the byte of each hash in the table, and the number of its bit."""
        return (hashes >> self._shift).view(np.int64), hashes.astype(np.uint8) & np.uint8(7)

    def shared(self, words: Words) -> tuple[I64, I64, I64]:
        """Return the pairs that share runs: rows of ``words``, numbers of our texts, and counts."""
        grams = words.runs(self.n)
        places, bits = self._look(grams.hashes)
        maybe = np.flatnonzero(self._known[places] >> bits & np.uint8(1))
        hashes = grams.hashes[maybe]
        first = self._search(hashes)
        found = [np.empty(0, np.int64)]
        for k in range(TEMPLATE_TEXTS - 1):
            there = np.flatnonzero(first + k < len(self._hashes))
            held = there[self._hashes[first[there] + k] == hashes[there]]
            rows = np.searchsorted(grams.offsets, maybe[held], "right") - 1
            found.append(rows * len(self._hashes) + first[held] + k)
        row, place = np.divmod(np.unique(np.concatenate(found)), max(1, len(self._hashes)))
        pairs, counts = np.unique(row * len(self.sizes) + self._owners[place], return_counts=True)
        row, owner = np.divmod(pairs, len(self.sizes))
        return row, owner, counts

    def _search(self, hashes: U64) -> I64:
        """Return where hashes stand, as ``np.searchsorted``, in a quarter of its time.

        It looks at a few neighbours, where each look of a search of the whole waits for memory.
        """
        stretches = (hashes >> self._stretch).view(np.int64)
        low, high = (self._starts[stretches + k].astype(np.int64) for k in range(2))
        for _ in range(self._halvings):
            middle = (low + high) >> 1
            is_before = low < high
            is_before &= self._hashes[np.minimum(middle, len(self._hashes) - 1)] < hashes
            low = np.where(is_before, middle + 1, low)
            high = np.where(is_before, high, middle)
        return low


def _starts_of(hashes: U64, stretch: np.uint64) -> npt.NDArray[np.uint32]:
    """Return where hashes with the same first bits begin, and where the last ones end.

    Args:
        hashes: In ascending order.
        stretch: The number of their other bits.
    """
    count = 1 << (64 - int(stretch))
    starts = np.empty(count + 1, np.uint32)
    starts[-1] = len(hashes)
    for at in range(0, count, RUNS_PER_PART):
        end = min(count, at + RUNS_PER_PART)
        starts[at:end] = np.searchsorted(hashes, np.arange(at, end, dtype=np.uint64) << stretch)
    return starts


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
