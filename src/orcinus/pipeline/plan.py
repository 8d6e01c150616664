"""What a recipe would do and cost, before anything is spent.

Only ``sample`` is run for a plan, because all the rest depends on what it counts and it costs nothing; its result is the one
that the run will use. Calls that the ledger already knows are counted exactly wherever the strategy is known; where it is not
(teaching before the probe was made) the dearest strategy gives the upper end and the cheapest the lower.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orcinus.models.roles import Models, student_config
from orcinus.pipeline.estimate import PlannedStep, _Estimator
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.run import run_recipe
from orcinus.pipeline.step import Step
from orcinus.runs.context import Progress, Runtime
from orcinus.runs.ledger import Ledger
from orcinus.training import train
from orcinus.training.distributed.launch import command


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps, and what a reader should know about the figures."""

    rows: tuple[PlannedStep, ...]
    notes: tuple[str, ...]


async def plan_recipe(
    recipe: Recipe, recipe_path: Path, runtime: Runtime, progress: Progress, *, nodes: int = 1
) -> Plan:
    """What ``run_recipe`` would do now, and how ``nodes`` machines would train together.

    Raises:
        OrcinusError: The recipe cannot be run: a file, a key or a model is missing.
    """
    base = recipe_path.resolve().parent
    run_dir = await run_recipe(recipe, recipe_path, runtime, progress, until="sample")
    steps = {step.name: step for step in steps_of(recipe, base)}
    models = Models(recipe.roles(base), runtime)
    notes = ["The student's calls run on this machine and cost no dollars."]
    rows = []
    try:
        with Ledger(runtime.ledger_path) as ledger:
            estimator = _Estimator(recipe, run_dir, steps, models, ledger, runtime, progress)
            rows = [row for step in steps.values() for row in await estimator.rows(step)]
            notes += estimator.notes()
        if nodes > 1:
            notes.append(_on_several_machines(recipe, base, run_dir, steps, runtime, nodes))
    finally:
        await models.aclose()
    return Plan(rows=tuple(rows), notes=tuple(notes))


def _on_several_machines(
    recipe: Recipe,
    base: Path,
    run_dir: Path,
    steps: Mapping[str, Step],
    runtime: Runtime,
    nodes: int,
) -> str:
    """The command that each machine is given; the job it reads is written as soon as there are lessons."""
    if recipe.train.open_mixes:
        return (
            f"Training on {nodes} machines: trials, which choose the shares of a mix, are not made there; run them here once, then say the "
            "single share that was chosen."
        )
    step = steps["train"]
    folder, erased = step.folder(run_dir), step.inputs["erase"]
    if not erased.is_done(run_dir):
        return f"Training on {nodes} machines: first `orcinus erase`, then plan again; the command needs the lessons."
    made = step.inputs.get("student")
    student = student_config(recipe.roles(base), None if made is None else made.folder(run_dir))
    job = train.job_of(
        recipe.train.at(base), student, erased.folder(run_dir), folder, recipe.seed, runtime
    )
    words = ["python", *command(job.write(), processes=runtime.processes, nodes=nodes)]
    return (
        f"Training on {nodes} machines that share this folder, on each of them: {shlex.join(words)} "
        "(FIRST_HOST is the name of the first one); then `orcinus run` goes on from there."
    )
