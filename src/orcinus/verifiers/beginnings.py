"""Measure what the beginning of an answer is worth: the share of its continuations that are right.

    "1 + 4 = 5, "  ──k continuations──►  3 of 4 right  →  worth 0.75

The model itself continues the beginning, so this measures what helps that model, not what is true.
Every continuation goes through the ledger.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.imports import import_later
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Attempt, Example, Judged, Messages, Request, Verdict
from orcinus.models.attempts import attempt_all
from orcinus.runs.context import StepContext
from orcinus.verifiers.judge import judge_of, settle

if TYPE_CHECKING:
    from orcinus.verifiers import verify as verifying
else:
    verifying = import_later("orcinus.verifiers.verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A question, and the first part of an answer to it."""

    example: Example
    messages: Messages
    """What the model is asked."""
    text: str
    """The first part; "" for none of it."""

    def requests(self, sampling: SamplingConfig, *, seed: int) -> Iterator[Request]:
        """Yield the requests for the continuations; the seeds are those of every beginning."""
        for sample in range(sampling.samples):
            yield Request(
                example=self.example,
                strategy="erased",
                messages=self.messages,
                sampling=sampling.sampling(sample, seed),
                sample=sample,
                partial=self.text,
            )


def require_continuing(completer: Completer, setting: str) -> None:
    """Raise ConfigError if ``completer`` cannot continue a partial reply.

    Args:
        completer: The model.
        setting: The part of the recipe that needs it.
    """
    if not completer.traits.continues:
        raise ConfigError(
            f"{setting} continues partial replies, and {completer.model} is not known to do so; "
            "for a server that respects continue_final_message (vLLM, orcinus serve) set "
            "continues: true"
        )


async def continuations(
    beginnings: Sequence[Beginning],
    completer: Completer,
    context: StepContext,
    *,
    step: str,
    sampling: SamplingConfig,
) -> list[list[Judged]]:
    """Continue every beginning, and judge the whole answers.

    Args:
        beginnings: What to continue.
        completer: The model.
        context: The step's context.
        step: The step that spending is booked under.
        sampling: How to continue, and how many times.

    Returns:
        For each beginning its answers that came, each with the beginning in its text.

    Raises:
        StepError: The model refuses every continuation.
        OrcinusError: As ``attempt_all``.
    """
    asked = [
        (number, request)
        for number, beginning in enumerate(beginnings)
        for request in beginning.requests(sampling, seed=context.seed)
    ]
    replies = [
        item
        async for item in _ask((request for _, request in asked), completer, context, step=step)
    ]
    if replies and all(reply.permanent for reply in replies):
        raise StepError(
            f"{step}: {completer.model} refuses all continuations: {replies[0].error}; "
            f"leave {step} out, or take another model"
        )
    judged = []
    for (number, request), reply in zip(asked, replies, strict=True):
        if reply.finish == "error":
            continue
        whole = replace(
            reply, text=(beginnings[number].text + reply.text).strip(), token_bytes=None
        )
        verdict = await verifying.verify(request.example, whole)
        judged.append((number, request.example, Judged(attempt=whole, verdict=verdict)))
    if context.judging is not None:
        settled = await settle(
            [(example, item) for _, example, item in judged],
            judge_of(context.judging, context, step=step),
        )
        judged = [
            (number, example, item)
            for (number, example, _), item in zip(judged, settled, strict=True)
        ]
    found: list[list[Judged]] = [[] for _ in beginnings]
    for number, _, item in judged:
        found[number].append(item)
    return found


def worth_of(answers: Sequence[Judged]) -> float | None:
    """Return the share of right answers; None without any. Unjudged ones count as not right."""
    return sum(item.verdict.right for item in answers) / len(answers) if answers else None


async def _ask(
    requests: Iterable[Request], completer: Completer, context: StepContext, *, step: str
) -> AsyncIterator[Attempt]:
    async for item in attempt_all(
        requests,
        completer,
        ledger=context.ledger,
        verify=without_verdict,
        run=context.run,
        step=step,
        concurrency=context.runtime.concurrency,
        budget=context.budget,
    ):
        context.progress.advance(cost_usd=item.attempt.cost_usd, recalled=item.recalled)
        yield item.attempt


async def without_verdict(_: Example, attempt: Attempt) -> Verdict:
    """Return no verdict: a part of an answer cannot be judged."""
    return Verdict(
        attempt_id=attempt.id,
        verifier="part@1",
        value=None,
        answer=None,
        reason="a part of an answer",
    )
