"""Estimate the calls, tokens and dollars of each step before it runs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Attempt, Example, Request, Split, Strategy
from orcinus.evaluation import evaluate
from orcinus.evaluation.pairwise import PairwiseConfig, pairwise_requests
from orcinus.lessons import teach
from orcinus.lessons.erase import generic_text
from orcinus.models.configs import SelfConfig
from orcinus.models.remote.endpoint import EndpointConfig, Price
from orcinus.models.roles import Models
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.step import Step
from orcinus.runs import layout, tables
from orcinus.runs.assigned import Assigned
from orcinus.runs.context import Progress, Runtime, StepContext
from orcinus.runs.ledger import Ledger, attempt_id
from orcinus.runs.model_names import model_name, model_names
from orcinus.strategies import probe
from orcinus.strategies.library import by_name, messages_of
from orcinus.strategies.prompts import requests_for, suits
from orcinus.strategies.skills import SkillsConfig, read_skills
from orcinus.training import mix as trials
from orcinus.training import train
from orcinus.training.config import MixConfig
from orcinus.verifiers.judge import judge_request
from orcinus.verifiers.judge_prompts import (
    BY_MODEL,
    Inquiry,
    Kind,
    inquiry_about,
    is_open,
    rating,
    reference_text,
)
from orcinus.verifiers.verify import verify

CHARACTERS_PER_TOKEN = 4
"""For prompts of a model that has answered nothing yet."""
LOW_SHARE = 0.1
"""Of the bound on written tokens: the low end of the range for such a model."""
SPREAD = 2.0
"""Standard errors of the measured mean to either side."""
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One line of the plan; None where a step asks no model."""

    step: str
    """``teach (judge)`` is what a judge is asked about the answers of ``teach``, as the ledger books it."""
    state: str
    """``done``, ``to do``, or ``to do again`` when the recipe has changed since."""
    calls: int | None = None
    """Calls that will be made; of a judge at most."""
    known_calls: int | None = None
    """Calls that the ledger answers."""
    tokens_in: int | None = None
    tokens_out_low: int | None = None
    tokens_out_high: int | None = None
    usd_low: float | None = None
    usd_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """The calls of one step to one role's model."""

    role: str
    requests: Iterator[Request]
    exact: bool
    """The very requests that will be made, so that the ledger can be asked for them."""


@dataclass(slots=True, kw_only=True)
class _Inquiries:
    """What a judge would be asked about the answers of one step."""

    kind: Kind = "verdict"
    sure: int = 0
    maybe: int = 0
    """Only where rules find no verdict, or a trace is left to rate."""
    known: int = 0
    characters: int = 0
    """Of all prompts that are to be sent, but for answers that are not there yet."""
    unwritten: int = 0
    """Of those answers."""


class Estimator:
    """Counts what each step would ask."""

    def __init__(
        self,
        recipe: Recipe,
        run_dir: Path,
        steps: dict[str, Step],
        models: Models,
        ledger: Ledger,
        runtime: Runtime,
        progress: Progress,
    ) -> None:
        self._recipe, self._run_dir, self._steps = recipe, run_dir, steps
        self._models, self._ledger = models, ledger
        self._strategies = recipe.resolved_strategies()
        self._context = StepContext(
            out=run_dir,
            inputs={"sample": steps["sample"].folder(run_dir)},
            run=recipe.name,
            seed=recipe.seed,
            ledger=ledger,
            runtime=runtime,
            progress=progress,
            completer=models.open,
        )
        assign = steps.get("skills", steps["assign"])
        done = assign.is_done(run_dir)
        self._assigned = Assigned.read(assign.folder(run_dir)) if done else None
        self._known = by_name(
            self._strategies + (read_skills(assign.folder(run_dir)) if done else ())
        )
        select = steps.get("select")
        self._selected = (
            select.folder(run_dir) if select is not None and select.is_done(run_dir) else None
        )
        self._guessed: set[str] = set()
        self._model_names = model_names(run_dir)
        self._judges = False

    async def rows(self, step: Step) -> list[PlannedStep]:
        """The plan's lines for ``step``: its own, and its judge's where it has one."""
        if step.is_done(self._run_dir):
            return [PlannedStep(step=step.name, state="done")]
        before = any(self._run_dir.glob(f"{step.name}-*/{layout.DONE}"))
        line = PlannedStep(step=step.name, state="to do again" if before else "to do")
        parts: list[PlannedStep] = []
        judged: list[PlannedStep] = []
        for asking in self._askings(step.name):
            part, inquiries, written = await self._estimate(asking)
            parts.append(part)
            judged += [self._judging(item, written) for item in inquiries]
        if step.name in ("curate", "curate-assistant") and self._recipe.curate.quality is not None:
            judged.append(
                self._rating(
                    step.name.replace("curate", "teach"), self._recipe.curate.quality.labelled
                )
            )
        if step.name == "evaluate" and self._recipe.evaluate.pairwise is not None:
            judged.append(self._comparisons(self._recipe.evaluate.pairwise))
        rows = [_summed(line, parts) if parts else line]
        if sum((part.calls or 0) + (part.known_calls or 0) for part in judged):
            self._judges = True
            rows.append(_summed(replace(line, step=f"{step.name} (judge)"), judged))
        return rows

    def notes(self) -> list[str]:
        """What a reader should know about the figures."""
        notes = []
        if self._recipe.probe.adaptive and len(self._strategies) > 1:
            notes.append(
                "The probe is adaptive: it makes at most the calls shown, and fewer where a choice is soon clear."
            )
        if self._assigned is None:
            notes.append(
                "Which strategy is taught is not known before the probe; the range covers the cheapest and the dearest."
            )
        if self._recipe.select is not None and self._selected is None:
            notes.append(
                "What is selected is not known before it was measured; the calls of teaching are those for all examples."
            )
        for model in sorted(self._guessed):
            notes.append(
                f"{model} has answered nothing yet: its tokens out are a guess of {LOW_SHARE:.0%} to 100 % of max_tokens. "
                "A first small run makes the plan exact."
            )
        for role, model_config in (
            ("teacher", self._recipe.teacher),
            ("judge", self._recipe.judge),
        ):
            if isinstance(model_config, EndpointConfig) and model_config.known_price() is None:
                notes.append(
                    f"No price is known for {model_config.model}: its dollars are shown as 0. Set {role}.price: {{input: …, output: …}}."
                )
        if self._judges:
            notes.append(
                "A judge's calls are at most: `judge_fallback` asks it only where rules find no answer, and curation may leave fewer traces to rate."
            )
        decide = self._recipe.evaluate.decide
        if decide is not None and "rebase" in decide.by:
            widths = sum(decide.widths(self._recipe.evaluate.sampling.samples))
            notes.append(
                f"Tree search asks up to {decide.steps * widths:,} further calls of the student for each held-out question; these are not in the figures."
            )
        if decide is not None and decide.rewarded and decide.reward == "judge":
            notes.append(
                "The judge rates every answer and every step that is decided among; these calls are not in the figures."
            )
        arms = sum(name.startswith("train") for name in self._steps)
        for name, mix in self._open_mixes():
            n = len(trials.probe_examples(mix, self._context))
            notes.append(
                f"Stage {name}: its share is chosen by {len(mix.shares)} trial students for each trained student ({arms} of them), each trained on "
                f"{mix.trial:.0%} of the stage ({arms * len(mix.shares) * mix.trial:g} times the stage besides) and asked {n:,} probe examples, "
                "as is the student before the stage."
            )
        if self._recipe.budget.usd is not None:
            spent = self._ledger.spent(self._recipe.name)[0]
            notes.append(
                f"Budget: ${self._recipe.budget.usd:,.2f}, of which ${spent:,.2f} is spent."
            )
        return notes

    def _askings(self, name: str) -> list[_Asking]:
        if name == "probe":
            exact = not self._recipe.probe.adaptive
            return [_Asking(role=self._recipe.assign.whose, requests=self._probe(), exact=exact)]
        if name == "assign":
            return [
                _Asking(
                    role=self._recipe.assign.whose,
                    requests=self._confirm(),
                    exact=False,
                )
            ]
        if name == "skills" and self._recipe.skills is not None:
            return [
                _Asking(role="student", requests=self._skills(self._recipe.skills), exact=False)
            ]
        if (
            name == "select"
            and self._recipe.select is not None
            and self._recipe.select.needs_pass_rate
        ):
            requests = self._teach_split(self._recipe.select.sampling)
            return [_Asking(role="student", requests=requests, exact=self._assigned is not None)]
        if name == "teach":
            requests = self._teach(self._recipe.teach)
            return [_Asking(role="teacher", requests=requests, exact=self._assigned is not None)]
        if name == "teach-assistant":
            requests = self._teach(self._recipe.assist)
            return [_Asking(role="assistant", requests=requests, exact=self._assigned is not None)]
        if name.startswith("train"):
            generic = generic_text(self._recipe.erase)
            return [
                _Asking(role=asking.role, requests=iter(asking.requests), exact=asking.exact)
                for asking in train.requests(self._recipe.train, generic, self._context)
            ]
        if name == "evaluate":
            arms = [self._arm(arm, "held_out") for arm in self._recipe.evaluate.arms]
            return arms + [
                self._arm(arm, "retention")
                for arm in evaluate.RETENTION_ARMS
                if self._recipe.retention
            ]
        return []

    def _asked(
        self, examples: Sequence[Example], config: SamplingConfig, strategy: Strategy
    ) -> Iterator[Request]:
        for example in examples:
            if suits(strategy, example):
                yield from requests_for(example, strategy, config, seed=self._recipe.seed)

    def _probe(self) -> Iterator[Request]:
        for strategy in self._strategies:
            for examples in probe.probe_examples(self._context).values():
                yield from self._asked(
                    examples[: self._recipe.probe.per_task], self._recipe.probe.sampling, strategy
                )

    def _confirm(self) -> Iterator[Request]:
        for examples in probe.probe_examples(self._context).values():
            left = min(len(examples) // 2, self._recipe.probe.reserve, self._recipe.assign.confirm)
            fresh = examples[len(examples) - left :]
            yield from self._asked(fresh, self._recipe.probe.sampling, self._longest())

    def _skills(self, config: SkillsConfig) -> Iterator[Request]:
        """What tests of skills ask at most, were every group to go through all rounds; drafts are a few calls beside it."""
        by_task: dict[str, list[Example]] = {}
        for example in tables.read_examples(
            self._context.inputs["sample"] / layout.EXAMPLES, "teach"
        ):
            by_task.setdefault(example.task, []).append(example)
        for examples in by_task.values():
            for _ in range(2):
                yield from self._asked(
                    examples[: config.test * config.rounds],
                    self._recipe.probe.sampling,
                    self._longest(),
                )

    def _teach_split(self, config: SamplingConfig) -> Iterator[Request]:
        yield from self._explained(
            tables.read_examples(self._context.inputs["sample"] / layout.EXAMPLES, "teach"),
            config,
        )

    def _teach(self, config: teach.TeachConfig) -> Iterator[Request]:
        inputs = self._context.inputs if self._selected is None else {"sample": self._selected}
        yield from self._explained(
            teach.chosen(config, replace(self._context, inputs=inputs)), config.sampling
        )

    def _explained(self, examples: Iterable[Example], config: SamplingConfig) -> Iterator[Request]:
        for example in examples:
            name = (
                self._assigned.strategy_of(example.task, example.id)
                if self._assigned
                else self._longest().name
            )
            if name is not None:
                yield from requests_for(example, self._known[name], config, seed=self._recipe.seed)

    def _arm(self, arm: evaluate.Arm, split: Split) -> _Asking:
        config = self._recipe.evaluate
        role = "teacher" if arm == "teacher" else "student"
        prompted = arm in ("teacher", "prompted")

        def requests() -> Iterator[Request]:
            for example in evaluate.chosen(config, self._context, split):
                name = (
                    self._assigned.strategy_of(example.task, example.id)
                    if self._assigned and prompted
                    else None
                )
                strategy = self._known[name] if name else self._longest()
                yield from requests_for(
                    example, strategy, config.sampling_of(arm), seed=self._recipe.seed
                )

        return _Asking(
            role=role, requests=requests(), exact=prompted and self._assigned is not None
        )

    def _open_mixes(self) -> list[tuple[str, MixConfig]]:
        """By stage the shares that trials will choose among."""
        train = self._recipe.train
        return [(train.stages[place].name, mix) for place, mix in train.open_mixes.items()]

    def _longest(self) -> Strategy:
        """The strategy with the longest message: an upper bound for prompts while the choice is open."""
        return max(
            self._strategies, key=lambda strategy: max(map(len, messages_of(strategy)), default=0)
        )

    async def _estimate(
        self, asking: _Asking
    ) -> tuple[PlannedStep, list[_Inquiries], tuple[float, float]]:
        """What the calls are, what a judge is asked of the answers, and how long an answer is (low, high; in tokens)."""
        model = self._model(asking.role)
        measured = self._ledger.mean_tokens(model) if model is not None else None
        calls = known = prompt_characters = bound = 0
        by_kind: dict[Kind, _Inquiries] = {}
        while batch := list(islice(asking.requests, BATCH)):
            if asking.exact and model is not None:
                known += self._ledger.known([attempt_id(request, model) for request in batch])
            calls += len(batch)
            await self._inquire(
                [r for r in batch if r.example.meta.get("verifier") in BY_MODEL],
                asking,
                model,
                by_kind,
            )
            prompt_characters += sum(
                len(message.content) for request in batch for message in request.messages
            )
            bound += sum(request.sampling.max_tokens for request in batch)
        if measured is None and calls:
            self._guessed.add(self._name(model, asking.role))
        tokens_in = (
            prompt_characters / CHARACTERS_PER_TOKEN if measured is None else measured[0] * calls
        )
        low, high = _written(measured, calls, bound)
        left = (calls - known) / calls if calls else 0.0
        part = self._line(
            asking.role, calls - known, known, left * tokens_in, (left * low, left * high)
        )
        return part, list(by_kind.values()), (low / max(1, calls), high / max(1, calls))

    async def _inquire(
        self,
        requests: Sequence[Request],
        asking: _Asking,
        model: str | None,
        by_kind: dict[Kind, _Inquiries],
    ) -> None:
        """Count what a judge is asked about the answers to ``requests``: exactly where the ledger has them."""
        if not requests:
            return
        judging, judge = self._recipe.judging, self._model("judge")
        instructions = {str(kind): text for kind, text in judging.instructions.items()}
        answers: Sequence[Attempt | None] = [None] * len(requests)
        if asking.exact and model is not None:
            answers = self._ledger.recall(
                requests, [attempt_id(request, model) for request in requests], model
            )
        for request, answer in zip(requests, answers, strict=True):
            verifier = request.example.meta["verifier"]
            kind = BY_MODEL[verifier]
            counted = by_kind.setdefault(kind, _Inquiries(kind=kind))
            if answer is None:
                counted.sure += verifier != "judge_fallback"
                counted.maybe += verifier == "judge_fallback"
                counted.unwritten += 1
                counted.characters += _length(
                    inquiry_about(request.example, "", kind, instructions)
                )
            elif is_open(request.example, answer, await verify(request.example, answer)):
                inquiry = inquiry_about(request.example, answer.text, kind, instructions)
                sampling = judging.sampling.sampling(0, self._recipe.seed)
                asked = judge_request(request.example, inquiry, sampling)
                if judge is not None and self._ledger.known([attempt_id(asked, judge)]):
                    counted.known += 1
                else:
                    counted.sure += 1
                    counted.characters += _length(inquiry)

    def _rating(self, teaching: str, labelled: int) -> PlannedStep:
        """The ratings of traces that ``curate.quality`` learns from."""
        (asking,) = self._askings(teaching)
        model = self._model(asking.role)
        measured = self._ledger.mean_tokens(model) if model is not None else None
        requests = list(islice(asking.requests, labelled))
        inquiries = _Inquiries(kind="rating", maybe=len(requests), unwritten=len(requests))
        task = self._recipe.judging.instructions.get("rating")
        for request in requests:
            reference = reference_text(request.example)
            inquiries.characters += _length(
                rating(request.example.prompt, "", reference, task=task)
            )
        low, high = _written(
            measured, len(requests), sum(request.sampling.max_tokens for request in requests)
        )
        return self._judging(inquiries, (low / max(1, len(requests)), high / max(1, len(requests))))

    def _comparisons(self, config: PairwiseConfig) -> PlannedStep:
        """Count what a judge is asked about pairs of answers, each with two stand-ins."""
        evaluated = self._recipe.evaluate
        inquiries = _Inquiries(kind="comparison")
        for request in pairwise_requests(
            config,
            evaluate.chosen(evaluated, self._context),
            evaluated.arms,
            evaluated.sampling.max_tokens,
            replace(self._context, judging=self._recipe.judging),
        ):
            inquiries.sure += 1
            inquiries.characters += sum(len(message.content) for message in request.messages)
        return self._judging(inquiries, (0.0, 0.0))

    def _judging(self, asked: _Inquiries, written: tuple[float, float]) -> PlannedStep:
        """The line of a judge that is asked about answers of so many tokens."""
        model = self._model("judge")
        measured = (
            self._ledger.mean_tokens(model, judging=asked.kind) if model is not None else None
        )
        calls = asked.sure + asked.maybe
        if measured is None and calls:
            self._guessed.add(self._name(model, "judge"))
        tokens_in = asked.characters / CHARACTERS_PER_TOKEN + asked.unwritten * written[1]
        low, high = _written(measured, calls, calls * self._recipe.judging.sampling.max_tokens)
        return self._line(
            "judge", calls, asked.known, tokens_in, (low, high), sure=asked.sure / max(1, calls)
        )

    def _line(
        self,
        role: str,
        calls: int,
        known: int,
        tokens_in: float,
        written: tuple[float, float],
        *,
        sure: float = 1.0,
    ) -> PlannedStep:
        """Calls, tokens and dollars; ``sure`` is the share of the calls that the lower end counts."""
        price = self._price(role)
        low, high = sure * written[0], written[1]
        return PlannedStep(
            step="",
            state="",
            calls=calls,
            known_calls=known,
            tokens_in=round(tokens_in),
            tokens_out_low=round(low),
            tokens_out_high=round(high),
            usd_low=(sure * tokens_in * price.input + low * price.output) / 1e6,
            usd_high=(tokens_in * price.input + high * price.output) / 1e6,
        )

    def _name(self, model: str | None, role: str) -> str:
        """Return a model's name for a reader; ``model`` is None where it is yet to be made."""
        return f"the {role}" if model is None else model_name(model, self._model_names, role)

    def _model(self, role: str) -> str | None:
        """The model's identity; None for a student that a step has yet to make."""
        own = role == "student" or (
            role == "teacher" and isinstance(self._recipe.teacher, SelfConfig)
        )
        if own and isinstance(self._recipe.student, ScratchConfig):
            return None
        return self._models.open(role).model

    def _price(self, role: str) -> Price:
        recipe = self._recipe
        model = {
            "teacher": recipe.teacher,
            "assistant": recipe.assistant,
            "judge": recipe.judge,
        }.get(role)
        if not isinstance(model, EndpointConfig):
            return Price()
        price = model.known_price() or Price()
        factor = price.batch if model.batch is not None else 1.0
        return Price(input=factor * price.input, output=factor * price.output)


def _written(
    measured: tuple[float, float, float] | None, calls: int, bound: int
) -> tuple[float, float]:
    """Low and high end of the tokens that ``calls`` answers have, which may have ``bound`` at most."""
    if measured is None:
        return LOW_SHARE * bound, float(bound)
    _, mean, deviation = measured
    error = SPREAD * deviation / max(1, calls) ** 0.5
    return max(0.0, mean - error) * calls, min(float(bound), (mean + error) * calls)


def _summed(line: PlannedStep, parts: Sequence[PlannedStep]) -> PlannedStep:
    """``line`` with the figures of its parts together."""
    return replace(
        line,
        calls=sum(part.calls or 0 for part in parts),
        known_calls=sum(part.known_calls or 0 for part in parts),
        tokens_in=sum(part.tokens_in or 0 for part in parts),
        tokens_out_low=sum(part.tokens_out_low or 0 for part in parts),
        tokens_out_high=sum(part.tokens_out_high or 0 for part in parts),
        usd_low=sum(part.usd_low or 0.0 for part in parts),
        usd_high=sum(part.usd_high or 0.0 for part in parts),
    )


def _length(inquiry: Inquiry) -> int:
    return sum(len(message.content) for message in inquiry.messages)
