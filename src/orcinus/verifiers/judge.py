"""Ask a model to judge answers.

    rate        (question, answer)              → 7.0 of 1 … 10
    compare     (question, answer, answer)      → win, tie or loss, asked in both orders
    settle      attempts that rules left None   → right or wrong, or supported by the text or not

A judge is asked like any other model, through ``attempt_all`` and the ledger, so that no judgement
is paid for twice. If the two orders of a comparison disagree, it is a tie and counted as
inconsistent. A reply that cannot be read is None, with the reason. A judge's verdict is not a
rule's: verdicts name the judge, and the report counts them.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from orcinus.core.imports import import_later
from orcinus.core.protocols import Completer, Verifier
from orcinus.core.sampling import JudgingConfig
from orcinus.core.types import Attempt, Example, Judged, Request, Sampling, Verdict
from orcinus.models.attempts import MIN_WINDOW, attempt_all
from orcinus.runs.budget import Budget
from orcinus.runs.context import StepContext
from orcinus.runs.ledger import Ledger
from orcinus.verifiers.judge_prompts import (
    BY_MODEL,
    VALUES,
    VERSION,
    Inquiry,
    Reading,
    Scale,
    comparison,
    facts_of,
    inquiry_about,
    is_open,
    rating,
    read,
    reference_text,
)

if TYPE_CHECKING:
    from orcinus.verifiers import verify as verifying
else:
    verifying = import_later("orcinus.verifiers.verify")


NAME = f"judge@{VERSION}"
"""The verifier's name in the verdicts of a judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A model in the role of a judge, and where its calls are booked."""

    completer: Completer
    ledger: Ledger
    run: str
    step: str
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=1024))
    concurrency: int = 64
    budget: Budget | None = None
    instructions: Mapping[str, str] = field(default_factory=dict)
    """Instructions in place of the default ones, by kind of judgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers to one question."""

    example: Example
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairVerdict:
    """A judge's decision about a pair, asked in both orders."""

    value: float | None
    """For the pair's first answer: 1.0 win, 0.5 tie, 0.0 loss; None if a reply could not be
    read."""
    consistent: bool | None
    """True if both orders agree; if not, ``value`` is a tie."""
    orders: tuple[float | None, float | None]
    """The value of the pair's first answer in each order: shown first, then shown second."""
    reason: str
    """Why there is no value; empty if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A judge's rating of one answer."""

    value: float | None
    """On the scale that was asked for; None if the reply could not be read."""
    reason: str
    """Why there is no value; empty if there is one."""
    reply: Attempt
    """The judge's call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of comparisons."""

    n: int
    wins: int
    ties: int
    """Including the inconsistent ones."""
    losses: int
    unreadable: int
    """Comparisons without a value; in none of the counts above."""
    inconsistent: int
    for_first_place: int
    """Inconsistent comparisons in which each order preferred the answer that it showed first."""
    for_second_place: int


async def rate(
    items: Sequence[tuple[Example, str]], judge: Judge, *, scale: Scale = (1, 10)
) -> list[Rating]:
    """Rate one answer to each example; the judge sees the reference if there is one."""
    task = judge.instructions.get("rating")
    inquiries = []
    for example, answer in items:
        reference = reference_text(example)
        facts = facts_of(example)
        text = rating(example.whole_prompt, answer, reference, scale=scale, task=task, facts=facts)
        inquiries.append((example, text))
    ratings = []
    for (_, inquiry), reply in zip(inquiries, await _ask(inquiries, judge), strict=True):
        found = _read(inquiry, reply)
        value = None if found.word is None else float(found.word)
        ratings.append(Rating(value=value, reason=found.reason, reply=reply.attempt))
    return ratings


async def compare(pairs: Sequence[Pair], judge: Judge) -> list[PairVerdict]:
    """Compare the answers of each pair in both orders; the judge sees the reference, if any."""
    readings = await _readings(list(comparison_inquiries(pairs, judge.instructions)), judge)
    return [
        _pair_verdict(there, back)
        for there, back in zip(readings[::2], readings[1::2], strict=True)
    ]


def comparison_inquiries(
    pairs: Iterable[Pair], instructions: Mapping[str, str]
) -> Iterator[tuple[Example, Inquiry]]:
    """Yield two inquiries for each pair, one for each order of its answers.

    Args:
        pairs: The pairs.
        instructions: Instructions in place of the default ones, by kind of judgement.
    """
    task = instructions.get("comparison")
    for pair in pairs:
        reference = reference_text(pair.example)
        for first, second in ((pair.first, pair.second), (pair.second, pair.first)):
            inquiry = comparison(
                pair.example.whole_prompt,
                first,
                second,
                reference,
                task=task,
                facts=facts_of(pair.example),
            )
            yield pair.example, inquiry


def _pair_verdict(there: Reading, back: Reading) -> PairVerdict:
    for_shown_first = {"FIRST": 1.0, "TIE": 0.5, "SECOND": 0.0}
    shown_first = None if there.word is None else for_shown_first[there.word]
    shown_second = None if back.word is None else 1.0 - for_shown_first[back.word]
    orders = shown_first, shown_second
    if shown_first is None or shown_second is None:
        return PairVerdict(
            value=None, consistent=None, orders=orders, reason=there.reason or back.reason
        )
    consistent = shown_first == shown_second
    return PairVerdict(
        value=shown_first if consistent else 0.5, consistent=consistent, orders=orders, reason=""
    )


def tally(verdicts: Iterable[PairVerdict]) -> Tally:
    """Count wins, ties and losses, and how often the order of the answers decided."""
    found = list(verdicts)
    values = [item.value for item in found]
    inconsistent = [item.orders for item in found if item.consistent is False]
    return Tally(
        n=len(found),
        wins=values.count(1.0),
        ties=values.count(0.5),
        losses=values.count(0.0),
        unreadable=values.count(None),
        inconsistent=len(inconsistent),
        for_first_place=sum((a or 0.0) > (b or 0.0) for a, b in inconsistent),
        for_second_place=sum((a or 0.0) < (b or 0.0) for a, b in inconsistent),
    )


async def settle(items: Sequence[tuple[Example, Judged]], judge: Judge) -> list[Judged]:
    """Return the attempts, with the judge's verdict on those that their task leaves to a judge.

    A task does so with ``verifier: judge``, ``judge_fallback`` or ``grounded``. Verdicts of rules
    stay, and refused, failed, cut-off and empty answers are not judged.
    """
    return (await _settled(items, judge))[0]


def given_by_judge(judged: Iterable[Judged]) -> tuple[int, int]:
    """Count the verdicts that a judge gave, and those it failed to give.

    It fails with an unreadable reply, an unsure one, or a failed call.
    """
    values = [item.verdict.value for item in judged if item.verdict.verifier == NAME]
    return len(values) - values.count(None), values.count(None)


async def judged_attempts(
    requests: Iterable[Request],
    completer: Completer,
    context: StepContext,
    *,
    step: str,
    by_rules: Verifier | None = None,
) -> AsyncIterator[Judged]:
    """Send every request and judge the answers, by rules or by the recipe's judge.

    With a judge, a window of requests is answered before it is judged. The two never overlap, so
    that a budget cap stops either with nothing in flight.

    Args:
        requests: Read lazily.
        completer: The model.
        context: The step's context.
        step: The step that spending is booked under; the judge's is ``STEP (judge)``.
        by_rules: Judges where the recipe has no judge; None is ``verify``.

    Yields:
        One Judged for each request, in their order.

    Raises:
        OrcinusError: As ``attempt_all``.
    """
    if context.judging is None:
        async for item in _attempts(requests, completer, context, step, by_rules):
            yield item
        return
    judge = judge_of(context.judging, context, step=step)
    window = max(MIN_WINDOW, completer.traits.in_flight or 0)
    iterator = iter(requests)
    while part := list(islice(iterator, window)):
        answered = [item async for item in _attempts(part, completer, context, step)]
        settled, replies = await _settled(
            [(r.example, item) for r, item in zip(part, answered, strict=True)], judge
        )
        context.progress.advance(
            0, cost_usd=sum(reply.attempt.cost_usd for reply in replies if not reply.recalled)
        )
        for item in settled:
            yield item


def judge_of(judging: JudgingConfig, context: StepContext, *, step: str) -> Judge:
    """Return the recipe's judge; its spending is booked under ``STEP (judge)``."""
    return Judge(
        completer=context.completer("judge"),
        ledger=context.ledger,
        run=context.run,
        step=f"{step} (judge)",
        sampling=judging.sampling.sampling(0, context.seed),
        concurrency=context.runtime.concurrency,
        budget=context.budget,
        instructions={str(kind): text for kind, text in judging.instructions.items()},
    )


def _attempts(
    requests: Iterable[Request],
    completer: Completer,
    context: StepContext,
    step: str,
    by_rules: Verifier | None = None,
) -> AsyncIterator[Judged]:
    return attempt_all(
        requests,
        completer,
        ledger=context.ledger,
        verify=verifying.verify if by_rules is None else by_rules,
        run=context.run,
        step=step,
        concurrency=context.runtime.concurrency,
        budget=context.budget,
    )


async def _settled(
    items: Sequence[tuple[Example, Judged]], judge: Judge
) -> tuple[list[Judged], list[Judged]]:
    """Return the attempts with the judge's verdicts, and its replies."""
    places = [
        i for i, (example, item) in enumerate(items) if is_open(example, item.attempt, item.verdict)
    ]
    inquiries = []
    for example, item in (items[i] for i in places):
        kind = BY_MODEL[example.meta["verifier"]]
        inquiries.append(
            (example, inquiry_about(example, item.attempt.text, kind, judge.instructions))
        )
    replies = await _ask(inquiries, judge)
    settled = [item for _, item in items]
    for i, (_, inquiry), reply in zip(places, inquiries, replies, strict=True):
        settled[i] = replace(
            settled[i], verdict=_verdict(settled[i], _read(inquiry, reply), reply.attempt)
        )
    return settled, replies


def _verdict(item: Judged, reading: Reading, reply: Attempt) -> Verdict:
    said = (
        f"the judge says {reading.word}"
        if reading.word
        else f"no verdict of the judge: {reading.reason}"
    )
    return Verdict(
        attempt_id=item.attempt.id,
        verifier=NAME,
        value=None if reading.word is None else VALUES.get(reading.word),
        answer=item.verdict.answer,
        reason=f"{said} ({reply.model}, {reply.id})",
    )


async def _readings(inquiries: Sequence[tuple[Example, Inquiry]], judge: Judge) -> list[Reading]:
    replies = await _ask(inquiries, judge)
    return [_read(inquiry, reply) for (_, inquiry), reply in zip(inquiries, replies, strict=True)]


async def _ask(inquiries: Sequence[tuple[Example, Inquiry]], judge: Judge) -> list[Judged]:
    """Return the judge's replies, one for each inquiry."""
    requests = [judge_request(example, inquiry, judge.sampling) for example, inquiry in inquiries]
    replies = attempt_all(
        requests,
        judge.completer,
        ledger=judge.ledger,
        verify=_unjudged,
        run=judge.run,
        step=judge.step,
        concurrency=judge.concurrency,
        budget=judge.budget,
    )
    return [reply async for reply in replies]


def judge_request(example: Example, inquiry: Inquiry, sampling: Sampling) -> Request:
    """Return the request that sends an inquiry."""
    return Request(
        example=example,
        strategy=f"judge: {inquiry.kind}",
        messages=inquiry.messages,
        sampling=sampling,
    )


async def _unjudged(example: Example, attempt: Attempt) -> Verdict:
    """Return no verdict: a judge's own reply is read, not judged."""
    return Verdict(
        attempt_id=attempt.id, verifier=NAME, value=None, answer=None, reason="a judge's reply"
    )


def _read(inquiry: Inquiry, reply: Judged) -> Reading:
    found = read(inquiry, reply.attempt.text, reply.attempt.finish)
    error = reply.attempt.error
    return found if error is None else Reading(None, f"{found.reason} ({error})")
