"""Search for an answer step by step under a reward: REBASE (arXiv:2408.00724).

    width 4:  4 first steps ──reward──► 3 + 1 second steps ──► … ──► finished answers ──► one

The width is divided among partial answers in proportion to softmax(reward / temperature). A
finished answer leaves the tree and takes one place of the width with it. Every call goes through
the ledger, and each next call follows from the replies alone, so that a killed search resumes
where it stopped.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orcinus.core import stats
from orcinus.core.errors import StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.imports import import_later
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Attempt, Finish, Judged, Request, Usage
from orcinus.evaluation.config import DecideConfig
from orcinus.evaluation.decisions import Decision, Sample, choose
from orcinus.models.attempts import attempt_all
from orcinus.runs.context import StepContext
from orcinus.verifiers.beginnings import without_verdict
from orcinus.verifiers.judge import judge_of, settle
from orcinus.verifiers.rewards import Rewarding, Worth, Written

if TYPE_CHECKING:
    from orcinus.verifiers import verify as verifying
else:
    verifying = import_later("orcinus.verifiers.verify")


SEEDS = 2**31
"""Number of seeds to draw from; servers take 31 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A partial or finished answer."""

    text: str = ""
    path: tuple[Attempt, ...] = ()
    """The calls that wrote it."""
    finish: Finish | None = None
    """None for a partial answer."""
    worth: Worth | None = None

    @property
    def reward(self) -> float:
        """0 without a rating."""
        return (self.worth.value if self.worth is not None else None) or 0.0

    @property
    def tokens(self) -> int:
        """Tokens written so far."""
        return sum(call.usage.tokens_out for call in self.path)


@dataclass(slots=True, kw_only=True)
class _Tree:
    """The search for the answer to one question."""

    root: Request
    width: int
    """Places left: those of finished answers are gone."""
    open: list[_Node] = field(default_factory=lambda: [_Node()])
    """Partial answers."""
    finished: list[_Node] = field(default_factory=list)
    calls: list[Attempt] = field(default_factory=list)
    worths: list[Worth] = field(default_factory=list)
    drawn: Counter[str] = field(default_factory=Counter)
    """How many times each text was continued: the number goes into the seed, so that equal partial
    answers get different continuations."""

    def add(self, node: _Node) -> None:
        """Add a new node; a finished or failed one gives up its place in the tree."""
        self.calls.append(node.path[-1])
        if node.worth is not None:
            self.worths.append(node.worth)
        if node.finish is None:
            self.open.append(node)
        else:
            self.finished.append(node)
            self.width -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Growth:
    """A node of a tree, and the request that continues it."""

    tree: _Tree
    node: _Node
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSearch:
    """REBASE over many questions at once: each step is made for all of them before the next."""

    config: DecideConfig
    sampling: SamplingConfig
    completer: Completer
    context: StepContext
    step: str
    """Name under which the ledger books the calls."""
    reward: Rewarding

    async def decide(self, roots: Sequence[Request], width: int) -> list[Decision]:
        """Return one decision for each question, in their order.

        Raises:
            StepError: The model cannot continue partial replies.
            OrcinusError: As ``attempt_all``.
        """
        trees = [_Tree(root=root, width=width) for root in roots]
        for number in range(1, self.config.steps + 1):
            last = number == self.config.steps
            growths = [
                _Growth(tree=tree, node=node, request=self._request(tree, node, last))
                for tree in trees
                for node in self._allocate(tree)
            ]
            if not growths:
                break
            replies = await self._ask([growth.request for growth in growths])
            nodes = [
                self._extend(growth.node, reply, last)
                for growth, reply in zip(growths, replies, strict=True)
            ]
            grown = [growth.tree for growth in growths]
            for tree in grown:
                tree.open = []
            for tree, node in zip(grown, await self._rewarded(grown, nodes), strict=True):
                tree.add(node)
        return await self._decide_leaves(trees)

    def _allocate(self, tree: _Tree) -> Iterator[_Node]:
        """Yield each partial answer as many times as it is to be continued."""
        counts = stats.balanced(
            [node.reward for node in tree.open], tree.width, self.config.temperature
        )
        for node, count in zip(tree.open, counts, strict=True):
            yield from [node] * count

    def _request(self, tree: _Tree, node: _Node, last: bool) -> Request:
        """Return the request that continues ``node``.

        A tree with a single step sends the same requests as the samples, so that both share calls.
        """
        number = tree.drawn[node.text]
        tree.drawn[node.text] += 1
        root, sampling = tree.root, self.sampling.sampling(number, self.context.seed)
        left = sampling.max_tokens - node.tokens
        if node.path and sampling.seed is not None:
            place = (
                str(self.context.seed),
                root.example.task,
                root.example.id,
                node.text,
                str(number),
            )
            sampling = replace(sampling, seed=int(SEEDS * stable_fraction("rebase", *place)))
        sampling = replace(
            sampling,
            max_tokens=left if last else min(left, self.config.step_tokens),
            stop=sampling.stop if last else (self.config.separator, *sampling.stop),
        )
        partial = node.text if node.path or not last else None
        return replace(root, sampling=sampling, sample=number, partial=partial, fallback=None)

    async def _ask(self, requests: Sequence[Request]) -> list[Attempt]:
        replies = []
        async for item in attempt_all(
            requests,
            self.completer,
            ledger=self.context.ledger,
            verify=without_verdict,
            run=self.context.run,
            step=self.step,
            concurrency=self.context.runtime.concurrency,
            budget=self.context.budget,
        ):
            self.context.progress.advance(cost_usd=item.attempt.cost_usd, recalled=item.recalled)
            replies.append(item.attempt)
        if all(reply.permanent for reply in replies):
            raise StepError(
                f"decide: rebase: {self.completer.model} refuses to continue partial replies: "
                f"{replies[0].error}; use weighted or best_of_n"
            )
        if any(reply.reasoning is not None for reply in replies):
            raise StepError(
                f"decide: rebase: {self.completer.model} returns its reasoning apart from its "
                "answer, and such a reply cannot be continued; turn its thinking off "
                "(sampling.extra), or use weighted or best_of_n"
            )
        return replies

    def _extend(self, node: _Node, reply: Attempt, last: bool) -> _Node:
        """Return ``node`` with the reply appended."""
        extended = replace(
            node, text=node.text + reply.text, path=(*node.path, reply), finish=reply.finish
        )
        stop = next((stop for stop in self.sampling.stop if reply.text.endswith(stop)), None)
        if stop is not None:
            return replace(extended, text=extended.text.removesuffix(stop))
        ended_step = reply.finish == "length" or (
            reply.finish == "stop" and reply.text.endswith(self.config.separator)
        )
        if last or not ended_step or not reply.text:
            return extended
        full = extended.tokens >= self.sampling.max_tokens
        return replace(extended, finish="length" if full else None)

    async def _rewarded(self, trees: Sequence[_Tree], nodes: Sequence[_Node]) -> list[_Node]:
        """Return the nodes with their rewards, without one for failed calls."""
        written = [
            _written(tree, node)
            for tree, node in zip(trees, nodes, strict=True)
            if node.finish != "error"
        ]
        worths = iter(await self.reward(written))
        return [
            node if node.finish == "error" else replace(node, worth=next(worths)) for node in nodes
        ]

    async def _decide_leaves(self, trees: Sequence[_Tree]) -> list[Decision]:
        """Judge the finished answers, and choose one for each question."""
        leaves = [
            (tree, node) for tree in trees for node in tree.finished if node.finish != "error"
        ]
        judged = []
        for place, (tree, node) in enumerate(leaves):
            attempt = _whole_attempt(tree, node, place)
            verdict = await verifying.verify(tree.root.example, attempt)
            judged.append(Judged(attempt=attempt, verdict=verdict))
        if self.context.judging is not None:
            judge = judge_of(self.context.judging, self.context, step=self.step)
            judged = await settle(
                [(tree.root.example, item) for (tree, _), item in zip(leaves, judged, strict=True)],
                judge,
            )
        samples: dict[int, list[Sample]] = {}
        for (tree, node), item in zip(leaves, judged, strict=True):
            samples.setdefault(id(tree), []).append(Sample(judged=item, worth=node.worth))
        return [await self._decide_tree(tree, samples.get(id(tree), [])) for tree in trees]

    async def _decide_tree(self, tree: _Tree, samples: Sequence[Sample]) -> Decision:
        if samples:
            chosen = choose(self.config.leaves, samples).judged
        else:
            failed = tree.calls[-1]
            verdict = await without_verdict(tree.root.example, failed)
            chosen = Judged(attempt=failed, verdict=verdict)
        return Decision(judged=chosen, calls=tree.calls, worths=tree.worths)


def _written(tree: _Tree, node: _Node) -> Written:
    """Return a node's text with its log-probabilities, where the model gave them for all calls."""
    logprobs: list[float] = []
    for call in node.path:
        if call.logprobs is None and call.usage.tokens_out:
            return Written(example=tree.root.example, text=node.text, logprobs=None)
        logprobs += call.logprobs or ()
    return Written(example=tree.root.example, text=node.text, logprobs=tuple(logprobs))


def _whole_attempt(tree: _Tree, node: _Node, place: int) -> Attempt:
    """Return a finished answer as one attempt, under the id of the call that finished it."""
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
