"""Plan a run: what it would do and cost, before anything is spent.

    recipe.yaml ──► state, calls, tokens and dollars of each step, and notes about the figures

Only ``sample`` is run for a plan, because all figures depend on its counts and it costs nothing.
Where a model writes tasks, only the step ``author`` is planned until it is done.
The run uses the same result. Calls that the ledger already knows are counted exactly wherever the
strategy is known. Where it is not (teaching before the probe), the most expensive strategy gives
the upper end of the range and the cheapest the lower.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orcinus.core.collector import relax_garbage_collection
from orcinus.core.errors import ConfigError
from orcinus.core.imports import import_later
from orcinus.models.local.config import LocalConfig
from orcinus.models.roles import Models, student_config
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.estimate import Estimator, PlannedStep
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.run import base_of, run_recipe, with_revisions
from orcinus.pipeline.step import Step
from orcinus.reports.words import dollars
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.training.cost import describe_cost
from orcinus.training.distributed.launch import command
from orcinus.training.trackers import check_trackers

if TYPE_CHECKING:
    from orcinus.training import train
else:
    train = import_later("orcinus.training.train")


_NOT_WRITTEN = (
    "The calls of controls and solvers are at most. The steps after author have no figures yet: "
    "they depend on which questions pass. `orcinus run RECIPE --until author`, then plan again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps with their figures, and notes about how far to trust them."""

    rows: tuple[PlannedStep, ...]
    """One line for each step, and for what a judge is asked."""
    notes: tuple[str, ...]
    """What to know about the figures, and what is missing."""

    @property
    def calls(self) -> int:
        """Calls that the run will make; where a judge is asked, at most."""
        return sum(row.calls or 0 for row in self.rows)

    @property
    def known_calls(self) -> int:
        """Calls that the ledger answers."""
        return sum(row.known_calls or 0 for row in self.rows)

    @property
    def usd_low(self) -> float:
        """Lower end of the dollars that the run will spend."""
        return sum(row.usd_low or 0.0 for row in self.rows)

    @property
    def usd_high(self) -> float:
        """Upper end of the dollars that the run will spend."""
        return sum(row.usd_high or 0.0 for row in self.rows)


async def plan_recipe(
    recipe: Recipe,
    recipe_path: Path | None,
    runtime: Runtime,
    progress: Progress,
    *,
    base: Path | None = None,
    nodes: int = 1,
) -> Plan:
    """Plan what ``run_recipe`` would do now.

    Args:
        recipe: As for ``run_recipe``.
        recipe_path: As for ``run_recipe``.
        runtime: As for ``run_recipe``.
        progress: As for ``run_recipe``.
        base: As for ``run_recipe``.
        nodes: Machines that train together; with several, a note says how to start them.

    Raises:
        OrcinusError: The recipe cannot be run: a file, a key or a model is missing.
    """
    base = base_of(recipe_path, base)
    run_dir = runtime.workspace / recipe.name
    given, recipe = recipe, await with_revisions(recipe, runtime.secrets, run_dir)
    steps = {step.name: step for step in steps_of(recipe, base)}
    is_written = "author" not in steps or steps["author"].is_done(run_dir)
    if is_written:
        await run_recipe(given, recipe_path, runtime, progress, base=base, until="sample")
    keys = _Keys(runtime.secrets)
    models = Models(recipe.roles(base), replace(runtime, secrets=keys))
    notes = ["The student's calls run on this machine and cost no dollars."]
    try:
        with Ledger(runtime.ledger_path, note=progress.note) as ledger, relax_garbage_collection():
            context = StepContext(
                out=run_dir,
                run=recipe.name,
                seed=recipe.seed,
                ledger=ledger,
                runtime=runtime,
                progress=progress,
                completer=models.open,
                judging=recipe.judging if recipe.judge is not None else None,
            )
            estimator = Estimator(recipe, steps, run_dir, models, context)
            if is_written:
                rows = [row for step in steps.values() for row in await estimator.rows(step)]
                notes += estimator.notes()
                notes += _notes_about_training(recipe, base, estimator)
            else:
                rows = await estimator.rows(steps["author"])
                later = [name for name in steps if name != "author"]
                rows += [PlannedStep(step=name, state="to do") for name in later]
                notes += [*estimator.notes_about_models(), _NOT_WRITTEN]
            spent = ledger.spent(recipe.name)[0]
        if nodes > 1:
            notes.append(_on_several_machines(recipe, base, run_dir, steps, runtime, nodes))
    finally:
        await models.aclose()
    plan = Plan(rows=tuple(rows), notes=tuple(notes))
    notes += _notes_about_the_budget(plan, recipe.budget.usd, spent)
    notes += keys.notes()
    return replace(plan, notes=tuple(notes))


def _notes_about_training(recipe: Recipe, base: Path, estimator: Estimator) -> Iterator[str]:
    """Say how long the training takes and what memory, and which tracker is missing."""
    found = estimator.lessons()
    if found is None or not isinstance(recipe.student, LocalConfig | ScratchConfig):
        return
    yield describe_cost(
        recipe.train,
        recipe.student,
        base,
        lessons=found[0],
        lesson_tokens=found[1],
        trial_lessons=estimator.trial_lessons(),
        bare="answer_only" in recipe.evaluate.arms,
    )
    try:
        check_trackers(recipe.train.trainer)
    except ConfigError as error:
        yield str(error)


class _Keys(Mapping[str, str]):
    """The environment with every key set: a plan connects to no model, so any key will do."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets, self._missing = secrets, dict[str, None]()

    def __getitem__(self, variable: str) -> str:
        if not self._secrets.get(variable, "").strip():
            self._missing[variable] = None
            return "not set"
        return self._secrets[variable]

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def notes(self) -> Iterator[str]:
        """Yield a line for each key that was looked up and is not set."""
        for variable in self._missing:
            yield f"{variable} is not set; the run needs it: export {variable}=…"


def _notes_about_the_budget(plan: Plan, cap: float | None, spent: float) -> Iterator[str]:
    if cap is None:
        return
    yield f"Budget: {dollars(cap)}, of which {dollars(spent)} is spent."
    left = max(cap - spent, 0.0)
    if plan.usd_high > left:
        need = "needs more than" if plan.usd_low > left else "may need more than"
        yield (
            f"The run {need} the {dollars(left)} that is left: up to {dollars(plan.usd_high)}. It "
            "stops at the budget; the same command continues it once budget.usd is raised."
        )


def _on_several_machines(
    recipe: Recipe,
    base: Path,
    run_dir: Path,
    steps: Mapping[str, Step],
    runtime: Runtime,
    nodes: int,
) -> str:
    """Return the command that each machine runs, or what must be done first.

    The job file that the command reads is written as soon as there are lessons.
    """
    opening = f"Training on {nodes} machines"
    if recipe.train.open_mixes:
        return (
            f"{opening}: the trials that choose the shares of a mix do not run there. Run them "
            "here once, then set the single share that was chosen."
        )
    step = steps.get("train")
    if step is None:
        return f"{opening}: evaluate.arms has no `after`, so no student is trained."
    folder, erased = step.folder(run_dir), step.inputs["erase"]
    if not erased.is_done(run_dir):
        return (
            f"{opening}: first `orcinus run RECIPE --until erase`, then plan again; the command "
            "needs the lessons."
        )
    made = step.inputs.get("student")
    student = student_config(recipe.roles(base), None if made is None else made.folder(run_dir))
    job = train.job_of(
        recipe.train.at(base), student, erased.folder(run_dir), folder, recipe.seed, runtime
    )
    words = ["python", *command(job.write(), processes=runtime.processes, nodes=nodes)]
    return (
        f"{opening} that share this folder, on each of them: {shlex.join(words)} "
        "(FIRST_HOST is the name of the first one); then `orcinus run` continues from there."
    )
