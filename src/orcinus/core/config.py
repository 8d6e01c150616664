"""The base class of every configuration section."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Config(BaseModel):
    """A frozen section of a recipe that refuses unknown keys.

    The string under a field is its documentation.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

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
