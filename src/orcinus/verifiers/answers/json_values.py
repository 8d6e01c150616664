"""JSON as an answer: the value in a text, compared with a value, or checked against a JSON Schema.

reference {"city": "Oslo"}                                   that value, whatever the order of its keys
reference {"$schema": "https://json-schema.org/draft/…", …}  any value that the schema allows
"""

from functools import lru_cache
from json import JSONDecoder
from typing import Any

import orjson

from orcinus.core.errors import DataError, MissingExtraError
from orcinus.verifiers.answers.text import FoundAnswer, cleaned


def find_json(response: str) -> FoundAnswer:
    """The last JSON value of a text: a fenced block, what stands between the outermost braces, or the last object that is whole."""
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
    """The last object that stands in no other."""
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
    """Whether ``answer`` is the value of ``reference``, or is allowed by it where that is a JSON Schema with its ``$schema``.

    Raises:
        MissingExtraError: There is a schema, and jsonschema is not installed.
        DataError: The schema is none, or names another that is not in it.
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
    return kind(
        wanted, registry=Registry()
    )  # an empty registry: nothing that a schema names is fetched
