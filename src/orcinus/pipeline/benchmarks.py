"""Evaluate any model on benchmarks, without a recipe, and write the report."""

from pathlib import Path
from textwrap import shorten

from orcinus.evaluation.benchmark_scores import ModelScores
from orcinus.evaluation.benchmarks import evaluate_model
from orcinus.evaluation.conditions import BenchmarkSettings
from orcinus.models.configs import ModelConfig
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.trained import trained_system
from orcinus.reports import benchmarks as pages
from orcinus.runs.context import Progress, Runtime


async def evaluate_and_report(
    settings: BenchmarkSettings,
    model: ModelConfig,
    judge: ModelConfig | None,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> ModelScores:
    """Evaluate ``model``; write ``scores.json``, ``report.html`` and ``summary.md`` into ``out``.

    Args:
        settings: The benchmarks, and how they are asked. Where they name no system messages, a
            student is asked under the one that it was trained with.
        model: The model to evaluate.
        judge: The model that rates answers; None when no benchmark needs one.
        out: The folder; its name is the run's name in the ledger.
        runtime: Where and how fast.
        progress: Receives the progress.

    Raises:
        OrcinusError: As ``evaluate_model``.
    """
    system = _system_of_training(model)
    if system and "systems" not in settings.model_fields_set:
        settings = settings.model_copy(update={"systems": (system,)})
        progress.note(
            f"asked under the system message that it was trained with: {shorten(system, 70)!r}; "
            "--system '' asks without"
        )
    scores = await evaluate_model(settings, model, judge, out, runtime, progress)
    pages.write(out, scores)
    return scores


def _system_of_training(model: ModelConfig) -> str | None:
    """Return the system message of a local student's training; None if the model names none."""
    return trained_system(Path(model.path)) if isinstance(model, LocalConfig) else None
