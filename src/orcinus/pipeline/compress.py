"""Compress the student of a run, and compare it with itself on the held-out questions.

runs/demo ──lessons──► factors ──► runs/demo/compressed-dictionary-0.2/
──held-out questions──► accuracy before and after, with the paired test
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from orcinus.core import stats
from orcinus.core.errors import ConfigError
from orcinus.core.types import Example, Judged, Score
from orcinus.evaluation.diagnosis.run import EvaluatedRun, draw_lessons, open_run, read_held_out
from orcinus.models.local.config import LocalConfig
from orcinus.models.open import open_completer
from orcinus.models.roles import Models, student_config
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.folders import locked
from orcinus.runs.ledger import Ledger
from orcinus.strategies.prompts import erased_strategy, requests_for
from orcinus.training.factors import Method
from orcinus.verifiers.measure import measure

CALIBRATION = 200
"""Lessons whose texts calibrate the layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """A compressed student, compared with itself before."""

    folder: Path
    method: Method
    ratio: float
    """Share of the numbers of the linear layers to save."""
    numbers_before: int
    """Weights of the linear layers."""
    numbers_after: int
    """Numbers of their factors, indices included."""
    error: float
    """Mean relative error of the layers' outputs on the lessons."""
    before: Score
    after: Score
    compared: stats.Compared
    """After against before, on the same held-out questions, as the mean of tasks."""


async def compress_run(
    run_dir: Path, runtime: Runtime, progress: Progress, *, ratio: float, method: Method
) -> Compression:
    """Compress the student of a run and test it.

    Args:
        run_dir: The run's folder.
        runtime: Where and how fast.
        progress: Receives the progress.
        ratio: Share of the numbers of the linear layers to save, above 0 and below 1.
        method: How.

    Raises:
        ConfigError: The run has not been evaluated, or the ratio cannot be met. The message says
            what to do; nothing is written.
    """
    if not 0 < ratio < 1:
        raise ConfigError(f"--ratio {ratio:g} is no share above 0 and below 1; give e.g. 0.2")
    from orcinus.training.compression import compress_model

    recipe = load_recipe(run_dir / layout.RECIPE)
    run = open_run(run_dir)
    answered = read_held_out(run).get("after")
    if not answered:
        raise ConfigError(f"{run_dir}: the trained student was not evaluated; run the recipe first")
    student = student_config(recipe.roles(run_dir), run.inputs["train"])
    out = run_dir / f"compressed-{method}-{ratio:g}"
    progress.start("compress", None)
    with locked(run_dir), Ledger(runtime.ledger_path, note=progress.note) as ledger:
        lessons, _ = draw_lessons(run, CALIBRATION)
        made = await asyncio.to_thread(
            compress_model,
            student,
            lessons,
            ratio=ratio,
            method=method,
            context=run.train.context_length,
            out=out,
        )
        smaller = student.model_copy(update={"path": str(out.resolve())})
        examples = [example for example, _ in answered]
        again = await _ask(run, recipe, smaller, examples, runtime, progress, ledger)
    before = [judged for _, judged in answered]
    return Compression(
        folder=out,
        method=method,
        ratio=ratio,
        numbers_before=made.numbers_before,
        numbers_after=made.numbers_after,
        error=made.error,
        before=stats.score(before),
        after=stats.score(again),
        compared=stats.compare(
            [judged.verdict.value or 0.0 for judged in again],
            [judged.verdict.value or 0.0 for judged in before],
            seed=run.seed,
            strata=[judged.attempt.task for judged in before],
        ),
    )


async def _ask(
    run: EvaluatedRun,
    recipe: Recipe,
    student: LocalConfig,
    examples: Sequence[Example],
    runtime: Runtime,
    progress: Progress,
    ledger: Ledger,
) -> list[Judged]:
    """Ask a student the questions under the erased message, once each."""
    erased = erased_strategy(run.settings["generic"])
    requests = (
        request
        for example in examples
        for request in requests_for(example, erased, run.sampling, seed=run.seed)
    )
    async with aclosing(Models(recipe.roles(run.folder), runtime, progress.note)) as models:
        context = StepContext(
            out=Path(student.path),
            inputs=run.inputs,
            run=run.folder.name,
            seed=run.seed,
            ledger=ledger,
            runtime=runtime,
            progress=progress,
            completer=models.open,
            budget=recipe.budget.open(ledger, run.folder.name),
            judging=recipe.judging if recipe.judge is not None else None,
        )
        completer = open_completer(
            student,
            base=Path(),
            device=runtime.device,
            secrets=runtime.secrets,
            note=progress.note,
        )
        try:
            return await measure(
                requests,
                completer,
                context.out / layout.ATTEMPTS,
                context,
                step="compress",
                what="evaluate the compressed student",
                total=len(examples),
            )
        finally:
            await completer.aclose()
