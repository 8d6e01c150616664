"""Run the steps of a recipe, or resume them."""

from pathlib import Path

from orcinus.core.errors import ConfigError
from orcinus.core.files import write_atomically
from orcinus.core.protocols import Completer
from orcinus.models.configs import SelfConfig
from orcinus.models.roles import Models
from orcinus.pipeline.method import VERBS, steps_of
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.step import Step, run_steps
from orcinus.runs import layout
from orcinus.runs.budget import Budget
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.folders import locked, summary_of
from orcinus.runs.ledger import Ledger
from orcinus.runs.progress import followed


async def run_recipe(
    recipe: Recipe,
    recipe_path: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    until: str | None = None,
) -> Path:
    """Do what the recipe asks, or go on with it.

    Args:
        recipe: What to do.
        recipe_path: The file it was read from; copied into the run's folder.
        runtime: Where and how fast.
        progress: Is told how far it is.
        until: Verb of the last step to run; None runs all.

    Returns:
        The run's folder.

    Raises:
        OrcinusError: Something a user can mend; what is done and paid for is kept.
    """
    if until in ("skills", "select") and getattr(recipe, until) is None:
        example = "skills: {}" if until == "skills" else "select: {by: [teachable]}"
        raise ConfigError(
            f"{recipe_path}: there is no section {until}:, so there is nothing to do; say e.g. `{example}`"
        )
    base = recipe_path.resolve().parent
    run_dir = runtime.workspace / recipe.name
    steps = [
        step
        for step in steps_of(recipe, base)
        if until is None or VERBS.index(_verb(step)) <= VERBS.index(until)
    ]
    with (
        locked(run_dir),
        followed(progress, run_dir) as told,
        Ledger(runtime.ledger_path) as ledger,
    ):
        write_atomically(run_dir / layout.RECIPE, recipe_path.read_bytes())
        models = Models(recipe.roles(base), runtime)
        budget = Budget(
            usd=recipe.budget.usd, tokens=recipe.budget.tokens, ledger=ledger, run=recipe.name
        )

        def open_context(step: Step, folder: Path) -> StepContext:
            inputs = {role: source.folder(run_dir) for role, source in step.inputs.items()}

            def completer(role: str, folder: Path | None = None) -> Completer:
                own = role == "student" or (
                    role == "teacher" and isinstance(recipe.teacher, SelfConfig)
                )
                return models.open(
                    role, inputs.get("student") if own and folder is None else folder
                )

            return StepContext(
                out=folder,
                inputs=inputs,
                run=recipe.name,
                seed=recipe.seed,
                ledger=ledger,
                runtime=runtime,
                progress=told,
                completer=completer,
                budget=budget,
                judging=recipe.judging if recipe.judge is not None else None,
            )

        await run_steps(steps, run_dir, open_context, close=models.aclose)
        if _verb(steps[-1]) == "report":
            _publish(steps[-1], run_dir)
    return run_dir


def _publish(report: Step, run_dir: Path) -> None:
    """The report where a user looks for it, and the model card in the student's folder."""
    made = report.folder(run_dir)
    for name in map(layout.report, ("html", "md", "json")):
        write_atomically(run_dir / name, (made / name).read_bytes())
    trained = report.inputs["train"].folder(run_dir)
    student = trained / summary_of(trained)["summary"]["model"]
    write_atomically(student / layout.STUDENT_CARD, (made / layout.MODEL_CARD).read_bytes())


def _verb(step: Step) -> str:
    return step.name.partition("-")[0]
