"""The schema of a recipe: everything that decides a result.

    name: sums
    tasks:
      - {path: sums.jsonl}
    student: {kind: local, path: Qwen/Qwen3-0.6B}
    teacher:
      {kind: endpoint, model: gpt-5-mini, base_urls: [https://api.openai.com/v1],
       api_key_env: OPENAI_API_KEY, max_tokens_field: max_completion_tokens, omit: [temperature]}

Each section is defined beside the component that it configures. ``recipe_file`` reads a recipe and
explains mistakes.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from orcinus.core.config import Config
from orcinus.core.fingerprint import fingerprint
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import AnswerType, Strategy
from orcinus.evaluation.config import EvaluateConfig
from orcinus.lessons.config import (
    CurateConfig,
    EraseConfig,
    RehearseConfig,
    SelectConfig,
    TeachConfig,
)
from orcinus.models.configs import (
    JudgeConfig,
    ModelConfig,
    SelfConfig,
    StudentConfig,
    TeacherConfig,
)
from orcinus.models.local.config import LocalConfig
from orcinus.models.recorded_rows import AnsweredConfig
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.roles import Roles
from orcinus.models.scratch import ScratchConfig
from orcinus.reports.report import ReportConfig
from orcinus.runs.budget import BudgetConfig
from orcinus.strategies.config import AssignConfig, ProbeConfig, SkillsConfig
from orcinus.strategies.library import resolve
from orcinus.tasks.authored.config import AuthoredConfig
from orcinus.tasks.config import PerturbedConfig, RecordsConfig, SampleConfig
from orcinus.tasks.generators.environment import EnvironmentConfig
from orcinus.tasks.generators.function import FunctionTaskConfig
from orcinus.tasks.generators.gym import GymConfig
from orcinus.tasks.generators.procedural import ProceduralConfig
from orcinus.tasks.open import content_of
from orcinus.training.config import TrainConfig, WeighConfig
from orcinus.training.objectives.interface import REHEARSED
from orcinus.verifiers.judge_prompts import BY_MODEL
from orcinus.verifiers.sandbox import require_sandbox


def task_tag(keys: Container[str]) -> str:
    """Return the tag of a kind of task, given its keys.

    A tag contains a space, so that no key can have its name: each part of an error's path is then
    either a tag or a key.
    """
    kinds = ("generator", "gym", "environment", "function", "authored", "perturbed")
    return next((f"a {key}" for key in kinds if key in keys), "a path")


def _tag_of(value: Any) -> str:
    return task_tag(value if isinstance(value, Mapping) else getattr(value, "model_fields_set", ()))


TaskConfig = Annotated[
    Annotated[RecordsConfig, Tag("a path")]
    | Annotated[ProceduralConfig, Tag("a generator")]
    | Annotated[GymConfig, Tag("a gym")]
    | Annotated[EnvironmentConfig, Tag("a environment")]
    | Annotated[FunctionTaskConfig, Tag("a function")]
    | Annotated[AuthoredConfig, Tag("a authored")]
    | Annotated[PerturbedConfig, Tag("a perturbed")],
    Discriminator(_tag_of),
]


class StrategyConfig(Config):
    """A strategy of your own."""

    name: str
    """Any name that no other strategy has."""
    system: str
    """The system message that makes a model reason this way."""
    source: str = ""
    """Where the idea comes from: a paper, a URL, a person."""
    answer_types: tuple[AnswerType, ...] = ()
    """Answer types that it makes sense for; empty means all."""
    demonstrations: tuple[tuple[str, str], ...] = ()
    """Pairs of prompt and answer that are shown as earlier turns."""
    cost_rank: int = 5
    """Breaks ties before anything was measured. A lower rank is expected to need fewer tokens."""
    groups: tuple[str, ...] = ()
    """Use it only for these tasks, or ``task/category`` groups; ``*`` matches anything. Empty means
    all."""
    fallback: str | None = None
    """Name of the strategy to try instead when no answer is found, e.g. when a program fails."""


class Recipe(Config):
    """Everything that decides a result."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run and of its folder."""
    description: str = ""
    """The question that this run answers, in one sentence. Shown at the top of the report."""
    seed: int = 0
    """Seed of every random choice."""
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    """The pool of examples. Its splits are probed, taught and (held out) evaluated."""
    evaluation: tuple[TaskConfig, ...] = ()
    """Further tasks that are only evaluated. Examples of the pool that overlap with them are
    removed before any model is called."""
    retention: tuple[TaskConfig, ...] = ()
    """Tasks that the student must not get worse at. They are never taught and kept out of the pool
    like ``evaluation``. The student answers them before and after training; the report warns of a
    loss. For questions with ``meta.harmful`` (true or false) refusals are counted, both right and
    wrong ones."""
    strategies: tuple[str | StrategyConfig, ...] = ("direct", "step_by_step", "explain_then_answer")
    """The strategies that the student is measured under: names of built-in ones, or your own.
    ``orca`` draws one of Orca's sixteen system messages for each question, by its collection.
    ``recorded`` is the system message that a row was answered under."""
    student: StudentConfig
    """The model that learns: ``local`` (a Hugging Face model) or ``scratch`` (a new one)."""
    teacher: TeacherConfig
    """The model that explains. ``self`` is the student; ``answered`` takes the answers that the
    tasks' rows already contain."""
    assistant: Annotated[ModelConfig, Field(discriminator="kind")] | None = None
    """A cheaper model that explains before the teacher does (in Orca, ChatGPT before GPT-4).
    ``train.stages`` decides when its lessons are learnt, by ``teachers: [assistant]``."""
    judge: JudgeConfig | None = None
    """The model that judges answers where a task sets ``verifier`` to ``judge``, ``judge_fallback``
    or ``grounded``, and that rates traces for ``curate.quality``. Its verdicts are a proxy and are
    counted separately."""
    models: Mapping[str, JudgeConfig] = Field(default_factory=dict)
    """Further models by names of your own, for ``authored`` tasks: who writes, who checks."""
    judging: JudgingConfig = JudgingConfig()
    """How the judge is asked."""
    sample: SampleConfig = SampleConfig()
    """How examples are split into probe, teach and held-out sets."""
    probe: ProbeConfig = ProbeConfig()
    """How the student is measured under every strategy."""
    assign: AssignConfig = AssignConfig()
    """How a strategy is chosen for each group."""
    skills: SkillsConfig | None = None
    """Have the teacher write an instruction for each group, and keep those that help the student.
    None skips the step."""
    select: SelectConfig | None = None
    """Which examples of the teach split are taught: by what the student can do, by columns, or by
    diversity. None teaches all."""
    teach: TeachConfig = TeachConfig()
    """How the teacher is asked."""
    assist: TeachConfig = TeachConfig()
    """How the assistant is asked."""
    curate: CurateConfig = CurateConfig()
    """Which traces are kept."""
    rehearse: RehearseConfig | None = None
    """Have the student answer each taught question several times under the erased message, before
    it learns. Objectives such as ``rollout_adaptive`` need its numbers. None skips the step."""
    erase: EraseConfig = EraseConfig()
    """What the student sees in place of the strategy."""
    weigh: WeighConfig | None = None
    """Measure which of the teacher's steps help the student, for ``objective: {name:
    token_weight}``. None skips the step."""
    train: TrainConfig = TrainConfig()
    """How the student is trained."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """What is compared on held-out examples."""
    report: ReportConfig = ReportConfig()
    """What the report shows."""
    budget: BudgetConfig = BudgetConfig()
    """A hard cap on spending."""
    arms: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Variants of the recipe that ``orcinus ablate`` compares with it, by name. Each has the keys
    that it changes, by section: ``dft: {train: {objective: {name: dft}}}``."""

    @model_validator(mode="before")
    @classmethod
    def _derive_from_the_teacher(cls, data: Any) -> Any:
        """Set what the kind of teacher decides, before validation, so that a recipe never changes.

        A student that teaches itself is no arm of its own as a teacher: under its best strategy it
        is the arm ``prompted``. Answered rows are read with their answers, under their own system
        messages.
        """
        if not isinstance(data, Mapping):
            return data
        match _get(data.get("teacher"), "kind"):
            case "self":
                evaluate = data.get("evaluate", {})
                arms = _get(evaluate, "arms", EvaluateConfig().arms)
                if isinstance(arms, list | tuple):
                    without = [arm for arm in arms if arm != "teacher"]
                    return {**data, "evaluate": _updated(evaluate, "arms", without)}
            case "answered":
                tasks = data.get("tasks")
                if isinstance(tasks, list | tuple):
                    read = [
                        _updated(task, "answered", True) if _tag_of(task) == "a path" else task
                        for task in tasks
                    ]
                    return {"strategies": ["recorded"], **data, "tasks": read}
        return data

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
    def _sections_fit_together(self) -> "Recipe":
        for rule in RULES:
            if problem := rule(self):
                raise ValueError(problem)
        return self

    def as_arm(self, name: str) -> "Recipe":
        """Return the recipe of one of its ``arms``.

        Raises:
            ValueError: The arm's keys do not make a recipe.
        """
        changed: dict[str, Any] = {}
        for section, keys in self.arms[name].items():
            if section not in Recipe.model_fields or section in ("arms", "name", "seed"):
                raise ValueError(f"arms.{name}: no section {section!r} can be changed")
            now = getattr(self, section)
            merged = isinstance(now, Config) and isinstance(keys, Mapping)
            changed[section] = {**now.model_dump(), **keys} if merged else keys
        return Recipe.model_validate({**dict(self), "arms": {}, **changed})

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
            models=self.models,
            base=base,
            answers=answers,
        )

    @property
    def tries(self) -> bool:
        """True when trial students may choose among the strategies."""
        return self.assign.tries and len(self.strategies) > 1

    def resolved_strategies(self) -> tuple[Strategy, ...]:
        """Return the strategies with their texts, in the recipe's order."""
        return _resolve(self.strategies)

    def model_of(self, role: str) -> Any:
        """Return the model of a role, or of that name under ``models``; None if there is none."""
        return self.models[role] if role in self.models else getattr(self, role, None)

    @property
    def paid_roles(self) -> tuple[str, ...]:
        """The roles of the models that are asked but not trained, with the names of ``models``."""
        return ("teacher", "assistant", "judge", *self.models)

    @property
    def authored_tasks(self) -> tuple[AuthoredConfig, ...]:
        """The tasks of all three lists that a model writes, in order."""
        tasks = (*self.tasks, *self.evaluation, *self.retention)
        return tuple(task for task in tasks if isinstance(task, AuthoredConfig))

    @property
    def file_tasks(self) -> tuple[RecordsConfig, ...]:
        """The tasks of all three lists that are read from files."""
        tasks = (*self.tasks, *self.evaluation, *self.retention)
        read = (task.perturbed if isinstance(task, PerturbedConfig) else task for task in tasks)
        return tuple(task for task in read if isinstance(task, RecordsConfig))


def _get(section: Any, key: str, default: Any = None) -> Any:
    """Return a value of a section that may be a mapping, a configuration, or anything wrong."""
    if isinstance(section, Mapping):
        return section.get(key, default)
    return getattr(section, key, default)


def _updated(section: Any, key: str, value: Any) -> Any:
    """Return a mapping or a configuration with one value replaced; anything else as it is."""
    if isinstance(section, Mapping):
        return {**section, key: value}
    if isinstance(section, Config):
        return section.model_copy(update={key: tuple(value) if isinstance(value, list) else value})
    return section


# --- rules that concern more than one section: each returns the problem, or None


def _student_can_be_trained(recipe: Recipe) -> str | None:
    if isinstance(recipe.student, LocalConfig | ScratchConfig):
        return None
    kind = recipe.student.kind
    return f"student: a model of kind {kind!r} cannot be trained; use kind local or scratch"


def _prices_are_known(recipe: Recipe) -> str | None:
    if recipe.budget.usd is None:
        return None
    for role in recipe.paid_roles:
        model = recipe.model_of(role)
        if isinstance(model, EndpointConfig) and model.known_price() is None:
            where = f"models.{role}" if role in recipe.models else role
            return (
                f"budget.usd is set, but no price is known for {model.model}; set {where}.price: "
                "{input: …, output: …} in dollars per million tokens (0 for your own server)"
            )
    return None


def _judge_is_there(recipe: Recipe) -> str | None:
    reason = reason_for_a_judge(recipe)
    if reason is None or recipe.judge is not None:
        return None
    return f"{reason}, and the recipe has no judge; add the model as judge:, like teacher:"


def _judge_is_used(recipe: Recipe) -> str | None:
    if recipe.judge is None or reason_for_a_judge(recipe) is not None:
        return None
    return (
        "judge: no task asks it; set verifier: judge_fallback (where rules find no answer), judge "
        "or grounded at a task, curate.quality, evaluate.pairwise, or evaluate.decide.reward: judge"
    )


def reason_for_a_judge(recipe: Recipe) -> str | None:
    """Return the first part of the recipe that needs a judge; None when none does."""
    for task in recipe.file_tasks:
        if task.verifier in BY_MODEL:
            return f"judge: {task.path} says verifier: {task.verifier}"
    if recipe.curate.quality is not None:
        return "curate.quality learns from a judge's ratings"
    if recipe.curate.toxicity is not None and recipe.curate.toxicity.labelled is not None:
        return "curate.toxicity.labelled learns from a judge's ratings"
    decide = recipe.evaluate.decide
    if decide is not None and decide.rewarded and decide.reward == "judge":
        return "evaluate.decide.reward is judge"
    for authored in recipe.authored_tasks:
        if "judge" in authored.authored.models:
            return f"judge: the authored task {authored.name} asks it"
    if recipe.evaluate.pairwise is not None:
        return "evaluate.pairwise asks a judge"
    return None


def _authors_are_there(recipe: Recipe) -> str | None:
    asked = {name for task in recipe.authored_tasks for name in task.authored.models}
    named = [role for role in ("teacher", "assistant", "judge") if recipe.model_of(role)]
    for task in recipe.authored_tasks:
        for name in task.authored.models:
            if name in named and not isinstance(recipe.teacher, SelfConfig | AnsweredConfig):
                continue
            if name in recipe.models or (name in named and name != "teacher"):
                continue
            known = ", ".join([*named, *recipe.models])
            return (
                f"tasks: {task.name} asks the model {name!r}, which the recipe does not have "
                f"({known}); add it under models:, like teacher:"
            )
    for name in recipe.models:
        if name in Recipe.model_fields:
            return f"models: {name!r} is a section of the recipe; give the model another name"
        if name not in asked:
            return f"models: no authored task asks {name!r}; remove it, or name it in by:"
    return None


def _lectures_are_only_read(recipe: Recipe) -> str | None:
    """Name what asks questions, which lectures do not have."""
    lectures = [task.name for task in recipe.authored_tasks if task.authored.is_lectures]
    if not lectures:
        return None
    tested = [*recipe.evaluation, *recipe.retention]
    if any(isinstance(task, AuthoredConfig) and task.authored.is_lectures for task in tested):
        return f"evaluation: {lectures[0]} writes lectures, which ask nothing; put it under tasks:"
    if len(lectures) == len(recipe.tasks):
        return "tasks: lectures ask nothing; add a task whose questions the student is measured on"
    needs, name = recipe.train.needs, recipe.train.objective.name
    if needs.lesson_numbers or needs.token_numbers or needs.anchors:
        return f"train.objective: {name!r} needs numbers that lectures do not have; use another"
    for stage in recipe.train.stages:
        if stage.signal and (not stage.tasks or set(stage.tasks) & set(lectures)):
            return (
                f"train.stages: stage {stage.name!r} has {stage.signal}, which asks questions, and "
                f"{lectures[0]} writes lectures; name the stage's tasks:"
            )
    return None


def _authored_tasks_have_names(recipe: Recipe) -> str | None:
    names = [task.name for task in recipe.authored_tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else f"tasks: two authored tasks are named {twice!r}; set name:"


def _student_is_not_its_own_judge(recipe: Recipe) -> str | None:
    if not isinstance(recipe.teacher, SelfConfig) or recipe.judge != recipe.student:
        return None
    return "judge: a student that learns from itself cannot be its own judge; name another model"


def _self_teaching_has_an_outside_signal(recipe: Recipe) -> str | None:
    if not isinstance(recipe.teacher, SelfConfig):
        return None
    unlabelled = [
        task.path
        for task in recipe.tasks
        if isinstance(task, RecordsConfig) and task.unlabelled and not task.verifier
    ]
    if not unlabelled and recipe.curate.keep != "all":
        return None
    why = f"{unlabelled[0]} has no right answers" if unlabelled else "curate.keep is 'all'"
    return (
        f"teacher: a student that learns from itself needs a signal from outside, and {why}; "
        "without one it only becomes more certain of its errors. Give references or a verifier, "
        "and keep only what is right"
    )


def _outcomes_come_from_outside(recipe: Recipe) -> str | None:
    if not recipe.train.reinforces:
        return None
    for task in recipe.tasks:
        if not isinstance(task, RecordsConfig):
            continue
        if task.verifier in BY_MODEL:
            judge = "the student itself" if recipe.judge == recipe.student else "a model"
            return (
                f"train.stages: reinforce learns from rules and verifiers, but {judge} judges "
                f"{task.path} (verifier: {task.verifier}); a judge is not asked in training"
            )
        if task.unlabelled and not task.verifier:
            return (
                f"train.stages: reinforce needs a signal from outside, and {task.path} has no "
                "right answers; give references or a verifier"
            )
    return None


def _answered_rows_keep_their_strategy(recipe: Recipe) -> str | None:
    if not isinstance(recipe.teacher, AnsweredConfig) or recipe.strategies == ("recorded",):
        return None
    return (
        "strategies: rows that are already answered were answered under their own system "
        "messages; leave strategies out, or say [recorded]"
    )


def _answers_come_from_files(recipe: Recipe) -> str | None:
    from_files = all(isinstance(task, RecordsConfig) for task in recipe.tasks)
    if not isinstance(recipe.teacher, AnsweredConfig) or from_files:
        return None
    return (
        "teacher: kind answered takes the answers of rows, and a task drawn by a program has none"
    )


def _objective_has_its_numbers(recipe: Recipe) -> str | None:
    """Name the step that makes what an objective needs, before anything is paid for."""
    if recipe.rehearse is not None:
        return None
    needed, name = set(recipe.train.needs.lesson_numbers), recipe.train.objective.name
    selected = recipe.select is not None and recipe.select.needs_pass_rate
    missing = sorted(needed & set(REHEARSED if selected else (*REHEARSED, "pass_rate")))
    if not missing:
        return None
    or_else = ", or select by teachable" if missing == ["pass_rate"] else ""
    return (
        f"train.objective: {name!r} needs {', '.join(missing)} of each lesson, which the step "
        f"rehearse makes{or_else}; add e.g. `rehearse: {{}}`"
    )


def _stages_take_lessons_that_are_made(recipe: Recipe) -> str | None:
    """Name what a stage's filters ask for and no step makes, before anything is paid for."""
    known = [strategy.name for strategy in recipe.resolved_strategies()]
    own = recipe.rehearse is not None and recipe.rehearse.lessons == "right"
    for stage in recipe.train.stages:
        start = f"train.stages: stage {stage.name!r} takes lessons of"
        for chosen in (stage, *([stage.mix.of] if stage.mix is not None else [])):
            if "assistant" in chosen.teachers and recipe.assistant is None:
                return f"{start} the assistant, and the recipe has none; add one, like teacher:"
            if "self" in chosen.teachers and not own:
                return f"{start} the student's own; add rehearse: {{lessons: right}}"
            unknown = sorted(set(chosen.strategies) - {"erased", *known})
            if unknown and recipe.skills is None:
                return (
                    f"{start} the strategy {unknown[0]!r}, which the recipe does not have "
                    f"({', '.join(known)})"
                )
    return None


def _pairs_have_wrong_answers(recipe: Recipe) -> str | None:
    is_asked = recipe.train.prefers or recipe.train.labels
    if not is_asked or recipe.rehearse is not None:
        return None
    return (
        "train.stages: prefer needs wrong answers of the student to the taught questions, which "
        "the step rehearse makes; add e.g. `rehearse: {}`"
    )


def _stages_rehearse_as_the_recipe_says(recipe: Recipe) -> str | None:
    again = [stage.name for stage in recipe.train.stages if stage.rehearse]
    if not again:
        return None
    if recipe.rehearse is None:
        return (
            f"train.stages: stage {again[0]!r} has rehearse: true, and the recipe does not say how "
            "to rehearse; add e.g. `rehearse: {}`"
        )
    if recipe.weigh is not None:
        return (
            f"train.stages: stage {again[0]!r} has rehearse: true, which makes its lessons anew, "
            "without the weights of the step weigh; leave one of them out"
        )
    return None


def _arms_are_recipes(recipe: Recipe) -> str | None:
    for name in recipe.arms:
        try:
            recipe.as_arm(name)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(["arms", name, *map(str, first["loc"])])
            return f"{where}: {first['msg'].removeprefix('Value error, ')}"
        except ValueError as error:
            return str(error)
    return None


def _steps_are_weighed_where_weights_are_used(recipe: Recipe) -> str | None:
    objective = recipe.train.objective
    if recipe.weigh is not None and not recipe.train.needs_validity:
        return (
            f"weigh: train.objective {objective.name!r} uses no weights of steps; set "
            "train.objective: {name: token_weight}, or leave weigh out"
        )
    if recipe.weigh is None and recipe.train.needs_validity:
        return (
            f"train.objective: {objective.name} needs the weights of steps, which the step weigh "
            "measures; add a section weigh: {boundaries: 2}"
        )
    return None


def _teacher_gives_log_probabilities(recipe: Recipe) -> str | None:
    objective = recipe.train.objective
    if not recipe.train.needs_teacher_logprobs:
        return None
    if isinstance(recipe.teacher, AnsweredConfig):
        return (
            f"train.objective: {objective.name} compares the student with the teacher's "
            "log-probabilities, and rows that are already answered have none; use another objective"
        )
    if recipe.teach.sampling.logprobs:
        return None
    return (
        f"train.objective: {objective.name} compares the student with the teacher's "
        "log-probabilities, and the teacher is not asked for them; set teach.sampling.logprobs: "
        "true"
    )


def _teacher_scores_texts(recipe: Recipe) -> str | None:
    teacher = recipe.teacher
    if not recipe.train.asks_teacher:
        return None
    start = "train.stages: on_policy: {teacher: recipe} has the recipe's teacher score texts, "
    if isinstance(teacher, EndpointConfig) and teacher.batch is not None:
        return f"{start}and a batch interface cannot; leave teacher.batch out"
    if isinstance(recipe.student, ScratchConfig):
        return (
            f"{start}and a student from scratch has tokens of its own, which no teacher knows; "
            "name another student, or leave the stage out"
        )
    if isinstance(teacher, EndpointConfig | LocalConfig):
        return None
    return (
        f"{start}which a teacher of kind {teacher.kind} cannot; use kind endpoint (vLLM, "
        "`orcinus serve`) or local"
    )


RULES: tuple[Callable[[Recipe], str | None], ...] = (
    _student_can_be_trained,
    _prices_are_known,
    _judge_is_there,
    _judge_is_used,
    _authors_are_there,
    _authored_tasks_have_names,
    _lectures_are_only_read,
    _student_is_not_its_own_judge,
    _self_teaching_has_an_outside_signal,
    _outcomes_come_from_outside,
    _answered_rows_keep_their_strategy,
    _answers_come_from_files,
    _objective_has_its_numbers,
    _stages_take_lessons_that_are_made,
    _pairs_have_wrong_answers,
    _stages_rehearse_as_the_recipe_says,
    _arms_are_recipes,
    _teacher_gives_log_probabilities,
    _steps_are_weighed_where_weights_are_used,
    _teacher_scores_texts,
)
"""In the order in which they are checked; a recipe is refused for the first that it breaks."""


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
        # Checked before any model is called: without a sandbox every program would count as failed.
        require_sandbox()
    return resolved
