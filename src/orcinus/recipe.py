"""A recipe: all that decides a result, as YAML that a person can read.

    name: sums
    tasks:
      - {path: sums.jsonl}
    student: {kind: local, path: Qwen/Qwen3-0.6B}
    teacher: {kind: endpoint, model: gpt-5-mini, base_urls: [https://api.openai.com/v1], api_key_env: OPENAI_API_KEY}

Sections are defined beside the component they configure. Relative paths start at the recipe's own folder. Anything that is
wrong is one line with the file, the line, the key and, for a misspelt key, the nearest one there is.
"""

import difflib
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from orcinus.asking import JudgingConfig
from orcinus.completers.answered import AnsweredConfig
from orcinus.completers.endpoint import EndpointConfig
from orcinus.completers.local_config import LocalConfig
from orcinus.completers.replay import ReplayConfig
from orcinus.completers.scripted import ScriptedConfig
from orcinus.config import Config
from orcinus.errors import ConfigError
from orcinus.steps.assign import AssignConfig
from orcinus.steps.curate import CurateConfig
from orcinus.steps.erase import EraseConfig
from orcinus.steps.evaluate import EvaluateConfig
from orcinus.steps.probe import ProbeConfig
from orcinus.steps.report import ReportConfig
from orcinus.steps.sample import SampleConfig
from orcinus.steps.select import SelectConfig
from orcinus.steps.skills import SkillsConfig
from orcinus.steps.teach import TeachConfig
from orcinus.strategies import resolve
from orcinus.tasks.gym import GymConfig
from orcinus.tasks.procedural import ProceduralConfig
from orcinus.tasks.records import RecordsConfig
from orcinus.training.config import TrainConfig
from orcinus.training.scratch import ScratchConfig
from orcinus.types import AnswerType, Strategy
from orcinus.verifiers.judge import BY_MODEL
from orcinus.verifiers.sandbox import require_sandbox


class SelfConfig(Config):
    """The student teaches itself: its own right answers under the strategy that suits it best, the instruction erased."""

    kind: Literal["self"] = "self"


ModelConfig = EndpointConfig | LocalConfig | ReplayConfig | ScriptedConfig
JudgeConfig = Annotated[ModelConfig, Field(discriminator="kind")]
TeacherConfig = Annotated[ModelConfig | SelfConfig | AnsweredConfig, Field(discriminator="kind")]
StudentConfig = Annotated[
    LocalConfig | ScratchConfig | EndpointConfig | ReplayConfig | ScriptedConfig, Field(discriminator="kind")
]


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


class BudgetConfig(Config):
    """A hard cap: what is spent plus the worst case in flight never passes it."""

    usd: float | None = Field(default=None, ge=0)
    """Dollars for the whole run; None is no cap."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens in and out for the whole run; None is no cap."""


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
        for role, model in (("teacher", self.teacher), ("assistant", self.assistant), ("judge", self.judge)):
            if self.budget.usd is not None and isinstance(model, EndpointConfig) and model.known_price() is None:
                raise ValueError(
                    f"budget.usd is set, but no price is known for {model.model}; set {role}.price: {{input: …, output: …}} "
                    "in dollars per million tokens (0 for a server of your own)"
                )
        return self

    @model_validator(mode="after")
    def _who_is_asked_to_judge_is_there(self) -> "Recipe":
        sources = [task for task in (*self.tasks, *self.evaluation, *self.retention) if isinstance(task, RecordsConfig)]
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
        if self.judge is not None and isinstance(self.teacher, SelfConfig) and self.judge == self.student:
            raise ValueError("judge: a student that learns from itself cannot be its own judge; name another model")
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


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or a key or value is wrong; names file, line and key.
    """
    node = _compose(path)
    lines: dict[tuple[str | int, ...], int] = {}
    data = _plain(node, (), lines, path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys, starting with name: and tasks:")
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, lines, path)) from error


def read_model(path: Path) -> ModelConfig:
    """Read and check a model's section that stands in a file of its own.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or a key or value is wrong; names file, line and key.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; a model's file holds what stands under teacher: in a recipe")
    lines: dict[tuple[str | int, ...], int] = {}
    data = _plain(_compose(path), (), lines, path)
    try:
        model: ModelConfig = TypeAdapter(JudgeConfig).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        keys, line = _line_of(first["loc"], lines)
        what = "unknown key" if first["type"] == "extra_forbidden" else _in_words(first)
        raise ConfigError(f"{path}:{line}: {'.'.join(map(str, keys)) or 'model'}: {what}") from error
    return model


def _compose(path: Path) -> yaml.Node:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such recipe; `orcinus init` writes one") from error
    except UnicodeDecodeError as error:
        what = "UTF-16" if error.object.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else f"not UTF-8 at byte {error.start}"
        raise ConfigError(f"{path}: {what}; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or "broken here"
        hint = next((f"; {hint}" for part, hint in _YAML_HINTS.items() if part in problem), "")
        raise ConfigError(f"{path}:{line}: not valid YAML: {problem}{hint}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: not valid YAML: it holds {chr(error.character)!r}; remove it") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deep to be a recipe") from error
    if node is None:
        raise ConfigError(f"{path}: the file is empty; `orcinus init` writes a recipe to start from")
    return node


_YAML_HINTS = {
    "'\\t'": "indent with spaces, not with tabs",
    "expected <block end>": "keys of one section start in the same column; is this line, or one above it, indented wrongly?",
    "mapping values are not allowed here": "put a text that holds ': ' in quotes",
    "expected escape sequence": "in double quotes a backslash means more; use single quotes",
    "unknown escape character": "in double quotes a backslash means more; use single quotes",
    "but found another document": "only one recipe a file; remove the line ---",
}
"""What to do about an error of YAML, by a part of its text."""


def _plain(node: yaml.Node, at: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], path: Path) -> Any:
    """The node's value in plain Python, noting the line of every key; a key given twice is refused."""
    lines.setdefault(at, node.start_mark.line + 1)
    if len(at) > _DEEPEST:
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: nested too deep, or an anchor that holds itself")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                what = (
                    "merging with << is not supported"
                    if isinstance(key_node, yaml.ScalarNode)
                    else "a key must be a text"
                )
                raise ConfigError(f"{path}:{key_node.start_mark.line + 1}: {what}; write the keys out")
            key = str(key_node.value)
            if key in mapping:
                raise ConfigError(f"{path}:{key_node.start_mark.line + 1}: the key {key!r} is given twice")
            lines[(*at, key)] = key_node.start_mark.line + 1
            mapping[key] = _plain(value_node, (*at, key), lines, path)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, i), lines, path) for i, item in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: {error.problem}; a recipe holds plain values") from error
    except ValueError as error:  # a date such as 2024-13-45
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: {node.value!r}: {error}; put it in quotes") from error


_DEEPEST = 50


def _explain(error: ValidationError, lines: Mapping[tuple[str | int, ...], int], path: Path) -> str:
    """The first thing that is wrong, in one line, and how many more there are."""
    problems = error.errors(include_url=False)
    # A list whose items are wrong is also reported as too short: only the items themselves tell what to mend.
    problems = [p for p in problems if not any(q is not p and q["loc"][: len(p["loc"])] == p["loc"] for q in problems)]
    first = min(problems, key=lambda problem: _line_of(problem["loc"], lines)[1])
    keys, line = _line_of(first["loc"], lines)
    if first["type"] != "missing" and keys not in lines:
        keys = keys[:-1]  # pydantic's name for one of several types
    where = f"{path}:{line}: "
    dotted = ".".join(map(str, keys))
    if first["type"] == "extra_forbidden":
        known = sorted(_known_keys(Recipe, first["loc"][:-1]))
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        text = f"unknown key {dotted!r}; {hint}"
    elif first["type"] == "missing":
        text = f"the key {dotted!r} is missing"
    else:
        text = (f"{dotted}: " if dotted else "") + _in_words(first)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return where + text + more


def _in_words(problem: Mapping[str, Any]) -> str:
    """What pydantic found, in the words of YAML."""
    given, context = problem.get("input"), problem.get("ctx", {})
    match problem["type"]:
        case "string_type" if isinstance(given, bool | int | float | date):
            return f"must be a text, and YAML reads this as {_yaml_kind(given)}; put it in quotes"
        case "string_type":
            return f"must be a text, this is {_yaml_kind(given)}"
        case "tuple_type" | "list_type":
            return f"must be a list, this is {_yaml_kind(given)}; put - before each item, or all in [ ]"
        case "dict_type" | "model_type" | "model_attributes_type" | "dataclass_type":
            return f"must be keys with values, such as {{key: value}}, this is {_yaml_kind(given)}"
        case "bool_type" | "bool_parsing":
            return f"must be true or false, this is {_yaml_kind(given)}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number, this is {_yaml_kind(given)}"
        case "union_tag_not_found":
            return "the key 'kind' is missing"
        case "union_tag_invalid":
            known = str(context["expected_tags"]).replace("'", "")
            near = difflib.get_close_matches(str(context["tag"]), known.split(", "), n=1)
            return f"no kind {context['tag']!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {known}")
        case _:
            text = str(problem["msg"]).removeprefix("Value error, ").replace("\n", " ")
            return re.sub("^Input should (be|have|match)", lambda m: f"must {m[1]}", text)


def _yaml_kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false (as yes, no, on and off)"
        case int() | float():
            return f"the number {value}"
        case date():
            return "a date"
        case str():
            return f"the text {value[:40]!r}"
        case Mapping():
            return "keys with values"
        case _:
            return "a list"


def _line_of(
    loc: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int]
) -> tuple[tuple[str | int, ...], int]:
    """The part of pydantic's ``loc`` that a reader wrote (union tags left out), and the line it stands on."""
    at: tuple[str | int, ...] = ()
    for i, part in enumerate(loc):
        if (*at, part) in lines:
            at = (*at, part)
        elif i == len(loc) - 1:
            return (*at, part), lines.get(at, 1)
    return at, lines.get(at, 1)


def _known_keys(annotation: Any, loc: tuple[str | int, ...]) -> set[str]:
    """The keys that the model at ``loc`` accepts, found by walking the annotations as pydantic did."""
    models = list(_models(annotation))
    if not loc:
        return {key for model in models for key in model.model_fields}
    head, rest = loc[0], loc[1:]
    for model in models:
        if head in model.model_fields:
            return _known_keys(model.model_fields[str(head)].annotation, rest)
    named = [model for model in models if head in (model.__name__, _tag(model))]
    return _known_keys(Union[tuple(named or models)], rest)  # noqa: UP007 (built at run time)


def _tag(model: type[BaseModel]) -> str:
    if "kind" in model.model_fields:
        return str(model.model_fields["kind"].default)
    return _source_tag(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, tuple, list):
        for part in get_args(annotation):
            yield from _models(part)
