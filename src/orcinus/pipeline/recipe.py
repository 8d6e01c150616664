"""A recipe: all that decides a result, as YAML that a person can read.

    name: sums
    tasks:
      - {path: sums.jsonl}
    student: {kind: local, path: Qwen/Qwen3-0.6B}
    teacher: {kind: endpoint, model: gpt-5-mini, base_urls: [https://api.openai.com/v1], api_key_env: OPENAI_API_KEY}

Sections are defined beside the component they configure. Relative paths start at the recipe's own folder. Anything that is
wrong is one line with the file, the line, the key and, for a misspelt key, the nearest one there is.
"""

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.fingerprint import fingerprint
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import AnswerType, Strategy
from orcinus.evaluation.evaluate import EvaluateConfig
from orcinus.lessons.curate import CurateConfig
from orcinus.lessons.erase import EraseConfig
from orcinus.lessons.select import SelectConfig
from orcinus.lessons.teach import TeachConfig
from orcinus.models.configs import (
    JudgeConfig,
    ModelConfig,
    SelfConfig,
    StudentConfig,
    TeacherConfig,
)
from orcinus.models.local.config import LocalConfig
from orcinus.models.recorded_rows import AnsweredConfig
from orcinus.models.remote.endpoint import EndpointConfig
from orcinus.models.roles import Roles
from orcinus.models.scratch import ScratchConfig
from orcinus.reports.report import ReportConfig
from orcinus.runs.budget import BudgetConfig
from orcinus.strategies.assign import AssignConfig
from orcinus.strategies.library import resolve
from orcinus.strategies.probe import ProbeConfig
from orcinus.strategies.skills import SkillsConfig
from orcinus.tasks.files.records import RecordsConfig
from orcinus.tasks.generators.gym import GymConfig
from orcinus.tasks.generators.procedural import ProceduralConfig
from orcinus.tasks.open import content_of
from orcinus.tasks.sample import SampleConfig
from orcinus.training.config import TrainConfig
from orcinus.verifiers.judge_prompts import BY_MODEL
from orcinus.verifiers.sandbox import require_sandbox


def _source_tag(keys: Container[str]) -> str:
    """What tells kinds of tasks apart. No key's name, so that a message's path holds either a tag or a key."""
    return next((f"a {key}" for key in ("generator", "gym") if key in keys), "a path")


def _task_kind(value: Any) -> str:
    keys = value if isinstance(value, Mapping) else getattr(value, "model_fields_set", ())
    return _source_tag(keys)


TaskConfig = Annotated[
    Annotated[RecordsConfig, Tag("a path")]
    | Annotated[ProceduralConfig, Tag("a generator")]
    | Annotated[GymConfig, Tag("a gym")],
    Discriminator(_task_kind),
]


class StrategyConfig(Config):
    """A strategy of the user's own."""

    name: str
    system: str
    """The system message under which a model reasons this way."""
    source: str = ""
    """Where the idea comes from."""
    answer_types: tuple[AnswerType, ...] = ()
    """Answer types it makes sense for; empty means all."""
    demonstrations: tuple[tuple[str, str], ...] = ()
    """Pairs of prompt and answer, shown as earlier turns."""
    cost_rank: int = 5
    """Breaks ties before anything was measured: lower is expected to need fewer tokens."""
    groups: tuple[str, ...] = ()
    """Only for these tasks, or ``task/category``, ``*`` standing for anything: a procedure written for a kind of question. Empty
    means all."""
    fallback: str | None = None
    """Name of the strategy that is asked instead where no answer comes of this one, as when a program fails."""


class Recipe(Config):
    """All that decides a result."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run and of its folder."""
    description: str = ""
    """What is asked, in a sentence, for the report."""
    seed: int = 0
    """Seed of every random choice."""
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    """The pool: probed, taught and, in its held-out part, evaluated."""
    evaluation: tuple[TaskConfig, ...] = ()
    """Further tasks that are only evaluated; whatever overlaps with them leaves the pool before anything is paid for."""
    retention: tuple[TaskConfig, ...] = ()
    """Tasks that training must not cost: taught to nobody, kept out of the pool like those of ``evaluation``, and asked of the student before
    and after. The report warns of a loss. Questions whose ``meta.harmful`` is true or false count refusals both ways."""
    strategies: tuple[str | StrategyConfig, ...] = ("direct", "step_by_step", "explain_then_answer")
    """The strategies to measure the student under: names of built-in ones, or your own. ``orca`` draws one of Orca's sixteen messages for each
    question, by its collection; ``recorded`` is the message that a row was answered under."""
    student: StudentConfig
    """The model that learns: ``local`` (a Hugging Face model) or ``scratch`` (a new one)."""
    teacher: TeacherConfig
    """The model that explains; ``self`` is the student, ``answered`` the answers that the tasks' rows hold already."""
    assistant: Annotated[ModelConfig, Field(discriminator="kind")] | None = None
    """A cheaper model that explains before the teacher does (Orca's ChatGPT before GPT-4); ``train.stages`` says in which order its
    lessons are learnt, by ``teachers: [assistant]``."""
    judge: JudgeConfig | None = None
    """The model that judges where a task says ``verifier: judge``, ``judge_fallback`` or ``grounded``, and that rates for ``curate.quality``; a
    proxy, and counted as one."""
    judging: JudgingConfig = JudgingConfig()
    """How the judge is asked."""
    sample: SampleConfig = SampleConfig()
    """Which examples are probed, taught and held out."""
    probe: ProbeConfig = ProbeConfig()
    """How the student is measured under every strategy."""
    assign: AssignConfig = AssignConfig()
    """How a strategy is chosen for each group."""
    skills: SkillsConfig | None = None
    """Have the teacher write an instruction for each group, kept where it helps the student; None leaves it out."""
    select: SelectConfig | None = None
    """Which examples of the teach split are taught, by what the student can do, by columns or by diversity; None teaches all."""
    teach: TeachConfig = TeachConfig()
    """How the teacher is asked."""
    assist: TeachConfig = TeachConfig()
    """How the assistant is asked."""
    curate: CurateConfig = CurateConfig()
    """Which traces are kept."""
    erase: EraseConfig = EraseConfig()
    """What the student is given in place of the strategy."""
    train: TrainConfig = TrainConfig()
    """How the student learns."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """What is compared on held-out items."""
    report: ReportConfig = ReportConfig()
    """What the report shows."""
    budget: BudgetConfig = BudgetConfig()
    """A hard cap on spending."""

    @field_validator("strategies")
    @classmethod
    def _strategies_are_known_and_distinct(
        cls, value: tuple[str | StrategyConfig, ...]
    ) -> tuple[str | StrategyConfig, ...]:
        names = [item if isinstance(item, str) else item.name for item in value]
        if not names:
            raise ValueError("at least one strategy is needed")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"strategy {name!r} is named twice")
        _resolve(value)
        return value

    @model_validator(mode="after")
    def _the_student_can_be_trained(self) -> "Recipe":
        if not isinstance(self.student, LocalConfig | ScratchConfig):
            raise ValueError(
                f"student: a model of kind {self.student.kind!r} cannot be trained; use kind local or scratch"
            )
        return self

    @model_validator(mode="after")
    def _dollars_can_be_counted(self) -> "Recipe":
        for role, model in (
            ("teacher", self.teacher),
            ("assistant", self.assistant),
            ("judge", self.judge),
        ):
            if (
                self.budget.usd is not None
                and isinstance(model, EndpointConfig)
                and model.known_price() is None
            ):
                raise ValueError(
                    f"budget.usd is set, but no price is known for {model.model}; set {role}.price: {{input: …, output: …}} "
                    "in dollars per million tokens (0 for a server of your own)"
                )
        return self

    @model_validator(mode="after")
    def _who_is_asked_to_judge_is_there(self) -> "Recipe":
        sources = [
            task
            for task in (*self.tasks, *self.evaluation, *self.retention)
            if isinstance(task, RecordsConfig)
        ]
        waiting = [task for task in sources if task.verifier in BY_MODEL]
        if waiting and self.judge is None:
            raise ValueError(
                f"judge: {waiting[0].path} says verifier: {waiting[0].verifier}, and the recipe has no judge; add the model as judge:, like teacher:"
            )
        if self.curate.quality is not None and self.judge is None:
            raise ValueError(
                "curate.quality learns from a judge's ratings, and the recipe has no judge; add the model as judge:, like teacher:"
            )
        decide = self.evaluate.decide
        rewards = decide is not None and decide.rewarded and decide.reward == "judge"
        if rewards and self.judge is None:
            raise ValueError(
                "evaluate.decide.reward is judge, and the recipe has no judge; add the model as judge:, like teacher:"
            )
        if self.judge is not None and not waiting and not rewards and self.curate.quality is None:
            raise ValueError(
                "judge: no task asks it; say verifier: judge_fallback (where rules find no answer), judge or grounded at a task, curate.quality, "
                "or evaluate.decide.reward: judge"
            )
        if (
            self.judge is not None
            and isinstance(self.teacher, SelfConfig)
            and self.judge == self.student
        ):
            raise ValueError(
                "judge: a student that learns from itself cannot be its own judge; name another model"
            )
        return self

    @model_validator(mode="after")
    def _who_learns_from_itself_hears_from_outside(self) -> "Recipe":
        if not isinstance(self.teacher, SelfConfig):
            return self
        unlabelled = [
            task.path
            for task in self.tasks
            if isinstance(task, RecordsConfig) and task.unlabelled and not task.verifier
        ]
        if unlabelled or self.curate.keep == "all":
            why = f"{unlabelled[0]} has no right answers" if unlabelled else "curate.keep is 'all'"
            raise ValueError(
                f"teacher: a student that learns from itself needs a signal from outside, and {why}; without one it only grows surer "
                "of its errors: give references or a verifier, and keep what is right"
            )
        if "teacher" in self.evaluate.arms:
            # The student under its best strategy is an arm already.
            arms = tuple(arm for arm in self.evaluate.arms if arm != "teacher")
            object.__setattr__(self, "evaluate", self.evaluate.model_copy(update={"arms": arms}))
        return self

    @model_validator(mode="after")
    def _answered_rows_are_read_with_their_answers(self) -> "Recipe":
        if not isinstance(self.teacher, AnsweredConfig):
            return self
        if "strategies" in self.model_fields_set and self.strategies != ("recorded",):
            raise ValueError(
                "strategies: rows that are already answered were answered under their own system messages; leave strategies out, or say [recorded]"
            )
        for task in self.tasks:
            if not isinstance(task, RecordsConfig):
                raise ValueError(
                    "teacher: kind answered takes the answers of rows, and a task drawn by a program has none"
                )
        answered = tuple(task.model_copy(update={"answered": True}) for task in self.tasks)
        object.__setattr__(self, "tasks", answered)
        object.__setattr__(self, "strategies", ("recorded",))
        return self

    def roles(self, base: Path) -> Roles:
        """Return the models by role; ``base`` is the recipe's own folder."""
        answers = ""
        if isinstance(self.teacher, AnsweredConfig):
            answers = fingerprint([content_of(task, base) for task in self.tasks], length=8)
        return Roles(
            student=self.student,
            teacher=self.teacher,
            assistant=self.assistant,
            judge=self.judge,
            base=base,
            answers=answers,
        )

    def resolved_strategies(self) -> tuple[Strategy, ...]:
        """The strategies with their texts, in the recipe's order."""
        return _resolve(self.strategies)


def _resolve(items: tuple[str | StrategyConfig, ...]) -> tuple[Strategy, ...]:
    written = [item for item in items if isinstance(item, StrategyConfig)]
    plain = {item.name: Strategy(**item.model_dump(exclude={"fallback"})) for item in written}
    own = plain | {
        item.name: replace(plain[item.name], fallback=resolve([item.fallback], plain)[0])
        for item in written
        if item.fallback is not None
    }
    resolved = resolve([item if isinstance(item, str) else item.name for item in items], own)
    if any(strategy.fallback is not None for strategy in resolved):
        require_sandbox()  # before anything is asked: without it every program would count as failed
    return resolved
