"""The settings of training: the sections ``train`` and ``weigh``. Imports no torch.

train: {stages: [{epochs: 3}], lora: {rank: 16}}    ──►    TrainConfig
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Lesson
from orcinus.models.local.config import LocalConfig
from orcinus.training.objectives import find_objective
from orcinus.training.objectives.interface import Needs, Objective
from orcinus.training.trackers import without_trackers

Precision = Literal["auto", "float32", "bfloat16"]
SIGNALS = ("on_policy", "reinforce", "prefer", "invariant")
"""Sections of which a stage has one at most. Each takes more work than reading its lessons."""


class OnPolicyConfig(Config):
    """On-policy distillation: the student answers, and a teacher rates each token of the answer."""

    teacher: LocalConfig | Literal["self", "recipe"]
    """A local model with the student's vocabulary, or ``self``: the student as the stage finds it,
    which learns to do without the strategy's message (``under: assigned``), or ``recipe``: the
    recipe's ``teacher:``, local or behind a server that scores a given text (vLLM, ``orcinus
    serve``). Each answer is then scored by a call, which the ledger keeps."""
    # New keys are excluded by default, so that a stage keeps the fingerprint it had without them.
    under: Literal["erased", "assigned"] = Field(
        default="erased", exclude_if=lambda value: value == "erased"
    )
    """The message under which the teacher reads the question: the student's own ``erased`` one, or
    the strategy that is ``assigned`` to it."""
    beta: float = Field(default=1.0, ge=0, le=1, exclude_if=lambda value: value == 1)
    """Share of the reverse divergence, KL(student ‖ teacher), on the student's own answers. The
    rest is the forward one, KL(teacher ‖ student)."""
    own: float = Field(default=1.0, ge=0, le=1, exclude_if=lambda value: value == 1)
    """Share of batches whose answers the student writes. The teacher writes the others, from which
    the student learns by the forward divergence. With ``teacher: recipe`` these are the stage's
    lessons as they are."""
    top_k: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)
    """Compare the teacher's ``top_k`` likeliest tokens, the written one and the rest together, in
    place of all tokens. None is all tokens, and 20 with ``teacher: recipe``, as servers return."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest answer of the student, in tokens."""
    temperature: float = Field(default=1.0, ge=0)
    """How the student samples; 0 is greedy decoding."""

    @model_validator(mode="after")
    def _teacher_knows_more(self) -> Self:
        if self.teacher == "self" and self.under == "erased":
            raise ValueError(
                "teacher: self sees what the student sees, so it teaches nothing; add "
                "under: assigned"
            )
        return self


class ReinforceConfig(Config):
    """Outcome RL: the student answers, and the verdicts on its answers teach it."""

    samples: int = Field(default=8, ge=2)
    """Answers to each question; each is compared with the others."""
    temperature: float = Field(default=1.0, gt=0)
    """How the student samples; more than 0, or all answers of a group are the same."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest answer, in tokens."""
    reward: Literal["right", "phi4"] = "right"
    """right: 1 for a right answer, else 0. phi4: also by length, a missing end, broken think tags
    and repetition."""
    kl: float = Field(default=0.001, ge=0)
    """Weight of the divergence from the student before the stage; 0 saves its memory."""


class PreferConfig(Config):
    """The student learns to prefer right answers to wrong ones of its own (DPO, KTO)."""

    loss: Literal["dpo", "kto"] = Field(default="dpo", exclude_if=lambda value: value == "dpo")
    """dpo: each right lesson against one wrong answer to its question; lessons without one are left
    out. kto: every right lesson and every wrong answer by itself; both sides weigh the same in
    total. The wrong answers are lessons of the role ``self`` to the stage's filters."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly the student is held to what it was before the stage. At a small value it moves
    far before a pair counts as told apart."""


class InvariantConfig(Config):
    """IGA: the student learns only what several wordings of a question agree on.

    The questions have several ``meta.domain``, as ``dress`` makes them.
    """

    tau: float = Field(default=2.0, ge=0)
    """How strongly parameters are held back whose gradients the domains disagree on; 0 does not."""
    scale: Literal["relative", "mean", "none"] = "relative"
    """What is held against a parameter. relative: V / (mean² + V) of its gradients over the
    domains; mean: V as a share of its layer's; none: V itself, as in the paper."""


class LessonFilter(Config):
    """A choice of lessons. All conditions must hold."""

    teachers: tuple[str, ...] = ()
    """Only lessons of these: ``assistant``, ``teacher``, ``self`` (the student's own, of
    ``rehearse``), or a model's name. Empty takes all."""
    strategies: tuple[str, ...] = ()
    """Only lessons taught with these strategies. Empty takes all."""
    tasks: tuple[str, ...] = ()
    """Only lessons of these tasks. Empty takes all."""

    def fits(self, lesson: Lesson) -> bool:
        """Return True if ``lesson`` meets all conditions."""
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
    """The share of one source of lessons in a stage, fixed or chosen by short trials."""

    of: LessonFilter
    """The source, e.g. the assistant's lessons: ``{teachers: [assistant]}``. The stage's own
    lessons are all others that its filters take."""
    shares: tuple[float, ...] = Field(min_length=1)
    """Shares of the stage's lessons, 0 … 1, that may come from the source. A single share is fixed
    and needs no trial. List your default first: a later one is chosen only if it is better by more
    than the noise. The stage is equally long at every share: what is scarce is repeated."""
    trial: float = Field(default=0.25, gt=0, le=1)
    """Part of the stage that each trial student learns, 0 … 1. Small ones may mislead."""
    per_task: int | None = Field(default=50, ge=1)
    """Examples of each task's probe split that the trial students answer; None takes all. They are
    never taught and are part of no score."""
    errors: float = Field(default=1.0, ge=0)
    """The first share is chosen that is at most this many standard errors, of their paired
    difference, worse than the best."""
    sampling: SamplingConfig = SamplingConfig()
    """How the trial students sample."""

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
    """One phase of training on chosen lessons."""

    name: str = "lessons"
    """Name of the stage; its model is in the folder ``stage-N`` of the step."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the stage's lessons."""
    tokens: int | None = Field(default=None, ge=1)
    """Response tokens to learn from, in place of ``epochs``. Lessons are repeated as needed."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Highest learning rate. None is 2e-5 for full weights; for LoRA it is 1e-3 for a student of
    hidden size 576 or less, and falls to 2e-4 at hidden size 4,096."""
    replay: float = Field(default=0.0, ge=0, lt=1)
    """Share of the stage's lessons that repeat earlier stages, against forgetting, 0 … 1."""
    mix: MixConfig | None = None
    """A source of lessons that makes up a share of the stage. None takes all lessons that the
    filters take."""
    on_policy: OnPolicyConfig | None = None
    """Take only the questions of the stage's lessons and learn from the student's own answers. None
    learns the lessons' texts."""
    # Excluded when None, so that a stage keeps the fingerprint it had before this key existed.
    reinforce: ReinforceConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Take only the questions of the stage's lessons, and reinforce the student's own right
    answers. None learns the lessons' texts."""
    prefer: PreferConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Learn to prefer the right lessons of the stage to wrong answers that the student gave in
    ``rehearse``. None learns the lessons' texts."""
    invariant: InvariantConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Learn the lessons' texts, but only what the wordings of a question agree on. It takes one
    backward pass for each domain, and their gradients in memory. None learns all of it."""
    rehearse: bool = Field(default=False, exclude_if=lambda value: not value)
    """Ask the student as the stage finds it the taught questions again, as the recipe's
    ``rehearse:`` says. The stage then learns from these answers: ``right`` and ``came`` of each
    lesson, the student's own lessons, its pairs and labels. It costs as many answers again; the
    first stage has them already."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of optimizer steps over which the learning rate rises, 0 … 1."""

    @model_validator(mode="after")
    def _signal_is_one(self) -> Self:
        given = [name for name in SIGNALS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"has {given[0]} and {given[1]}; give each a stage of its own")
        return self

    @property
    def signal(self) -> str | None:
        """The name of the section of ``SIGNALS`` that the stage has; None for a plain stage."""
        return next((name for name in SIGNALS if getattr(self, name) is not None), None)

    @property
    def labels(self) -> bool:
        """True when the stage learns from right and wrong answers that are not in pairs."""
        return self.prefer is not None and self.prefer.loss == "kto"

    def from_source(self, lesson: Lesson) -> bool:
        """Return True if ``lesson`` belongs to the source of ``mix``."""
        return self.mix is not None and self.mix.of.fits(lesson)

    def offers(self, lesson: Lesson) -> bool:
        """Return True if the stage draws its lessons from lessons like this one."""
        return self.from_source(lesson) or self.fits(lesson)

    def takes(self, lesson: Lesson) -> bool:
        """Return True if the stage can learn this lesson; a share of 0 or 1 excludes some."""
        if self.mix is None:
            return self.fits(lesson)
        if self.from_source(lesson):
            return max(self.mix.shares) > 0
        return min(self.mix.shares) < 1 and self.fits(lesson)

    def at_share(self, share: float, *, part: float = 1.0) -> Self:
        """Return the stage with a fixed share of its source.

        Args:
            share: Share of the stage's lessons, 0 … 1.
            part: How much of the stage to keep; 1 is all.

        Raises:
            ValueError: The stage mixes nothing.
        """
        if self.mix is None:
            raise ValueError(f"stage {self.name!r} mixes nothing")
        tokens = None if self.tokens is None else max(1, round(part * self.tokens))
        mix = self.mix.model_copy(update={"shares": (share,)})
        return self.model_copy(update={"mix": mix, "tokens": tokens, "epochs": part * self.epochs})


class LoraConfig(Config):
    """Low-rank adapters (LoRA) in place of full weights."""

    rank: int = Field(default=16, ge=1)
    """Rank of each adapter: more learns more and takes more memory."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapters' inputs that is dropped in training."""
    targets: str | tuple[str, ...] = "all-linear"
    """Names of the layers that get an adapter."""


class ObjectiveConfig(Config):
    """An objective and its settings."""

    name: str = "lesson_weight"
    """``plain``, ``lesson_weight``, ``answer_upweight``, ``dft``, ``rollout_adaptive``,
    ``distribution_corrected``, ``token_weight``, ``anchored``, ``feature_space``,
    ``reverse_kl``, or one of your own. Stages with ``reinforce``, ``prefer`` or ``invariant`` do
    not follow it."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the objective, e.g. ``{factor: 3}``."""

    def find(self) -> Objective:
        """Return the objective.

        Raises:
            ConfigError: It is unknown, or does not take its settings.
        """
        return find_objective(self.name, self.settings)


class TrainConfig(Config):
    """The settings of the student's training."""

    stages: tuple[StageConfig, ...] = Field(default=(StageConfig(),), min_length=1)
    """The curriculum: phases in order. Each starts from the weights of the one before."""
    context_length: int = Field(default=2048, ge=16)
    """Tokens of a packed row."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens of a global batch, rounded down to whole rows. None takes a hundredth of all tokens
    that a stage learns from, but at most 65,536. So few lessons give about a hundred optimizer
    steps, and many lessons give large batches."""
    lora: LoraConfig | None = None
    """Train adapters. None trains all weights."""
    share_prompts: bool = True
    """Put several responses to the same prompt behind one copy of it. Faster; loss and gradients
    are those of separate lessons."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """What each response token teaches."""
    too_long: Literal["drop", "keep_tail"] = "drop"
    """Drop a lesson that is longer than a row, or cut the start of its prompt. Responses are never
    cut."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    precision: Precision = "auto"
    """Precision of the arithmetic. ``auto`` is bfloat16 on a GPU that supports it, float32
    elsewhere. Weights that learn are held, and saved, in float32."""
    trainer: Mapping[str, Any] = Field(default_factory=dict)
    """More fields of Hugging Face's TrainingArguments, by name. ``report_to: tensorboard`` (or
    ``mlflow``, ``wandb``, ``trackio``) shows the loss there, and changes nothing of the result."""

    def at(self, base: Path) -> Self:
        """Return the section with the paths of on-policy teachers resolved from ``base``."""
        stages = tuple(
            stage
            if stage.on_policy is None
            else stage.model_copy(
                update={
                    "on_policy": stage.on_policy.model_copy(
                        update={"teacher": stage.on_policy.teacher.at(base)}
                        if isinstance(stage.on_policy.teacher, LocalConfig)
                        else {}
                    )
                }
            )
            for stage in self.stages
        )
        return self.model_copy(update={"stages": stages})

    @property
    def asks_teacher(self) -> bool:
        """True when the recipe's teacher scores what the student of a stage writes."""
        return any(
            stage.on_policy is not None and stage.on_policy.teacher == "recipe"
            for stage in self.stages
        )

    @property
    def open_mixes(self) -> dict[int, MixConfig]:
        """The mixes whose share is still to be chosen, by the place of their stage, from 0."""
        mixes = {place: stage.mix for place, stage in enumerate(self.stages)}
        return {
            place: mix for place, mix in mixes.items() if mix is not None and len(mix.shares) > 1
        }

    def with_share(self, place: int, share: float) -> Self:
        """Return the section with a fixed share in the stage at ``place``."""
        stages = (
            *self.stages[:place],
            self.stages[place].at_share(share),
            *self.stages[place + 1 :],
        )
        return self.model_copy(update={"stages": stages})

    @property
    def reinforces(self) -> bool:
        """True when a stage learns from verdicts on the student's answers."""
        return any(stage.reinforce is not None for stage in self.stages)

    @property
    def prefers(self) -> bool:
        """True when a stage learns from pairs of a right and a wrong answer."""
        return any(stage.prefer is not None and not stage.labels for stage in self.stages)

    @property
    def labels(self) -> bool:
        """True when a stage learns from right and wrong answers that are not in pairs."""
        return any(stage.labels for stage in self.stages)

    @property
    def rehearsed_again(self) -> list[int]:
        """Places of the stages before which the student answers the taught questions again."""
        return [place for place, stage in enumerate(self.stages) if place and stage.rehearse]

    @property
    def compares_wordings(self) -> bool:
        """True when a stage learns what the wordings of a question agree on."""
        return any(stage.invariant is not None for stage in self.stages)

    @property
    def reads_strategies(self) -> bool:
        """True when a model of a stage reads questions under their strategies' messages."""
        return self.needs.prompted or any(
            stage.on_policy is not None and stage.on_policy.under == "assigned"
            for stage in self.stages
        )

    def objective_of(self, stage: StageConfig) -> Objective:
        """Return the objective that ``stage`` learns.

        A ``reinforce`` stage learns ``outcome``, a ``prefer`` stage ``preferred`` or ``kto``, an
        ``invariant`` one ``lesson_weight``. An on-policy stage learns a divergence where the
        objective of the recipe needs no teacher.

        Raises:
            ConfigError: The objective is unknown, or does not take its settings.
        """
        if stage.reinforce is not None:
            return find_objective("outcome", {"kl": stage.reinforce.kl})
        if stage.prefer is not None:
            name = "kto" if stage.labels else "preferred"
            return find_objective(name, {"beta": stage.prefer.beta})
        if stage.invariant is not None:
            return find_objective("lesson_weight")
        objective = self.objective.find()
        if stage.on_policy is None or objective.needs.teacher:
            return objective
        if stage.on_policy.beta == 1:
            return find_objective("reverse_kl")
        return find_objective("mixed_kl", {"beta": stage.on_policy.beta})

    @property
    def needs(self) -> Needs:
        """The needs of the recipe's objective."""
        return self.objective.find().needs

    @property
    def needs_teacher_logprobs(self) -> bool:
        """True when the objective compares the student with the teacher's log-probabilities."""
        return "teacher_logprob" in self.needs.token_numbers

    @property
    def needs_validity(self) -> bool:
        """True when the objective uses the weights of steps that the step ``weigh`` measures."""
        return "validity" in self.needs.token_numbers

    def without_trackers(self) -> Self:
        """Return the section without what decides only where its numbers are shown."""
        return self.model_copy(update={"trainer": without_trackers(self.trainer)})

    def without_numbers_of_steps(self) -> Self:
        """Return the section for lessons without what earlier steps give to an objective.

        Bare answers, and the lessons of trial students, have none: the default objective is used.
        """
        if not self.needs.from_steps:
            return self
        return self.model_copy(update={"objective": ObjectiveConfig()})

    @field_validator("stages")
    @classmethod
    def _stages_have_names_of_their_own(
        cls, value: tuple[StageConfig, ...]
    ) -> tuple[StageConfig, ...]:
        names = [stage.name for stage in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two stages are named {name!r}; give each its own name:")
        return value

    @field_validator("objective")
    @classmethod
    def _objective_exists(cls, value: ObjectiveConfig) -> ObjectiveConfig:
        value.find()
        return value

    @field_validator("stages")
    @classmethod
    def _nothing_is_erased_from_a_cold_start(
        cls, value: tuple[StageConfig, ...]
    ) -> tuple[StageConfig, ...]:
        first = value[0].on_policy
        if first is not None and first.teacher == "self" and first.own == 1:
            raise ValueError(
                f"stage {value[0].name!r} teaches the student on its own answers alone before it "
                "has learnt a lesson; it then hardly writes the steps that it should learn (46.0 % "
                "right fell to 42.9 % where this was tried). Set own: 0.5, or put a stage on "
                "lessons before it"
            )
        return value

    @model_validator(mode="after")
    def _every_stage_has_what_its_objective_needs(self) -> Self:
        for stage in self.stages:
            needs = self.objective_of(stage).needs
            if stage.reinforce is not None or stage.prefer is not None:
                continue
            if stage.rehearse and (stage.on_policy is not None or needs.prompted):
                other = "on_policy" if stage.on_policy is not None else self.objective.name
                raise ValueError(
                    f"stage {stage.name!r}: rehearse makes new lessons of the student's answers, "
                    f"which {other} does not read; leave one of them out"
                )
            if stage.invariant is not None and self.lora is not None:
                raise ValueError(
                    f"stage {stage.name!r}: invariant compares the gradients of all weights, and "
                    "lora has only its adapters'; leave one of them out"
                )
            if needs.teacher and stage.on_policy is None:
                raise ValueError(
                    f"objective {self.objective.name!r} needs a teacher's probabilities, but stage "
                    f"{stage.name!r} has no on_policy; add it, or leave the objective out"
                )
            if needs.evidence and stage.on_policy is not None:
                raise ValueError(
                    f"objective {self.objective.name!r} needs numbers of lessons "
                    f"({', '.join(needs.evidence)}), but stage {stage.name!r} learns what the "
                    "student writes; leave the objective or on_policy out"
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


class WeighConfig(Config):
    """The settings for weighing the steps of a trace; see ``training/weigh.py``."""

    boundaries: int = Field(default=2, ge=1)
    """Steps of each lesson that are measured, drawn among all but the last. The others get the mean
    weight of their lesson. Each costs one proposal and twice the continuations of the student."""
    sampling: SamplingConfig = SamplingConfig(samples=4, temperature=0.7)
    """How the student continues, and how many times: ``samples`` on either side."""
    separator: str | None = None
    """Text that ends a step. None takes paragraphs, lines, sentences or clauses: the coarsest that
    gives three steps."""
    beta: float = Field(default=4.0, gt=0)
    """How sharply a difference in worth becomes a difference in weight."""
    least: float = Field(default=0.1, ge=0, le=1)
    """Lowest weight of a step."""
