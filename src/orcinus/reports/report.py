"""Report: write ``report.html``, ``report.json``, ``summary.md`` and the student's model card.

folders of the finished steps ──gather──► Facts ──► pages in the step's folder
"""

from typing import Any

from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.files import write_atomically
from orcinus.runs import layout
from orcinus.runs.context import StepContext


class ReportConfig(Config):
    """Content of the report."""

    examples: int = Field(default=18, ge=1)
    """Number of held-out questions to show with the answers of all arms."""


async def report(config: ReportConfig, context: StepContext) -> dict[str, Any]:
    """Write the pages and the model card.

    Args:
        config: Content of the report.
        context: The step's, with all finished steps as inputs.

    Returns:
        The sentences of the result (``headline``) and the warnings (``warnings``).
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
