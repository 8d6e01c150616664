"""Measure what the student learns from each strategy: a trial student for each of them.

    direct        45 lessons of each task ──train──► a trial student ──probe split──► sums 31 %, …
    step_by_step  45 lessons of each task ──train──► a trial student ──probe split──► sums 78 %, …

Orca 2 chooses by what the student can do under a strategy's message before it is taught. A student
near the floor is equally bad under all of them, and that says nothing about what it can learn. So
here the teacher explains the same examples with each strategy, the strategy is erased, and a trial
student learns. All trial students learn the recipe's way, from as many lessons, in as many
optimizer steps, and answer the same probe examples under the erased message. One training of a
strategy serves all groups at once.

Trials run in waves (successive halving). All trial students learn from half of the share; then only
those of strategies without which a group would lose accuracy learn from all of it. ``assign``
chooses by the answers.
"""

import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from orcinus.core import stats
from orcinus.core.draw import draw_by_group
from orcinus.core.errors import StepError
from orcinus.core.files import write_atomically
from orcinus.core.types import Assignment, Example, Judged, Lesson, Request, Strategy
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.choosing import believe, contenders
from orcinus.strategies.config import USUAL, AssignConfig, ProbeConfig
from orcinus.strategies.evidence import outcomes
from orcinus.strategies.groups import (
    ProbeResults,
    by_group,
    examples_of,
    find_groups,
    probe_tells,
)
from orcinus.strategies.probe import order_probe
from orcinus.strategies.prompts import erased_strategy, requests_for, suits
from orcinus.strategies.pseudo_labels import Key, key_of, label_by_agreement
from orcinus.strategies.trial_results import TrialResults, TrialStudent
from orcinus.verifiers.measure import measure

FEWEST, MOST = 24, 500
"""Examples of a task that are explained with each strategy, whatever the share. Fewer teach a
student too little to tell strategies apart; more add nothing to the choice."""
WORTHLESS = 0.01
"""Accuracy, mean over groups. Strategies whose absence costs no more than this together are not
tried in the next wave. Measured on the demo: 0.005 to 0.02 keep the same two of four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """The functions that make lessons and trial students, given by the pipeline."""

    examples: Callable[[StepContext], Iterator[Example]]
    """The examples that the teacher will be asked anyway."""
    requests: Callable[[Example, Strategy], Iterator[Request]]
    """The calls that ask the teacher to explain an example."""
    explain: Callable[[Path, StepContext], Awaitable[Path]]
    """(folder with ``examples.parquet`` and ``assignments.parquet``) → the folder of the erased
    lessons of those explanations that are kept.

    Raises StepError where none is kept.
    """
    count_steps: Callable[[Path, StepContext], int]
    """(folder of lessons) → the optimizer steps that the recipe would make with them."""
    train: Callable[[Path, int, Path, StepContext], Awaitable[Mapping[str, Any]]]
    """(folder of lessons, optimizer steps, folder) → the training's summary. Trains a student in
    the folder; its model is in the subfolder that ``summary["model"]`` names."""


async def trial(
    config: AssignConfig,
    strategies: tuple[Strategy, ...],
    probe: ProbeConfig,
    generic: str,
    teaching: Teaching,
    context: StepContext,
) -> dict[str, Any]:
    """Teach and measure trial students where the probe cannot tell, and write the results.

    A finished trial student is not trained again. It is deleted once it has answered.

    Args:
        config: Which measure decides, and how much is taught.
        strategies: The recipe's strategies.
        probe: How many probe examples choose, and how students are asked.
        generic: The system message of erased lessons, under which trial students answer.
        teaching: Makes lessons and students.
        context: With the input ``sample``, and ``probe`` where the untrained student was asked.

    Returns:
        ``groups``, the number of those that are tried; ``students``, the number of trial students;
        ``optimizer_steps``, of all of them; ``accuracy``, by strategy, of its last trial student.

    Raises:
        StepError: No strategy has a lesson, or there is no probe example.
    """
    found = ProbeResults.read(context)
    group_of = find_groups(config, found, context)
    groups = _groups_to_try(config, found, group_of)
    results = TrialResults(groups=groups, final=(), students=(), fresh=(), dropped={})
    if groups:
        run = _Trials(
            config, strategies, probe, generic, teaching, context, found, group_of, groups
        )
        results = await run.results()
    results.write(context.out)
    latest = {student.strategy: student for student in results.students}
    return {
        "groups": len(groups),
        "students": len(results.students),
        "optimizer_steps": sum(student.optimizer_steps for student in results.students),
        "accuracy": {name: student.mean for name, student in latest.items()},
    }


def requests(
    config: AssignConfig,
    strategies: tuple[Strategy, ...],
    probe: ProbeConfig,
    generic: str,
    teaching: Teaching,
    context: StepContext,
) -> list[Asking]:
    """List the calls to the teacher and to the trial students: an upper bound.

    The arguments are those of ``trial``. Before the probe is done, every group counts as tried.
    """
    found = ProbeResults.read(context)
    group_of = find_groups(config, found, context)
    groups = _groups_to_try(config, found, group_of)
    if not groups:
        return []
    run = _Trials(config, strategies, probe, generic, teaching, context, found, group_of, groups)
    taught = (
        request
        for strategy in strategies
        for example in run.examples_to_explain(last=True)
        if suits(strategy, example)
        for request in teaching.requests(example, strategy)
    )
    answered = (
        request
        for strategy in strategies
        for _ in range(run.waves)
        for request in run.questions(strategy)
    )
    return [
        Asking(role="teacher", requests=taught, exact=False),
        Asking(role="student", requests=answered, exact=False),
    ]


def _groups_to_try(
    config: AssignConfig, probe: ProbeResults, group_of: Callable[[Example], str]
) -> tuple[str, ...]:
    """Return the groups whose strategy trial students are to choose."""
    every = sorted({group_of(example) for example in probe.examples.values()})
    if config.measure is not None or not probe.judged:
        return tuple(every)
    judged = list(probe.judged)
    if config.proxy == "agreement":
        judged = label_by_agreement(judged, probe.examples)
    attempts = by_group(judged, probe.examples, group_of)
    return tuple(
        group
        for group in every
        if group not in attempts or not probe_tells(attempts[group], probe.examples)
    )


class _Trials:
    """The trial students of one step, wave after wave."""

    def __init__(
        self,
        config: AssignConfig,
        strategies: tuple[Strategy, ...],
        probe: ProbeConfig,
        generic: str,
        teaching: Teaching,
        context: StepContext,
        found: ProbeResults,
        group_of: Callable[[Example], str],
        groups: Sequence[str],
    ) -> None:
        self._config = config
        self._strategies, self._probe = strategies, probe
        self._generic, self._teaching, self._context = generic, teaching, context
        self._group_of = group_of
        self._folder = context.out / layout.TRIALS
        chosen = set(groups)
        counts = Counter[str]()

        def of_chosen_groups() -> Iterator[Example]:
            for example in teaching.examples(context):
                if group_of(example) in chosen:
                    counts[example.task] += 1
                    yield example

        self._pools = draw_by_group(of_chosen_groups(), "trial", lambda e: e.task, MOST)
        self._sizes = {
            task: min(max(FEWEST, round(config.share * counts[task])), len(items))
            for task, items in self._pools.items()
        }
        self._choosing, self._fresh = _split_probe(
            config, probe, found.examples.values(), group_of, chosen
        )
        self._students: list[TrialStudent] = []
        self._dropped: dict[str, str] = {}

    @property
    def waves(self) -> int:
        """1 where half of the share is no less than ``FEWEST`` examples of any task, else 2."""
        return 2 if self._half() != self._sizes else 1

    def _half(self) -> dict[str, int]:
        return {task: min(size, max(FEWEST, size // 2)) for task, size in self._sizes.items()}

    def examples_to_explain(self, *, last: bool) -> Iterator[Example]:
        """Yield the examples of the last wave, or of the first, which are part of them."""
        sizes = self._sizes if last else self._half()
        for task, items in self._pools.items():
            yield from items[: sizes[task]]

    def questions(self, strategy: Strategy) -> Iterator[Request]:
        """Yield the calls to the trial student of one strategy, under the erased message."""
        erased = replace(erased_strategy(self._generic), name=strategy.name)
        for example in (*self._choosing, *self._fresh):
            yield from requests_for(example, erased, self._probe.sampling, seed=self._context.seed)

    async def results(self) -> TrialResults:
        """Teach and ask the trial students of every wave."""
        if not self._choosing:
            raise StepError("no probe example; raise sample.probe, or add examples to the tasks")
        running = list(self._strategies)
        answers: dict[str, list[Judged]] = {}
        for wave in range(1, self.waves + 1):
            lessons = await self._explain(wave, running)
            running = [strategy for strategy in running if strategy.name in lessons]
            steps = max(
                self._teaching.count_steps(folder, self._context) for folder in lessons.values()
            )
            for strategy in running:
                answers[strategy.name] = await self._try(
                    wave, strategy, lessons[strategy.name], steps
                )
            if wave < self.waves:
                still = self._still_running(running, answers)
                self._note_wave(wave, running, still)
                if len(still) < 2:
                    running = still or running
                    break
                running = still
        return TrialResults(
            groups=tuple(sorted({self._group_of(e) for e in self._choosing})),
            final=tuple(strategy.name for strategy in running),
            students=tuple(self._students),
            fresh=tuple((example.task, example.id) for example in self._fresh),
            dropped=self._dropped,
            answers=tuple(chain.from_iterable(answers.values())),
        )

    def _still_running(
        self, running: Sequence[Strategy], answers: Mapping[str, Sequence[Judged]]
    ) -> list[Strategy]:
        """Return the strategies that are worth a longer trial."""
        names = [strategy.name for strategy in running]
        items = [item for name in names for item in self._of_choosing(answers[name])]
        known = {(e.task, e.id): e for e in self._choosing}
        if self._config.proxy == "agreement":
            items = label_by_agreement(items, known)
        if not any(item.verdict.value for item in items):
            return list(running)  # nothing is judged yet, or all are at the floor
        keep = [names.index(USUAL)] if USUAL in names else []
        belief = believe(
            {
                group: outcomes(attempts, names)
                for group, attempts in by_group(items, known, self._group_of).items()
            }
        )
        return [
            running[s]
            for s in contenders(belief, loss=WORTHLESS, keep=keep, seed=self._context.seed)
        ]

    def _note_wave(self, wave: int, running: Sequence[Strategy], still: Sequence[Strategy]) -> None:
        left = [s.name for s in running if s not in still]
        if left:
            self._context.progress.note(
                f"trial students, wave {wave}: no chance left for {', '.join(left)}"
            )

    def _of_choosing(self, answers: Sequence[Judged]) -> list[Judged]:
        fresh = {(example.task, example.id) for example in self._fresh}
        return [
            item for item in answers if key_of(item) not in fresh and item.attempt.finish != "error"
        ]

    async def _explain(self, wave: int, running: Sequence[Strategy]) -> dict[str, Path]:
        """Have the teacher explain with every strategy; return folders of as many lessons each."""
        found: dict[str, list[Lesson]] = {}
        folders: dict[str, Path] = {}
        for strategy in running:
            number = self._strategies.index(strategy)
            folder = self._folder / layout.trial(wave, number)
            examples = [
                example
                for example in self.examples_to_explain(last=wave == self.waves)
                if suits(strategy, example)
            ]
            if not examples:
                self._dropped[strategy.name] = "is meant for none of the examples"
                continue
            self._write_examples(folder, examples, strategy)
            self._context.progress.note(
                f"trials, wave {wave} of at most {self.waves}: the teacher explains with "
                f"{strategy.name}"
            )
            try:
                lessons = await self._teaching.explain(folder, self._context)
            except StepError as error:
                self._dropped[strategy.name] = str(error)
                continue
            found[strategy.name] = list(tables.read_lessons(lessons / layout.LESSONS))
            folders[strategy.name] = folder / "equal"
        if not found:
            reasons = "; ".join(f"{name}: {why}" for name, why in self._dropped.items())
            raise StepError(f"no strategy has a lesson for its trial student: {reasons}")
        for name, lessons_of in balanced(found).items():
            with tables.TableWriter(folders[name] / layout.LESSONS, tables.LESSONS) as writer:
                for lesson in lessons_of:
                    writer.write(tables.lesson_row(lesson))
        return folders

    def _write_examples(
        self, folder: Path, examples: Sequence[Example], strategy: Strategy
    ) -> None:
        """Write the two tables that the teaching steps read, for one strategy."""
        with tables.TableWriter(folder / layout.EXAMPLES, tables.EXAMPLES) as writer:
            for example in sorted(examples, key=lambda item: (item.task, item.id)):
                writer.write(tables.example_row(example, "teach"))
            for split in ("held_out", "retention"):  # curation drops traces that repeat these
                for example in examples_of(self._context, split):
                    writer.write(tables.example_row(example, split))
        with tables.TableWriter(folder / layout.ASSIGNMENTS, tables.ASSIGNMENTS) as writer:
            for task in sorted({example.task for example in examples}):
                writer.write(
                    tables.assignment_row(
                        Assignment(
                            group=task,
                            strategy=strategy.name,
                            evidence=(),
                            runner_up=None,
                            p_value=None,
                            reason="tried by a trial student",
                        )
                    )
                )

    async def _try(self, wave: int, strategy: Strategy, lessons: Path, steps: int) -> list[Judged]:
        """Train one trial student and have it answer, unless that is done."""
        name = layout.trial(wave, self._strategies.index(strategy))
        record, path = self._folder / f"{name}.json", self._folder / f"{name}.parquet"
        student = self._folder / name / "student"
        context = self._context
        if not record.exists():
            context.progress.note(
                f"trial student of {strategy.name}, wave {wave} of at most {self.waves}"
            )
            clock = time.monotonic()
            done = await self._teaching.train(lessons, steps, student, context)
            seconds = round(time.monotonic() - clock, 3)
            completer = context.completer("student", student / done["model"])
            asked = list(self.questions(strategy))
            await measure(
                asked,
                completer,
                path,
                context,
                step="trial",
                what=f"ask the trial student of {strategy.name}",
                total=len(asked),
            )
            await completer.aclose()  # one student at a time in memory
            write_atomically(record, orjson.dumps({**done, "seconds": seconds}))
        shutil.rmtree(student, ignore_errors=True)
        done = orjson.loads(record.read_bytes())
        (facts,) = done["stages"].values()
        answers = list(tables.read_judged(path))
        score = stats.score(self._of_choosing(answers))
        self._students.append(
            TrialStudent(
                wave=wave,
                strategy=strategy.name,
                lessons=facts["lessons"],
                optimizer_steps=facts["optimizer_steps"],
                passes=facts["passes"],
                learnt_tokens=facts["learnt_tokens"],
                seconds=done["seconds"],
                mean=score.mean,
                low=score.low,
                high=score.high,
                n=score.n,
            )
        )
        return answers


def _split_probe(
    config: AssignConfig,
    probe: ProbeConfig,
    examples: Iterable[Example],
    group_of: Callable[[Example], str],
    chosen: set[str],
) -> tuple[list[Example], list[Example]]:
    """Return the probe examples that choose, and those that measure what was chosen again."""
    choosing: list[Example] = []
    fresh: list[Example] = []
    for items in order_probe(examples).values():
        mine = [example for example in items if group_of(example) in chosen]
        cut = max(len(mine) - len(mine) // 2, len(mine) - probe.reserve)
        choosing += mine[:cut][: probe.per_task]
        fresh += mine[cut:][: config.confirm]
    return choosing, fresh


def balanced(lessons: Mapping[str, Sequence[Lesson]]) -> dict[str, list[Lesson]]:
    """Cut the lessons of every strategy to as many of each task.

    The teacher may be wrong more often under one strategy than under another. A strategy with less
    than half of the lessons of the richest one keeps what it has and does not limit the others.

    Args:
        lessons: By strategy. Examples that more strategies have lessons of are kept first.
    """
    having: dict[Key, int] = {}
    for items in lessons.values():
        for key in {(item.task, item.example_id) for item in items}:
            having[key] = having.get(key, 0) + 1
    cut: dict[str, list[Lesson]] = {name: [] for name in lessons}
    for task in sorted({item.task for items in lessons.values() for item in items}):
        of_task = {
            name: [item for item in items if item.task == task] for name, items in lessons.items()
        }
        most = max(map(len, of_task.values()))
        limit = min(len(items) for items in of_task.values() if 2 * len(items) >= most)
        for name, items in of_task.items():
            shared_first = sorted(
                items, key=lambda item: (-having[item.task, item.example_id], item.example_id)
            )
            cut[name] += shared_first[:limit]
    return cut
