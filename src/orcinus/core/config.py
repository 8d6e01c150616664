"""The base of every configuration section: what comes from outside is checked, named exactly and never changed."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A section of a recipe. Unknown keys are refused; the string under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
