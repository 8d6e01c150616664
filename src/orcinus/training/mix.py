"""The share of a source of lessons in a stage, chosen by what short trials of it teach the student.

    the student before the stage ──a part of the stage at each share──► trial students ──the probe split──► paired outcomes ──► a share

Orca (section 3.2) and Orca 2 (section 4.2) fix by hand what their stages hold. Here a trial student learns a part of the stage at
each share, all of them from the same weights, with the same seed and as many lessons, and is asked examples of the probe split: they are
taught to nobody, and the report is made of held-out ones. Only the noise of the examples is in the intervals; another seed of
training would move the trial students too. The chosen share's own figures flatter it a little, since it was chosen by them.
"""

import shutil
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from orcinus.core import stats
from orcinus.core.draw import first_by_hash
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
    "no trial student is clearly better than the one before the stage, so that the trials may tell which share costs least and not which "
    "teaches most; a larger mix.trial tells more"
)
Learn = Callable[[float, Path], Awaitable[Mapping[str, Any]]]
"""(share, folder) → what the trial student did; leaves it in the folder ``model`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a trial student of one share was worth."""

    share: float
    lessons: int
    """Different lessons that it learnt from."""
    learnt_tokens: int
    """Response tokens, each pass counted."""
    mean: float
    low: float
    high: float
    """Accuracy on the probe examples, with its 95 % interval."""
    gain: float
    gain_low: float
    gain_high: float
    """The same less that of the student before the stage, paired by example."""
    behind: float
    behind_low: float
    behind_high: float
    """The best trial's accuracy less this one's, paired by example."""
    p_value: float
    """Of that difference, exact and two-sided, not corrected for looking at several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The share of one stage, with the evidence."""

    stage: str
    number: int
    """Of the stage, from 1."""
    of: Mapping[str, Any]
    """The source."""
    share: float
    reason: str
    n: int
    """Probe examples that all trial students answered."""
    before: float
    """Accuracy of the student before the stage."""
    part: float
    """How much of the stage each trial student learnt."""
    trials: tuple[Trial, ...]


async def choose_share(
    mix: MixConfig,
    generic: str,
    context: StepContext,
    *,
    stage: str,
    number: int,
    start: Path | None,
    learn: Learn,
) -> Choice:
    """Try every share and choose one; leaves ``mix-NUMBER.json``, and each trial's answers in ``trials/``.

    A trial that is done is not made again, its student is deleted once it was asked.

    Args:
        mix: The shares, and how they are tried.
        generic: The erased system message that students are asked under.
        context: With the input ``sample``.
        stage: The stage's name.
        number: Its number, from 1.
        start: The student before the stage; None for the recipe's own.
        learn: Makes a trial student.

    Raises:
        StepError: There are too few probe examples to ask.
    """
    examples = probe_examples(mix, context)
    if len(examples) < 2:
        raise StepError(
            f"stage {stage!r} chooses its share on the probe split, which has {len(examples)} examples that can be judged; raise sample.probe, "
            "or say a single share"
        )
    folder = context.out / layout.TRIALS

    async def asked(student: Path | None, name: str) -> list[Judged]:
        completer = context.completer("student", student)
        answers = await measure(
            requests(mix, examples, generic, context.seed),
            completer,
            folder / f"{name}.parquet",
            context,
            step="train",
            what=f"ask {name}",
            total=len(examples) * mix.sampling.samples,
        )
        await completer.aclose()  # one student at a time in memory
        return answers

    before = await asked(start, f"stage-{number}-before")
    facts, answers = [], []
    for share in mix.shares:
        name = f"stage-{number}-share-{share}"
        record = folder / f"{name}.json"
        if not record.exists():
            done = await learn(share, folder / name)
            await asked(folder / name / done["model"], name)
            write_atomically(record, orjson.dumps(done["stages"][stage]))
        shutil.rmtree(folder / name, ignore_errors=True)
        facts.append(orjson.loads(record.read_bytes()))
        answers.append(list(tables.read_judged(folder / f"{name}.parquet")))
    choice = weigh(mix, before, answers, facts, stage=stage, number=number, seed=context.seed)
    write_atomically(
        context.out / layout.mix(number), orjson.dumps(asdict(choice), option=orjson.OPT_INDENT_2)
    )
    context.progress.note(f"stage {stage}: share {choice.share:g}, {choice.reason}")
    if not any(trial.gain_low > 0 for trial in choice.trials):
        context.progress.note(f"stage {stage}: {NO_GAIN}")
    return choice


def probe_examples(mix: MixConfig, context: StepContext) -> list[Example]:
    """The examples that trial students are asked: of each task's probe split those with the smallest hash that can be judged."""
    examples = tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "probe")
    judgeable = (
        item for item in examples if item.reference is not None or context.judging is not None
    )
    return list(
        chain(*first_by_hash(judgeable, "mix", lambda item: item.task, mix.per_task).values())
    )


def requests(
    mix: MixConfig, examples: Iterable[Example], generic: str, seed: int
) -> Iterator[Request]:
    """What each student is asked: the examples under the message that stands in the lessons."""
    erased = erased_strategy(generic)
    for example in examples:
        yield from requests_for(example, erased, mix.sampling, seed=seed)


def weigh(
    mix: MixConfig,
    before: Sequence[Judged],
    answers: Sequence[Sequence[Judged]],
    facts: Sequence[Mapping[str, Any]],
    *,
    stage: str,
    number: int,
    seed: int,
) -> Choice:
    """The choice and its evidence.

    Args:
        mix: The shares in order of preference.
        before: Answers of the student before the stage.
        answers: Of each share's trial student, to the same examples.
        facts: What each trial student did.
        stage: The stage's name.
        number: Its number.
        seed: Of the bootstrap.

    Raises:
        StepError: Fewer than two examples were answered by all.
    """
    means = [stats.item_means(judged) for judged in (before, *answers)]
    shared = [key for key in means[0] if all(key in found for found in means)]
    if len(shared) < 2:
        raise StepError(
            f"stage {stage!r}: only {len(shared)} probe examples were answered by all trial students"
        )
    start, *outcomes = np.array([[found[key] for key in shared] for found in means])
    best = max(outcomes, key=lambda row: float(row.mean()))
    chosen = first_near_best(np.stack(outcomes), errors=mix.errors)
    trials = []
    for share, row, judged, fact in zip(mix.shares, outcomes, answers, facts, strict=True):
        score, gain, behind = (
            stats.score(judged),
            stats.compare(row, start, seed=seed),
            stats.compare(best, row, seed=seed),
        )
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
        stage=stage,
        number=number,
        of=mix.of.model_dump(mode="json", exclude_defaults=True),
        share=mix.shares[chosen],
        reason=_reason(mix.shares, outcomes, chosen),
        n=len(shared),
        before=float(start.mean()),
        part=mix.trial,
        trials=tuple(trials),
    )


def _reason(shares: Sequence[float], outcomes: Sequence[Any], chosen: int) -> str:
    best = int(np.argmax([row.mean() for row in outcomes]))
    if chosen == best and chosen == 0:
        return "the first one, and no other is better"
    if chosen == best:
        return "better than those before it by more than the noise"
    return f"not told apart from the best, {shares[best]:g}, and named before it"
