"""Choose how much of a source of lessons goes into a stage, by what short trials teach the student.

    the student before the stage
      ──a part of the stage, at each share──► trial students
      ──probe split──► paired outcomes ──► mix: {shares: [0, 0.25, 0.5]} becomes {shares: [0.25]}

Orca (section 3.2) and Orca 2 (section 4.2) fix by hand what their stages hold. Here one trial
student for each share learns a part of the stage. All of them start from the same weights, with the
same seed and as many lessons. They answer examples of the probe split, which are never taught; the
report is made of held-out ones. The intervals contain the noise of the examples only, not that of
another seed of training. The figures of the chosen share flatter it a little, since they chose it.
"""

import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from orcinus.core import stats
from orcinus.core.draw import draw_by_group
from orcinus.core.errors import StepError
from orcinus.core.files import write_atomically
from orcinus.core.types import Example, Judged, Request
from orcinus.runs import layout, tables
from orcinus.runs.context import StepContext
from orcinus.strategies.choosing import first_near_best
from orcinus.strategies.prompts import erased_strategy, requests_for
from orcinus.training.config import MixConfig
from orcinus.verifiers.measure import measure

NO_GAIN = (
    "no trial student is clearly better than the one before the stage, so the trials may be "
    "ranking which share does the least harm rather than which teaches the most; "
    "a larger mix.trial tells more"
)
TrainTrial = Callable[[float, Path], Awaitable[Mapping[str, Any]]]
"""(share, folder) → the training's summary. Trains a trial student in the folder; its model is in
the subfolder that ``summary["model"]`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedStage:
    """A stage whose share is still to be chosen."""

    name: str
    number: int
    """Place of the stage in the curriculum, from 1."""
    mix: MixConfig
    """The shares in order of preference, and how they are tried."""
    generic: str
    """The system message of erased lessons, under which the students answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The scores of one share's trial student on the probe examples."""

    share: float
    lessons: int
    """Different lessons that it learnt from."""
    learnt_tokens: int
    """Response tokens, each pass counted."""
    mean: float
    low: float
    high: float
    """Accuracy, with its 95 % interval."""
    gain: float
    gain_low: float
    gain_high: float
    """Accuracy less that of the student before the stage, paired by example."""
    behind: float
    behind_low: float
    behind_high: float
    """The best trial's accuracy less this one's, paired by example."""
    p_value: float
    """Of ``behind``: exact, two-sided, not corrected for several comparisons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The share chosen for one stage, with the evidence."""

    stage: str
    number: int
    """Place of the stage in the curriculum, from 1."""
    of: Mapping[str, Any]
    """The source."""
    share: float
    reason: str
    n: int
    """Probe examples that all students answered."""
    before: float
    """Accuracy of the student before the stage."""
    part: float
    """How much of the stage each trial student learnt, 0 … 1."""
    trials: tuple[Trial, ...]


async def choose_share(
    stage: MixedStage, start: Path | None, train_trial: TrainTrial, context: StepContext
) -> Choice:
    """Try every share of a stage and choose one.

    Writes ``mix-NUMBER.json``, and the students' answers into ``trials/``. A finished trial is not
    repeated. A trial student is deleted once it has answered.

    Args:
        stage: The stage.
        start: The student before the stage; None for the recipe's own.
        train_trial: Trains a trial student.
        context: With the input ``sample``.

    Raises:
        StepError: There are fewer than two probe examples that can be judged.
    """
    mix, number = stage.mix, stage.number
    count = len(probe_examples(mix, context))
    if count < 2:
        raise StepError(
            f"stage {stage.name!r} chooses its share on the probe split, which has {count} "
            "examples that can be judged; raise sample.probe, or give a single share"
        )
    folder = context.out / layout.TRIALS

    async def measure_student(student: Path | None, name: str) -> list[Judged]:
        completer = context.completer("student", student)
        answers = await measure(
            trial_requests(mix, stage.generic, context),
            completer,
            folder / f"{name}.parquet",
            context,
            step="train",
            what=f"ask {name}",
            total=count * mix.sampling.samples,
        )
        await completer.aclose()  # one student at a time in memory
        return answers

    before = await measure_student(start, f"stage-{number}-before")
    facts, answers = [], []
    for share in mix.shares:
        name = f"stage-{number}-share-{share}"
        record = folder / f"{name}.json"
        if not record.exists():
            done = await train_trial(share, folder / name)
            await measure_student(folder / name / done["model"], name)
            write_atomically(record, orjson.dumps(done["stages"][stage.name]))
        shutil.rmtree(folder / name, ignore_errors=True)
        facts.append(orjson.loads(record.read_bytes()))
        answers.append(list(tables.read_judged(folder / f"{name}.parquet")))
    choice = compare_trials(stage, before, answers, facts, context.seed)
    write_atomically(
        context.out / layout.mix(number), orjson.dumps(asdict(choice), option=orjson.OPT_INDENT_2)
    )
    context.progress.note(f"stage {stage.name}: share {choice.share:g}, {choice.reason}")
    if not any(trial.gain_low > 0 for trial in choice.trials):
        context.progress.note(f"stage {stage.name}: {NO_GAIN}")
    return choice


def probe_examples(mix: MixConfig, context: StepContext) -> list[Example]:
    """Return the examples that trial students answer.

    These are the ``per_task`` judgeable examples of each task's probe split with the smallest hash.
    """
    examples = tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "probe")
    judgeable = (
        item for item in examples if item.reference is not None or context.judging is not None
    )
    return list(
        chain(*draw_by_group(judgeable, "mix", lambda item: item.task, mix.per_task).values())
    )


def trial_requests(mix: MixConfig, generic: str, context: StepContext) -> Iterator[Request]:
    """Yield the calls to one student: the probe examples under the message of erased lessons."""
    for example in probe_examples(mix, context):
        yield from requests_for(example, erased_strategy(generic), mix.sampling, seed=context.seed)


def compare_trials(
    stage: MixedStage,
    before: Sequence[Judged],
    answers: Sequence[Sequence[Judged]],
    facts: Sequence[Mapping[str, Any]],
    seed: int,
) -> Choice:
    """Return the choice with its evidence.

    Args:
        stage: The stage.
        before: Answers of the student before the stage.
        answers: For each share its trial student's answers to the same examples.
        facts: For each share what its training did.
        seed: Of the bootstrap.

    Raises:
        StepError: All students answered fewer than two of the examples.
    """
    mix = stage.mix
    means = [stats.item_means(judged) for judged in (before, *answers)]
    shared = [key for key in means[0] if all(key in found for found in means)]
    if len(shared) < 2:
        raise StepError(
            f"stage {stage.name!r}: all trial students answered only {len(shared)} probe examples "
            "in common; at least 2 are needed"
        )
    start, *outcomes = np.array([[found[key] for key in shared] for found in means])
    best = max(outcomes, key=lambda row: float(row.mean()))
    chosen = first_near_best(np.stack(outcomes), errors=mix.errors)
    trials = []
    for share, row, judged, fact in zip(mix.shares, outcomes, answers, facts, strict=True):
        score = stats.score(judged)
        gain = stats.compare(row, start, seed=seed)
        behind = stats.compare(best, row, seed=seed)
        trials.append(
            Trial(
                share=share,
                lessons=fact["lessons"],
                learnt_tokens=fact["learnt_tokens"],
                mean=float(row.mean()),
                low=score.low or 0.0,
                high=score.high or 0.0,
                gain=gain.difference,
                gain_low=gain.low,
                gain_high=gain.high,
                behind=behind.difference,
                behind_low=behind.low,
                behind_high=behind.high,
                p_value=behind.p_value,
            )
        )
    return Choice(
        stage=stage.name,
        number=stage.number,
        of=mix.of.model_dump(mode="json", exclude_defaults=True),
        share=mix.shares[chosen],
        reason=_explain_choice(mix.shares, outcomes, chosen),
        n=len(shared),
        before=float(start.mean()),
        part=mix.trial,
        trials=tuple(trials),
    )


def _explain_choice(shares: Sequence[float], outcomes: Sequence[Any], chosen: int) -> str:
    best = int(np.argmax([row.mean() for row in outcomes]))
    if chosen == best and chosen == 0:
        return "the first one, and no other is better"
    if chosen == best:
        return "better than those before it by more than the noise"
    return f"not told apart from the best, {shares[best]:g}, and named before it"
