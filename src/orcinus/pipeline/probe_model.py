"""Measure any model under several strategies, without a recipe.

model × strategies × examples ──► runs/probe-MODEL/attempts.parquet, a score by task and strategy
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from orcinus.core import stats
from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Example, Judged, Score, Strategy
from orcinus.models.configs import ModelConfig
from orcinus.models.open import open_completer
from orcinus.runs import layout
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.folders import locked
from orcinus.runs.ledger import Ledger
from orcinus.strategies.prompts import requests_for, suits
from orcinus.verifiers.measure import measure


async def probe_model(
    model: ModelConfig,
    examples: Sequence[Example],
    strategies: Sequence[Strategy],
    sampling: SamplingConfig,
    *,
    seed: int,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, dict[str, Score]]:
    """Ask ``model`` every example under every strategy that suits it, and judge the answers.

    Args:
        model: The model to measure.
        examples: Questions with references.
        strategies: All are given the same examples, so that they can be compared pair by pair.
        sampling: How the model writes.
        seed: Seed of the sampled answers.
        out: Folder of ``attempts.parquet``; its name is the run's name in the ledger.
        runtime: Where and how fast.
        progress: Receives the progress.

    Returns:
        Score by task and strategy.

    Raises:
        ConfigError: There is no example, or the model is missing.
    """
    requests = [
        request
        for strategy in strategies
        for example in examples
        if suits(strategy, example)
        for request in requests_for(example, strategy, sampling, seed=seed)
    ]
    if not requests:
        raise ConfigError("nothing to probe: there is no example that suits any of the strategies")
    with locked(out), Ledger(runtime.ledger_path, note=progress.note) as ledger:
        completer = open_completer(
            model,
            base=Path(),
            device=runtime.device,
            secrets=runtime.secrets,
            note=progress.note,
        )

        def open_model(role: str, folder: Path | None = None) -> Completer:
            if role != "student":
                raise ConfigError(f"a probe has no {role}; these examples need one to be judged")
            return completer

        context = StepContext(
            out=out,
            run=out.name,
            seed=seed,
            ledger=ledger,
            runtime=runtime,
            progress=progress,
            completer=open_model,
        )
        try:
            judged = await measure(
                requests,
                completer,
                out / layout.ATTEMPTS,
                context,
                step="probe",
                what="probe",
                total=len(requests),
            )
        finally:
            await completer.aclose()
    found: dict[str, dict[str, list[Judged]]] = defaultdict(lambda: defaultdict(list))
    for item in judged:
        found[item.attempt.task][item.attempt.strategy].append(item)
    return {
        task: {strategy: stats.score(items) for strategy, items in by_strategy.items()}
        for task, by_strategy in found.items()
    }
