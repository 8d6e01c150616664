"""Evaluate any model on benchmarks, without a recipe, and write the report."""

from pathlib import Path

from orcinus.evaluation.benchmark_scores import ModelScores
from orcinus.evaluation.benchmarks import evaluate_model
from orcinus.evaluation.conditions import BenchmarkSettings
from orcinus.models.configs import ModelConfig
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
        settings: The benchmarks, and how they are asked.
        model: The model to evaluate.
        judge: The model that rates answers; None when no benchmark needs one.
        out: The folder; its name is the run's name in the ledger.
        runtime: Where and how fast.
        progress: Receives the progress.

    Raises:
        OrcinusError: As ``evaluate_model``.
    """
    scores = await evaluate_model(settings, model, judge, out, runtime, progress)
    pages.write(out, scores)
    return scores
