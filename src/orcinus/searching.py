"""Several tries at a question become one answer: chosen among samples, or searched for step by step under a reward. With what it cost.

    majority, weighted, best_of_n    k answers ──reward──► one of them
    rebase                           width 4:  4 first steps ──reward──► 3 + 1 second steps ──► … ──► finished answers ──► one of them

REBASE (arXiv:2408.00724) shares the width out over unfinished answers in proportion to softmax(reward / temperature); an answer that ends leaves
the tree and takes its one place with it. Every call goes through the ledger, and what is asked next follows from the replies alone:
a search that was killed goes on where it stopped.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from orcinus import registry, stats
from orcinus.asking import SamplingConfig
from orcinus.attempts import attempt_all
from orcinus.completers.continuing import GO_ON, WHOLE
from orcinus.config import Config
from orcinus.errors import ConfigError, StepError
from orcinus.fingerprint import stable_fraction
from orcinus.judges import judge_of, settle
from orcinus.protocols import Completer, Continuing
from orcinus.rewards import BUILT_IN, Rewarding, Worth, Written, open_reward
from orcinus.runtime import StepContext
from orcinus.stats import DECIDERS, Candidate
from orcinus.store import tables
from orcinus.types import Attempt, Example, Finish, Judged, Message, Request, Score, Usage, Verdict
from orcinus.verifiers import verify

By = Literal["majority", "best_of_n", "weighted", "rebase"]
Leaves = Literal["majority", "best_of_n", "weighted"]
SEEDS = 2**31


class DecideConfig(Config):
    """How several tries at a question become one answer. A name, or several, may stand in its place: ``decide: [majority, rebase]``."""

    by: tuple[By, ...] = Field(min_length=1)
    """``majority``: the answer most come to; ``weighted``: the one with the most reward together; ``best_of_n``: that of the most reward;
    ``rebase``: tree search under the reward. Each is a line of the table."""
    reward: str = "logprob"
    """``logprob``: the mean probability of the model's own tokens; ``judge``: the judge's rating, the reference not shown; or a function
    ``module:name`` of (example, text) that gives a number from 0 to 1."""
    at: tuple[int, ...] = ()
    """Numbers of answers to decide among, and widths of the tree; empty is 1, 2, 4 … up to ``sampling.samples``."""
    separator: str = Field(default="\n\n", min_length=1)
    """``rebase``: the text that ends a step."""
    step_tokens: int = Field(default=256, ge=1)
    """``rebase``: longest step; ``sampling.max_tokens`` bounds the whole answer."""
    steps: int = Field(default=25, ge=1)
    """``rebase``: most steps; the last one is written to the answer's end."""
    temperature: float = Field(default=0.2, gt=0)
    """``rebase``: how evenly the width is shared out; towards 0 the best gets all of it."""
    leaves: Leaves = "weighted"
    """``rebase``: how its finished answers become one."""

    @model_validator(mode="before")
    @classmethod
    def _names_may_stand_alone(cls, value: Any) -> Any:
        if isinstance(value, str | list | tuple):
            value = {"by": value}
        if isinstance(value, Mapping) and isinstance(value.get("by"), str):
            value = {**value, "by": (value["by"],)}
        return value

    @field_validator("reward")
    @classmethod
    def _reward_is_there(cls, value: str) -> str:
        if value not in BUILT_IN:
            registry.rewards.named(value)
        return value

    @property
    def rewarded(self) -> bool:
        """Whether anything is decided by reward."""
        return self.by != ("majority",)

    def widths(self, samples: int) -> tuple[int, ...]:
        """The numbers of answers to decide among."""
        return self.at or (*(2**i for i in range(samples.bit_length()) if 2**i < samples), samples)

    def sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """How the model is asked so that the reward can be told.

        Raises:
            ConfigError: There is nothing to decide between.
        """
        if sampling.samples < 2 or sampling.temperature == 0:
            raise ConfigError(
                f"decide: {', '.join(self.by)} needs several answers that differ; raise sampling.samples and sampling.temperature "
                f"(now {sampling.samples} and {sampling.temperature:g})"
            )
        if not all(1 <= n <= sampling.samples for n in self.at):
            raise ConfigError(f"decide.at: {list(self.at)} must lie between 1 and sampling.samples, {sampling.samples}")
        wanted = self.rewarded and self.reward == "logprob"
        return sampling.model_copy(update={"logprobs": sampling.logprobs or wanted})

    def require(self, completer: Completer) -> None:
        """See that ``completer`` can be searched with.

        Raises:
            ConfigError: It cannot go on with a half-written answer.
        """
        if "rebase" in self.by and not (isinstance(completer, Continuing) and completer.continues):
            raise ConfigError(
                f"decide: rebase goes on with half-written answers, and {completer.model} is not known to do so; for a server that heeds "
                "continue_final_message (vLLM, orcinus serve) say continues: true in the model's YAML, else take weighted or best_of_n"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What one way of deciding among n came to, and what it cost. A call counts as if no other line shared it."""

    by: str
    n: int
    score: Score
    """Over all items; where fewer than all samples are decided among, over every group of n of them."""
    tokens_out: float
    """Written tokens a question."""
    tokens_in: float
    """Read tokens a question; a search reads its beginning with every step."""
    calls: float
    """Of the model, a question."""
    usd: float
    """Of model and judge, a question."""
    reward_calls: float
    """Of the judge, a question."""
    reward_tokens: float
    """In and out, of the judge, a question."""
    unrated: int
    """Ratings that could not be read; they count as the lowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """One question, decided once."""

    judged: Judged
    calls: Sequence[Attempt]
    worths: Sequence[Worth]


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
) -> list[Decided]:
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
    ways: dict[tuple[str, int], _Way] = {(by, n): _among(by, n) for by in config.by if by != "rebase" for n in widths}
    found = await _of_samples(ways, requests, judged, reward if config.rewarded else None)
    roots = list({(r.example.task, r.example.id): r for r in reversed(requests)}.values())[::-1]
    search = _Search(config=config, sampling=sampling, completer=completer, context=context, step=step, reward=reward)
    for n in widths if "rebase" in config.by else ():
        context.progress.start(f"{name}: rebase of {n}", None)
        found["rebase", n] = await search.decisions(roots, n)
    with tables.TableWriter(context.out / f"decided-{name}.parquet", tables.JUDGED) as writer:
        for (by, n), decisions in found.items():
            for item in decisions:
                attempt = replace(item.judged.attempt, strategy=f"{by} of {n}")
                writer.write(tables.judged_row(replace(item.judged, attempt=attempt)))
    return [_summed(by, n, decisions) for (by, n), decisions in found.items()]


def _summed(by: str, n: int, decisions: Sequence[_Decision]) -> Decided:
    calls = [attempt for item in decisions for attempt in item.calls]
    # Equal texts share a rating.
    replies = [
        reply
        for item in decisions
        for reply in {w.reply.id: w.reply for w in item.worths if w.reply is not None}.values()
    ]
    count = max(1, len(decisions))
    return Decided(
        by=by,
        n=n,
        score=stats.score(item.judged for item in decisions),
        tokens_out=sum(attempt.usage.tokens_out for attempt in calls) / count,
        tokens_in=sum(attempt.usage.tokens_in for attempt in calls) / count,
        calls=len(calls) / count,
        usd=sum(attempt.cost_usd for attempt in (*calls, *replies)) / count,
        reward_calls=len(replies) / count,
        reward_tokens=sum(reply.usage.tokens_in + reply.usage.tokens_out for reply in replies) / count,
        unrated=sum(worth.value is None for item in decisions for worth in item.worths),
    )


# Among samples

_Way = Callable[[Sequence[tuple[Judged, Worth | None]]], Iterator[_Decision]]


def _among(by: str, n: int) -> _Way:
    """Decides each group of n of one question's samples; what is left over of them is left."""

    def way(samples: Sequence[tuple[Judged, Worth | None]]) -> Iterator[_Decision]:
        for start in range(0, len(samples) - n + 1, n):
            group = samples[start : start + n]
            answered = [pair for pair in group if pair[0].attempt.finish != "error"]
            chosen = answered[DECIDERS[by]([_candidate(*pair) for pair in answered])] if answered else group[0]
            yield _Decision(
                judged=chosen[0],
                calls=[item.attempt for item, _ in group],
                worths=[worth for _, worth in answered if worth is not None and by != "majority"],
            )

    return way


def _candidate(judged: Judged, worth: Worth | None) -> Candidate:
    value = worth.value if worth is not None else None
    return Candidate(answer=judged.verdict.answer, reward=0.0 if value is None else value)


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
        by_question.setdefault((request.example.task, request.example.id), []).append((item, worths.get(i)))
    return {key: [found for samples in by_question.values() for found in way(samples)] for key, way in ways.items()}


def _written(example: Example, attempt: Attempt) -> Written:
    return Written(example=example, text=attempt.text, logprobs=attempt.logprobs)


# By tree search


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """An answer as far as it is written."""

    text: str = ""
    path: tuple[Attempt, ...] = ()
    """The calls that wrote it."""
    finish: Finish | None = None
    """None while it goes on."""
    worth: Worth | None = None

    @property
    def reward(self) -> float:
        """0 where there is no rating."""
        return (self.worth.value if self.worth is not None else None) or 0.0

    @property
    def tokens(self) -> int:
        """Written so far."""
        return sum(call.usage.tokens_out for call in self.path)


@dataclass(slots=True, kw_only=True)
class _Tree:
    """The search for the answer to one question."""

    root: Request
    width: int
    """Places that are left: those of ended answers are gone."""
    open: list[_Node] = field(default_factory=lambda: [_Node()])
    ended: list[_Node] = field(default_factory=list)
    calls: list[Attempt] = field(default_factory=list)
    worths: list[Worth] = field(default_factory=list)
    drawn: Counter[str] = field(default_factory=Counter)
    """How many times a text was gone on with, so that equal texts are gone on with differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """REBASE over many questions at once, one step of all of them after the other."""

    config: DecideConfig
    sampling: SamplingConfig
    completer: Completer
    context: StepContext
    step: str
    reward: Rewarding

    async def decisions(self, roots: Sequence[Request], width: int) -> list[_Decision]:
        """One decision for each question, in their order."""
        trees = [_Tree(root=root, width=width) for root in roots]
        for number in range(1, self.config.steps + 1):
            last = number == self.config.steps
            grown = [(tree, node, self._next(tree, node, last)) for tree in trees for node in self._shared_out(tree)]
            if not grown:
                break
            replies = await self._ask([request for _, _, request in grown])
            nodes = [self._grown(node, reply, last) for (_, node, _), reply in zip(grown, replies, strict=True)]
            for tree, _, _ in grown:
                tree.open = []
            for (tree, _, _), node in zip(grown, await self._rewarded(grown, nodes), strict=True):
                _add(tree, node)
        return await self._decided(trees)

    def _shared_out(self, tree: _Tree) -> Iterator[_Node]:
        """Each open node as often as it is gone on with."""
        counts = stats.balanced([node.reward for node in tree.open], tree.width, self.config.temperature)
        for node, count in zip(tree.open, counts, strict=True):
            yield from [node] * count

    def _next(self, tree: _Tree, node: _Node, last: bool) -> Request:
        """The call that goes on with ``node``. A tree of a single step asks exactly for what samples are."""
        number = tree.drawn[node.text]
        tree.drawn[node.text] += 1
        sampling = self.sampling.sampling(number, self.context.seed)
        room = sampling.max_tokens - node.tokens
        root, extra, messages = tree.root, {}, tree.root.messages
        if node.path:
            extra = dict(GO_ON)
            messages = (*messages, Message(role="assistant", content=node.text))
            if sampling.seed is not None:
                place = (str(self.context.seed), root.example.task, root.example.id, node.text, str(number))
                sampling = replace(sampling, seed=int(SEEDS * stable_fraction("rebase", *place)))
        elif not last:
            extra = dict(WHOLE)
        sampling = replace(
            sampling,
            max_tokens=room if last else min(room, self.config.step_tokens),
            stop=sampling.stop if last else (self.config.separator, *sampling.stop),
            extra={**sampling.extra, **extra},
        )
        return replace(root, messages=messages, sampling=sampling, sample=number, fallback=None)

    async def _ask(self, requests: Sequence[Request]) -> list[Attempt]:
        replies = []
        async for item in attempt_all(
            requests,
            self.completer,
            ledger=self.context.ledger,
            verify=_unjudged,
            run=self.context.run,
            step=self.step,
            concurrency=self.context.runtime.concurrency,
            budget=self.context.budget,
        ):
            self.context.progress.advance(cost_usd=item.attempt.cost_usd, recalled=item.recalled)
            replies.append(item.attempt)
        if all(reply.permanent for reply in replies):
            raise StepError(
                f"decide: rebase: {self.completer.model} refuses to go on with half-written answers: {replies[0].error}"
            )
        if any(reply.reasoning is not None for reply in replies):
            raise StepError(
                f"decide: rebase: {self.completer.model} reasons apart from its answer, and such a text cannot be gone on with; "
                "turn its thinking off (sampling.extra), or take weighted or best_of_n"
            )
        return replies

    def _grown(self, node: _Node, reply: Attempt, last: bool) -> _Node:
        """``node`` with what was written behind it."""
        grown = replace(node, text=node.text + reply.text, path=(*node.path, reply), finish=reply.finish)
        own = next((stop for stop in self.sampling.stop if reply.text.endswith(stop)), None)
        if own is not None:
            return replace(grown, text=grown.text.removesuffix(own))
        stepped = reply.finish == "length" or (reply.finish == "stop" and reply.text.endswith(self.config.separator))
        if last or not stepped or not reply.text:
            return grown
        return replace(grown, finish=None if grown.tokens < self.sampling.max_tokens else "length")

    async def _rewarded(self, grown: Sequence[tuple[_Tree, _Node, Request]], nodes: Sequence[_Node]) -> list[_Node]:
        """The nodes with their rewards; failed ones have none."""
        answered = [(tree, node) for (tree, _, _), node in zip(grown, nodes, strict=True) if node.finish != "error"]
        worths = iter(await self.reward([self._whole(tree, node) for tree, node in answered]))
        return [node if node.finish == "error" else replace(node, worth=next(worths)) for node in nodes]

    def _whole(self, tree: _Tree, node: _Node) -> Written:
        logprobs: list[float] = []
        for call in node.path:
            if call.logprobs is None and call.usage.tokens_out:
                return Written(example=tree.root.example, text=node.text, logprobs=None)
            logprobs += call.logprobs or ()
        return Written(example=tree.root.example, text=node.text, logprobs=tuple(logprobs))

    async def _decided(self, trees: Sequence[_Tree]) -> list[_Decision]:
        """The finished answers judged, and one of them taken for each question."""
        leaves = [(tree, node) for tree in trees for node in tree.ended if node.finish != "error"]
        judged = []
        for place, (tree, node) in enumerate(leaves):
            attempt = _attempt(tree, node, place)
            judged.append(Judged(attempt=attempt, verdict=await verify(tree.root.example, attempt)))
        if self.context.judging is not None:
            judge = judge_of(self.context.judging, self.context, step=self.step)
            judged = await settle([(t.root.example, item) for (t, _), item in zip(leaves, judged, strict=True)], judge)
        by_tree: dict[int, list[tuple[Judged, Worth | None]]] = {}
        for (tree, node), item in zip(leaves, judged, strict=True):
            by_tree.setdefault(id(tree), []).append((item, node.worth))
        return [await self._taken(tree, by_tree.get(id(tree), [])) for tree in trees]

    async def _taken(self, tree: _Tree, leaves: Sequence[tuple[Judged, Worth | None]]) -> _Decision:
        if leaves:
            chosen = leaves[DECIDERS[self.config.leaves]([_candidate(*leaf) for leaf in leaves])][0]
        else:
            failed = tree.calls[-1]
            chosen = Judged(attempt=failed, verdict=await _unjudged(tree.root.example, failed))
        return _Decision(judged=chosen, calls=tree.calls, worths=tree.worths)


def _add(tree: _Tree, node: _Node) -> None:
    """Put a new node where it belongs: a finished or failed one leaves the tree, and its place with it."""
    tree.calls.append(node.path[-1])
    if node.worth is not None:
        tree.worths.append(node.worth)
    if node.finish is None:
        tree.open.append(node)
    else:
        tree.ended.append(node)
        tree.width -= 1


def _attempt(tree: _Tree, node: _Node, place: int) -> Attempt:
    """A finished answer as one attempt, under the id of the call that ended it."""
    usages = [call.usage for call in node.path]
    return replace(
        node.path[-1],
        messages=tree.root.messages,
        sampling=tree.root.sampling,
        sample=place,
        text=node.text.strip(),
        finish=node.finish or "stop",
        usage=Usage(
            tokens_in=sum(usage.tokens_in for usage in usages),
            tokens_out=sum(usage.tokens_out for usage in usages),
            tokens_cached=sum(usage.tokens_cached for usage in usages),
        ),
        logprobs=None,
        cost_usd=sum(call.cost_usd for call in node.path),
    )


async def _unjudged(example: Example, attempt: Attempt) -> Verdict:
    """A part of an answer has no verdict."""
    return Verdict(attempt_id=attempt.id, verifier="part@1", value=None, answer=None, reason="a part of an answer")
