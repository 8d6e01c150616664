"""Send a list of requests to one model, judge the replies and save them.

Used by the steps that measure a model: ``assign``, ``skills`` and ``evaluate``.
"""

from collections.abc import Iterable
from pathlib import Path

from orcinus.core.protocols import Completer
from orcinus.core.types import Judged, Request
from orcinus.runs import tables
from orcinus.runs.context import StepContext
from orcinus.verifiers.judge import judged_attempts


async def measure(
    requests: Iterable[Request],
    completer: Completer,
    path: Path,
    context: StepContext,
    *,
    step: str,
    what: str,
    total: int | None,
) -> list[Judged]:
    """Ask, judge, and write the judged attempts to ``path``; return them too.

    All attempts are held in memory, so this is for measuring a model, not for teaching.

    Args:
        requests: In the order of the table's rows.
        completer: The model.
        path: The table of judged attempts.
        context: The step's context.
        step: The step that spending is booked under.
        what: Shown as the progress bar's title.
        total: How many requests there are.
    """
    context.progress.start(what, total)
    found = []
    with tables.TableWriter(path, tables.JUDGED) as writer:
        async for judged in judged_attempts(requests, completer, context, step=step):
            writer.write(tables.judged_row(judged))
            context.progress.advance(cost_usd=judged.attempt.cost_usd, recalled=judged.recalled)
            found.append(judged)
    return found
