"""Hash the words and n-grams of whole batches of texts at once, in NumPy, without a loop over rows.

    ngrams(["What is 17 + 25?"], n=3)  →  hashes of (what is 17) (is 17 +) (17 + 25), offsets [0, 3]

A word is a run of letters and digits; ASCII case is ignored. Each bracket, each arithmetic sign and
each Chinese, Japanese or Korean character is a word of its own. Commas, full stops, quotes and
blanks only separate words.

Words are read as 64-bit numbers, eight bytes at a time, all words of a batch at once. Most words
take one read, and finding where words begin takes most of the time. Measured: 4.1 µs for a text of
145 words and its runs of five, against 5.3 µs with prefix sums over all bytes.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_NGRAM_MULTIPLIER = np.uint64(0xC2B2AE3D27D4EB4F)
_TYPOGRAPHY = str.maketrans("‘’“”«»–—−…\u00a0\u3000，。", '\'\'""""---.  ,.')
"""Typographic marks and their plain forms, so that a text matches its plain copy."""
_SYMBOLS = b"()[]{}<>+-*/=^|&%$#@~\\"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ngrams:
    """The n-gram hashes of a batch of texts."""

    hashes: U64
    """Those of all texts, in order."""
    offsets: I64
    """Those of text i are ``hashes[offsets[i]:offsets[i + 1]]``."""

    def of(self, i: int) -> U64:
        """Return the n-gram hashes of text ``i``."""
        return self.hashes[self.offsets[i] : self.offsets[i + 1]]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Return for each hash the number of its text."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def normal(text: str) -> str:
    """Return the form in which equal texts are compared: NFKC, case-folded, blanks collapsed.

    >>> normal("  What is　１７ + 25? ") == normal("what IS 17 + 25?")
    True
    """
    if not text.isascii():
        return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    plain = text.encode().translate(_PLAIN).decode().strip(" ")
    return plain if "  " not in plain else " ".join(plain.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The hashes of the words of a batch of texts, of which runs of any length are made."""

    hashes: U64
    """Those of all texts, in order."""
    lengths: I64
    """The bytes of each word."""
    are_symbols: npt.NDArray[np.bool_]
    """True for a bracket, an arithmetic sign or another character that is a word of its own."""
    counts: I64
    """Words of each text."""

    def without_symbols(self) -> "Words":
        """Return the other words. Those of an ASCII text are its runs of letters and digits."""
        others = ~self.are_symbols
        rows = np.repeat(np.arange(len(self.counts)), self.counts)
        return Words(
            hashes=self.hashes[others],
            lengths=self.lengths[others],
            are_symbols=self.are_symbols[others],
            counts=self.counts - np.bincount(rows[self.are_symbols], minlength=len(self.counts)),
        )

    def runs(self, n: int) -> Ngrams:
        """Return the hashes of all runs of ``n`` words.

        A text with fewer words has one run, of all its words; a text without words has none.
        """
        return _hash_runs(self.hashes, self.counts, n)


def hashed_words(texts: Sequence[str]) -> Words:
    """Return the hashes of the words of ``texts``."""
    plain = [(text if text.isascii() else text.translate(_TYPOGRAPHY)).encode() for text in texts]
    return _hashed(plain, _KINDS)


def identifiers(texts: Sequence[str]) -> Words:
    """Return the hashes of all runs of letters, digits and underscores of ASCII texts."""
    return _hashed([text.encode("ascii") for text in texts], _IDENTIFIER_KINDS)


def _hashed(encoded: Sequence[bytes], kinds: bytes) -> Words:
    hashes, starts, lengths, are_symbols = _words(b"\n".join([*encoded, b""]), kinds)
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)) + 1)
    counts = np.diff(np.searchsorted(starts, np.concatenate([[0], ends])))
    return Words(hashes=hashes, lengths=lengths, are_symbols=are_symbols, counts=counts)


def ngrams(texts: Sequence[str], n: int) -> Ngrams:
    """Return the hashes of all runs of ``n`` words, as ``Words.runs``."""
    return hashed_words(texts).runs(n)


def _words(joined: bytes, kinds_of_bytes: bytes) -> tuple[U64, I64, I64, npt.NDArray[np.bool_]]:
    """Return the hashes of all words of ``joined``, where each starts, its length and its kind.

    Args:
        joined: The last byte must be a separator, so that every word has an end.
        kinds_of_bytes: The kind of each byte.
    """
    kinds = np.frombuffer(joined.translate(kinds_of_bytes), np.uint8)
    inside = kinds != _SEPARATOR
    begins = kinds == _ALONE
    begins[1:] |= inside[1:] & (
        (kinds[:-1] == _SEPARATOR) | ((kinds[:-1] == _ALONE) & (kinds[1:] == _WORD))
    )
    begins[:1] |= inside[:1]
    starts = np.flatnonzero(begins)
    stops = ~inside
    stops |= begins
    stops[1:] &= inside[:-1]
    stops[:1] = False
    ends = np.flatnonzero(stops)
    lengths = ends - starts
    # All eight-byte windows of the batch, without a copy.
    padded = joined.translate(_LOWER) + bytes(8)
    windows: U64 = np.ndarray(len(joined), np.uint64, padded, strides=(1,))
    hashes = windows[starts]
    hashes &= _MASKS[np.minimum(lengths, 8)]
    longer, read = np.flatnonzero(lengths > 8), 8
    while len(longer):
        further = windows[starts[longer] + read] & _MASKS[np.minimum(lengths[longer] - read, 8)]
        hashes[longer] = mixed(hashes[longer]) + further
        read += 8
        longer = longer[lengths[longer] > read]
    hashes += lengths.astype(np.uint64) * _MULTIPLIER
    return mixed(hashes), starts, lengths, kinds[starts] == _ALONE


def _hash_runs(words: U64, counts: I64, n: int) -> Ngrams:
    """Hash the runs of ``n`` words that stay within one text; ``counts`` are words in each text."""
    numbers = np.where(counts >= n, counts - n + 1, np.minimum(counts, 1))
    offsets = np.concatenate([[0], np.cumsum(numbers)])
    first_words = np.cumsum(counts) - counts
    begins = np.arange(offsets[-1]) + np.repeat(first_words - offsets[:-1], numbers)
    runs = (
        _hashes_at(words, begins[begins + n <= len(words)], n)
        if len(words) >= n
        else np.empty(0, np.uint64)
    )
    hashes = np.zeros(offsets[-1], np.uint64)
    hashes[: len(runs)] = runs
    for size in np.unique(counts[(counts > 0) & (counts < n)]):  # texts shorter than a run
        rows = np.flatnonzero(counts == size)
        hashes[offsets[rows]] = _hashes_at(words, first_words[rows], int(size))
    return Ngrams(hashes=mixed(hashes), offsets=offsets)


def _hashes_at(words: U64, begins: I64, n: int) -> U64:
    """Return the hashes of the runs of ``n`` words that begin at ``begins``."""
    if len(begins) * 2 > len(words):  # hashing every run needs no gathering, and is faster here
        length = len(words) - n + 1
        every = words[:length].copy()
        for k in range(1, n):
            every *= _NGRAM_MULTIPLIER
            every += words[k : k + length]
        return every[begins]
    some = words[begins]
    for k in range(1, n):
        some *= _NGRAM_MULTIPLIER
        some += words[begins + k]
    return some


def mixed(values: U64) -> U64:
    """Mix ``values`` in place so that every bit depends on every bit (SplitMix64's finalizer)."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


_SEPARATOR, _WORD, _INSIDE, _ALONE = range(4)


def _kinds() -> bytes:
    """Return the kind of each byte: between words, in a word, in a character, or a word alone."""
    kinds = bytearray([_SEPARATOR]) * 256
    for byte in range(128):
        if chr(byte).isalnum():
            kinds[byte] = _WORD
    kinds[0x80:0xC0] = bytes([_INSIDE]) * 0x40
    kinds[0xC0:] = bytes([_WORD]) * 0x40
    # The first bytes of Chinese, Japanese and Korean characters in UTF-8.
    kinds[0xE3:0xEE] = bytes([_ALONE]) * 11
    for byte in _SYMBOLS:
        kinds[byte] = _ALONE
    return bytes(kinds)


_KINDS = _kinds()
_IDENTIFIER_KINDS = bytes(
    _WORD if chr(byte).isalnum() or chr(byte) == "_" else _SEPARATOR for byte in range(128)
).ljust(256, bytes([_SEPARATOR]))
"""Every byte of an ASCII text is in a word or between words."""
_LOWER = bytes(byte + 32 if ord("A") <= byte <= ord("Z") else byte for byte in range(256))
_PLAIN = bytes(ord(" ") if chr(byte).isspace() else _LOWER[byte] for byte in range(256))
"""Maps each blank of an ASCII text to a space, and its letters to lower case."""
_MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], np.uint64)
"""By length, the mask of the first 0 … 8 of eight bytes."""
