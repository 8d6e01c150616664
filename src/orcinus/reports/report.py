"""Report: write ``report.html``, ``report.json``, ``summary.md`` and the student's model card.

folders of the finished steps ──gather──► Facts ──► pages in the step's folder
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from orcinus.core.background import in_background
from orcinus.core.config import Config
from orcinus.core.files import write_atomically
from orcinus.core.imports import without_collector
from orcinus.runs import layout
from orcinus.runs.context import StepContext
from orcinus.runs.ledger_figures import SpendRow

if TYPE_CHECKING:
    from orcinus.reports.facts import Facts


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
    context.progress.start("report", None)
    spend = context.ledger.spend(context.run)
    facts, pages = await in_background(partial(_make_pages, config, context, spend))
    for name, page in pages.items():
        write_atomically(context.out / name, page.encode())
    return {"headline": list(facts.headline), "warnings": list(facts.warnings)}


def _make_pages(
    config: ReportConfig, context: StepContext, spend: list[SpendRow]
) -> "tuple[Facts, dict[str, str]]":
    """Return the facts, and the pages by the names of their files.

    Matplotlib takes seconds to import.
    """
    with without_collector():
        from orcinus.reports.facts import gather
        from orcinus.reports.pages import FORMATS, model_card

    facts = gather(
        context.inputs,
        spend=spend,
        run=context.run,
        seed=context.seed,
        examples=config.examples,
    )
    pages = {layout.report(name): page(facts) for name, page in FORMATS.items()}
    return facts, {**pages, layout.MODEL_CARD: model_card(facts)}
