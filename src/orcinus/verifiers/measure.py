"""Asking one model all of a list and keeping what it answered: what choosing and evaluating share."""

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
    """Ask, judge, and write ``path``; the answers are kept in memory too, so only for what is measured, not for what is taught.

    Args:
        requests: In the order of the table's rows.
        completer: The model.
        path: The table of judged attempts.
        context: Of the step.
        step: Under which spending is booked.
        what: Said to whoever watches.
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
