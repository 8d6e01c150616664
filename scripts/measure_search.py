"""Score against tokens for votes, best of n and tree search: the table in docs/design/008.

    python scripts/measure_search.py FOLDER [TEMPERATURE_OF_REBASE]

The model is the demo's base student. Replies are in FOLDER's ledger: the same command resumes.
"""

import asyncio
import sys
from pathlib import Path

from orcinus.core import stats
from orcinus.core.results import DecisionScore
from orcinus.core.sampling import SamplingConfig
from orcinus.evaluation.config import DecideConfig
from orcinus.evaluation.decide import decide
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.pipeline.demo import recipe_path
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.strategies.library import built_in
from orcinus.strategies.prompts import requests_for
from orcinus.tasks.generators.procedural import ProceduralConfig, draw
from orcinus.verifiers.measure import measure

FAMILIES = ("sums", "largest", "parity", "logic", "item")
SEED = 0
ITEMS = 60
"""Of each kind."""
SIZE = (3, 6)
WAYS = DecideConfig(by=("majority", "best_of_n", "weighted", "rebase"), separator=",", steps=12)
SAMPLING = SamplingConfig(samples=16, temperature=0.7, max_tokens=96)


async def measured(folder: Path, ways: DecideConfig) -> list[DecisionScore]:
    """Ask every question, or recall its answers."""
    examples = [
        e
        for f in FAMILIES
        for e in draw(ProceduralConfig(generator=f, count=ITEMS, seed=1001, size=SIZE))
    ]
    sampling = ways.sampling(SAMPLING)
    requests = [
        r
        for e in examples
        for r in requests_for(e, built_in()["step_by_step"], sampling, seed=SEED)
    ]
    with recipe_path() as recipe, Ledger(folder / "ledger.sqlite") as ledger:
        model = LocalModel(
            LocalConfig(path=str(recipe.parent / "base"), chat_template="chatml"), device="cpu"
        )
        context = StepContext(
            out=folder,
            inputs={},
            run="search",
            seed=SEED,
            ledger=ledger,
            runtime=Runtime(workspace=folder, ledger_path=ledger.path, concurrency=1024),
            progress=Silent(),
            completer=lambda role, folder=None: model,
        )
        path = folder / "attempts.parquet"
        judged = await measure(
            requests, model, path, context, step="evaluate", what="samples", total=None
        )
        try:
            return await decide(
                ways, sampling, requests, judged, model, context, step="evaluate", name="demo"
            )
        finally:
            await model.aclose()


def main() -> None:
    """Print the table, and each rule against one answer and against REBASE, paired by item."""
    folder = Path(sys.argv[1])
    ways = (
        WAYS.model_copy(update={"temperature": float(sys.argv[2])}) if len(sys.argv) > 2 else WAYS
    )
    rows = asyncio.run(measured(folder, ways))
    print("| decided by | n | right | 95 % interval | tokens written | tokens read | calls |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        s = row.score
        interval = f"{100 * (s.low or 0):.1f} – {100 * (s.high or 0):.1f}"
        costs = f"{row.tokens_out:.0f} | {row.tokens_in:.0f} | {row.calls:.1f}"
        print(f"| {row.by} | {row.n} | {100 * (s.mean or 0):.1f} % | {interval} | {costs} |")
    by_way: dict[str, list[tables.Judged]] = {}
    for item in tables.read_judged(folder / "decided-demo.parquet"):
        by_way.setdefault(item.attempt.strategy, []).append(item)
    means = {way: stats.item_means(items) for way, items in by_way.items()}
    for n in WAYS.widths(SAMPLING.samples)[1:]:
        for by in WAYS.by:
            for other in ("majority of 1", *([f"rebase of {n}"] if by != "rebase" else ())):
                a, b = means[f"{by} of {n}"], means[other]
                found = stats.compare([a[key] for key in a], [b[key] for key in a], seed=SEED)
                interval = f"{100 * found.low:+.1f} … {100 * found.high:+.1f}"
                points = f"{100 * found.difference:+.1f} ({interval})"
                print(
                    f"{by} of {n} against {other}: {points}, p = {found.p_value:.3f}, n = {found.n}"
                )


if __name__ == "__main__":
    main()
