"""List the signals from outside that each stage of a recipe has, and what filters select by.

    recipe ──sources──► teach: another model · curate: references · evaluate: references
    run    ──kept_by──► kept traces are the short ones: flagged

A student cannot learn more about its questions than the signals of its stages contain. A stage
whose only signal is the student is closed: rounds of it repeat what the student believes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from orcinus.core.config import Config
from orcinus.lessons.kept import Kept, KeptBy, kept_by
from orcinus.models.configs import SelfConfig
from orcinus.models.function import FunctionConfig
from orcinus.models.local.config import LocalConfig
from orcinus.models.recorded_rows import AnsweredConfig
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps
from orcinus.tasks.authored.config import AuthoredConfig
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.generators.environment import EnvironmentConfig
from orcinus.tasks.open import TaskConfig, open_task
from orcinus.training.config import StageConfig
from orcinus.verifiers.judge_prompts import BY_MODEL

ROWS_READ = 200
"""Rows of a file that are read to see whether they have references."""
HasReferences = Callable[[RecordsConfig], bool]
"""Says of a task of files whether its rows have references."""
AGREEMENT = "agreement of the student's own answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The signals of one stage."""

    stage: str
    outside: tuple[str, ...]
    """Signals that hold something that the student does not know."""
    inside: tuple[str, ...] = ()
    """Signals that come from the student itself."""

    @property
    def closed(self) -> bool:
        """True when all its signals come from the student."""
        return bool(self.inside) and not self.outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    """The findings on a recipe or a run."""

    name: str
    stages: tuple[Signals, ...]
    kept: Kept | None
    """None for a recipe."""
    flags: tuple[str, ...]
    """What to look at, in words; empty where nothing is wrong."""


def lint(source: Path) -> Lint:
    """Return the findings on a recipe's file, or on a run's folder.

    Args:
        source: Either of them.

    Raises:
        ConfigError: The recipe or a task's file cannot be read, or the run has not curated yet.
        StoreError: A table of the run cannot be read.
    """
    if source.is_file():
        recipe, base = load_recipe(source), source.resolve().parent
        stages = tuple(stages_of(recipe, lambda task: _has_references(task, base)))
        return Lint(name=recipe.name, stages=stages, kept=None, flags=tuple(_closed(stages)))
    recipe = load_recipe(source / layout.RECIPE)
    answered = _tasks_with_references(source)
    stages = tuple(
        stages_of(recipe, lambda task: task.name in answered if task.name else bool(answered))
    )
    kept = kept_by(source, seed=recipe.seed)
    flagged = [_about(found) for found in kept.features if found.flagged]
    return Lint(name=recipe.name, stages=stages, kept=kept, flags=(*_closed(stages), *flagged))


def _has_references(task: RecordsConfig, base: Path) -> bool:
    """Return whether one of the first rows of a task's files has a reference."""
    _, examples = open_task(task, base)
    return any(example.reference is not None for example in islice(examples(), ROWS_READ))


def _tasks_with_references(run_dir: Path) -> set[str]:
    """Return the names of the tasks of a run that have references."""
    path = finished_steps(run_dir, "sample")[0] / layout.EXAMPLES
    rows = tables.read_rows(path, ["task", "reference"])
    return {row["task"] for row in rows if row["reference"] != "null"}


def stages_of(recipe: Recipe, has_references: HasReferences) -> Iterator[Signals]:
    """Yield the signals of each stage of a recipe, in the order of the method.

    Args:
        recipe: The recipe.
        has_references: Says of a task of files whether its rows have references.
    """
    verdicts = _verdicts(recipe, recipe.tasks, has_references)
    labels = verdicts or _proxy(recipe)
    yield _signals("probe and assign", labels)
    teacher = _model(recipe, recipe.teacher)
    if recipe.skills is not None:
        yield _signals("skills", (teacher, *labels))
    helpers = () if recipe.assistant is None else (_model(recipe, recipe.assistant),)
    yield _signals("teach", (teacher, *helpers))
    filters = tuple(_filters(recipe, verdicts))
    yield _signals("curate", filters)
    more = (name for stage in recipe.train.stages for name in _of_stage(recipe, stage, verdicts))
    yield _signals("train", (teacher, *helpers, *filters, *more))
    yield _signals(
        "evaluate",
        (
            *_verdicts(recipe, (*recipe.tasks, *recipe.evaluation), has_references),
            *((_judge(recipe),) if recipe.evaluate.pairwise is not None else ()),
        ),
    )


_STUDENT = "the student itself"
_INSIDE = frozenset({_STUDENT, AGREEMENT, "the student as its own judge"})


def _of_stage(recipe: Recipe, stage: StageConfig, verdicts: tuple[str, ...]) -> Iterator[str]:
    """Yield the signals of a stage of training beside its lessons."""
    if stage.on_policy is not None:
        teacher = stage.on_policy.teacher
        named = recipe.teacher if teacher == "recipe" else teacher
        is_student = named == "self" or _is_student(recipe, named)
        yield _STUDENT if is_student else "the teacher's probabilities"
    if stage.reinforce is not None or stage.prefer is not None:
        yield from verdicts


def _signals(stage: str, sources: Iterable[str]) -> Signals:
    found = tuple(dict.fromkeys(sources))
    return Signals(
        stage=stage,
        outside=tuple(name for name in found if name not in _INSIDE),
        inside=tuple(name for name in found if name in _INSIDE),
    )


def _verdicts(
    recipe: Recipe, tasks: Iterable[TaskConfig], has_references: HasReferences
) -> tuple[str, ...]:
    """Return what says right or wrong of the tasks' answers; empty where nothing does."""
    names = (name for task in tasks for name in _verdict(recipe, task, has_references))
    return tuple(dict.fromkeys(names))


def _verdict(recipe: Recipe, task: TaskConfig, has_references: HasReferences) -> Iterator[str]:
    if isinstance(task, AuthoredConfig):
        yield "answers of the models that write and check questions"
        return
    if isinstance(task, EnvironmentConfig):
        yield "the rewards of an environment"
        return
    if not isinstance(task, RecordsConfig):
        yield "a program that solves its own questions"
        return
    if task.verifier in BY_MODEL:
        yield _judge(recipe)
        return
    if task.verifier is not None:
        yield f"the verifier {task.verifier}"
        return
    if has_references(task):
        yield "references in files"


def _proxy(recipe: Recipe) -> tuple[str, ...]:
    """Return what stands in for references where there are none."""
    match recipe.assign.proxy:
        case "agreement":
            return (AGREEMENT,)
        case "teacher":
            return (_model(recipe, recipe.teacher),)
    return ()


def _judge(recipe: Recipe) -> str:
    if recipe.judge is not None and _is_student(recipe, recipe.judge):
        return "the student as its own judge"
    return "a judge (a model: a proxy)"


def _model(recipe: Recipe, config: Config) -> str:
    """Return the signal that a model in the teacher's place gives the student."""
    if isinstance(config, SelfConfig) or _is_student(recipe, config):
        return _STUDENT
    if isinstance(config, AnsweredConfig):
        return "answers in files"
    if isinstance(config, FunctionConfig):
        return "a program as teacher"
    return "another model"


def _is_student(recipe: Recipe, config: Config) -> bool:
    """Return True when a model is the one that learns."""
    student = recipe.student
    if isinstance(config, LocalConfig) and isinstance(student, LocalConfig):
        return (config.path, config.revision) == (student.path, student.revision)
    if isinstance(config, EndpointConfig) and isinstance(student, EndpointConfig):
        return (config.model, config.base_urls) == (student.model, student.base_urls)
    return False


def _filters(recipe: Recipe, verdicts: tuple[str, ...]) -> Iterator[str]:
    """Yield the signals that decide which traces are kept, apart from rules on their form."""
    config = recipe.curate
    if config.keep != "all":
        yield from verdicts
    if config.quality is not None or (config.toxicity and config.toxicity.labelled):
        yield _judge(recipe)
    if "label_agreement" in config.filters:
        yield "references in files"
    scores = config.toxicity is not None and config.toxicity.function is not None
    if scores or any(":" in name for name in config.filters):
        yield "a function of yours"


def _closed(stages: Iterable[Signals]) -> Iterator[str]:
    for signals in stages:
        if signals.closed:
            yield (
                f"{signals.stage} is closed: its only signal is "
                f"{' and '.join(signals.inside)}; add references, a verifier, a judge or a teacher"
            )


def _about(found: KeptBy) -> str:
    """Say that being kept is associated with a feature that says nothing about being right."""
    association = found.association
    r = "" if association.r is None else f"r {association.r:+.2f}, "
    right = ""
    if found.among_right is not None:
        again = found.among_right
        right = f"; among right ones {again.bits:.3f} bits, p {again.p_value:.3f}"
    return (
        f"being kept is associated with {found.feature} ({found.detail}; {r}"
        f"{association.bits:.3f} bits, p {association.p_value:.3f}{right}): the student may learn "
        "that first; look at the filters and the judge"
    )
