"""The report: ``report.html``, ``report.md`` and the student's ``model-card.md``, made from what the steps before left in their folders."""

from typing import Any

from pydantic import Field

from orcinus.config import Config
from orcinus.durable import write_atomically
from orcinus.runtime import StepContext

VERSION = 1


class ReportConfig(Config):
    """What the report shows."""

    examples: int = Field(default=18, ge=1)
    """How many held-out questions are shown with every answer."""


async def report(config: ReportConfig, context: StepContext) -> dict[str, Any]:
    """Write the pages.

    Returns:
        ``headline``: the result in sentences.
    """
    from orcinus.reporting.facts import gather
    from orcinus.reporting.pages import html, markdown, model_card

    context.progress.start("report", None)
    facts = gather(
        context.inputs,
        spend=context.ledger.spend(context.run),
        run=context.run,
        seed=context.seed,
        examples=config.examples,
    )
    write_atomically(context.out / "report.html", html(facts).encode())
    write_atomically(context.out / "report.md", markdown(facts).encode())
    write_atomically(context.out / "model-card.md", model_card(facts).encode())
    return {"headline": list(facts.headline), "warnings": list(facts.warnings)}
