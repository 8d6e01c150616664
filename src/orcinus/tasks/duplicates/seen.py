"""Remember hashes in eight bytes each, to find duplicates among hundreds of millions of rows.

seen = SeenHashes()
seen.add(hash_of("bbh_navigate", "17"))  →  True the first time, False from then on
"""

import hashlib

import numpy as np
import numpy.typing as npt

_RECENT_AT_MOST = 1 << 18
"""Hashes held in a Python set (about 20 MiB) before they are merged into the sorted array."""


def hash_of(*parts: str) -> int:
    """Return a 64-bit hash of the texts.

    Among 5 million texts, any two different ones collide with a probability of 7 in 10 million.
    """
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class SeenHashes:
    """A growing set of 64-bit hashes, kept in sorted arrays and a small set of recent ones."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted: list[npt.NDArray[np.uint64]] = []

    def add(self, value: int) -> bool:
        """Add ``value``, and return True if it is new."""
        if value in self:
            return False
        self._recent.add(value)
        if len(self._recent) >= _RECENT_AT_MOST:
            self._merge()
        return True

    def __contains__(self, value: int) -> bool:
        if value in self._recent:
            return True
        for array in self._sorted:  # noqa: SIM110 (any() takes twice the time)
            if _holds(array, value):
                return True
        return False

    def _merge(self) -> None:
        array = np.fromiter(self._recent, np.uint64, len(self._recent))
        array.sort()
        self._recent.clear()
        while self._sorted and len(self._sorted[-1]) <= 2 * len(array):
            array = np.concatenate([self._sorted.pop(), array])
            array.sort(kind="stable")
        self._sorted.append(array)


def _holds(array: npt.NDArray[np.uint64], value: int) -> bool:
    at = int(array.searchsorted(np.uint64(value)))
    return at < len(array) and int(array[at]) == value
