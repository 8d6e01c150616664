"""JSON Schemas as references."""

import orjson
import pytest

from orcinus.core.errors import DataError
from orcinus.verifiers.rules import judge

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city", "people"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ('Here it is:\n```json\n{"people": 709037, "city": "Oslo"}\n```', 1.0),
        ('First I tried {"city": 4}. My answer: {"city": "Bergen", "people": 0}', 1.0),
        ('{"city": "Oslo"}', 0.0),
        ('{"city": "Oslo", "people": -1}', 0.0),
        ('{"city": "Oslo", "people": 1, "mayor": "?"}', 0.0),
        ('{"city": "Oslo", "people": ', None),
        ("I cannot say.", None),
    ],
)
def test_an_answer_is_right_where_the_schema_allows_it(response: str, value: float | None) -> None:
    assert judge(response, "json", None, orjson.dumps(SCHEMA).decode()).value == value


def test_a_schema_that_is_none_is_named() -> None:
    broken = orjson.dumps({**SCHEMA, "type": "thing"}).decode()
    with pytest.raises(DataError, match="a reference is no JSON Schema: 'thing' is not valid"):
        judge("{}", "json", None, broken)


def test_nothing_that_a_schema_names_is_fetched() -> None:
    away = orjson.dumps(
        {"$schema": SCHEMA["$schema"], "$ref": "http://127.0.0.1:9/schema.json"}
    ).decode()
    with pytest.raises(DataError, match="names a schema that is not in it"):
        judge("{}", "json", None, away)
