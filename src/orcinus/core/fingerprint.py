"""Canonical JSON and its hash: the identity of requests, steps and lessons.

What has no canonical form (a lambda, NaN, an arbitrary object) is refused rather than guessed, so that two different things
never share an identity and the same thing never has two (Marin's ``fingerprint.py``; llm's ``logs.py``).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import orjson

ALGORITHM = "b2"
"""Stands in front of every fingerprint, so that a change of algorithm is noticed."""


def canonical(value: Any) -> Any:
    """Rewrite ``value`` with JSON types only.

    Raises:
        TypeError: ``value`` holds something without a canonical form.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no canonical form")
        return value
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is not a string and has no canonical form")
        return {key: canonical(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: canonical(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} {value!r} has no canonical form")


def canonical_json(value: Any) -> bytes:
    """The one JSON text of ``value``: sorted keys, no blanks, UTF-8."""
    return orjson.dumps(canonical(value), option=orjson.OPT_SORT_KEYS)


def fingerprint(value: Any, *, length: int = 32) -> str:
    """Tagged hash of ``value``'s canonical JSON: ``b2`` and ``length`` hexadecimal digits.

    32 digits are 128 bits: among 10^12 requests a collision has a chance of about 10^-15.
    """
    return hashed(canonical_json(value), length=length)


def hashed(content: bytes, *, length: int = 32) -> str:
    """``fingerprint`` of what is canonical JSON already."""
    return ALGORITHM + hashlib.blake2b(content, digest_size=length // 2).hexdigest()


def stable_fraction(*parts: str) -> float:
    """A number in [0, 1) that depends on ``parts`` alone, on every machine and in every version."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
