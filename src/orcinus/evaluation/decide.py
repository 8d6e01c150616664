"""Decide among several answers to one question, by vote, reward or tree search, and count what each way costs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from orcinus.core import stats
from orcinus.core.protocols import Completer
from orcinus.core.results import DecisionScore
from orcinus.core.sampling import SamplingConfig
from orcinus.core.stats import DECIDERS
from orcinus.core.types import Judged, Request
from orcinus.evaluation.decisions import DecideConfig, _candidate, _Decision, _written
from orcinus.evaluation.tree_search import _Search
from orcinus.runs import layout, tables
from orcinus.runs.context import StepContext
from orcinus.verifiers.rewards import Rewarding, Worth, open_reward


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
    """Decide in every way and at every number that the configuration names, and write ``decided-NAME.parquet``.

    Args:
        config: Ways, numbers, reward.
        sampling: As ``config.sampling`` gave it, by which the samples were asked.
        requests: The samples' requests, those of one question one after the other.
        judged: Their answers, in the same order.
        completer: The model, for a search.
        context: Of the step.
        step: Under which spending is booked.
        name: Of what is decided, for the file and whoever watches.

    Raises:
        OrcinusError: As ``attempt_all``; the model cannot be searched with, or gives no reward.
    """
    config.require(completer)
    reward = open_reward(config.reward, context, step=step)
    widths = config.widths(sampling.samples)
    ways: dict[tuple[str, int], _Way] = {
        (by, n): _among(by, n) for by in config.by if by != "rebase" for n in widths
    }
    found = await _of_samples(ways, requests, judged, reward if config.rewarded else None)
    roots = list({(r.example.task, r.example.id): r for r in reversed(requests)}.values())[::-1]
    search = _Search(
        config=config,
        sampling=sampling,
        completer=completer,
        context=context,
        step=step,
        reward=reward,
    )
    for n in widths if "rebase" in config.by else ():
        context.progress.start(f"{name}: rebase of {n}", None)
        found["rebase", n] = await search.decisions(roots, n)
    with tables.TableWriter(context.out / layout.decided(name), tables.JUDGED) as writer:
        for (by, n), decisions in found.items():
            for item in decisions:
                attempt = replace(item.judged.attempt, strategy=f"{by} of {n}")
                writer.write(tables.judged_row(replace(item.judged, attempt=attempt)))
    return [_summed(by, n, decisions) for (by, n), decisions in found.items()]


def _summed(by: str, n: int, decisions: Sequence[_Decision]) -> DecisionScore:
    calls = [attempt for item in decisions for attempt in item.calls]
    # Equal texts share a rating.
    replies = [
        reply
        for item in decisions
        for reply in {w.reply.id: w.reply for w in item.worths if w.reply is not None}.values()
    ]
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
        reward_tokens=sum(reply.usage.tokens_in + reply.usage.tokens_out for reply in replies)
        / count,
        unrated=sum(worth.value is None for item in decisions for worth in item.worths),
    )


_Way = Callable[[Sequence[tuple[Judged, Worth | None]]], Iterator[_Decision]]


def _among(by: str, n: int) -> _Way:
    """Decides each group of n of one question's samples; what is left over of them is left."""

    def way(samples: Sequence[tuple[Judged, Worth | None]]) -> Iterator[_Decision]:
        for start in range(0, len(samples) - n + 1, n):
            group = samples[start : start + n]
            answered = [pair for pair in group if pair[0].attempt.finish != "error"]
            chosen = (
                answered[DECIDERS[by]([_candidate(*pair) for pair in answered])]
                if answered
                else group[0]
            )
            yield _Decision(
                judged=chosen[0],
                calls=[item.attempt for item, _ in group],
                worths=[worth for _, worth in answered if worth is not None and by != "majority"],
            )

    return way


async def _of_samples(
    ways: Mapping[tuple[str, int], _Way],
    requests: Sequence[Request],
    judged: Sequence[Judged],
    reward: Rewarding | None,
) -> dict[tuple[str, int], list[_Decision]]:
    pairs = list(zip(requests, judged, strict=True))
    worths: dict[int, Worth] = {}
    if reward is not None and any(by != "majority" for by, _ in ways):
        places = [i for i, item in enumerate(judged) if item.attempt.finish != "error"]
        items = [_written(requests[i].example, judged[i].attempt) for i in places]
        worths = dict(zip(places, await reward(items), strict=True))
    by_question: dict[tuple[str, str], list[tuple[Judged, Worth | None]]] = {}
    for i, (request, item) in enumerate(pairs):
        by_question.setdefault((request.example.task, request.example.id), []).append(
            (item, worths.get(i))
        )
    return {
        key: [found for samples in by_question.values() for found in way(samples)]
        for key, way in ways.items()
    }
