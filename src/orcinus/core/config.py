"""The base class of every configuration section.

    field_docs(ToxicityConfig)["limit"]    →  "A trace with this score or a higher one is unsafe."

The strings under the fields are read from the source where somebody wants to see them: in the
JSON schema and in docs/recipe.md. Pydantic's ``use_attribute_docstrings`` would read them at each
start.
"""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Config(BaseModel):
    """A frozen section of a recipe that refuses unknown keys.

    The string under a field is its documentation.
    """

    # Deferred: a section that is part of another is built with that one alone.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON schema with each field's documentation."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in field_docs(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _yes_is_no_number(cls, data: Any) -> Any:
        """Refuse true and false for a number: pydantic would read them as 1 and 0."""
        for name, value in data.items() if isinstance(data, Mapping) else ():
            if isinstance(value, bool) and name in cls.model_fields:
                annotation = cls.model_fields[name].annotation
                kinds = {annotation, *get_args(annotation)}
                if kinds & {int, float} and bool not in kinds:
                    raise ValueError(
                        f"{name} must be a number, and YAML reads this as true or false"
                    )
        return data


def field_docs(section: type[BaseModel]) -> dict[str, str]:
    """Return the string under each field of a section, those of its base classes included.

    Nothing where the source is not at hand, as in a notebook's cell that was changed, or cannot be
    read by itself, as that of a class in a function with a text at the margin.
    """
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        try:
            made = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, SyntaxError, IndexError):
            continue
        body = made.body if isinstance(made, ast.ClassDef) else []
        for field, under in itertools.pairwise(body):
            match field, under:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = inspect.cleandoc(text)
    return {name: text for name, text in found.items() if name in section.model_fields}
