"""Texts as numbers: normal form, words and n-grams of whole batches at once, with NumPy and no loop over rows.

    ngrams(["What is 17 + 25?"], n=3)  →  hashes of (what is 17) (is 17 +) (17 + 25), offsets [0, 3]

A word is a run of letters and digits without regard to ASCII case; brackets and arithmetic signs are words of their own;
commas, stops, quotes and blanks only separate. A character of Chinese, Japanese or Korean is a word.

The hash of a word is a polynomial in its bytes modulo 2^64, taken from prefix sums over the whole batch: the value of
bytes i … j is (H[j] - H[i]) · B^-i, with H[i] = Σ_{k<i} t[byte_k] · B^k and random t, so that all words cost one pass.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

BYTES_PER_BATCH = 1 << 22
"""Texts are hashed in batches of about 4 MiB, which need about 200 MiB of working memory."""

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_NGRAM_BASE = 0xC2B2AE3D27D4EB4F
_SEED = 20231118
_TYPOGRAPHY = str.maketrans("‘’“”«»–—−…\u00a0\u3000，。", '\'\'""""---.  ,.')
"""Typographic marks and their plain forms, so that a text matches its plain copy."""
_SYMBOLS = b"()[]{}<>+-*/=^|&%$#@~\\"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ngrams:
    """The n-gram hashes of a batch of texts."""

    hashes: U64
    """Of all texts, one after the other, in order."""
    offsets: I64
    """Those of text i are ``hashes[offsets[i]:offsets[i + 1]]``."""

    def of(self, i: int) -> U64:
        """The n-gram hashes of text ``i``."""
        return self.hashes[self.offsets[i] : self.offsets[i + 1]]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """For each hash the number of its text."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def normal(text: str) -> str:
    """The form in which two texts count as the same: compatibility characters and case unified, blanks collapsed.

    >>> normal("  What is　１７ + 25? ") == normal("what IS 17 + 25?")
    True
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def ngrams(texts: Sequence[str], n: int) -> Ngrams:
    """The hashes of all runs of ``n`` words; a text with fewer words has one, of all its words, and one without words none."""
    encoded = [(text if text.isascii() else text.translate(_TYPOGRAPHY)).encode() for text in texts]
    data = np.frombuffer(b"\n".join([*encoded, b""]), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)) + 1)
    words, starts = _words(data)
    counts = np.diff(np.searchsorted(starts, np.concatenate([[0], ends])))
    return _join(words, counts, n)


def _words(data: npt.NDArray[np.uint8]) -> tuple[U64, I64]:
    """The hashes of all words of ``data``, and where each starts."""
    kinds = _kinds()[data]
    begins = kinds == _WORD
    begins[1:] &= (kinds[:-1] == _SEPARATOR) | (kinds[:-1] == _ALONE)
    starts = np.flatnonzero(begins | (kinds == _ALONE))
    if len(starts) == 0:
        return np.empty(0, np.uint64), starts
    powers, inverses = _powers(len(data))
    values = _values()[data]  # 0 for separators, which so belong to no word
    values *= powers
    prefix = np.empty(len(data) + 1, np.uint64)
    prefix[0] = 0
    np.cumsum(values, out=prefix[1:])
    at_start = prefix[starts]
    at_end = np.empty_like(at_start)
    at_end[:-1] = at_start[1:]
    at_end[-1] = prefix[-1]
    return mixed((at_end - at_start) * inverses[starts]), starts


def _join(words: U64, counts: I64, n: int) -> Ngrams:
    """Runs of ``n`` words that do not cross from one text into the next."""
    numbers = np.where(counts >= n, counts - n + 1, np.minimum(counts, 1))
    offsets = np.concatenate([[0], np.cumsum(numbers)])
    first_words = np.cumsum(counts) - counts
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], numbers)
    begins = np.repeat(first_words, numbers) + within
    sizes = np.repeat(np.minimum(counts, n), numbers)
    powers, inverses = _ngram_powers(len(words))
    prefix = np.empty(len(words) + 1, np.uint64)
    prefix[0] = 0
    np.cumsum(words * powers, out=prefix[1:])
    hashes = mixed((prefix[begins + sizes] - prefix[begins]) * inverses[begins])
    return Ngrams(hashes=hashes, offsets=offsets)


def mixed(values: U64) -> U64:
    """``values`` with every bit depending on every bit (the finalizer of SplitMix64), in place."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


_SEPARATOR, _WORD, _INSIDE, _ALONE = range(4)


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """What each byte is: between words, part of a word, inside a character, or the start of a word of its own."""
    kinds = np.full(256, _SEPARATOR, np.uint8)
    kinds[[byte for byte in range(128) if chr(byte).isalnum()]] = _WORD
    kinds[0x80:0xC0] = _INSIDE
    kinds[0xC0:] = _WORD
    kinds[0xE3:0xEE] = _ALONE  # first bytes of Chinese, Japanese and Korean characters in UTF-8
    kinds[list(_SYMBOLS)] = _ALONE
    return kinds


@cache
def _values() -> U64:
    """A random number for each byte, the same for both cases of an ASCII letter."""
    values = np.random.default_rng(_SEED).integers(1, 2**63, 256, np.uint64)
    values[ord("A") : ord("Z") + 1] = values[ord("a") : ord("z") + 1]
    values[_kinds() == _SEPARATOR] = 0
    return values


def _powers(length: int) -> tuple[U64, U64]:
    size = max(BYTES_PER_BATCH, 1 << (length - 1).bit_length())
    powers, inverses = _power_tables(_BASE, size)
    return powers[:length], inverses[:length]


def _ngram_powers(length: int) -> tuple[U64, U64]:
    size = max(BYTES_PER_BATCH, 1 << length.bit_length())
    powers, inverses = _power_tables(_NGRAM_BASE, size)
    return powers[:length], inverses


@cache
def _power_tables(base: int, size: int) -> tuple[U64, U64]:
    def powers(of: int) -> U64:
        steps = np.full(size, of, np.uint64)
        steps[0] = 1
        return np.cumprod(steps)

    return powers(base), powers(pow(base, -1, 2**64))
