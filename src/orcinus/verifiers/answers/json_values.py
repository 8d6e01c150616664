"""Find a JSON value in a text, and compare it with a value or check it against a JSON Schema.

reference {"city": "Oslo"}                     that value, with its keys in any order
reference {"$schema": "https://json-schema.org/draft/…", …}   any value that the schema allows
"""

from functools import lru_cache
from json import JSONDecoder
from typing import Any

import orjson

from orcinus.core.errors import DataError, MissingExtraError
from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import final_channel
from orcinus.verifiers.answers.text import FoundAnswer

_START = compile_later(r"[{\[]")
_TRIES = 100
"""Blocks, and opening brackets, that are tried; a loop of brackets costs no more."""


def find_json(response: str) -> FoundAnswer:
    """Find the last JSON value of a text.

    It may be a fenced block, the text between the outermost braces, or the last complete object.
    """
    text = final_channel(response)
    if not text.strip():
        return FoundAnswer(
            None, "the reasoning never ended" if response else "the response is empty"
        )
    blocks = text.split("```")
    candidates = [block.removeprefix("json").strip() for block in blocks[1::2]][-1:-_TRIES:-1]
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    end = max(text.rfind("}"), text.rfind("]"))
    if 0 <= start < end:
        candidates.append(text[start : end + 1])
    candidates.append(text.strip())
    for candidate in candidates:
        if _is_json(candidate):
            return FoundAnswer(candidate, "json")
    last = _last_value(text)
    return FoundAnswer(last, "json") if last else FoundAnswer(None, "no JSON value is given")


def _is_json(text: str) -> bool:
    """Return True for an object, an array or a scalar of JSON."""
    try:
        orjson.loads(text)
    except (ValueError, TypeError):
        return False
    return True


def _last_value(text: str) -> str | None:
    """Return the last object or array that is not inside another."""
    decoder, last, tries = JSONDecoder(), None, 0
    start = _START.search(text)
    while start is not None and tries < _TRIES:
        at, tries = start.start(), tries + 1
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            last = text[at:end]
        start = _START.search(text, end)
    return last if last is None or _is_json(last) else None


def _same(value: Any, wanted: Any) -> bool:
    """Compare two JSON values: true is not 1, but 1 is 1.0."""
    pairs = [(value, wanted)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, bool) or isinstance(other, bool):
            same = one is other
        elif isinstance(one, dict) and isinstance(other, dict):
            same = one.keys() == other.keys()
            pairs.extend((one[key], other[key]) for key in one if same)
        elif isinstance(one, list) and isinstance(other, list):
            same = len(one) == len(other)
            pairs.extend(zip(one, other, strict=False))
        else:
            same = one == other
        if not same:
            return False
    return True


def same_json(answer: str, reference: str) -> bool:
    """Return True if ``answer`` equals ``reference``, or matches it if that is a JSON Schema.

    A schema is recognised by its ``$schema``.

    Raises:
        MissingExtraError: The reference is a schema, and jsonschema is not installed.
        DataError: The schema is invalid, or refers to another that it does not contain.
    """
    value, wanted = orjson.loads(answer), orjson.loads(reference)
    if not isinstance(wanted, dict) or "$schema" not in wanted:
        return _same(value, wanted)
    validator = _validator(reference)
    from referencing.exceptions import Unresolvable

    try:
        return bool(validator.is_valid(value))
    except Unresolvable as error:
        raise DataError(
            f"a reference names a schema that is not in it, and none is fetched: {error.ref}; "
            "put that schema under its $defs"
        ) from error


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    try:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry
    except ImportError as error:
        raise MissingExtraError("checking answers against a JSON Schema", "schema") from error
    wanted = orjson.loads(schema)
    kind = validator_for(wanted)
    try:
        kind.check_schema(wanted)
    except SchemaError as error:
        raise DataError(f"a reference is no JSON Schema: {error.message}: {schema[:80]}") from error
    # With an empty registry, no schema is ever fetched.
    return kind(wanted, registry=Registry())
