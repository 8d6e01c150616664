"""The kinds of model that a recipe may name in each role."""

from typing import Annotated, Literal

from pydantic import Field

from orcinus.core.config import Config
from orcinus.models.function import FunctionConfig
from orcinus.models.local.config import LocalConfig
from orcinus.models.recorded import ReplayConfig
from orcinus.models.recorded_rows import AnsweredConfig
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.scratch import ScratchConfig


class SelfConfig(Config):
    """The student as its own teacher.

    It learns from its own right answers under its best strategy, with the instruction erased.
    """

    kind: Literal["self"] = "self"
    """The student teaches itself; its right answers are kept."""


ModelConfig = EndpointConfig | LocalConfig | ReplayConfig | FunctionConfig
JudgeConfig = Annotated[ModelConfig, Field(discriminator="kind")]
TeacherConfig = Annotated[ModelConfig | SelfConfig | AnsweredConfig, Field(discriminator="kind")]
StudentConfig = Annotated[
    LocalConfig | ScratchConfig | EndpointConfig | ReplayConfig | FunctionConfig,
    Field(discriminator="kind"),
]
