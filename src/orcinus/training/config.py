"""The settings of training, without importing torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from orcinus import registry
from orcinus.completers.local_config import LocalConfig
from orcinus.config import Config
from orcinus.training import objectives as objectives
from orcinus.types import Lesson


class OnPolicyConfig(Config):
    """On-policy distillation: the student answers, and learns from a teacher's probabilities of what it wrote."""

    teacher: LocalConfig
    """A model on this machine with the student's vocabulary."""
    max_tokens: int = Field(default=512, ge=1)
    """Upper bound on what the student writes to each question."""
    temperature: float = Field(default=1.0, ge=0)


class StageConfig(Config):
    """One phase of training over chosen lessons."""

    name: str = "lessons"
    teachers: tuple[str, ...] = ()
    """Only lessons of these: ``assistant``, ``teacher``, or a model's name; empty takes all."""
    strategies: tuple[str, ...] = ()
    """Only lessons taught with these strategies; empty takes all."""
    tasks: tuple[str, ...] = ()
    """Only lessons of these tasks; empty takes all."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the stage's lessons."""
    tokens: int | None = Field(default=None, ge=1)
    """Response tokens to learn from, in place of ``epochs``: as many passes, and a part of one, as that takes."""
    learning_rate: float = Field(default=2e-5, gt=0)
    replay: float = Field(default=0.0, ge=0, lt=1)
    """Share of the stage's lessons that are lessons of earlier stages, shown again against forgetting; drawn by a hash."""
    on_policy: OnPolicyConfig | None = None
    """Take only the stage's questions, and learn from what the student itself writes to them; None learns the lessons' texts."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of optimizer steps over which the rate rises."""

    def takes(self, lesson: Lesson) -> bool:
        """Whether the stage learns ``lesson``."""
        return (
            (not self.teachers or lesson.teacher in self.teachers or lesson.meta.get("role") in self.teachers)
            and (not self.strategies or lesson.strategy in self.strategies)
            and (not self.tasks or lesson.task in self.tasks)
        )


class LoraConfig(Config):
    """Low-rank adapters in place of full weights."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    """Scale of the adapter's part: alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = "all-linear"
    """Names of the layers that get one."""


class ObjectiveConfig(Config):
    """Which objective, and its settings."""

    name: str = "lesson_weight"
    """``plain``, ``lesson_weight``, ``answer_upweight``, or one registered as ``objectives.NAME`` in the entry-point group ``orcinus``."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Arguments of its factory, e.g. ``{factor: 3}``."""


class TrainConfig(Config):
    """How the student learns."""

    stages: tuple[StageConfig, ...] = Field(default=(StageConfig(),), min_length=1)
    """The curriculum: phases in order, each starting from the weights of the one before."""
    context_length: int = Field(default=2048, ge=16)
    """Tokens of a packed row."""
    batch_tokens: int = Field(default=65_536, ge=1)
    """Tokens of a global batch, in whole rows."""
    lora: LoraConfig | None = None
    """Train adapters; None trains all weights."""
    share_prompts: bool = True
    """Responses to the same prompt stand behind one copy of it in a row. Loss and gradients are those of separate lessons."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """How much each response token counts."""
    too_long: Literal["drop", "keep_tail"] = "drop"
    """What becomes of a lesson that is longer than a row; both are counted, and an answer is never cut."""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU that has it, float32 elsewhere."""
    trainer: Mapping[str, Any] = Field(default_factory=dict)
    """Further fields of Hugging Face's TrainingArguments, by name."""

    def at(self, base: Path) -> Self:
        """The same with the paths of on-policy teachers resolved from ``base``."""
        stages = tuple(
            stage
            if stage.on_policy is None
            else stage.model_copy(
                update={"on_policy": stage.on_policy.model_copy(update={"teacher": stage.on_policy.teacher.at(base)})}
            )
            for stage in self.stages
        )
        return self.model_copy(update={"stages": stages})

    @field_validator("objective")
    @classmethod
    def _objective_can_be_made(cls, value: ObjectiveConfig) -> ObjectiveConfig:
        made = registry.objectives.get(value.name)
        try:
            made(**value.settings)
        except TypeError as error:
            raise ValueError(f"objective {value.name!r} cannot be made with {dict(value.settings)}: {error}") from error
        return value

    @field_validator("trainer")
    @classmethod
    def _our_own_fields_are_not_passed_through(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        ours = {
            "output_dir",
            "num_train_epochs",
            "learning_rate",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
        }
        if clash := sorted(ours & set(value)):
            raise ValueError(f"{clash[0]} is set by other keys of train: epochs, learning_rate, batch_tokens")
        return value
