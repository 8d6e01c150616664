"""Canonical JSON and its hash: the identity of requests, steps and lessons.

    fingerprint({"b": 1, "a": [2]})  →  "b2" + 32 hexadecimal digits of {"a":[2],"b":1}

A value without a canonical form (a lambda, NaN, an arbitrary object) is refused. So two different
values never share an identity, and equal values never have two (as in Marin's ``fingerprint.py``
and llm's ``logs.py``).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import orjson

ALGORITHM = "b2"
"""Prefix of every fingerprint, so that a change of the algorithm shows."""


def canonical(value: Any) -> Any:
    """Return ``value`` rewritten with JSON types only.

    Raises:
        TypeError: A part of ``value`` has no canonical form.
    """
    kind: Any = type(value)
    if kind is str or value is None or isinstance(value, bool | int | str):
        return value
    if (names := _field_names(kind)) is not None:
        return {name: canonical(getattr(value, name)) for name in names}
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
    raise TypeError(f"{type(value).__name__} {value!r} has no canonical form")


@cache
def _field_names(kind: Any) -> tuple[str, ...] | None:
    """Return the names of a dataclass's fields; None for another type."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of ``value``: sorted keys, no blanks, UTF-8."""
    return orjson.dumps(canonical(value), option=orjson.OPT_SORT_KEYS)


def fingerprint(value: Any, *, length: int = 32) -> str:
    """Return ``b2`` and ``length`` hexadecimal digits of the hash of ``value``'s canonical JSON.

    32 digits are 128 bits: among 10^12 requests, two collide with a probability of about 10^-15.
    """
    return hashed(canonical_json(value), length=length)


def hashed(content: bytes, *, length: int = 32) -> str:
    """Return the fingerprint of a text that is already canonical JSON."""
    return ALGORITHM + hashlib.blake2b(content, digest_size=length // 2).hexdigest()


def stable_fraction(*parts: str) -> float:
    """Return a number in [0, 1) that depends on ``parts`` alone, on every machine and version."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
