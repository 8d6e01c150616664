"""The report: ``report.html``, ``report.md``, ``report.json`` and the student's ``model-card.md``, made from what the steps before left in their folders."""

from typing import Any

from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.files import write_atomically
from orcinus.runs import layout
from orcinus.runs.context import StepContext

VERSION = 2


class ReportConfig(Config):
    """What the report shows."""

    examples: int = Field(default=18, ge=1)
    """How many held-out questions are shown with every answer."""


async def report(config: ReportConfig, context: StepContext) -> dict[str, Any]:
    """Write the pages.

    Returns:
        ``headline``: the result in sentences.
    """
    from orcinus.reports.facts import gather
    from orcinus.reports.pages import FORMATS, model_card

    context.progress.start("report", None)
    facts = gather(
        context.inputs,
        spend=context.ledger.spend(context.run),
        run=context.run,
        seed=context.seed,
        examples=config.examples,
    )
    for name, page in FORMATS.items():
        write_atomically(context.out / layout.report(name), page(facts).encode())
    write_atomically(context.out / layout.MODEL_CARD, model_card(facts).encode())
    return {"headline": list(facts.headline), "warnings": list(facts.warnings)}
