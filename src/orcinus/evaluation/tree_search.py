"""Several tries at a question become one answer: chosen among samples, or searched for step by step under a reward. With what it cost.

    majority, weighted, best_of_n    k answers ──reward──► one of them
    rebase                           width 4:  4 first steps ──reward──► 3 + 1 second steps ──► … ──► finished answers ──► one of them

REBASE (arXiv:2408.00724) shares the width out over unfinished answers in proportion to softmax(reward / temperature); an answer that ends leaves
the tree and takes its one place with it. Every call goes through the ledger, and what is asked next follows from the replies alone:
a search that was killed goes on where it stopped.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from orcinus.core import stats
from orcinus.core.errors import StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.protocols import Completer
from orcinus.core.sampling import SamplingConfig
from orcinus.core.stats import DECIDERS
from orcinus.core.types import Attempt, Example, Finish, Judged, Request, Usage, Verdict
from orcinus.evaluation.decisions import DecideConfig, _candidate, _Decision
from orcinus.models.attempts import attempt_all
from orcinus.runs.context import StepContext
from orcinus.verifiers.judge import judge_of, settle
from orcinus.verifiers.rewards import Rewarding, Worth, Written
from orcinus.verifiers.verify import verify

SEEDS = 2**31


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
            grown = [
                (tree, node, self._next(tree, node, last))
                for tree in trees
                for node in self._shared_out(tree)
            ]
            if not grown:
                break
            replies = await self._ask([request for _, _, request in grown])
            nodes = [
                self._grown(node, reply, last)
                for (_, node, _), reply in zip(grown, replies, strict=True)
            ]
            for tree, _, _ in grown:
                tree.open = []
            for (tree, _, _), node in zip(grown, await self._rewarded(grown, nodes), strict=True):
                _add(tree, node)
        return await self._decided(trees)

    def _shared_out(self, tree: _Tree) -> Iterator[_Node]:
        """Each open node as often as it is gone on with."""
        counts = stats.balanced(
            [node.reward for node in tree.open], tree.width, self.config.temperature
        )
        for node, count in zip(tree.open, counts, strict=True):
            yield from [node] * count

    def _next(self, tree: _Tree, node: _Node, last: bool) -> Request:
        """The call that goes on with ``node``. A tree of a single step asks exactly for what samples are."""
        number = tree.drawn[node.text]
        tree.drawn[node.text] += 1
        sampling = self.sampling.sampling(number, self.context.seed)
        room = sampling.max_tokens - node.tokens
        root = tree.root
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
            max_tokens=room if last else min(room, self.config.step_tokens),
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
        grown = replace(
            node, text=node.text + reply.text, path=(*node.path, reply), finish=reply.finish
        )
        own = next((stop for stop in self.sampling.stop if reply.text.endswith(stop)), None)
        if own is not None:
            return replace(grown, text=grown.text.removesuffix(own))
        stepped = reply.finish == "length" or (
            reply.finish == "stop" and reply.text.endswith(self.config.separator)
        )
        if last or not stepped or not reply.text:
            return grown
        return replace(grown, finish=None if grown.tokens < self.sampling.max_tokens else "length")

    async def _rewarded(
        self, grown: Sequence[tuple[_Tree, _Node, Request]], nodes: Sequence[_Node]
    ) -> list[_Node]:
        """The nodes with their rewards; failed ones have none."""
        answered = [
            (tree, node)
            for (tree, _, _), node in zip(grown, nodes, strict=True)
            if node.finish != "error"
        ]
        worths = iter(await self.reward([self._whole(tree, node) for tree, node in answered]))
        return [
            node if node.finish == "error" else replace(node, worth=next(worths)) for node in nodes
        ]

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
            judged = await settle(
                [(t.root.example, item) for (t, _), item in zip(leaves, judged, strict=True)], judge
            )
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
    return Verdict(
        attempt_id=attempt.id,
        verifier="part@1",
        value=None,
        answer=None,
        reason="a part of an answer",
    )
