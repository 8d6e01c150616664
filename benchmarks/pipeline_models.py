"""A teacher that is a function: what ``benchmarks.pipeline`` asks.

It writes about 190 words. It is right four times in five where it is told to go step by step, and
three times in five otherwise. What it writes depends on question and strategy alone.
"""

import random
from functools import cache
from hashlib import blake2b

from orcinus.core.types import Request

_LETTERS = "ABCD"
_VOCABULARY = 20_000
_LENGTH = 400_000
"""Words from which the texts are cut: two traces hardly ever have a passage in common."""


@cache
def _words() -> list[str]:
    """Return made-up words by Zipf's law, a full stop behind every twelfth."""
    rng = random.Random(1)
    vocabulary = [
        "".join(rng.choices("etaoinshrdlucmfwyp", k=2 + rng.randrange(8)))
        for _ in range(_VOCABULARY)
    ]
    weights = [1 / rank for rank in range(1, _VOCABULARY + 1)]
    words = rng.choices(vocabulary, weights, k=_LENGTH)
    words[11::12] = [f"{word}." for word in words[11::12]]
    return words


def explain(request: Request) -> str:
    """Answer as the teacher."""
    example = request.example
    key = f"{example.task}/{example.id}/{request.strategy}".encode()
    number = int.from_bytes(blake2b(key, digest_size=8).digest())
    number, share = divmod(number, 1000)
    number, more = divmod(number, 80)
    start = number % (_LENGTH - 250)
    final = str(example.reference)
    if share >= (800 if "step" in request.strategy else 600):
        final = _LETTERS[_LETTERS.index(final) - 1] if example.choices else f"{final}1"
    return f"{' '.join(_words()[start : start + 150 + more])}\nThe answer is {final}."
