"""Estimate the calls, tokens and dollars of each step before it runs.

Each step lists the requests that it would make (``Step.requests``). This module counts them.

    requests of ``teach`` ──count, look up in ledger──► PlannedStep(calls=180, known_calls=20, …)

Tokens of a model that has answered before are estimated from its answers, those of a new model from
``max_tokens``.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from orcinus.core.imports import import_later
from orcinus.core.types import Attempt, Request
from orcinus.models.configs import SelfConfig
from orcinus.models.remote.endpoint_config import EndpointConfig, Price
from orcinus.models.roles import Models
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.step import Step
from orcinus.pipeline.verbs import verb_of
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, StepContext
from orcinus.runs.ledger_records import attempt_id
from orcinus.runs.model_names import model_name, model_names
from orcinus.training.schedule import FEW_STEPS, describe_steps, expected_steps
from orcinus.verifiers.judge_prompts import BY_MODEL, inquiry_about, is_open

if TYPE_CHECKING:
    from orcinus.training import mix as trials
    from orcinus.verifiers import judge as judges
    from orcinus.verifiers import verify
else:
    trials = import_later("orcinus.training.mix")
    judges = import_later("orcinus.verifiers.judge")
    verify = import_later("orcinus.verifiers.verify")


MOST_LESSONS = 2000
"""Lessons whose length is looked at; the mean of so many is known to 2 %."""
CHARACTERS_PER_TOKEN = 4
"""Characters. For prompts of a model that has not answered yet: English text has about four."""
LOW_SHARE = 0.1
"""Share of ``max_tokens``: the low end of what such a model writes."""
SPREAD = 2.0
"""Standard errors of the measured mean to either side: about a 95 % interval."""
BATCH = 500
"""Requests that are looked up in the ledger together, to bound memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One line of the plan; figures are None where a step asks no model."""

    step: str
    """``teach (judge)`` is what a judge is asked about the answers of ``teach``."""
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


@dataclass(slots=True, kw_only=True)
class _JudgeCalls:
    """The calls of a judge about the answers of one step."""

    kind: str
    """What the judge is asked for: ``verdict``, ``rating`` …; answers differ in length by kind."""
    sure: int = 0
    maybe: int = 0
    """Calls that depend on answers: where rules find no verdict, or a trace is left to rate."""
    known: int = 0
    characters: int = 0
    """Characters of all prompts to send, without answers that are not written yet."""
    unwritten: int = 0
    """Number of such answers."""


@dataclass(slots=True, kw_only=True)
class _Counts:
    """The calls of one step to one model."""

    calls: int = 0
    known: int = 0
    characters: int = 0
    """Characters of the prompts."""
    bound: int = 0
    """Upper bound on the tokens of the answers."""
    judged: dict[str, _JudgeCalls] = field(default_factory=dict)
    """Calls of the judge about the answers, by kind."""


class Estimator:
    """Counts the requests of each step."""

    def __init__(
        self,
        recipe: Recipe,
        steps: Mapping[str, Step],
        run_dir: Path,
        models: Models,
        context: StepContext,
    ) -> None:
        """Take what is planned.

        Args:
            recipe: Its models, prices and settings.
            steps: The steps by name.
            run_dir: The run's folder, in which ``sample`` is done.
            models: Opens models to learn their identities; none is asked.
            context: The ledger, runtime and seed; its inputs are set for each step.
        """
        self._recipe, self._steps, self._run_dir = recipe, steps, run_dir
        self._models, self._ledger = models, context.ledger
        assign = steps.get("skills", steps["assign"])
        # A step whose input is not done yet reads these: examples that are not narrowed down yet,
        # and assignments where there are any.
        fallbacks = {"sample": steps["sample"], "assign": assign}
        self._context = replace(context, inputs=self._done(fallbacks))
        self._model_names = model_names(run_dir)
        self._guessed: set[str] = set()
        self._explained: dict[str, tuple[int, float]] = {}
        """By step, the calls that ask the teacher to explain, and the tokens of one lesson."""
        self._asks_judge = False
        self._means: dict[tuple[str, str | None], tuple[float, float, float] | None] = {}

    async def rows(self, step: Step) -> list[PlannedStep]:
        """Return the plan's lines for ``step``: its own, and its judge's where it has one."""
        if step.is_done(self._run_dir):
            return [PlannedStep(step=step.name, state="done")]
        was_done = any(self._run_dir.glob(f"{step.name}-*/{layout.DONE}"))
        line = PlannedStep(step=step.name, state="to do again" if was_done else "to do")
        inputs = {**self._context.inputs, **self._done(step.inputs)}
        own: list[PlannedStep] = []
        judged: list[PlannedStep] = []
        for asking in step.requests(replace(self._context, inputs=inputs)):
            if asking.role == "judge":
                judged += self._judge_requests(asking.requests, step)
                continue
            counts = await self._count(asking, step.name)
            if asking.role == "teacher" and step.name in ("teach", "trial") and counts.calls:
                self._explained[step.name] = (counts.calls, self._lesson_tokens(counts))
            part, longest = self._answers_line(asking, counts)
            own.append(part)
            judged += [self._judge_line(calls, longest) for calls in counts.judged.values()]
        rows = [_summed(line, own) if own else line]
        if sum((part.calls or 0) + (part.known_calls or 0) for part in judged):
            self._asks_judge = True
            rows.append(_summed(replace(line, step=f"{step.name} (judge)"), judged))
        return rows

    def notes(self) -> list[str]:
        """Return what a reader should know about the figures."""
        return [
            *self._notes_about_bounds(),
            *self.notes_about_models(),
            *self._notes_about_evaluation(),
            *self._notes_about_trial_students(),
            *self._notes_about_training(),
            *self._notes_about_trials(),
        ]

    def _notes_about_bounds(self) -> Iterator[str]:
        if self._recipe.probe.adaptive and len(self._recipe.strategies) > 1:
            yield (
                "The probe is adaptive: it makes at most the calls shown, and fewer where a choice "
                "is clear early."
            )
        if "assign" not in self._context.inputs:
            yield (
                "Which strategy is taught is not known before the probe; the range covers the "
                "cheapest and the most expensive."
            )
        if "select" in self._steps and not self._steps["select"].is_done(self._run_dir):
            yield (
                "What is selected is not known before the student is measured; teaching is counted "
                "for all examples."
            )

    def notes_about_models(self) -> Iterator[str]:
        """Yield a note for each model whose answers or price are not known."""
        for model in sorted(self._guessed):
            name = f"The {model[4:]}" if model.startswith("the ") else model
            yield (
                f"{name} has answered nothing yet: its tokens out are a guess, "
                f"{100 * LOW_SHARE:.0f} to 100 % of max_tokens. A first small run makes the plan "
                "exact."
            )
        for role in self._recipe.paid_roles:
            config = self._recipe.model_of(role)
            if isinstance(config, EndpointConfig) and config.known_price() is None:
                yield (
                    f"No price is known for {config.model}: its dollars are shown as 0. "
                    f"Set {role}.price: {{input: …, output: …}}."
                )
        if self._asks_judge:
            yield (
                "A judge's calls are at most: `judge_fallback` asks it only where rules find no "
                "answer, and curation may leave fewer traces to rate."
            )

    def _notes_about_evaluation(self) -> Iterator[str]:
        decide = self._recipe.evaluate.decide
        if decide is not None and "rebase" in decide.by:
            widths = sum(decide.widths(self._recipe.evaluate.sampling.samples))
            yield (
                f"Tree search asks the student up to {decide.steps * widths:,} more times for each "
                "held-out question; these calls are not in the figures."
            )
        if decide is not None and decide.rewarded and decide.reward == "judge":
            yield (
                "The judge rates every answer and every step that is chosen among; these calls are "
                "not in the figures."
            )

    def _notes_about_trial_students(self) -> Iterator[str]:
        if "trial" not in self._explained:
            return
        calls, tokens = self._explained["trial"]
        names = self._recipe.strategies
        each = calls // len(names)
        stage = self._recipe.train.stages[-1]
        steps = expected_steps(
            self._recipe.train, lessons=each, tokens=round(each * tokens), epochs=stage.epochs
        )
        saved = ""
        if "teach" in self._explained:
            share = min(1.0, each / self._explained["teach"][0])
            saved = (
                f" teach then reuses about {each:,} explanations, {100 * share:.0f} % of its own."
            )
        yield (
            f"Trial students choose strategies, at most {len(names)} in a wave and two waves. Each "
            f"learns from at most {each:,} explanations in about "
            f"{max(steps, min(FEW_STEPS, math.ceil(stage.epochs * each))):,} optimizer steps. "
            "The calls of trial are at most: only groups where the probe cannot tell are tried, "
            f"and the last wave has fewer strategies.{saved} assign: {{measure: prompted}} "
            "makes no trial."
        )

    def _notes_about_training(self) -> Iterator[str]:
        """Say how many optimizer steps the student's training takes, and whether these are few."""
        train, found = self._recipe.train, self.lessons()
        if found is None:
            return
        lessons, tokens = found
        for stage in train.stages:
            epochs = stage.epochs
            if stage.tokens is not None:
                epochs = stage.tokens / (lessons * tokens)
            steps = expected_steps(
                train, lessons=lessons, tokens=round(lessons * tokens), epochs=epochs
            )
            yield f"Training, {describe_steps(stage.name, steps)} (about, if all traces are kept)."

    def lessons(self) -> tuple[int, float] | None:
        """Return about how many lessons are still to be trained on, and the tokens of one."""
        train, erased = self._steps.get("train"), self._steps.get("erase")
        if train is None or erased is None or train.is_done(self._run_dir):
            return None
        if not erased.is_done(self._run_dir):
            return self._explained.get("teach")
        path = erased.folder(self._run_dir) / layout.LESSONS
        characters = [
            sum(map(len, (lesson.reasoning or "", lesson.completion)))
            + sum(len(message.content) for message in lesson.messages)
            for lesson in islice(tables.read_lessons(path), MOST_LESSONS)
        ]
        if not characters:
            return None
        return tables.count_rows(path), sum(characters) / len(characters) / CHARACTERS_PER_TOKEN

    def trial_lessons(self) -> int:
        """Return how many explanations a trial student learns from; 0 where there is none."""
        calls, _ = self._explained.get("trial", (0, 0.0))
        return calls // len(self._recipe.strategies)

    def _lesson_tokens(self, counts: _Counts) -> float:
        """Return about how many tokens a lesson has: its question, and the teacher's answer."""
        measured = self._measured("teacher")
        if measured is not None:
            return measured[0] + measured[1]
        read = counts.characters / CHARACTERS_PER_TOKEN
        low, high = _written(None, counts.calls, counts.bound)
        return (read + (low + high) / 2) / counts.calls

    def _notes_about_trials(self) -> Iterator[str]:
        train = self._recipe.train
        arms = sum(name.startswith("train") for name in self._steps)
        for place, mix in train.open_mixes.items():
            asked = len(trials.probe_examples(mix, self._context))
            trained = arms * len(mix.shares) * mix.trial
            yield (
                f"Stage {train.stages[place].name}: its share is chosen by {len(mix.shares)} trial "
                f"students for each trained student ({arms} of them). Each is trained on "
                f"{mix.trial:.0%} of the stage (together {trained:g} times the stage) and asked "
                f"{asked:,} probe examples, as is the student before the stage."
            )

    def _done(self, steps: Mapping[str, Step]) -> dict[str, Path]:
        """Return the folders of the steps that are done."""
        return {
            role: step.folder(self._run_dir)
            for role, step in steps.items()
            if step.is_done(self._run_dir)
        }

    async def _count(self, asking: Asking, step: str) -> _Counts:
        """Count requests, those that the ledger knows, and what a judge is asked of the answers."""
        model = self._model(asking.role)
        if asking.size is not None and not self._must_look_at_requests(asking):
            size = asking.size()
            return _Counts(calls=size.calls, characters=size.characters, bound=size.bound)
        counts = _Counts()
        requests = iter(asking.requests)
        while batch := list(islice(requests, BATCH)):
            answers: Sequence[Attempt | None] = [None] * len(batch)
            if asking.exact and model is not None:
                identities = [attempt_id(request, model) for request in batch]
                counts.known += self._known(asking.role, step, identities)
                if any(_kind_of(request) for request in batch):
                    answers = self._ledger.recall(batch, identities, model)
            counts.calls += len(batch)
            counts.characters += sum(map(_length, batch))
            counts.bound += sum(request.sampling.max_tokens for request in batch)
            for request, answer in zip(batch, answers, strict=True):
                if (kind := _kind_of(request)) is not None:
                    await self._count_judging(request, answer, kind, counts.judged, step)
        return counts

    def _must_look_at_requests(self, asking: Asking) -> bool:
        """Return whether a judge may be asked about the replies, or the ledger may have some."""
        if self._recipe.judge is not None:
            return True
        return asking.exact and self._measured(asking.role) is not None

    def _known(self, role: str, step: str, identities: Sequence[str]) -> int:
        """Return how many calls the ledger answers, as ``attempt_all`` will see it.

        An error of other settings is asked again, and so is every error of a step that the model
        has never answered.
        """
        completer = self._models.open(role)
        answers = self._ledger.known(identities, settings=None)
        booked_as = [f"{name}{' (judge)' * (role == 'judge')}" for name in (step, verb_of(step))]
        if answers or any(
            self._ledger.has_answer(self._context.run, name, completer.model) for name in booked_as
        ):
            remote = completer.traits.remote
            return self._ledger.known(
                identities, settings="" if remote is None else remote.settings
            )
        return answers

    async def _count_judging(
        self,
        request: Request,
        answer: Attempt | None,
        kind: str,
        judged: dict[str, _JudgeCalls],
        step: str,
    ) -> None:
        """Count the call of the judge about one answer, exactly where the ledger has the answer."""
        judging, judge = self._recipe.judging, self._model("judge")
        instructions = {str(kind): text for kind, text in judging.instructions.items()}
        example, verifier = request.example, request.example.meta["verifier"]
        calls = judged.setdefault(kind, _JudgeCalls(kind=kind))
        if answer is not None and not is_open(
            example, answer, await verify.verify(example, answer)
        ):
            return
        text = "" if answer is None else answer.text
        inquiry = inquiry_about(example, text, BY_MODEL[verifier], instructions)
        asked = judges.judge_request(
            example, inquiry, judging.sampling.sampling(0, self._recipe.seed)
        )
        if answer is None:
            calls.sure += verifier != "judge_fallback"
            calls.maybe += verifier == "judge_fallback"
            calls.unwritten += 1
        elif judge is not None and self._known("judge", step, [attempt_id(asked, judge)]):
            calls.known += 1
            return
        else:
            calls.sure += 1
        calls.characters += _length(asked)

    def _judge_requests(self, requests: Iterable[Request], step: Step) -> list[PlannedStep]:
        """Return the lines of calls that a step itself makes to the judge, by kind."""
        by_kind: dict[str, _JudgeCalls] = {}
        for request in requests:
            kind = request.strategy.removeprefix("judge: ")
            calls = by_kind.setdefault(kind, _JudgeCalls(kind=kind))
            calls.maybe += 1
            calls.characters += _length(request)
            # A rated trace is not in the prompt, because it is not written yet.
            calls.unwritten += kind == "rating"
        return [
            self._judge_line(calls, self._trace_tokens(step, calls.unwritten))
            for calls in by_kind.values()
        ]

    def _trace_tokens(self, step: Step, traces: int) -> float:
        """Return the upper end of the tokens of one trace that ``step`` has rated."""
        if traces == 0:
            return 0.0
        role = "assistant" if step.name.endswith("-assistant") else "teacher"
        config = self._recipe.assist if role == "assistant" else self._recipe.teach
        bound = traces * config.sampling.max_tokens
        return _written(self._measured(role), traces, bound)[1] / traces

    def _answers_line(self, asking: Asking, counts: _Counts) -> tuple[PlannedStep, float]:
        """Return the line of a step's calls, and the upper end of the tokens of one answer."""
        role = asking.role
        if asking.scores:
            read = counts.characters / CHARACTERS_PER_TOKEN
            return self._line(role, (counts.calls, 0), (read, read), (0.0, counts.bound)), 0.0
        measured = self._measured(role)
        if measured is None and counts.calls:
            self._guessed.add(self._display_name(role))
        tokens_in = (
            counts.characters / CHARACTERS_PER_TOKEN
            if measured is None
            else measured[0] * counts.calls
        )
        low, high = _written(measured, counts.calls, counts.bound)
        left = (counts.calls - counts.known) / counts.calls if counts.calls else 0.0
        line = self._line(
            role,
            (counts.calls - counts.known, counts.known),
            (left * tokens_in, left * tokens_in),
            (left * low, left * high),
        )
        return line, high / max(1, counts.calls)

    def _judge_line(self, asked: _JudgeCalls, answer_tokens: float) -> PlannedStep:
        """Return the line of a judge that is asked about answers of ``answer_tokens`` tokens."""
        measured = self._measured("judge", judging=asked.kind)
        calls = asked.sure + asked.maybe
        if measured is None and calls:
            self._guessed.add(self._display_name("judge"))
        tokens_in = asked.characters / CHARACTERS_PER_TOKEN + asked.unwritten * answer_tokens
        low, high = _written(measured, calls, calls * self._recipe.judging.sampling.max_tokens)
        sure = asked.sure / max(1, calls)  # the low end leaves out calls that may not be made
        return self._line(
            "judge", (calls, asked.known), (sure * tokens_in, tokens_in), (sure * low, high)
        )

    def _line(
        self,
        role: str,
        calls: tuple[int, int],
        tokens_in: tuple[float, float],
        tokens_out: tuple[float, float],
    ) -> PlannedStep:
        """Return a line with its dollars.

        Args:
            role: Whose price counts.
            calls: Those to make, and those that the ledger answers.
            tokens_in: Low and high end.
            tokens_out: Low and high end.
        """
        price = self._price(role)
        usd_low, usd_high = (
            (read * price.input + written * price.output) / 1e6
            for read, written in zip(tokens_in, tokens_out, strict=True)
        )
        return PlannedStep(
            step="",
            state="",
            calls=calls[0],
            known_calls=calls[1],
            tokens_in=round(tokens_in[1]),
            tokens_out_low=round(tokens_out[0]),
            tokens_out_high=round(tokens_out[1]),
            usd_low=usd_low,
            usd_high=usd_high,
        )

    def _measured(
        self, role: str, *, judging: str | None = None
    ) -> tuple[float, float, float] | None:
        """Return mean tokens in, and mean and deviation of tokens out; None without answers."""
        model = self._model(role)
        if model is None:
            return None
        if (model, judging) not in self._means:  # each look reads all attempts of the model
            self._means[model, judging] = self._ledger.mean_tokens(model, judging=judging)
        return self._means[model, judging]

    def _model(self, role: str) -> str | None:
        """Return the model's identity; None for a student that a step has yet to make."""
        is_student = role == "student" or (
            role == "teacher" and isinstance(self._recipe.teacher, SelfConfig)
        )
        if is_student and isinstance(self._recipe.student, ScratchConfig):
            return None
        return self._models.open(role).model

    def _display_name(self, role: str) -> str:
        """Return a model's name for a reader: its role where its identity is a folder's hash."""
        model = self._model(role)
        return f"the {role}" if model is None else model_name(model, self._model_names, role)

    def _price(self, role: str) -> Price:
        model = None if role == "student" else self._recipe.model_of(role)
        if not isinstance(model, EndpointConfig):
            return Price()
        price = model.known_price() or Price()
        factor = price.batch if model.batch is not None else 1.0
        return Price(input=factor * price.input, output=factor * price.output)


def _kind_of(request: Request) -> str | None:
    """Return what a judge is asked about the answer to a request; None where rules judge it."""
    return BY_MODEL.get(request.example.meta.get("verifier", ""))


def _length(request: Request) -> int:
    """Return the characters of a request's messages."""
    return sum(len(message.content) for message in request.messages)


def _written(
    measured: tuple[float, float, float] | None, calls: int, bound: int
) -> tuple[float, float]:
    """Return the low and high end of the tokens of ``calls`` answers, ``bound`` at most."""
    if measured is None:
        return LOW_SHARE * bound, float(bound)
    _, mean, deviation = measured
    error = SPREAD * deviation / max(1, calls) ** 0.5
    return max(0.0, mean - error) * calls, min(float(bound), (mean + error) * calls)


def _summed(line: PlannedStep, parts: Sequence[PlannedStep]) -> PlannedStep:
    """Return ``line`` with the figures of its parts added up."""
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
