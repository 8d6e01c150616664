"""Run the steps of a recipe, or resume them.

    recipe.yaml ──► runs/NAME/ {recipe.yaml, sample-1f0c…/ … report-77aa…/, student, report.html}

``student`` is a link to the folder of the trained student.
"""

import asyncio
import contextlib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orcinus.core.background import in_background
from orcinus.core.errors import ConfigError
from orcinus.core.files import link_folder, write_atomically
from orcinus.core.imports import import_later, without_collector
from orcinus.core.protocols import Completer
from orcinus.core.registry import recipe_folder
from orcinus.models.configs import SelfConfig
from orcinus.models.local.config import LocalConfig
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.remote.published import with_revision
from orcinus.models.remote.refusals import without_password
from orcinus.models.roles import Models
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import dump_recipe
from orcinus.pipeline.step import Step, run_steps
from orcinus.pipeline.verbs import VERBS, verb_of
from orcinus.runs import layout
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.folders import finish_time, locked, model_made_by, modules_folder
from orcinus.runs.ledger import Ledger
from orcinus.runs.progress import followed
from orcinus.runs.sharing import Share
from orcinus.training.trackers import check_trackers

if TYPE_CHECKING:
    from orcinus.training import train
else:
    train = import_later("orcinus.training.train")


EXAMPLE_SECTIONS = {
    "skills": "skills: {}",
    "select": "select: {by: [teachable]}",
    "rehearse": "rehearse: {}",
    "weigh": "weigh: {boundaries: 2}",
}
"""How a recipe asks for the steps that it need not have."""
EXPLAINS = {"trial": "teacher", "teach": "teacher", "teach-assistant": "assistant"}
"""The models that explain, by the step that asks them."""
TRAINING = ("trial", "train")
"""Verbs of the steps that train."""
LIBRARIES = (
    "orcinus.models.local.loading",
    "transformers.modeling_utils",
    "orcinus.training.trainer",
)
"""Modules that import what asking a local model needs, and the last one what training needs."""


async def run_recipe(
    recipe: Recipe,
    recipe_path: Path | None,
    runtime: Runtime,
    progress: Progress,
    *,
    base: Path | None = None,
    until: str | None = None,
) -> Path:
    """Run a recipe, or resume it where it stopped.

    Args:
        recipe: What to do.
        recipe_path: The file that it was read from, which is copied into the run's folder. None
            writes the recipe as YAML instead.
        runtime: Where and how fast.
        progress: Receives how far the run is.
        base: The folder where the recipe's relative paths start. None takes the folder of
            ``recipe_path``, or the current one.
        until: Verb of the last step to run; None runs all.

    Returns:
        The run's folder.

    Raises:
        OrcinusError: Something that the user can fix. What is done and paid for is kept.
    """
    _check_until(recipe, until)
    base = base_of(recipe_path, base)
    modules = base if recipe_path is None else modules_folder(recipe_path)
    text = dump_recipe(recipe).encode() if recipe_path is None else recipe_path.read_bytes()
    run_dir = runtime.workspace / recipe.name
    recipe = await with_revisions(recipe, runtime.secrets, run_dir, progress.note)
    steps = [
        step
        for step in steps_of(recipe, base, until=until)
        if until is None or VERBS.index(verb_of(step.name)) <= VERBS.index(until)
    ]
    with (
        recipe_folder(modules),
        locked(run_dir),
        followed(progress, run_dir) as reported,
        Ledger(runtime.ledger_path, note=reported.note) as ledger,
    ):
        write_atomically(run_dir / layout.RECIPE, text)
        write_atomically(run_dir / layout.ORIGIN, str(modules.resolve()).encode())
        if runtime.share is not None:
            await asyncio.to_thread(_take_shared, steps, run_dir, runtime.share, reported.note)
        models = Models(recipe.roles(base), runtime, reported.note)
        _check_keys(recipe, models, steps, run_dir)
        budget = recipe.budget.open(ledger, recipe.name)

        def open_context(step: Step, folder: Path) -> StepContext:
            inputs = {role: source.folder(run_dir) for role, source in step.inputs.items()}

            def completer(role: str, folder: Path | None = None) -> Completer:
                # A student made from scratch is in the folder of an input, not where the recipe
                # says; so is a teacher that is the student.
                is_student = role == "student" or (
                    role == "teacher" and isinstance(recipe.teacher, SelfConfig)
                )
                made = inputs.get("student") if is_student else None
                return models.open(role, made if folder is None else folder)

            return StepContext(
                out=folder,
                inputs=inputs,
                run=recipe.name,
                seed=recipe.seed,
                ledger=ledger,
                runtime=runtime,
                progress=reported,
                completer=completer,
                budget=budget,
                judging=recipe.judging if recipe.judge is not None else None,
            )

        await _load_libraries(recipe, steps, run_dir)
        for note in await _check_student(recipe, base, steps, run_dir, runtime.device):
            reported.note(note)
        await _check_scoring(recipe, base, steps, run_dir, open_context)
        publish = partial(_publish, run_dir=run_dir, share=runtime.share)
        await run_steps(steps, run_dir, open_context, close=models.aclose, publish=publish)
    return run_dir


async def with_revisions(
    recipe: Recipe,
    secrets: Mapping[str, str],
    run_dir: Path,
    note: Callable[[str], None] = lambda said: None,
) -> Recipe:
    """Return the recipe, its endpoints with the revision that their servers publish.

    The revision of a server that is down is the one that the run's finished steps know: a step
    that is done stays done.

    Args:
        recipe: The recipe.
        secrets: The environment, in which the recipe names keys.
        run_dir: The run's folder.
        note: Receives a line for each revision that is assumed.
    """
    update: dict[str, Any] = {}
    for role in ("student", *recipe.paid_roles):
        config = recipe.model_of(role)
        if isinstance(config, EndpointConfig):
            found = await with_revision(
                config, secrets, last_known=partial(_last_revision, config, run_dir, note)
            )
            if role in recipe.models:
                update["models"] = {**update.get("models", recipe.models), role: found}
            else:
                update[role] = found
    return recipe.model_copy(update=update)


def _last_revision(
    config: EndpointConfig, run_dir: Path, note: Callable[[str], None]
) -> str | None:
    """Return the revision of a model that the newest finished step names; None if none does."""
    known_as = re.compile(rf"{re.escape(config.model)}@(.+?)(?: \(without .*\))?")
    steps = sorted(
        run_dir.glob(f"*/{layout.STEP}"), key=lambda path: finish_time(path.parent), reverse=True
    )
    for path in steps:
        for name in _models_in(orjson.loads(path.read_bytes()).get("config")):
            if match := known_as.fullmatch(name):
                note(
                    f"{without_password(config.base_urls[0])} does not answer; {config.model} is "
                    f"taken to be the revision {match[1]} that made {path.parent.name}"
                )
                return match[1]
    return None


def _models_in(value: Any) -> Iterator[str]:
    """Yield the names of all models in a step's configuration."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "model" and isinstance(item, str):
                yield item
            else:
                yield from _models_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _models_in(item)


def base_of(recipe_path: Path | None, base: Path | None) -> Path:
    """Return the folder where a recipe's relative paths start, as an absolute path.

    For the copy in a run's folder, it is the folder of the original.
    """
    if base is None:
        base = Path() if recipe_path is None else modules_folder(recipe_path.resolve())
    return base.expanduser().resolve()


async def _load_libraries(recipe: Recipe, steps: Sequence[Step], run_dir: Path) -> None:
    """Import torch and Transformers if a step that will run asks or trains a local model.

    They take seconds. They are imported in the background, so that a signal ends the run at once.
    Where one is missing, the step that needs it says so.
    """
    missing = [step for step in steps if not step.is_done(run_dir)]
    asked = [recipe.model_of(role) for step in missing for role in step.models]
    # A teacher of kind ``self`` is the student.
    if not any(isinstance(model, LocalConfig | ScratchConfig | SelfConfig) for model in asked):
        return
    trains = any(verb_of(step.name) in TRAINING for step in missing)
    await in_background(partial(_import_all, LIBRARIES if trains else LIBRARIES[:-1]))


def _import_all(names: Sequence[str]) -> None:
    with contextlib.suppress(ImportError), without_collector():
        for name in names:
            importlib.import_module(name)


async def _check_student(
    recipe: Recipe, base: Path, steps: Sequence[Step], run_dir: Path, device: str
) -> list[str]:
    """Return what is to be said of training the student, before the first step asks anything.

    A student that is made from scratch, or trained already, needs no check.

    Raises:
        ConfigError: It cannot be trained, a tracker is missing, or there is no such device.
        MissingExtraError: Training needs the extra ``train``.
    """
    trains = any(verb_of(step.name) == "train" and not step.is_done(run_dir) for step in steps)
    if not trains:
        return []
    train.require_packages()
    check_trackers(recipe.train.trainer)
    from orcinus.models.local.huggingface import usable_device

    usable_device(device)
    if not isinstance(recipe.student, LocalConfig):
        return []
    from orcinus.training.check import check_training

    student = recipe.student.at(base)
    return await in_background(partial(check_training, recipe.train.at(base), student, device))


async def _check_scoring(
    recipe: Recipe,
    base: Path,
    steps: Sequence[Step],
    run_dir: Path,
    open_context: Callable[[Step, Path], StepContext],
) -> None:
    """Refuse a teacher that cannot score the student's tokens, before the first step asks it.

    It costs one call, which the ledger keeps.

    Raises:
        OrcinusError: The teacher cannot be used in an on-policy stage, or is not there.
    """
    training = [step for step in steps if verb_of(step.name) == "train"]
    if all(step.is_done(run_dir) for step in training) or not recipe.train.asks_teacher:
        return
    if not isinstance(recipe.student, LocalConfig):
        return
    from orcinus.models.local.chat_format import Chat
    from orcinus.models.local.weights import read_tokenizer
    from orcinus.training.teacher_scores import check_teacher

    student = recipe.student.at(base)
    tokenizer = await in_background(partial(read_tokenizer, student))
    context = open_context(training[0], training[0].folder(run_dir))
    chat = Chat(tokenizer, fallback=student.chat_template)
    await check_teacher(chat, recipe.train, context)


def _check_keys(recipe: Recipe, models: Models, steps: Sequence[Step], run_dir: Path) -> None:
    """Refuse a run whose key for a remote teacher is missing, before the student is probed.

    Raises:
        ConfigError: The variable that the recipe names is not set.
    """
    for step in steps:
        role = EXPLAINS.get(step.name)
        if role is None or step.is_done(run_dir):
            continue
        if isinstance(recipe.model_of(role), EndpointConfig):
            models.open(role)  # reads the key, and calls nothing


def _check_until(recipe: Recipe, until: str | None) -> None:
    """Refuse a last step that this recipe does not have."""
    if until is not None and until not in VERBS:
        raise ConfigError(f"no step named {until!r}; known: {', '.join(VERBS)}")
    if until == "trial" and not recipe.tries:
        raise ConfigError(
            f"{recipe.name}: trial students do not choose here, so there is no step trial; set "
            "`assign: {measure: learned}`, and name several strategies"
        )
    if until == "author" and not recipe.authored_tasks:
        raise ConfigError(
            f"{recipe.name}: no task has the key authored, so there is no step author"
        )
    if until in EXAMPLE_SECTIONS and getattr(recipe, until) is None:
        raise ConfigError(
            f"{recipe.name}: the recipe has no section {until}:, so there is no step {until}; "
            f"add e.g. `{EXAMPLE_SECTIONS[until]}`"
        )


def _take_shared(
    steps: Sequence[Step], run_dir: Path, share: Share, note: Callable[[str], None]
) -> None:
    """Copy the steps that another machine finished from the store, and say which."""
    share.check(run_dir)
    taken = [
        step.name
        for step in steps
        if not step.is_done(run_dir) and share.take(step.folder(run_dir), step.fingerprint)
    ]
    if taken:
        note(
            f"taken from {share}: {', '.join(taken)}; what their calls cost is in the ledger of "
            "the machine that made them, and counts in no budget here"
        )


async def _publish(step: Step, run_dir: Path, share: Share | None) -> None:
    """Share a finished step, and put what a user looks for into the run's folder."""
    if share is not None:
        await asyncio.to_thread(share.give, step.folder(run_dir))
    _show_result(step, run_dir)


def _show_result(step: Step, run_dir: Path) -> None:
    """Put the student and the report into the run's folder."""
    if step.name == "train":
        link_folder(run_dir / layout.STUDENT, _student_of(step, run_dir))
    elif step.name == "report":
        made = step.folder(run_dir)
        for name in map(layout.report, ("html", "md", "json")):
            if (made / name).exists():  # reports of release 0.1 have no summary
                write_atomically(run_dir / name, (made / name).read_bytes())
        if "train" not in step.inputs:
            return
        student = _student_of(step.inputs["train"], run_dir)
        write_atomically(student / layout.STUDENT_CARD, (made / layout.MODEL_CARD).read_bytes())
        link_folder(run_dir / layout.STUDENT, student)  # a copy gets the card too


def _student_of(train: Step, run_dir: Path) -> Path:
    return model_made_by(train.folder(run_dir))
