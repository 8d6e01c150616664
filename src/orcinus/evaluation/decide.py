"""Choose one answer among several, by vote, reward or tree search, and count the cost of each.

answers 12, 15, 12, 9 to one question ──majority──► 12 ──all questions──► accuracy and cost
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from orcinus.core import stats
from orcinus.core.protocols import Completer
from orcinus.core.results import DecisionScore
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Judged, Request
from orcinus.evaluation.config import By, DecideConfig, Leaves
from orcinus.evaluation.decisions import Decision, Sample, choose
from orcinus.evaluation.tree_search import TreeSearch
from orcinus.runs import layout, tables
from orcinus.runs.context import StepContext
from orcinus.verifiers.rewards import Rewarding, Worth, Written, open_reward


async def decide(
    config: DecideConfig,
    sampling: SamplingConfig,
    requests: Sequence[Request],
    judged: Sequence[Judged],
    completer: Completer,
    context: StepContext,
    *,
    step: str,
    name: str,
) -> list[DecisionScore]:
    """Choose answers by every method at every number, and write ``decided-NAME.parquet``.

    Args:
        config: Methods, numbers and reward.
        sampling: As returned by ``config.sampling``; the samples were asked with it.
        requests: Requests of the samples, those of one question in a row.
        judged: Their answers, in the same order.
        completer: The model, for tree search.
        context: The step's.
        step: Name under which the ledger books the calls.
        name: Name of the arm or condition, for the file and the progress.

    Returns:
        A row for each method and number.

    Raises:
        ConfigError: The model cannot continue partial replies, or there is no such reward.
        StepError: The reward cannot be computed.
        OrcinusError: As ``attempt_all``.
    """
    config.require(completer)
    reward = open_reward(config.reward, context, step=step)
    widths = config.widths(sampling.samples)
    needs_reward = any(by in ("weighted", "best_of_n") for by in config.by)
    by_question = await _group_samples(requests, judged, reward if needs_reward else None)
    decisions: dict[tuple[By, int], list[Decision]] = {
        (by, n): [item for samples in by_question for item in _decide_groups(by, n, samples)]
        for by in config.by
        if by != "rebase"
        for n in widths
    }
    if "rebase" in config.by:
        search = TreeSearch(
            config=config,
            sampling=sampling,
            completer=completer,
            context=context,
            step=step,
            reward=reward,
        )
        # The search starts from the first sample's request of each question.
        roots = list({(r.example.task, r.example.id): r for r in reversed(requests)}.values())
        for n in widths:
            context.progress.start(f"{name}: rebase of {n}", None)
            decisions["rebase", n] = await search.decide(roots[::-1], n)
    with tables.TableWriter(context.out / layout.decided(name), tables.JUDGED) as writer:
        for (by, n), items in decisions.items():
            for item in items:
                attempt = replace(item.judged.attempt, strategy=f"{by} of {n}")
                writer.write(tables.judged_row(replace(item.judged, attempt=attempt)))
    return [_score_decisions(by, n, items) for (by, n), items in decisions.items()]


async def _group_samples(
    requests: Sequence[Request], judged: Sequence[Judged], reward: Rewarding | None
) -> list[list[Sample]]:
    """Reward the samples, and group them by question; ``reward`` is None when none is needed."""
    worths: dict[int, Worth] = {}
    if reward is not None:
        places = [i for i, item in enumerate(judged) if item.attempt.finish != "error"]
        written = [
            Written(
                example=requests[i].example,
                text=judged[i].attempt.text,
                logprobs=judged[i].attempt.logprobs,
            )
            for i in places
        ]
        worths = dict(zip(places, await reward(written), strict=True))
    by_question: dict[tuple[str, str], list[Sample]] = {}
    for i, (request, item) in enumerate(zip(requests, judged, strict=True)):
        key = (request.example.task, request.example.id)
        by_question.setdefault(key, []).append(Sample(judged=item, worth=worths.get(i)))
    return list(by_question.values())


def _decide_groups(by: Leaves, n: int, samples: Sequence[Sample]) -> Iterator[Decision]:
    """Choose in each full group of n of one question's samples; a smaller rest is left out."""
    for start in range(0, len(samples) - n + 1, n):
        group = samples[start : start + n]
        answered = [sample for sample in group if sample.judged.attempt.finish != "error"]
        chosen = choose(by, answered) if answered else group[0]
        yield Decision(
            judged=chosen.judged,
            calls=[sample.judged.attempt for sample in group],
            worths=[
                sample.worth for sample in answered if sample.worth is not None and by != "majority"
            ],
        )


def _score_decisions(by: By, n: int, decisions: Sequence[Decision]) -> DecisionScore:
    calls = [attempt for item in decisions for attempt in item.calls]
    # Equal texts share one rating, so that its call counts once for each question.
    replies = [
        reply
        for item in decisions
        for reply in {w.reply.id: w.reply for w in item.worths if w.reply is not None}.values()
    ]
    reward_tokens = sum(reply.usage.tokens_in + reply.usage.tokens_out for reply in replies)
    count = max(1, len(decisions))
    return DecisionScore(
        by=by,
        n=n,
        score=stats.score(item.judged for item in decisions),
        tokens_out=sum(attempt.usage.tokens_out for attempt in calls) / count,
        tokens_in=sum(attempt.usage.tokens_in for attempt in calls) / count,
        calls=len(calls) / count,
        usd=sum(attempt.cost_usd for attempt in (*calls, *replies)) / count,
        reward_calls=len(replies) / count,
        reward_tokens=reward_tokens / count,
        unrated=sum(worth.value is None for item in decisions for worth in item.worths),
    )
