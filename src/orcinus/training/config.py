"""The settings of training, without importing torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Lesson
from orcinus.models.local.config import LocalConfig
from orcinus.training.objectives import BUILT_IN, find_objective
from orcinus.training.objectives.interface import Objective


class OnPolicyConfig(Config):
    """On-policy distillation: the student answers, and learns from a teacher's probabilities of what it wrote."""

    teacher: LocalConfig
    """A model on this machine with the student's vocabulary."""
    max_tokens: int = Field(default=512, ge=1)
    """Upper bound on what the student writes to each question."""
    temperature: float = Field(default=1.0, ge=0)


class LessonFilter(Config):
    """Which lessons."""

    teachers: tuple[str, ...] = ()
    """Only lessons of these: ``assistant``, ``teacher``, or a model's name; empty takes all."""
    strategies: tuple[str, ...] = ()
    """Only lessons taught with these strategies; empty takes all."""
    tasks: tuple[str, ...] = ()
    """Only lessons of these tasks; empty takes all."""

    def fits(self, lesson: Lesson) -> bool:
        """Whether ``lesson`` is one of them."""
        return (
            (
                not self.teachers
                or lesson.teacher in self.teachers
                or lesson.meta.get("role") in self.teachers
            )
            and (not self.strategies or lesson.strategy in self.strategies)
            and (not self.tasks or lesson.task in self.tasks)
        )


class MixConfig(Config):
    """How much of one source of lessons goes into a stage, chosen by what short trials of it teach the student."""

    of: LessonFilter
    """The source: the assistant's lessons (``{teachers: [assistant]}``), a task's, a strategy's, or what an earlier stage took. The
    stage's own lessons are all others that its filters take."""
    shares: tuple[float, ...] = Field(min_length=1)
    """Shares of the stage's lessons that may come from the source, 0 … 1, the one you would take untried first: a later one is taken
    only where trials tell it apart. A single one is a fixed share and needs no trial. Whatever the share, the stage learns from as many lessons
    (``tokens``: response tokens), so that what there is too little of comes more often."""
    trial: float = Field(default=0.25, gt=0, le=1)
    """How much of the stage each trial student learns. Its ranking need not be that of the whole stage."""
    per_task: int | None = Field(default=50, ge=1)
    """Examples of each task's probe split that the trial students are asked, as the evaluation asks; None asks all. They
    are taught to nobody and stand in no score."""
    errors: float = Field(default=1.0, ge=0)
    """A share is told apart from the best one when it lies more than so many standard errors of their paired difference behind it."""
    sampling: SamplingConfig = SamplingConfig()
    """How the trial students write."""

    @field_validator("of")
    @classmethod
    def _some_lessons_are_not_of_the_source(cls, value: LessonFilter) -> LessonFilter:
        if value == LessonFilter():
            raise ValueError("names no source; say e.g. {teachers: [assistant]}")
        return value

    @field_validator("shares")
    @classmethod
    def _shares_are_distinct_shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for share in value:
            if not 0 <= share <= 1:
                raise ValueError(f"holds {share:g}, but a share lies in 0 … 1")
            if value.count(share) > 1:
                raise ValueError(f"holds {share:g} twice")
        return value


class StageConfig(LessonFilter):
    """One phase of training over chosen lessons."""

    name: str = "lessons"
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the stage's lessons."""
    tokens: int | None = Field(default=None, ge=1)
    """Response tokens to learn from, in place of ``epochs``: as many passes, and a part of one, as that takes."""
    learning_rate: float = Field(default=2e-5, gt=0)
    replay: float = Field(default=0.0, ge=0, lt=1)
    """Share of the stage's lessons that are lessons of earlier stages, shown again against forgetting; drawn by a hash."""
    mix: MixConfig | None = None
    """A source of lessons that goes into the stage by a share, chosen by trials; None takes all that the filters take."""
    on_policy: OnPolicyConfig | None = None
    """Take only the stage's questions, and learn from what the student itself writes to them; None learns the lessons' texts."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of optimizer steps over which the rate rises."""

    def from_source(self, lesson: Lesson) -> bool:
        """Whether ``lesson`` is of the source that ``mix`` takes a share of."""
        return self.mix is not None and self.mix.of.fits(lesson)

    def offers(self, lesson: Lesson) -> bool:
        """Whether the stage draws from lessons like this one; all of its own are learnt where nothing is mixed."""
        return self.from_source(lesson) or self.fits(lesson)

    def takes(self, lesson: Lesson) -> bool:
        """Whether the stage learns lessons like this one: with a share of 0 or 1 there are some that it draws none of."""
        if self.mix is None:
            return self.fits(lesson)
        if self.from_source(lesson):
            return max(self.mix.shares) > 0
        return min(self.mix.shares) < 1 and self.fits(lesson)

    def at_share(self, share: float, *, part: float = 1.0) -> Self:
        """The same with a fixed share of the source.

        Args:
            share: Of the stage's lessons, 0 … 1.
            part: How much of the stage; 1 is all.
        """
        if self.mix is None:
            raise ValueError(f"stage {self.name!r} mixes nothing")
        tokens = None if self.tokens is None else max(1, round(part * self.tokens))
        mix = self.mix.model_copy(update={"shares": (share,)})
        return self.model_copy(update={"mix": mix, "tokens": tokens, "epochs": part * self.epochs})


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
                update={
                    "on_policy": stage.on_policy.model_copy(
                        update={"teacher": stage.on_policy.teacher.at(base)}
                    )
                }
            )
            for stage in self.stages
        )
        return self.model_copy(update={"stages": stages})

    @property
    def open_mixes(self) -> dict[int, MixConfig]:
        """By the stage's place the mixes whose share is still to be chosen."""
        mixes = {place: stage.mix for place, stage in enumerate(self.stages)}
        return {
            place: mix for place, mix in mixes.items() if mix is not None and len(mix.shares) > 1
        }

    def with_share(self, place: int, share: float) -> Self:
        """The same with the share of the stage at ``place`` chosen."""
        stages = (
            *self.stages[:place],
            self.stages[place].at_share(share),
            *self.stages[place + 1 :],
        )
        return self.model_copy(update={"stages": stages})

    def objective_of(self, stage: StageConfig) -> Objective:
        """Return the objective that ``stage`` learns.

        An on-policy stage learns ``reverse_kl`` where the one of the recipe needs no teacher.

        Raises:
            ConfigError: The objective is unknown, or does not take its settings.
        """
        objective = find_objective(self.objective.name, self.objective.settings)
        if stage.on_policy is None or objective.needs.teacher:
            return objective
        return BUILT_IN["reverse_kl"]

    @model_validator(mode="after")
    def _every_stage_has_what_its_objective_needs(self) -> Self:
        for stage in self.stages:
            needs = self.objective_of(stage).needs
            if needs.teacher and stage.on_policy is None:
                raise ValueError(
                    f"objective {self.objective.name!r} needs a teacher's probabilities, but stage "
                    f"{stage.name!r} has no on_policy"
                )
            if needs.evidence and stage.on_policy is not None:
                raise ValueError(
                    f"objective {self.objective.name!r} needs numbers of lessons "
                    f"({', '.join(needs.evidence)}), but stage {stage.name!r} learns what the "
                    "student writes"
                )
        return self

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
            raise ValueError(
                f"{clash[0]} is set by other keys of train: epochs, learning_rate, batch_tokens"
            )
        return value
