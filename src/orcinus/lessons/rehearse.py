"""Ask the student each taught question several times under the erased message, before it learns.

    "What is 17 + 25?"   ──student, 4 times──►   right, right, wrong, right
    ──►  the lesson's meta {"right": 3, "came": 4}, and (``lessons: right``) 3 lessons of its own

What the student can do alone decides what a lesson is worth to it (RASFT; teachable prompts,
Phi-4-reasoning, arXiv:2504.21318). The answers are attempts in the ledger like all others.
``select`` measures its pass rates with the same function.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orcinus.core.errors import StepError
from orcinus.core.types import Example, Judged, Request
from orcinus.lessons.config import RehearseConfig
from orcinus.lessons.diversity import distinct
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.prompts import erased_strategy, requests_for
from orcinus.tasks.duplicates.ngrams import U64
from orcinus.tasks.duplicates.seen import hash_of

NEARLY_EQUAL = 0.82
"""Share of runs of three words, 0 to 1, from which two of the student's answers to one question are
the same lesson. RASFT's value."""

CURATED = ("curate_assistant", "curate")
"""Roles of the steps whose kept traces are taught."""
REHEARSALS = pa.schema(
    [
        ("task", pa.string()),
        ("example_id", pa.string()),
        ("right", pa.float64()),
        ("came", pa.int32()),
        ("unjudged", pa.int32()),
    ]
)
"""Schema of ``rehearsals.parquet``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The student's results at one question."""

    task: str
    example_id: str
    right: float
    """Sum of the verdicts: the number of right answers. An unjudged answer counts as wrong."""
    came: int
    """Answers that came; failed calls are not counted."""
    unjudged: int
    """Those of them without a verdict."""

    @property
    def rate(self) -> float:
        """The share of right answers; nan where none came."""
        return self.right / self.came if self.came else nan


async def rehearse(config: RehearseConfig, generic: str, context: StepContext) -> dict[str, Any]:
    """Ask the student the taught questions and write ``attempts`` and ``rehearsals.parquet``.

    Args:
        config: How it is asked.
        generic: The erased system message that it is asked under.
        context: With the inputs ``sample``, ``curate`` and, with an assistant,
            ``curate_assistant``.

    Returns:
        ``questions``, ``right``, ``came`` and ``unjudged``, their numbers; ``pass_rate``, the mean
        over the questions; ``never`` and ``always``, the questions with no or only right answers.

    Raises:
        StepError: The student answered nothing.
    """
    asked, samples = _requests(config, generic, context), config.sampling.samples
    questions = sum(1 for _ in taught(context))
    context.progress.start("ask the student before it learns", questions * samples)
    rates, counts = np.full(questions, nan), {"right": 0.0, "came": 0, "unjudged": 0}
    with tables.TableWriter(context.out / layout.REHEARSALS, REHEARSALS) as writer:
        async for found in ask_often(asked, samples, context, step="rehearse"):
            rates[writer.rows] = found.rate
            for name in counts:
                counts[name] += getattr(found, name)
            writer.write(asdict(found))
    rates = rates[~np.isnan(rates)]
    if not len(rates):
        raise StepError(
            f"the student answered none of the {questions:,} taught questions; "
            "`orcinus ledger spend` shows the errors"
        )
    return {
        "questions": questions,
        **{name: round(count) for name, count in counts.items()},
        "pass_rate": float(rates.mean()),
        "never": int((rates == 0).sum()),
        "always": int((rates == 1).sum()),
    }


def requests(config: RehearseConfig, generic: str, context: StepContext) -> list[Asking]:
    """List the calls to the student; before curation, those about the whole teach split.

    The arguments are those of ``rehearse``.
    """
    asked = _requests(config, generic, context)
    return [Asking(role="student", requests=asked, exact="curate" in context.inputs)]


async def ask_often(
    requests: Iterable[Request], samples: int, context: StepContext, *, step: str
) -> AsyncIterator[Rehearsal]:
    """Ask the student each question several times, write its attempts, and count the right ones.

    Args:
        requests: ``samples`` for each question, one question after the other.
        samples: Answers to each question.
        context: Its student is asked. The attempts go to ``attempts.parquet`` in its folder.
        step: The step under which the calls are booked.

    Yields:
        The counts of each question, in order.
    """
    # Imported here: workers that make lessons import this module, and verifiers take a second.
    from orcinus.verifiers.judge import judged_attempts

    answers: list[Judged] = []
    with tables.TableWriter(context.out / layout.ATTEMPTS, tables.JUDGED) as writer:
        async for judged in judged_attempts(
            requests, context.completer("student"), context, step=step
        ):
            writer.write(tables.judged_row(judged))
            context.progress.advance(cost_usd=judged.attempt.cost_usd, recalled=judged.recalled)
            answers.append(judged)
            if len(answers) == samples:
                yield _count(answers)
                answers.clear()


def _count(answers: Sequence[Judged]) -> Rehearsal:
    """Count the answers to one question. Failed calls do not count; unjudged answers are wrong."""
    came = [item for item in answers if item.attempt.finish != "error"]
    return Rehearsal(
        task=answers[0].attempt.task,
        example_id=answers[0].attempt.example_id,
        right=sum(item.verdict.value or 0.0 for item in came),
        came=len(came),
        unjudged=sum(item.verdict.none for item in came),
    )


def taught(context: StepContext) -> Iterator[Example]:
    """Yield the questions of kept traces; before curation, the whole teach split."""
    curated = [context.inputs[role] for role in CURATED if role in context.inputs]
    hashes = (
        hash_of(row["task"], row["example_id"])
        for folder in curated
        for row in tables.read_rows(folder / layout.KEPT, ["task", "example_id"])
    )
    kept = np.unique(np.fromiter(hashes, np.uint64))
    for example in tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach"):
        if not curated or _place(kept, example) is not None:
            yield example


def _place(hashes: U64, example: Example) -> int | None:
    """Return the place of an example's hash among sorted ones; None where it is not there."""
    wanted = np.uint64(hash_of(example.task, example.id))
    at = int(hashes.searchsorted(wanted))
    return at if at < len(hashes) and hashes[at] == wanted else None


def _requests(config: RehearseConfig, generic: str, context: StepContext) -> Iterator[Request]:
    erased = erased_strategy(generic)
    for example in taught(context):
        yield from requests_for(example, erased, config.sampling, seed=context.seed)


class Rehearsals:
    """The counts of all rehearsed questions; 20 bytes each."""

    def __init__(self, folder: Path) -> None:
        """Read the folder of a finished ``rehearse`` step."""
        rows = list(tables.read_batches(folder / layout.REHEARSALS))
        columns = pa.Table.from_batches(rows, schema=REHEARSALS)
        keys = zip(columns["task"].to_pylist(), columns["example_id"].to_pylist(), strict=True)
        hashes = np.fromiter((hash_of(*key) for key in keys), np.uint64, len(columns))
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]
        self._right = columns["right"].to_numpy()
        self._came = columns["came"].to_numpy()

    def numbers_of(self, example: Example) -> dict[str, float]:
        """Return ``right``, ``came`` and ``pass_rate`` of an example; nothing where none came."""
        at = _place(self._hashes, example)
        if at is None:
            return {}
        place = self._order[at]
        right, came = float(self._right[place]), int(self._came[place])
        return {"right": right, "came": came, "pass_rate": right / came} if came else {}


def own_answers(
    folder: Path, examples: Path, *, right: bool = True
) -> Iterator[tuple[Example, Judged]]:
    """Yield the student's right answers to each question, nearly equal ones once.

    Args:
        folder: Of a finished ``rehearse`` step.
        examples: The table of the examples.
        right: False yields the wrong answers. An answer that was cut off, or could not be judged,
            is no example of a mistake.
    """
    answers = tables.read_judged(folder / layout.ATTEMPTS)
    chosen = (
        item
        for item in answers
        if (item.verdict.right if right else item.verdict.wrong) and item.attempt.finish == "stop"
    )
    pairs = tables.with_examples(chosen, examples)
    for _, group in groupby(pairs, key=lambda pair: (pair[0].task, pair[0].id)):
        several = list(group)
        texts = [judged.attempt.text for _, judged in several]
        for place in distinct(texts, NEARLY_EQUAL, run=3):
            yield several[place]
