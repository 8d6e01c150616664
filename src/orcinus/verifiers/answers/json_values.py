"""Find a JSON value in a text, and compare it with a value or check it against a JSON Schema.

reference {"city": "Oslo"}                     that value, with its keys in any order
reference {"$schema": "https://json-schema.org/draft/…", …}   any value that the schema allows
"""

from functools import lru_cache
from json import JSONDecoder
from typing import Any

import orjson

from orcinus.core.errors import DataError, MissingExtraError
from orcinus.verifiers.answers.text import FoundAnswer, cleaned


def find_json(response: str) -> FoundAnswer:
    """Find the last JSON value of a text.

    It may be a fenced block, the text between the outermost braces, or the last complete object.
    """
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    blocks = text.split("```")
    candidates = [block.removeprefix("json").strip() for block in blocks[1::2]][::-1]
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    end = max(text.rfind("}"), text.rfind("]"))
    if 0 <= start < end:
        candidates.append(text[start : end + 1])
    if last := _last_object(text):
        candidates.append(last)
    for candidate in candidates:
        try:
            return FoundAnswer(orjson.dumps(orjson.loads(candidate)).decode(), "json")
        except orjson.JSONDecodeError:
            continue
    return FoundAnswer(None, "no JSON value is given")


def _last_object(text: str) -> str | None:
    """Return the last object that is not inside another."""
    decoder, at, last = JSONDecoder(), text.find("{"), None
    while at >= 0:
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            last = text[at:end]
        at = text.find("{", end)
    return last


def same_json(answer: str, reference: str) -> bool:
    """Return True if ``answer`` equals ``reference``, or matches it if that is a JSON Schema.

    A schema is recognised by its ``$schema``.

    Raises:
        MissingExtraError: The reference is a schema, and jsonschema is not installed.
        DataError: The schema is invalid, or refers to another that it does not contain.
    """
    value, wanted = orjson.loads(answer), orjson.loads(reference)
    if not isinstance(wanted, dict) or "$schema" not in wanted:
        return bool(value == wanted)
    validator = _validator(reference)
    from referencing.exceptions import Unresolvable

    try:
        return bool(validator.is_valid(value))
    except Unresolvable as error:
        raise DataError(
            f"a reference names a schema that is not in it, and none is fetched: {error.ref}"
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
